"""What a study will do, before it costs hours: python -m hpo.check. Trains in processes of its own, and stores nothing.

How such a process is started, and how it trains a trial apart from any stored study, is here for others, too.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
