"""What a trial's callbacks have counted: taken at a checkpoint, given back when the trial goes on elsewhere.

Keras's own classes carry the attributes named here and no others. A callback of the study's own brings two methods:
`state()` returns a dictionary of JSON values, NumPy arrays, and lists and dictionaries of them; `restore(state)` is
called with it after on_train_begin. What a callback counts without them is noticed, and then no checkpoint is taken:
such a trial starts over when it is handed back, which costs time, but no number is wrong.
"""

import contextlib
import functools
import hashlib
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import keras
import numpy as np

from hpo.errors import TrialError

# Attributes by class; a subclass carries those of its bases. Never min_delta: EarlyStopping turns its sign at the first
# epoch's end, by the monitored metric's direction, and would turn it back at each takeover.
CARRIED: dict[type, tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("best", "best_epoch", "best_weights", "stopped_epoch", "wait"),
    keras.callbacks.ReduceLROnPlateau: ("best", "cooldown_counter", "wait"),
    keras.callbacks.ModelCheckpoint: ("best",),
    keras.callbacks.History: ("epoch", "history"),
}
# These keep functions of the study's own, whose closures may count.
ADAPTERS = (keras.callbacks.LambdaCallback, keras.callbacks.LearningRateScheduler)
MAX_ARRAY_BYTES = 1 << 24  # of an array that is read at each epoch's end; a larger one is data, not a counter


def carried(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """Return what a callback has counted, in JSON values and arrays, with its class's name.

    Raises:
        TrialError: Its own state() returned something else.
    """
    kept = {name: getattr(callback, name) for name in _names(callback)}
    if isinstance(callback, keras.callbacks.CSVLogger):
        kept["n_bytes"] = os.path.getsize(callback.filename)
    own = callback.state() if brings_state(callback) else None
    name = type(callback).__name__
    if own is not None and not isinstance(own, dict):
        raise TrialError(f"the callback {name}: state() returned {type(own).__name__}, not a dictionary")
    return {"class": name, "kept": _plain(kept, name), "own": _plain(own, f"{name}: state()")}


def prepare(callback: keras.callbacks.Callback, state: Mapping[str, Any]) -> None:
    """Make ready for on_train_begin: a CSVLogger writes on behind the rows that it had at the checkpoint."""
    path, n_bytes = Path(getattr(callback, "filename", "")), state["kept"].get("n_bytes")
    if isinstance(callback, keras.callbacks.CSVLogger) and path.is_file() and isinstance(n_bytes, int):
        os.truncate(path, min(n_bytes, path.stat().st_size))
        callback.append = True


def give_back(callback: keras.callbacks.Callback, state: Mapping[str, Any]) -> None:
    """Set what `carried` returned, after on_train_begin, in which Keras's own forget everything."""
    for name in _names(callback):
        if name in state["kept"]:
            setattr(callback, name, state["kept"][name])
    if brings_state(callback) and state["own"] is not None:
        callback.restore(state["own"])


def fits(callbacks: Sequence[keras.callbacks.Callback], states: Sequence[Any]) -> bool:
    """Whether the states are these callbacks': from a file, so of any shape."""
    if len(callbacks) != len(states):
        return False
    return all(
        isinstance(state, dict)
        and state.get("class") == type(callback).__name__
        and isinstance(state.get("kept"), dict)
        and isinstance(state.get("own"), dict | None)
        for callback, state in zip(callbacks, states, strict=True)
    )


def brings_state(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback says itself what is to be carried."""
    return all(callable(getattr(callback, name, None)) for name in ("state", "restore"))


def attributes(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """Return the attributes that would be forgotten, in a form that compares equal while nothing in them changes."""
    if brings_state(callback) or (is_keras(type(callback)) and not isinstance(callback, ADAPTERS)):
        return {}
    skipped = {"_model", "params", *_names(callback)}
    for base in type(callback).__mro__:
        if is_keras(base) and base not in ADAPTERS:  # what Keras's class sets, it sets again
            functions = [value for value in vars(base).values() if isinstance(value, FunctionType)]
            skipped.update(name for function in functions for name in function.__code__.co_names)
    model = callback.model
    held = {} if model is None else {id(one): one for one in (*model.variables, *model.optimizer.variables)}
    return {name: _frozen(value, dict(held)) for name, value in vars(callback).items() if name not in skipped}


def changed(callback: keras.callbacks.Callback, before: Mapping[str, Any]) -> list[str]:
    """Return the names of the attributes that differ from what `attributes` returned before."""
    now = attributes(callback)
    return sorted(name for name in {*now, *before} if now.get(name, ...) != before.get(name, ...))


def _names(callback: keras.callbacks.Callback) -> tuple[str, ...]:
    return tuple(name for base, names in CARRIED.items() if isinstance(callback, base) for name in names)


def is_keras(kind: type) -> bool:
    """Whether a class is one of Keras's own."""
    return kind.__module__.partition(".")[0] == "keras"


def _plain(value: Any, where: str) -> Any:
    """Return a copy of the value in dictionaries, lists, JSON's values and arrays."""
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return value.copy()
    if isinstance(value, list):
        return [_plain(part, where) for part in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(part, where) for key, part in value.items()}
    raise TrialError(
        f"the callback {where} holds the {type(value).__name__} {value!r:.60}: only numbers, words, None, NumPy "
        "arrays, lists, and dictionaries by words are carried; turn it into one of these there, and back in restore()"
    )


def _frozen(value: Any, seen: dict[int, Any]) -> Any:
    if isinstance(value, bool | int | float | complex | str | bytes | None):
        return repr(value)  # NaN is itself
    if id(value) in seen:
        return None
    seen[id(value)] = value  # kept, or the next list that _inside makes could have the id of the last
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        content = value.tobytes() if value.nbytes <= MAX_ARRAY_BYTES else id(value)
        return (value.shape, value.dtype.str, content)
    if isinstance(value, Mapping):
        return [(_frozen(key, seen), _frozen(part, seen)) for key, part in value.items()]
    if isinstance(value, list | tuple):
        return [_frozen(part, seen) for part in value]
    return (id(value), _frozen(_inside(value), seen))


def _inside(value: Any) -> Any:
    """Return what an object keeps: a function's closure, the values of variables, attributes."""
    if isinstance(value, FunctionType | MethodType | functools.partial):
        return _kept_by_function(value)
    if isinstance(value, keras.Variable):
        return hashlib.blake2b(np.asarray(value).tobytes()).digest()
    if isinstance(value, keras.random.SeedGenerator):
        return value.state
    if isinstance(value, keras.Model | keras.layers.Layer | keras.metrics.Metric | keras.optimizers.Optimizer):
        return list(value.variables)
    if isinstance(value, type | ModuleType) or is_keras(type(value)):
        return None
    if hasattr(value, "__dict__"):
        return vars(value)
    try:
        return pickle.dumps(value)  # a set, a deque, a random generator
    except Exception:  # an open file
        return None


def _kept_by_function(function: Any) -> list[Any]:
    if isinstance(function, MethodType):
        return [function.__self__]
    if isinstance(function, functools.partial):
        return [function.func, function.args, function.keywords]
    kept = [function.__defaults__, function.__kwdefaults__, vars(function)]
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # still empty
            kept.append(cell.cell_contents)
    return kept
