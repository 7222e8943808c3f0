"""What a study found, as one page: best against baseline, what mattered, the curves, the time; python -m hpo.report.

Ask for answer_report. Everything is computed from the database, and each claim says how sure it is.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
