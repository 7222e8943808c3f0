"""One process's training: the data, and the compiled models of the last few shapes. engine.model makes a trial's."""

import contextlib
import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import keras

from hpo.data import Dataset, Split
from hpo.engine.as_compiled import description
from hpo.engine.built import Built, built
from hpo.engine.compiled import WITH_NUMBERS, Manner, has_numbers, is_short
from hpo.engine.criterion import Criterion
from hpo.engine.fitted import FittedModel, check_not_averaged
from hpo.engine.keras_optimizer import optimizer_of, same_but_for_the_rate
from hpo.engine.model import EpochModel
from hpo.engine.numbers import find_numbers, has_floats, is_of_keras, set_numbers, signature, without_floats
from hpo.engine.precision import described
from hpo.engine.shared import Shared
from hpo.engine.streamed import StreamedModel
from hpo.parameters import Parameters

N_CACHED_MODELS = 16  # a 512-wide MLP with Adam holds 22 MB of variables


class Engine:
    """One worker process's training: the data, and the compiled models of the last few shapes.

    Args:
        dataset: Stays where it is: TensorFlow reads the same memory.
        build_model: The study's model function: (Parameters.model, input_shape, n_classes) -> Keras model.
        criterion: What models are trained for and measured by; by default, as classifiers.
        build_optimizer: The study's optimizer function; without it, the parameters name one.
        path: How the study trains, one of hpo.engine.compiled.PATHS.
    """

    def __init__(
        self,
        dataset: Dataset,
        build_model: Callable[..., keras.Model],
        criterion: Criterion | None = None,
        build_optimizer: Callable[[Parameters], keras.optimizers.Optimizer] | None = None,
        path: str | None = WITH_NUMBERS,
    ) -> None:
        self._path = path
        self._build_model, self._build_optimizer = build_model, build_optimizer
        self._shared = Shared(dataset, criterion or Criterion())
        self._models: OrderedDict[Any, EpochModel] = OrderedDict()
        self._recognised_as: dict[Any, Any] = {}

    def model(self, parameters: Parameters, seed: int, split: Split, *, hook: str = "") -> EpochModel:
        """Return what any_model does, of a model whose class has no training of its own."""
        found = self.any_model(parameters, seed, split, hook=hook)
        assert isinstance(found, EpochModel)
        return found

    def any_model(
        self, parameters: Parameters, seed: int, split: Split, *, hook: str = ""
    ) -> EpochModel | FittedModel | StreamedModel:
        """Return a model at its initial weights; it is valid until the next call, which may reuse it.

        Weights and all random layers depend on the seed only, not on what was trained before. Another split of equal
        sizes needs no new compilation.

        Args:
            parameters: The trial's.
            seed: Likewise.
            split: The rows to train and to validate on.
            hook: A callback's method that each step has to call, which is then a call by itself; empty where none is.

        Raises:
            TrialError: hpo cannot train this model; the message says why.
        """
        training, shared = parameters.training, self._shared
        keras.utils.set_random_seed(seed)
        made = built(self._build_model, parameters, shared.dataset, shared.criterion, self._build_optimizer)
        inner, rule, compiled = made.inner, made.rule, made.compiled
        if compiled is not None:
            shared = shared.measured_by(made.criterion)
        reason = made.why_by_fit
        if reason:
            check_not_averaged(reason, averaged=training.averaged)
            optimizer = optimizer_of(rule, made.rate, training.momentum)
            fitted: FittedModel | StreamedModel
            if shared.dataset.stream is None:
                fitted = FittedModel(made, optimizer, training.batch_size, shared, split)
            else:
                fitted = StreamedModel(made, optimizer, training.batch_size, shared, shared.dataset.stream)
            fitted.trained_by += described(training.precision)
            return fitted
        batch_size = min(training.batch_size, len(split.train_rows))
        manner = Manner(
            averaged=training.averaged,
            path=self._path,
            hook=hook,
            precision=training.precision,
            is_short=not hook and is_short(self._path, len(split.train_rows) // batch_size * training.epochs),
        )
        new = functools.partial(
            EpochModel,
            inner,
            rule,
            batch_size,
            shared,
            split,
            manner,
        )
        sizes = len(split.train_rows), len(split.val_rows)
        name = rule if isinstance(rule, str) else same_but_for_the_rate(rule, inner.trainable_variables)
        key = self._recognised(made, parameters), name, batch_size, manner, sizes
        slots = [variable.value for variable in rule.variables] if compiled is not None and rule.built else None
        model = self._cached(key, inner, new, slots)
        model.take(split)
        model.momentum = training.momentum or 0.0
        if made.rate is not None:
            model.optimizer.learning_rate.assign(made.rate)
        return model

    def _recognised(self, made: Built, parameters: Parameters) -> Any:
        """Return what a model is recognised by: its parameters, or all but the numbers that it takes as inputs.

        A model that comes compiled has its learning rate from there, and loss and metrics, which must be equal too.
        """
        chosen, inner, is_compiled = parameters.model, made.inner, made.compiled is not None
        if not has_numbers(self._path) or not has_floats(chosen) or not is_of_keras(inner):
            return chosen
        numbers, measured = find_numbers(inner), description(made.criterion) if is_compiled else ""
        if measured is None or not (numbers or is_compiled):
            return chosen
        with contextlib.suppress(TypeError):  # not hashable: nothing to recognise it by
            key = chosen, parameters.training.precision
            if key not in self._recognised_as:
                found = signature(inner, numbers, self._shared.dataset.x)
                self._recognised_as[key] = chosen if found is None else (without_floats(chosen), found, measured)
            return self._recognised_as[key]
        return chosen

    def _cached(self, key: Any, inner: keras.Model, new: Callable[[], EpochModel], slots: Any) -> EpochModel:
        try:
            model = self._models.pop(key, None)
        except TypeError:  # not hashable: nothing to recognise it by
            return new()
        if model is None or [v.shape for v in model.inner.variables] != [v.shape for v in inner.variables]:
            model = new()
        else:
            model.restart([variable.value for variable in inner.variables], slots)
            set_numbers(model.numbers, like=find_numbers(inner) if model.numbers else [])
        self._models[key] = model
        if len(self._models) > N_CACHED_MODELS:
            self._models.popitem(last=False)
        return model
