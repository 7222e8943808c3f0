"""optuna-dashboard, safe to open: python -m hpo.dashboard.

By itself it has no login and lets anyone who reaches it delete, rename and end studies. Here it is behind the doors of
hpo.web and only reads, but for notes, tags and artifacts where asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
