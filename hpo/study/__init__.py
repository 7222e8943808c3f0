"""The study as it is stored: its facts, folder, tickets, leases, trials and results; python -m hpo.study acts on one.

Ask for open_study, OpenStudy, tickets, leases and rows. Loads Keras only to open a study that its file declares.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
