"""hpo from Python: tune and load, for notebooks and scripts. What they do, commands do; this is how Python says it.

Ask for tune and load. A call starts the ordinary command as a process of its own, and reads what it has stored.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
