"""Rows that do not fit into memory, as a study declares them: functions that return batches."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hpo.errors import StudyFileError
from hpo.parameters import is_count

CALLS = {"train": ("seed", "batch_size"), "validation": ("batch_size",), "test": ("batch_size",)}


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Rows that do not fit into memory, as a study's dataset: Keras's fit reads them batch by batch.

    Each function returns what Keras's fit takes, a tf.data.Dataset of batches or a keras.utils.PyDataset, which knows
    how many batches it has. A batch is (x, y) or (x, y, sample_weight), with batch_size rows, or fewer in the last one.
    The numbers reach the model as they are: bytes are not scaled.

        def train(seed: int, batch_size: int) -> tf.data.Dataset:
            return rows().shuffle(10_000, seed=seed).batch(batch_size)

    Attributes:
        train: Called for each epoch with a seed of the trial and the epoch, from which the order of rows, and all that
            is drawn for them, has to follow: an interrupted trial then goes on with the same rows. It returns a new
            dataset each time. Of a PyDataset hpo shuffles the batches too, as fit does.
        validation: The rows to validate on, the same in the same order each time.
        test: Rows that no trial sees: hpo finish shows them to the model that it ends with.
        n_classes: How many classes there are, where y holds their numbers; model is told it.

    Raises:
        StudyFileError: A field is not what hpo can work with.
    """

    train: Callable[[int, int], Any]
    validation: Callable[[int], Any]
    test: Callable[[int], Any] | None = None
    n_classes: int | None = None

    def __post_init__(self) -> None:
        for name, arguments in CALLS.items():
            if name != "test" or self.test is not None:
                _check_call(name, getattr(self, name), arguments)
        if self.n_classes is not None and not is_count(self.n_classes):
            raise StudyFileError(f"Stream.n_classes must be a whole number of at least 1, not {self.n_classes!r}.")


def _check_call(name: str, function: object, arguments: tuple[str, ...]) -> None:
    call = f"{name}({', '.join(arguments)})"
    hint = f"Write a function {call} that returns a tf.data.Dataset of batches, or a keras.utils.PyDataset."
    if not callable(function):
        raise StudyFileError(f"Stream.{name} must be a function, not of type {type(function).__name__}.", hint)
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        raise StudyFileError(f"Stream.{name} is called as {call}, and cannot be: {error}.", hint) from error
    except ValueError:  # some of C have no signature
        return
