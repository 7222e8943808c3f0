"""A stored trial, trained again and held against what is recorded of it: python -m hpo.reproduce.

Where the numbers differ, what of the machine and its software differs is named. Stores nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
