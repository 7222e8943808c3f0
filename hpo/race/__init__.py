"""What finishes a search: its best settings, trained again with fresh seeds, until a winner can be named.

The procedure and what it rests on: docs/answer.md. Knows neither Keras nor what a worker is.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
