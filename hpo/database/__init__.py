"""An SQL database that Optuna and hpo share: its address, its connections, its outages.

Ask for address_of, open_store, explained and insist. Knows nothing of studies, and has the only engines of SQLAlchemy.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
