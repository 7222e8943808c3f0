"""From a search to an answer: its best trained again, a winner with an interval, the test rows once, a model to use.

python -m hpo.finish does it. The procedure: hpo.race, and docs/answer.md.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
