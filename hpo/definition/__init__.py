"""What a study's file says: found, imported, its points drawn and placed, its meaning hashed.

Ask for StudyDefinition, load_definition, the functions that draw and place points, and fingerprint. Knows no database;
imports Keras only where a study's file does.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
