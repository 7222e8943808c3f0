"""What a model that comes compiled says of its training: taken off it, so that it is trained as others are."""

import contextlib
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras.src.backend.common import global_state
from keras.src.utils.naming import to_snake_case

from hpo.definition import is_of_classes
from hpo.engine.callback_state import is_keras
from hpo.engine.criterion import Criterion
from hpo.engine.keras_optimizer import check_optimizer
from hpo.errors import TrialError
from hpo.parameters import TrainingParameters

OF_METRICS = ("metrics", "weighted_metrics")
IN_ONE_PLACE = "Say it in one place, or return the model uncompiled (load_model has compile=False)"
NAMES = "object_name_uids"  # where Keras counts what it names by itself


@dataclass(frozen=True, kw_only=True)
class AsCompiled:
    """A model's.

    Attributes:
        optimizer: Its own; one that was loaded holds what it has gathered.
        said: What else was said, as Keras's compile takes it: of loss, loss_weights, metrics and weighted_metrics.
        runs_eagerly: As in compile.
    """

    optimizer: keras.optimizers.Optimizer
    said: Mapping[str, Any]
    runs_eagerly: bool

    @property
    def rate(self) -> float | None:
        """The learning rate, unless that is a schedule."""
        rate = self.optimizer._learning_rate
        return float(rate) if isinstance(rate, keras.Variable) else None

    @property
    def why_by_fit(self) -> str:
        """Say why Keras's fit has to train the model; empty where it need not."""
        return "it is compiled with run_eagerly=True" if self.runs_eagerly else ""


def taken_off(inner: Any) -> AsCompiled | None:
    """Return what a model is compiled with, and leave it uncompiled; None of one that is so already.

    A compiled model would be saved with its optimizer's state, and with losses that a reader lacks.
    """
    config = getattr(getattr(inner, "_compile_config", None), "config", None)
    if not isinstance(inner, keras.Model) or not inner.compiled or config is None:
        return None
    said = {name: config[name] for name in ("loss", "loss_weights", *OF_METRICS) if config[name] is not None}
    found = AsCompiled(optimizer=inner.optimizer, said=said, runs_eagerly=bool(inner.run_eagerly))
    inner.compiled, inner.run_eagerly = False, False
    for name in ("loss", "_compile_loss", "_compile_metrics", "_loss_tracker"):
        setattr(inner, name, None)
    for name in ("optimizer", "_compile_config", "_compiled_trainable_state"):
        if name in vars(inner):
            delattr(inner, name)
    return found


def check_said_once(
    compiled: AsCompiled,
    training: TrainingParameters,
    criterion: Criterion,
    *,
    trained: Sequence[Any],
    has_optimizer: bool,
) -> None:
    """Refuse a model that is compiled with what the study says too, or with what hpo does not do.

    Args:
        compiled: The model's.
        training: The trial's.
        criterion: The study's.
        trained: The weights that the model trains.
        has_optimizer: Whether the study has an optimizer function.

    Raises:
        TrialError: It is.
    """
    name = type(compiled.optimizer).__name__
    own = f"the model is compiled with an optimizer of its own, {name}, and"
    if has_optimizer:
        raise TrialError(f"{own} the study has an optimizer function too. {IN_ONE_PLACE}")
    if training.optimizer is not None or training.learning_rate is not None:
        which = "optimizer" if training.optimizer is not None else "learning_rate"
        raise TrialError(
            f"{own} TrainingParameters has {which}={getattr(training, which)!r}. Leave optimizer, learning_rate and "
            "momentum out of TrainingParameters, or return the model uncompiled (load_model has compile=False)"
        )
    check_optimizer(compiled.optimizer, trained=trained)
    for ours, theirs in (("metrics", OF_METRICS), ("loss_weights", ("loss_weights",))):
        both = [one for one in theirs if one in compiled.said and ours in criterion.said]
        if both:
            raise TrialError(f"the model is compiled with {both[0]}, and the study says {ours} too. {IN_ONE_PLACE}")
    loss = compiled.said.get("loss")
    if loss is None:
        return
    if "loss" in criterion.said and not _is_same(loss, criterion.loss):
        raise TrialError(
            f"the model is compiled with the loss {_shown(loss)}, and the study's is {_shown(criterion.loss)}. Write "
            "the same in both, or return the model uncompiled (load_model has compile=False)"
        )
    if "loss" not in criterion.said and not is_of_classes(loss):
        raise TrialError(
            f"the model is compiled with the loss {_shown(loss)}, which is not for class numbers, and the study says "
            f"no loss, so that its targets are read as such. Give StudyDefinition the same loss: hpo reads the "
            "targets before it builds a model"
        )


def merged(criterion: Criterion, compiled: AsCompiled) -> Criterion:
    """Return a study's criterion with what its model is compiled with: that counts where it says something."""
    said = dict(compiled.said)
    if "loss" in said:
        said["is_of_classes"] = is_of_classes(said["loss"])
    if said.keys() & set(OF_METRICS) or ("loss" in said and "metrics" not in criterion.said):
        said.setdefault("metrics", ())
    return replace(criterion, **said)


def description(criterion: Criterion) -> str | None:
    """Write loss and metrics down, equal for those that compute the same; None where that cannot be told."""
    try:
        options = criterion.options()
        parts = keras.tree.flatten(options)
        if not all(map(_is_known, parts)):
            return None
        # Configurations alone would not do: Huber's, for one, leaves its delta out.
        held = [_plain(vars(one)) if hasattr(one, "__dict__") else one for one in parts]
        return json.dumps([keras.saving.serialize_keras_object(options), held], sort_keys=True, default=str)
    except Exception:  # Keras raises what it meets
        return None


@contextlib.contextmanager
def metrics_named_anew() -> Iterator[None]:
    """Have Keras name metrics as in a process that has made none: AUC() is auc then, for each model that is built."""
    kinds, waiting = set[str](), [keras.Metric]
    while waiting:
        kind = waiting.pop()
        kinds.add(to_snake_case(kind.__name__))
        waiting += kind.__subclasses__()
    counts = global_state.get_global_attribute(NAMES, {})
    former = {name: counts.pop(name) for name in kinds if name in counts}
    try:
        yield
    finally:
        counts.update(former)


def _plain(value: Any) -> Any:
    """Return numbers and words, and what of dictionaries and lists is made of these; a class's name of others."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    return list(map(_plain, value)) if isinstance(value, list | tuple) else type(value).__name__


def _is_same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    said = [description(Criterion(loss=each, metrics=())) for each in (one, other)]
    return said[0] is not None and said[0] == said[1]


def _is_known(one: Any) -> bool:
    """Whether a loss or a metric is Keras's own, and so no more than its configuration."""
    if one is None or isinstance(one, str | int | float):
        return True
    if inspect.isfunction(one):
        return one.__module__.partition(".")[0] == "keras"
    inner = [getattr(one, name) for name in ("fn", "_fn") if hasattr(one, name)]
    return is_keras(type(one)) and all(map(_is_known, inner))


def _shown(loss: Any) -> str:
    if isinstance(loss, dict):
        return "{" + ", ".join(f"{name!r}: {_shown(one)}" for name, one in loss.items()) + "}"
    if isinstance(loss, list | tuple):
        return "[" + ", ".join(map(_shown, loss)) + "]"
    return repr(loss) if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
