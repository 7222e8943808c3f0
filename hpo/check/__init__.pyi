from .children import Children as Children
from .children import temporary_folder as temporary_folder
from .training import answer as answer
from .training import callbacks_of as callbacks_of
from .training import load_data as load_data
from .training import load_study as load_study
