"""Rows and labels: a study's data found or downloaded, checked, prepared once, mapped and shared.

Ask for load_dataset and the Dataset that it returns. Knows neither Keras nor the database.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
