"""Engines that start workers on many machines: python -m hpo.cluster prints what Slurm and Kubernetes are given.

An engine is handed worker slots, never trials: it keeps the slots filled, and tickets alone decide about trials.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
