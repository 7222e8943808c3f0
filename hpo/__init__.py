"""hpo: hyperparameter optimization for Keras.

Study files and notebooks import from here; what __all__ does not list may move. The map of the files is in
.github/CONTRIBUTING.md.
"""

import lazy_loader

__version__ = "0.2.0.dev0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
