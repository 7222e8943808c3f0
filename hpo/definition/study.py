"""What a file in studies/ declares: one StudyDefinition, as the constant STUDY."""

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.pruners import BasePruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, TPESampler

from hpo.definition.goal import check_class_weight, settled_direction
from hpo.definition.own import check_chosen, check_trained_by
from hpo.definition.running import RunningTrial, takes_trial
from hpo.definition.streaming import check_stream
from hpo.errors import StudyFileError
from hpo.parameters import Chosen, Parameters, is_count, is_number
from hpo.stream import Stream

if TYPE_CHECKING:
    import keras

AUDITED_SHARE, N_TRIALS_AUDITED = 0.05, 100
SIGNATURES = {  # what hpo calls the study's functions with
    "search_space": ("trial",),
    "model": ("parameters", "input_shape", "n_classes"),
    "train": ("run",),
    "sampler": ("seed",),
    "callbacks": ("parameters",),
    "feasible": ("parameters",),
    "optimizer": ("parameters",),
    "preprocess": ("train",),
}
OPTIONAL = {"model", "train", "callbacks", "feasible", "optimizer", "preprocess"}
BASELINE_HINT = "Write baseline=Parameters(training=TrainingParameters(...), model=...), as search_space returns it."
CALLBACKS_HINT = (
    "Write callbacks=lambda parameters: [...]; each trial needs callbacks of its own. A second argument, trial, tells "
    "its number, folder and seed."
)


def default_sampler(seed: int) -> BaseSampler:
    """Build hpo's default sampler: TPE (Bergstra et al. 2011) with a joint density (Falkner et al. 2018)."""
    return TPESampler(seed=seed, multivariate=True)


def default_pruner() -> BasePruner:
    """Build hpo's default pruner: asynchronous successive halving (Li et al. 2020) after 1, 3, 9, 27 ... epochs."""
    return SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)


@dataclass(frozen=True, kw_only=True)
class StudyDefinition:
    """One question: which parameters make this model do best on these data?

    Attributes:
        dataset: A name hpo knows ("cifar10", "digits"), the path of an .npz file (relative to the study's file), or a
            function that returns the same arrays as such a file: x, y and, if there are, x_val, y_val, x_test, y_test.
            No trial sees the latter: hpo finish shows them to the model that it ends with. Or a Stream, of rows that do
            not fit into memory. None where train reads its own.
        search_space: Draws one trial's parameters: Parameters, or for train a dataclass of the study's own with a field
            epochs. Called before any data are loaded; must depend on nothing else.
            optuna.TrialPruned, raised in it, refuses a point, and another one is drawn.
        feasible: A rule between parameters: whether these make sense together, True or False. Asked before a trial is
            born; what it refuses is drawn anew. The baseline has to keep it too. Must depend on nothing else.
        model: Parameters.model, the input's shape without the batch, and the number of classes -> a Keras model. By
            default one with a softmax output. Rows of dtype uint8 reach it scaled to [0, 1], unless it takes whole
            numbers (an Embedding). Of several inputs the shape is a dictionary or tuple of shapes; the number of
            classes is None where the targets are no class numbers. It may leave out the last parameter. A model that
            is compiled brings its own optimizer, loss and metrics; a loss that is not for class numbers stands here
            too, as hpo reads the targets first.
        preprocess: The training rows -> what all rows pass before a model takes them, learnt from these alone: a Keras
            layer, a Normalization or TextVectorization adapted to them say, or of several inputs a dictionary of
            layers, by name. It gets x as the data bring it: bytes as floats from 0 to 255, words as text. It is called
            once per machine, and is part of the model that hpo finish ends with. It must depend on nothing else.
        train: In place of model: a function that trains a trial by itself, by any means. It is called with a
            TrainingRun, which says what to train, and to which it reports each epoch.
        optimizer: Parameters -> a new optimizer of Keras, with any of its options, in place of the one that
            TrainingParameters names; its learning rate counts, and not that of TrainingParameters.
        loss: What Keras's compile takes as its loss: a name, an object, a function of targets and outputs, or one of
            these for each output. By default sparse categorical cross-entropy, for a softmax over class numbers.
        metrics: What Keras's compile takes as its metrics, by names; or a function that returns such, with new metric
            objects in each call. By default accuracy, where loss is left out as well; else none.
        loss_weights: How much each output's loss counts, as Keras's compile takes it.
        class_weight: How much each class counts in training, {class number: weight}, 1 for those left out; or
            "balanced", for the inverse of its frequency among the training rows.
        metric: What is tuned for: val_loss, "val_" and a metric's name, or what train reports by another name. A
            trial's value is its best epoch's.
        direction: "maximize" or "minimize". Left out, it follows from the metric's name where Keras has such a metric.
        n_trials: The budget over all workers; complete, pruned and failed trials all count.
        seed: What the study draws, splits and initialises comes from it. See seed_of.
        sampler: A recipe: builds a fresh sampler from a seed, one per trial. A sampler that walks through points in an
            order of its own needs the same seed for all: lambda seed: GridSampler(grid, seed=0). CmaEsSampler is
            refused: it unpickles what stands in the database.
        pruner: Decides after each epoch but the last. Its step is the number of epochs trained, from 1.
        audited_share: How many of the trials that the pruner gives up are trained to their end all the same, 0 to 1, to
            tell how often it errs. None: 5 % in studies of 100 trials or more, else none.
        callbacks: Further Keras callbacks for a trial, say EarlyStopping or ReduceLROnPlateau; the logs hold loss,
            accuracy, val_loss and val_accuracy. A function of two arguments, parameters and trial, gets the
            RunningTrial too. What Keras's own count survives a takeover. One of your own that counts
            needs state(), which returns it in a dictionary of numbers, words, lists, dictionaries and NumPy arrays,
            and restore(state), called with that after on_train_begin; without them its trials are not checkpointed.
        baseline: The setting to beat, run as trial 0 just as it is given. It needs a value for each parameter that the
            search space draws, and may lie outside the ranges, but not outside the choices of a category.
        allow_duplicates: Whether a configuration that was tried may be drawn again, with another seed. By default it is
            drawn anew, and the study ends when none is left.

    Raises:
        StudyFileError: A field is not what hpo can work with.
    """

    search_space: Callable[[optuna.Trial], Chosen]
    dataset: str | Path | Callable[[], Mapping[str, Any]] | Stream | None = None
    model: "Callable[..., keras.Model] | None" = None
    preprocess: "Callable[[Any], keras.Layer | Mapping[str, keras.Layer]] | None" = None
    train: Callable[[Any], object] | None = None
    optimizer: "Callable[[Any], keras.optimizers.Optimizer] | None" = None
    loss: Any = None
    metrics: Any = None
    loss_weights: Any = None
    class_weight: Mapping[int, float] | str | None = None
    metric: str = "val_accuracy"
    direction: str = ""
    n_trials: int = 100
    seed: int = 7
    sampler: Callable[[int], BaseSampler] = default_sampler
    pruner: BasePruner = field(default_factory=default_pruner)
    baseline: Chosen | None = None
    callbacks: (
        "Callable[[Parameters], Sequence[keras.callbacks.Callback]]"
        " | Callable[[Parameters, RunningTrial], Sequence[keras.callbacks.Callback]] | None"
    ) = None
    allow_duplicates: bool = False
    audited_share: float | None = None
    feasible: Callable[[Any], bool] | None = None

    @property
    def trainer(self) -> str:
        """The name of what trains its trials, as in hpo.engine.TRAINERS."""
        return "keras" if self.train is None else "own"

    def __post_init__(self) -> None:
        check_trained_by(self)
        direction = settled_direction(
            self.metric,
            self.direction,
            is_classifier=self.loss is None and self.metrics is None,
            is_own=self.train is not None,
        )
        object.__setattr__(self, "direction", direction)
        check_class_weight(self.class_weight)
        check_stream(self)
        if not is_count(self.n_trials):
            raise StudyFileError(f"STUDY.n_trials must be a whole number of at least 1, not {self.n_trials!r}.")
        if type(self.seed) is not int or not -(2**63) <= self.seed < 2**63:
            raise StudyFileError(f"STUDY.seed must be a whole number of 64 bits, not {self.seed!r}.")
        share = self.audited_share
        if share is not None and not (is_number(share) and 0 <= share <= 1):
            raise StudyFileError(f"STUDY.audited_share must be from 0 to 1, not {share!r}.")
        _check_kinds(self)
        for name, arguments in SIGNATURES.items():
            if name not in OPTIONAL or getattr(self, name) is not None:
                _check_function(name, getattr(self, name), arguments)


def build_model(definition: StudyDefinition, parameters: Any, input_shape: Any, n_classes: int | None) -> "keras.Model":
    """Call the study's model function, with as many parameters as it takes."""
    build: Any = definition.model
    arguments = (parameters, input_shape, n_classes) if takes_classes(definition) else (parameters, input_shape)
    model: keras.Model = build(*arguments)
    return model


def takes_classes(definition: StudyDefinition) -> bool:
    """Whether the study's model function is told the number of classes."""
    return _takes(definition.model, SIGNATURES["model"]) or not _takes(definition.model, SIGNATURES["model"][:2])


def _takes(function: Any, arguments: tuple[str, ...]) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # some of C have none
        return True
    return True


def _check_kinds(definition: StudyDefinition) -> None:
    dataset, baseline, pruner = definition.dataset, definition.baseline, definition.pruner
    if not isinstance(dataset, str | Path | Stream | None) and not callable(dataset):
        raise StudyFileError(
            f"STUDY.dataset must be a name, a path, a function or a Stream, not of type {type(dataset).__name__}.",
            'Write dataset=lambda: {"x": x, "y": y}, or the path of an .npz file; batches come from a Stream.',
        )
    if baseline is not None and definition.train is not None:
        check_chosen(baseline, "STUDY.baseline")
    elif baseline is not None and not isinstance(baseline, Parameters):
        raise StudyFileError(f"STUDY.baseline must be Parameters, not {_kind(baseline)}.", BASELINE_HINT)
    if not isinstance(pruner, BasePruner):
        hint = "Write pruner=optuna.pruners.MedianPruner(), say; NopPruner() prunes nothing."
        raise StudyFileError(f"STUDY.pruner must be a pruner of Optuna, not {_kind(pruner)}.", hint)
    if not isinstance(definition.allow_duplicates, bool):
        raise StudyFileError(f"STUDY.allow_duplicates must be True or False, not {definition.allow_duplicates!r}.")


def _check_function(name: str, function: object, arguments: tuple[str, ...]) -> None:
    hint = CALLBACKS_HINT if name == "callbacks" else ""
    if not callable(function):
        raise StudyFileError(f"STUDY.{name} must be a function, not {function!r}.", hint)
    if name == "callbacks" and takes_trial(function):
        arguments = (*arguments, "trial")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some of C have none
        return
    try:
        if not (name == "model" and _takes(function, arguments[:2])):
            signature.bind(*arguments)
    except TypeError as error:
        call = f"{name}({', '.join(arguments)})"
        raise StudyFileError(
            f"STUDY.{name} is called as {call}, but its function takes {signature}: {error}.", hint
        ) from error


def _kind(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}: it lacks its ()"
    return f"{value!r}" if value is None else f"of type {type(value).__name__}"


def is_audited(definition: StudyDefinition, study_seed: int, number: int, n_trials: int) -> bool:
    """Whether a ticket's trial goes on when the pruner gives it up, in a study of so many trials."""
    share = definition.audited_share
    if share is None:
        share = AUDITED_SHARE if n_trials >= N_TRIALS_AUDITED else 0.0
    return seed_of(study_seed, number, "audit") < share * 2**31


def seed_of(study_seed: int, number: int, purpose: str) -> int:
    """Derive the seed of one ticket for one purpose, "training" say: 31 bits of SHA-256, so that none correlate."""
    digest = hashlib.sha256(f"{study_seed}/{number}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
