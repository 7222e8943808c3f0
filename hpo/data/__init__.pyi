from .cache import home_dirs as home_dirs
from .cifar10 import ARCHIVE_NAMES as ARCHIVE_NAMES
from .datasets import Dataset as Dataset
from .datasets import describe_majority as describe_majority
from .datasets import describe_numbering as describe_numbering
from .datasets import load_dataset as load_dataset
from .prepared import facts_of as facts_of
