"""A command's life: python -m hpo.run opens a study, keeps workers at it, and says how it ended.

A worker process claims tickets and trains their trials here: the only place where the study and the engine meet.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
