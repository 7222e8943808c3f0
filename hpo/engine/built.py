"""A trial's model as the study's function builds it, with what trains it: what the study says, or its own compile."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import keras

from hpo.data import Dataset
from hpo.definition import StudyDefinition, build_model
from hpo.engine.as_compiled import AsCompiled, check_said_once, merged, metrics_named_anew, taken_off
from hpo.engine.criterion import Criterion, criterion_of
from hpo.engine.keras_optimizer import Rule, rule_of
from hpo.engine.precision import computing_in
from hpo.engine.refusals import check_model, is_own
from hpo.errors import TrialError
from hpo.parameters import Parameters

# Methods of a model's class that Keras's fit calls: the compiled epoch would pass over them, so that fit trains it.
OWN_TRAINING = (
    "train_step",
    "test_step",
    "make_train_function",
    "make_test_function",
    "compute_loss",
    "compute_metrics",
    "get_metrics_result",
    "reset_metrics",
    "metrics",
)
STREAMED = "the study's dataset is a Stream, whose rows are read batch by batch"
NO_OPTIMIZER = (
    "TrainingParameters names no optimizer, and the model is not compiled with one. Give TrainingParameters an "
    "optimizer and a learning_rate, give the study an optimizer function, or compile the model"
)


@dataclass(frozen=True, kw_only=True)
class Built:
    """A trial's.

    Attributes:
        inner: The model, uncompiled.
        rule: Its optimizer.
        rate: The learning rate, unless that is a schedule.
        criterion: What it is trained for and measured by.
        compiled: What it came compiled with; None where it did not.
        why_by_fit: Why Keras's fit has to train it; empty where it need not.
    """

    inner: keras.Model
    rule: Rule
    rate: float | None
    criterion: Criterion
    compiled: AsCompiled | None
    why_by_fit: str

    @property
    def said_by_the_model(self) -> tuple[str, ...]:
        """What of compile's arguments the model itself came with; nothing where it came uncompiled."""
        return () if self.compiled is None else ("optimizer", *self.compiled.said)


def built_of(definition: StudyDefinition, parameters: Parameters, dataset: Dataset) -> Built:
    """Build a setting's model and optimizer as a study has them; see built."""
    build = functools.partial(build_model, definition)
    return built(build, parameters, dataset, criterion_of(definition), definition.optimizer)


def own_training(inner: keras.Model) -> str:
    """Say what trains a model in a way of its own: its class, or a layer that assigns a weight which is trained."""
    own = [name for name in OWN_TRAINING if is_own(inner, name)]
    if own:
        return f"the model's class {type(inner).__name__} has a {own[0]} of its own"
    found = [one for one in inner._flatten_layers() if isinstance(one, keras.layers.SpectralNormalization)]
    return f"the layer {found[0].name}, a SpectralNormalization, assigns a weight that is trained" if found else ""


def built(
    build: Callable[..., keras.Model],
    parameters: Parameters,
    dataset: Dataset,
    criterion: Criterion,
    build_optimizer: Callable[[Parameters], keras.optimizers.Optimizer] | None,
) -> Built:
    """Build a trial's model and optimizer.

    Args:
        build: The study's model function.
        parameters: The trial's.
        dataset: The study's.
        criterion: Likewise.
        build_optimizer: Likewise; without it, the parameters name one, or the model is compiled.

    Raises:
        TrialError: hpo cannot train this model; the message says why.
    """
    rule, rate = rule_of(parameters, build_optimizer)
    with computing_in(parameters.training.precision):
        with metrics_named_anew():
            inner = build(parameters.model, dataset.input_shape, dataset.n_classes)
        compiled = taken_off(inner)
        if compiled is not None:
            check_said_once(
                compiled,
                parameters.training,
                criterion,
                trained=inner.trainable_variables,
                has_optimizer=build_optimizer is not None,
            )
            rule, rate, criterion = compiled.optimizer, compiled.rate, merged(criterion, compiled)
        check_model(inner, dataset, criterion)
    if rule is None:
        raise TrialError(NO_OPTIMIZER)
    why = own_training(inner) or ("" if compiled is None else compiled.why_by_fit)
    why = why if dataset.stream is None else STREAMED
    return Built(inner=inner, rule=rule, rate=rate, criterion=criterion, compiled=compiled, why_by_fit=why)
