"""What a Stream's functions return: batches of rows, how many there are, and what a batch is made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpo.data.columns import as_rows
from hpo.data.rows import Rows, arrays_of, n_rows_of, names_of
from hpo.errors import DatasetError
from hpo.stream import Stream
from hpo.tracebacks import told

UNKNOWN = -2  # as tf.data says it
KINDS = "a tf.data.Dataset of batches, or a keras.utils.PyDataset"


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenStream:
    """A study's Stream, whose rows have been counted.

    Attributes:
        source: As the study declares it.
        n_train_rows: To train on.
        n_val_rows: To validate on.
    """

    source: Stream
    n_train_rows: int
    n_val_rows: int


def describe_stream(stream: OpenStream) -> str:
    """Say what there is, and what trains on it."""
    return (
        f"The rows come from a Stream: {stream.n_train_rows:,} to train on and {stream.n_val_rows:,} to validate on. "
        "Keras's own fit reads them batch by batch, more slowly than hpo's compiled epoch, which needs them in memory."
    )


def batches_of(source: Stream, name: str, *arguments: int) -> Any:
    """Call one of a Stream's functions.

    Args:
        source: The Stream.
        name: Of the function.
        arguments: seed and batch_size for "train"; batch_size for the others.

    Raises:
        DatasetError: It raises, or returns what Keras's fit cannot read, or what has no known end.
    """
    where = f"Stream.{name}"
    try:
        found = getattr(source, name)(*arguments)
    except Exception as error:
        raise DatasetError(f"{where} raised {told(error)}", "Mend the function in the study file.") from error
    if not is_pipeline(found) and not (hasattr(found, "num_batches") and hasattr(found, "__getitem__")):
        raise DatasetError(f"{where} returned a {type(found).__name__}.", f"Return {KINDS}.")
    if getattr(found, "use_multiprocessing", False):
        raise DatasetError(
            f"{where} returned a PyDataset with use_multiprocessing=True, and hpo's workers start no processes.",
            "Leave it out: with workers=4 it is read by threads.",
        )
    n_batches_of(name, found)
    return found


def n_batches_of(name: str, batches: Any) -> int:
    """Return how many batches a Stream's function has returned.

    Raises:
        DatasetError: Nobody knows; or there are none, or no end of them.
    """
    where = f"Stream.{name}"
    n_found = int(batches.cardinality()) if is_pipeline(batches) else batches.num_batches
    if n_found == UNKNOWN:
        raise DatasetError(
            f"{where} returned a tf.data.Dataset that does not know how many batches it has.",
            "Count the rows once, and say it at the end: rows.batch(batch_size).apply("
            "tf.data.experimental.assert_cardinality(math.ceil(n_rows / batch_size))).",
        )
    if n_found is None or n_found < 0:
        raise DatasetError(f"{where} returned batches without end.", "Leave repeat() out: each epoch asks anew.")
    if n_found == 0:
        raise DatasetError(f"{where} returned no batch.", "Return at least one.")
    return int(n_found)


def elements_of(batches: Any) -> Iterator[tuple[Any, ...]]:
    """Yield batches as arrays, in the order that they have without training."""
    if is_pipeline(batches):
        yield from batches.as_numpy_iterator()
    else:
        yield from (batches[number] for number in range(batches.num_batches))


def parts_of(name: str, element: Any) -> tuple[Rows, Rows, np.ndarray | None]:
    """Return a batch's x, y and weights.

    Raises:
        DatasetError: It is none, or its rows are no arrays.
    """
    where = f"Stream.{name}"
    if not isinstance(element, tuple | list) or len(element) not in (2, 3):
        kind = f"{len(element)} parts" if isinstance(element, tuple | list) else f"a {type(element).__name__}"
        raise DatasetError(f"{where}: a batch is {kind}.", "Return batches (x, y), or (x, y, sample_weight).")
    x, y = (_rows(where, key, one) for key, one in zip(("x", "y"), element, strict=False))
    weight = np.asarray(element[2]) if len(element) == 3 else None
    if weight is not None and weight.shape != (n_rows_of(y),):
        raise DatasetError(f"{where}: sample_weight has shape {weight.shape}.", "Give one number per row.")
    return x, y, weight


def parts_of_all(name: str, batches: Any) -> Iterator[tuple[Rows, Rows, np.ndarray | None]]:
    """Yield x, y and weights of each batch.

    Raises:
        DatasetError: One is no batch.
    """
    return (parts_of(name, element) for element in elements_of(batches))


def is_pipeline(batches: Any) -> bool:
    """Whether they are a tf.data.Dataset, and no keras.utils.PyDataset."""
    return hasattr(batches, "cardinality") and hasattr(batches, "element_spec")


def _rows(where: str, key: str, value: Any) -> Rows:
    given = tuple(value) if isinstance(value, list) else value  # several inputs, as PyDatasets may bring them
    for name, array in zip(names_of(key, given), map(np.asarray, arrays_of(given)), strict=True):
        if array.dtype.kind not in "buif":
            hint = "Make numbers of words in the functions of the Stream; make sparse or ragged rows dense."
            raise DatasetError(f"{where}: {name} holds {array.dtype}, not numbers.", hint)
        if key == "x" and array.dtype == np.uint8:
            raise DatasetError(
                f"{where}: {name} holds bytes (uint8), and nothing scales them on their way to the model.",
                "Make floats of them in the functions of the Stream: tf.cast(x, tf.float32) / 255.",
            )
    return as_rows(where, key, given)
