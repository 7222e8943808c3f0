from .stored import StoredStudy as StoredStudy
from .stored import load as load
from .tuning import tune as tune
