"""What a study's model or callbacks ask for that the compiled epoch does not do: refused by name, never skipped."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from hpo.data import Dataset, arrays_of, each
from hpo.engine.adapted import check_adapted
from hpo.engine.callback_state import brings_state, is_keras
from hpo.engine.criterion import Criterion
from hpo.errors import TrialError

OWN_LOOPS = ("fit", "evaluate")
STEP_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
VALIDATION_HOOKS = ("on_test_begin", "on_test_end", "on_test_batch_begin", "on_test_batch_end")
Callbacks = keras.callbacks
REFUSED: dict[type, str] = {
    Callbacks.BackupAndRestore: "hpo itself takes checkpoints of every trial and goes on from them",
    getattr(Callbacks, "OrbaxCheckpoint", Callbacks.BackupAndRestore): "hpo itself takes checkpoints of every trial",
    Callbacks.SwapEMAWeights: "for averaged weights set averaged=True in TrainingParameters",
}
# Options that need to see each batch, or a whole study: by class, with the values that do not.
NEEDED: dict[type, dict[str, Any]] = {
    Callbacks.ModelCheckpoint: {"save_freq": "epoch"},
    Callbacks.TensorBoard: {"update_freq": "epoch", "_should_trace": False, "write_steps_per_second": False},
    Callbacks.CSVLogger: {"append": False},
}
SHOWN = {"_should_trace": "profile_batch"}
ASSIGNMENTS = ("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp")
CARRIERS = ("Identity", "Reshape", "Cast", "Squeeze", "ExpandDims", "StridedSlice")  # operations that keep values


def check_callbacks(callbacks: Any) -> Sequence[keras.callbacks.Callback]:
    """Return a trial's callbacks, if hpo does what they ask for.

    Raises:
        TrialError: It does not; the message names the callback and what it wants.
    """
    if not isinstance(callbacks, list | tuple):
        raise TrialError(f"callbacks returned {type(callbacks).__name__}, not a list of Keras callbacks")
    for callback in callbacks:
        name = type(callback).__name__
        if not isinstance(callback, Callbacks.Callback):
            raise TrialError(f"callbacks returned {name} among its callbacks, which is no keras.callbacks.Callback")
        reasons = [*_refusals(callback), *_half_pair(callback)]
        if reasons:
            raise TrialError(f"the callback {name} cannot be used: {reasons[0]}")
    return callbacks


def without_validation(callbacks: Sequence[keras.callbacks.Callback]) -> Sequence[keras.callbacks.Callback]:
    """Return the callbacks of a training that validates nothing: early stopping by validation is left out.

    Such a training is given the number of its epochs, which is what early stopping is for.

    Raises:
        TrialError: Another one looks at validation rows, and would do something else without them.
    """
    looking = [one for one in callbacks if str(getattr(one, "monitor", "")).startswith("val_")]
    others = [one for one in looking if type(one) is not Callbacks.EarlyStopping]
    if others:
        raise TrialError(
            f"the callback {type(others[0]).__name__} looks at {others[0].monitor!r}, and a training on the training "
            "and validation rows together has no validation. Only EarlyStopping can be left out there"
        )
    return [one for one in callbacks if one not in looking]


def _refusals(callback: keras.callbacks.Callback) -> list[str]:
    reasons = [reason for kind, reason in REFUSED.items() if isinstance(callback, kind)]
    hooks = [name for name in VALIDATION_HOOKS if is_own(callback, name)]
    if hooks:
        reasons.append(
            f"{hooks[0]} is not called, since hpo validates in one compiled call, at an epoch's end. Use on_epoch_end"
        )
    for kind, options in NEEDED.items():
        if isinstance(callback, kind):
            wrong = [name for name, value in options.items() if getattr(callback, name, value) != value]
            reasons += [_wanted(name, options[name]) for name in wrong]
    if getattr(callback, "_model", None) is not None:
        reasons.append("it has been another trial's before. Build a new one in each call of callbacks")
    return reasons


def _wanted(option: str, value: Any) -> str:
    if option == "append":
        return (
            'append=True mixes trials. Write CSVLogger(trial.folder / "log.csv") in callbacks(parameters, trial): each '
            "has its own file then, and a trial that goes on goes on in it"
        )
    shown = SHOWN.get(option, option)
    return f"{shown} counts batches, which hpo does not show to Keras's own callbacks; leave it at {value!r}"


def step_hook(callbacks: Sequence[keras.callbacks.Callback]) -> str:
    """Return the first method of these callbacks that each step has to call; empty where there is none."""
    found = (f"{type(one).__name__}.{name}" for one in callbacks for name in STEP_HOOKS if is_own(one, name))
    return next(found, "")


def _half_pair(callback: keras.callbacks.Callback) -> list[str]:
    found = [name for name in ("state", "restore") if callable(getattr(callback, name, None))]
    is_half = bool(found) and not brings_state(callback)
    return [f"it has {found[0]}() alone; what it counts is carried by state() and restore(state)"] if is_half else []


def is_own(thing: Any, name: str) -> bool:
    """Whether an attribute is the study's own, not Keras's."""
    if name in vars(thing):  # LambdaCallback's functions
        return True
    return not is_keras(next((kind for kind in type(thing).__mro__ if name in vars(kind)), keras.Model))


def check_model(inner: Any, dataset: Dataset, criterion: Criterion) -> None:
    """Build the model if it is not yet built, and refuse what hpo does not train.

    Raises:
        TrialError: Not a Keras model, none that takes the data's rows, or a way of training that the compiled epoch
            would pass over; of a classifier, not one probability per class.
    """
    if not isinstance(inner, keras.Model):
        raise TrialError(f"the study's model function returned {type(inner).__name__}, not a keras.Model")
    check_training(inner)
    check_layers(inner)
    check_adapted([inner])
    inputs = each(lambda one: keras.Input(one.shape[1:], dtype=dtype_of(one)), dataset.x)
    try:
        outputs = inner(inputs)
    except (TypeError, ValueError) as error:
        raise TrialError(f"the model cannot take the data's rows, of shape {dataset.input_shape}: {error}") from error
    others = [variable for variable in inner.trainable_variables if variable.dtype != "float32"]
    if others:
        raise TrialError(f"the weight {others[0].path} is {others[0].dtype}; hpo trains float32 weights only")
    if criterion.is_of_classes:
        check_classifier(inner, outputs, dataset, are_probabilities=criterion.is_of_probabilities)


def dtype_of(array: np.ndarray) -> str:
    """Return the dtype in which rows reach a model, or words a layer."""
    return "string" if array.dtype.kind == "S" else "float32" if array.dtype == np.uint8 else str(array.dtype)


def check_classifier(inner: keras.Model, outputs: Any, dataset: Dataset, *, are_probabilities: bool) -> None:
    """Refuse outputs that are not one probability, or logit, per class.

    Raises:
        TrialError: They are not.
    """
    n_classes = dataset.n_classes
    say_loss = 'Any other task says what it is trained for by loss="mse", for example'
    if isinstance(outputs, list | tuple | dict):
        raise TrialError(f"the model has {len(outputs)} outputs, and the study's loss is for classes. {say_loss}")
    if tuple(outputs.shape) != (None, n_classes):
        raise TrialError(
            f"the model's output has shape {tuple(outputs.shape)}, not (None, {n_classes}): the study's loss is for "
            f"a last layer that is a softmax over the data's {n_classes} classes. {say_loss}"
        )
    if not are_probabilities:
        return
    ones = each(lambda one: np.ones((2, *one.shape[1:]), dtype_of(one)), dataset.x)
    found = keras.ops.convert_to_numpy(keras.ops.cast(inner(ones, training=False), "float32"))
    rounding = 1e-3 if outputs.dtype == "float32" else 1e-2
    if not np.allclose(
        found.sum(axis=-1), 1.0, atol=rounding
    ):  # logits would train, but badly: the loss is that of probabilities
        raise TrialError(
            'the model\'s outputs are no probabilities: end it with activation="softmax", or give the study '
            "loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)"
        )


def check_training(inner: keras.Model) -> None:
    """Refuse a model that brings its own way of training.

    Raises:
        TrialError: It does.
    """
    own = [name for name in OWN_LOOPS if is_own(inner, name)]
    if own:
        raise TrialError(
            f"the model's class {type(inner).__name__} has a {own[0]} of its own, which hpo does not call. Put what "
            "a step does into train_step, or leave it out"
        )


def check_layers(inner: keras.Model) -> None:
    """Refuse number types and states that the compiled epoch does not handle as Keras does.

    Raises:
        TrialError: There are some; the message names the layer.
    """
    for layer in inner._flatten_layers():
        if getattr(layer, "compute_dtype", None) == "float16":
            raise TrialError(
                f"the layer {layer.name} computes in float16, which needs a scaled loss; hpo does not scale it. Use "
                "float32 or mixed_bfloat16"
            )
        if getattr(layer, "stateful", False):
            raise TrialError(
                f"the layer {layer.name} is stateful: it carries its state from batch to batch, and hpo's batches are "
                "drawn at random. Leave stateful=True out"
            )


def check_averaged(inner: keras.Model) -> None:
    """Refuse averaged weights where others than trained ones are learnt.

    Raises:
        TrialError: A layer keeps statistics.
    """
    found = [one for one in inner._flatten_layers() if isinstance(one, keras.layers.BatchNormalization)]
    if found:
        raise TrialError(
            f"averaged=True averages trained weights, but the layer {found[0].name} is a BatchNormalization: what it "
            "has measured belongs to the last weights. Leave averaged out, or normalise by LayerNormalization"
        )


def check_calls(graph: Any, inner: keras.Model, *, is_by_fit: bool = False) -> None:
    """Refuse what only shows when the model is called.

    Args:
        graph: Of a forward pass in training.
        inner: The model.
        is_by_fit: Whether Keras's fit trains it, which does as it says.

    Raises:
        TrialError: Its calls use variables that are not its own, so its state would be incomplete; or assign weights
            that are trained.
    """
    strangers = {v.ref() for v in graph.variables} - {v.value.ref() for v in inner.variables}
    if strangers:
        names = ", ".join(sorted(v.deref().name for v in strangers))
        raise TrialError(
            f"the model uses variables that Keras does not count as its own: {names}. Create them with a layer's "
            "add_weight, and give random functions a keras.random.SeedGenerator that is an attribute of their layer"
        )
    if is_by_fit:
        return
    operations = graph.get_operations()
    targets = {
        id(one.inputs[0]) for one in operations if one.type.startswith("Assign") and one.type.endswith("VariableOp")
    }
    handles = {id(outside) for outside, inside in graph.captures if id(inside) in targets}
    assigned = [variable.path for variable in inner.trainable_variables if id(variable.value.handle) in handles]
    if assigned:
        raise TrialError(
            f"a layer of your own assigns {assigned[0]} while it is called, and the optimizer moves it too; hpo does "
            "only the latter. Use a kernel_constraint, or a weight with trainable=False"
        )


def scaled_inputs(graph: Any, x: Any) -> Any:
    """Return, for each input, whether its bytes are scaled to [0, 1]: not those that the model takes for whole numbers.

    Args:
        graph: Of a forward pass in training.
        x: The rows.
    """
    found = (_taken_for_number(operation) for operation in graph.get_operations())
    numbers = {id(tensor) for tensor in found if tensor is not None}
    names = sorted(x) if isinstance(x, dict) else ()  # the order in which TensorFlow takes them
    flags = [id(tensor) not in numbers for tensor in graph.inputs[: len(arrays_of(x))]]
    if isinstance(x, dict):
        return dict(zip(names, flags, strict=True))
    return tuple(flags) if isinstance(x, tuple) else flags[0]


def _taken_for_number(operation: Any) -> Any:
    """Return what an operation casts to whole numbers, if that is one of the graph's inputs."""
    if operation.type != "Cast" or not (
        operation.get_attr("SrcT").is_floating and operation.get_attr("DstT").is_integer
    ):
        return None
    while operation.type in CARRIERS and operation.inputs:
        operation = operation.inputs[0].op
    return operation.outputs[0] if operation.type == "Placeholder" else None
