"""Doors for web pages: who may ask for what, and a server that nobody can block.

Ask for Rules, protect and serve. Knows what the pages show as little as they know it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
