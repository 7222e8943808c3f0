"""Any optimizer of Keras on plain tensors: its own rule, without what the TensorFlow backend puts around it.

On TensorFlow, Keras's optimizers assign variables by way of tf.distribute, which a loop compiled as a whole must not;
their stateless_apply raises for that. The class that all of them share has the same steps without it: while a loop is
traced, they are taken from there. tests/engine/test_conformance.py holds each optimizer to Keras's fit.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from hpo.errors import TrialError
from hpo.parameters import Parameters

Rule = Any  # the name of one of optimizers.RULES, or an optimizer of Keras
TENSORFLOW, BASE = (
    next(kind for kind in keras.optimizers.Optimizer.__mro__ if kind.__name__ == name)
    for name in ("TFOptimizer", "BaseOptimizer")
)
KEPT = ("__init__", "add_variable_from_reference", "stateless_apply")
BY_NAME = {
    "adamw": keras.optimizers.AdamW,
    "adamax": keras.optimizers.Adamax,
    "nadam": keras.optimizers.Nadam,
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
    "adafactor": keras.optimizers.Adafactor,
    "ftrl": keras.optimizers.Ftrl,
    "lion": keras.optimizers.Lion,
    "lamb": keras.optimizers.Lamb,
    "muon": keras.optimizers.Muon,
}
REFUSED = {
    "ScheduleFreeAdamW": "it validates with other weights than it trains",
    "LossScaleOptimizer": "hpo does not scale losses; train in float32 or mixed_bfloat16",
    "MultiOptimizer": "give all weights one",
}


class KerasOptimizer:
    """An optimizer of Keras, as epoch.py asks for it; see hpo.engine.optimizers.EpochOptimizer.

    Attributes:
        keras: The optimizer itself, where callbacks look for it.
        extra: Its variables, iterations and rate among them: all that a step changes beside the weights.

    Raises:
        TrialError: It does what the compiled epoch would not.
    """

    is_transposing = False  # some rules, Adafactor's for one, depend on a weight's orientation

    def __init__(self, optimizer: keras.optimizers.Optimizer, trained: list[Any]) -> None:
        check_optimizer(optimizer, trained=trained)
        left_out = _without_decay(optimizer, trained)
        with _without_distribution():
            optimizer.build(trained)
            # A model that comes compiled, and is loaded, has had this done in the TensorFlow backend's names.
            optimizer._trainable_variables_indices = {optimizer._var_key(one): at for at, one in enumerate(trained)}
            if left_out:
                optimizer._exclude_from_weight_decay = {optimizer._var_key(trained[at]) for at in left_out}
            optimizer._exclude_from_weight_decay_cache = {}
        self.keras, self.extra = optimizer, optimizer.variables

    def moving(self, trained: list[Any]) -> list[list[Any]]:
        """Return each trainable variable: what else moves is among the extra variables."""
        return [[variable] for variable in trained]

    def rates(self, n_steps: int) -> None:
        """Return nothing: the optimizer counts by itself."""

    def step(
        self, moving: list[list[Any]], gradients: list[Any], extra: list[Any], rate: Any, momentum: Any
    ) -> tuple[list[list[Any]], list[Any]]:
        """Return the weights and the extra variables after a step."""
        del rate, momentum
        with _without_distribution():
            weights, extra = BASE.stateless_apply(self.keras, extra, gradients, [values[0] for values in moving])
        return [[weight] for weight in weights], extra

    def count(self, n_steps: Any) -> None:
        """Count nothing: iterations are among the extra variables."""


def check_optimizer(optimizer: Any, *, trained: Sequence[Any] | None = None) -> None:
    """Refuse what is no optimizer of Keras, or does more than steps.

    Args:
        optimizer: What may be one.
        trained: The weights that it may be built for: those of a model that came compiled with it. None for none.

    Raises:
        TrialError: It is; the message says what to write instead.
    """
    name = type(optimizer).__name__
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise TrialError(f"optimizer returned {name}, not an optimizer of Keras")
    if optimizer.built and list(map(id, optimizer._trainable_variables)) != list(map(id, trained or ())):
        if trained is not None:
            raise TrialError(
                f"the model is compiled with an {name} that was made for other weights than it trains now. Compile it "
                "anew, after its layers are frozen or set free"
            )
        raise TrialError(f"optimizer returned the {name} of another trial. Build a new one in each call")
    reason = REFUSED.get(name, "")
    if optimizer.use_ema:
        reason = "use_ema is not done; for averaged weights set averaged=True in TrainingParameters"
    if optimizer.gradient_accumulation_steps:
        reason = "gradient_accumulation_steps is not done; choose a larger batch_size"
    rate = optimizer._learning_rate
    if callable(rate) and not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule | keras.Variable):
        reason = "its learning rate is a function; use a schedule of keras.optimizers.schedules"
    if reason:
        raise TrialError(f"the optimizer {name} cannot be used: {reason}")


def rule_of(
    parameters: Parameters, build: Callable[[Parameters], keras.optimizers.Optimizer] | None
) -> tuple[Rule, float | None]:
    """Return a trial's optimizer, None where nothing names one, and its learning rate unless that is a schedule.

    Args:
        parameters: The trial's.
        build: The study's optimizer function; without it, the parameters name one.

    Raises:
        TrialError: See check_optimizer.
    """
    training = parameters.training
    if build is None:
        name, rate = training.optimizer, training.learning_rate
        return BY_NAME[name](rate) if name in BY_NAME else "momentum" if training.momentum else name, rate
    built = build(parameters)
    check_optimizer(built)
    rate = built._learning_rate
    return built, float(rate) if isinstance(rate, keras.Variable) else None


def optimizer_of(rule: Rule, rate: float | None, momentum: float | None) -> keras.optimizers.Optimizer:
    """Return Keras's own optimizer of a rule that rule_of returned."""
    kinds = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop, "sgd": keras.optimizers.SGD}
    if rule == "momentum":
        return keras.optimizers.SGD(rate, momentum=momentum)
    return kinds[rule](rate) if isinstance(rule, str) else rule


def _without_decay(optimizer: keras.optimizers.Optimizer, trained: Sequence[Any]) -> list[int]:
    """Return the places of the weights that exclude_from_weight_decay was given."""
    given = getattr(optimizer, "_exclude_from_weight_decay", ())
    return [at for at, one in enumerate(trained) if given and optimizer._var_key(one) in given]


def same_but_for_the_rate(optimizer: keras.optimizers.Optimizer, trained: Sequence[Any]) -> str:
    """Return what two optimizers have in common whose compiled loops are the same: all but a rate that is a number."""
    config = optimizer.get_config()
    if not isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        config.pop("learning_rate")
    config.pop("name", None)
    names = getattr(optimizer, "_exclude_from_weight_decay_pattern", None)
    left_out = None if names is None else names.pattern, _without_decay(optimizer, trained)
    return f"{type(optimizer).__module__}.{type(optimizer).__qualname__} {sorted(config.items(), key=str)} {left_out}"


@contextlib.contextmanager
def _without_distribution() -> Iterator[None]:
    """Have Keras's optimizers take the shared class's methods in place of the TensorFlow backend's."""
    own = {name: value for name, value in vars(TENSORFLOW).items() if hasattr(BASE, name) and callable(value)}
    own = {name: value for name, value in own.items() if name not in KEPT and not name.startswith("__")}
    for name in own:
        delattr(TENSORFLOW, name)
    try:
        yield
    finally:
        for name, value in own.items():
            setattr(TENSORFLOW, name, value)
