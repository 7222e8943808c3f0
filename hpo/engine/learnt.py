"""What a study's preprocess has learnt from the training rows, as Keras layers that are applied to any rows."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hpo.data import Dataset, Rows, Split, are_words, checked_rows, decoded, each, joined, n_rows_of
from hpo.definition import StudyDefinition
from hpo.engine.adapted import check_adapted
from hpo.engine.refusals import dtype_of
from hpo.errors import StudyFileError, TrialError
from hpo.tracebacks import field_hint, told

WHERE = "STUDY.preprocess"
N_BATCH_ROWS = 1024
HINT = (
    "Return a layer of Keras, adapted to the rows (Normalization, TextVectorization ...), several as a "
    "keras.Sequential or keras.Model; or of several inputs a dictionary of such, by the inputs' names."
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Learnt:
    """Makes the rows that models take of the rows that the data bring.

    Attributes:
        model: Takes those of the inputs that have a layer.
        names: Theirs; the other inputs stay as they are. None where one layer takes all there is.
    """

    model: keras.Model
    names: tuple[str, ...] | None

    def __call__(self, inputs: Any) -> Any:
        """Apply it to tensors, or to the symbolic inputs of a model."""
        made = self.model(inputs if self.names is None else {name: inputs[name] for name in self.names})
        if self.names is None:
            return tuple(made) if isinstance(made, list) else made
        return {name: made.get(name, one) for name, one in inputs.items()}

    def rows(self, x: Rows) -> Rows:
        """Apply it to rows.

        Raises:
            DatasetError: What comes of them cannot be trained on.
        """
        given = x if self.names is None else {name: x[name] for name in self.names}
        found = joined(self._batch(given, first) for first in range(0, n_rows_of(x), N_BATCH_ROWS))
        keys = {name: f"x[{name!r}]" for name in found} if isinstance(found, dict) else each(lambda _: "x", found)
        is_single = isinstance(found, np.ndarray)
        made = each(lambda array, key: checked_rows(WHERE, key, array, _unsaid, is_single=is_single), found, keys)
        return made if self.names is None else {name: made.get(name, one) for name, one in x.items()}

    def _batch(self, x: Rows, first: int) -> Rows:
        tensors = each(lambda array: _tensor(array[first : first + N_BATCH_ROWS]), x)
        made = self.model(tensors, training=False)
        if self.names is not None:
            made = {name: made[name] for name in self.names}
        return each(_plain, tuple(made) if isinstance(made, list) else made)


def learn(definition: StudyDefinition, dataset: Dataset, split: Split) -> Learnt:
    """Call the study's preprocess with a copy of the training rows: nothing else is in its reach.

    Raises:
        StudyFileError: It raises, or returns what cannot be applied to rows or kept with a model.
    """
    assert definition.preprocess is not None
    keras.utils.set_random_seed(definition.seed)
    train = each(lambda array: _shown(array[split.train_rows]), dataset.x)
    inputs = symbolic(dataset.x)
    try:
        found: Any = definition.preprocess(train)
        names = _names_of(found, dataset.x)
        check_adapted([found] if names is None else found.values())
        if names is None:
            model = keras.Model(inputs, found(inputs))
        else:
            taken = {name: inputs[name] for name in names}
            model = keras.Model(taken, {name: found[name](one) for name, one in taken.items()})
    except StudyFileError:
        raise
    except TrialError as error:
        raise StudyFileError(f"{WHERE}: {error}.", "Call its adapt(train) in preprocess(train).") from error
    except Exception as error:
        message = f"The study's preprocess cannot be used: its code raised {told(error)}"
        raise StudyFileError(message, f"{field_hint(error)} Mend its file and try again.".strip()) from error
    for output in keras.tree.flatten(model.output):
        _check_output(output)
    return Learnt(model=model, names=names)


def symbolic(x: Rows) -> Any:
    """Return inputs for a model that takes such rows."""
    if isinstance(x, dict):
        return {name: keras.Input(rows.shape[1:], dtype=dtype_of(rows), name=name) for name, rows in x.items()}
    # Of floats also where rows are bytes: Keras turns bytes into floats by itself, but fractions silently into bytes.
    return each(lambda rows: keras.Input(rows.shape[1:], dtype=dtype_of(rows)), x)


def _names_of(found: Any, x: Rows) -> tuple[str, ...] | None:
    if isinstance(found, keras.Layer):
        return None
    if not isinstance(found, dict) or not isinstance(x, dict):
        raise StudyFileError(f"{WHERE} returned {_kind(found)}, which cannot be applied to rows and kept.", HINT)
    strangers = [name for name in found if name not in x]
    if strangers or not found:
        given = f"a layer for {strangers[0]!r}" if strangers else "no layer"
        raise StudyFileError(f"{WHERE} returned {given}.", f"The inputs are {', '.join(map(repr, x))}.")
    for name, layer in found.items():
        if not isinstance(layer, keras.Layer):
            raise StudyFileError(f"{WHERE} returned {_kind(layer)} for {name!r}.", HINT)
    left = [name for name, rows in x.items() if name not in found and are_words(rows)]
    if left:
        raise StudyFileError(
            f"{WHERE} returned no layer for {left[0]!r}, which holds words.", "A StringLookup makes numbers of them."
        )
    return tuple(name for name in x if name in found)


def _kind(found: Any) -> str:
    if found is None:
        return "None"
    return f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"


def _check_output(output: Any) -> None:
    if None in tuple(output.shape)[1:]:
        raise StudyFileError(
            f"{WHERE} makes rows of no fixed length: their shape is {tuple(output.shape)}.",
            "Give TextVectorization output_sequence_length=100, for example.",
        )
    if output.dtype == "string":
        raise StudyFileError(f"{WHERE} makes words, which no model can take.", "End with a StringLookup, for example.")
    if getattr(output, "sparse", False) or getattr(output, "ragged", False):
        raise StudyFileError(f"{WHERE} makes sparse or ragged rows.", "Leave out sparse=True and ragged=True.")


def _shown(array: np.ndarray) -> np.ndarray:
    if are_words(array):
        return np.asarray(decoded(array))
    return np.array(array, np.float32 if array.dtype == np.uint8 else array.dtype)


def _tensor(array: np.ndarray) -> Any:
    return tf.constant(array.astype(np.float32) if array.dtype == np.uint8 else array)


def _plain(made: Any) -> np.ndarray:
    array = np.asarray(made)
    # Bytes of a layer's own are numbers like others: hpo scales only those that the data bring.
    return array.astype(np.float32) if array.dtype == np.uint8 else array


def _unsaid(_line: str) -> None:
    """Large whole numbers, ids say, are what a vocabulary makes."""
