"""Have Keras write a model's file: a full disk shows as an OSError, whatever HDF5 makes of it."""

from collections.abc import Callable
from pathlib import Path


def written(write: Callable[[Path], object], path: Path) -> None:
    """Have Keras write a file.

    Raises:
        OSError: The disk is full, or the file cannot be written.
    """
    try:
        write(path)
    except OSError:
        raise
    except (RuntimeError, ValueError) as error:
        if "write" not in str(error).lower():
            raise
        raise OSError(None, str(error)) from error
