"""Trains one trial: an epoch of a Keras model is one compiled call, or a few.

Ask for Engine, train and its Task, and for what is refused by name. Imports TensorFlow; knows neither
Optuna's storage nor the study.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
