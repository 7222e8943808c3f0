"""What hpo does not do, and a fault of the file, is told before a study is stored."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import optuna
import pytest
from small_training import N_CLASSES, make_dataset
from toy import BASELINE, DEFINITION

from hpo.definition import RunningTrial, seed_of
from hpo.engine.rehearsal import rehearse_training
from hpo.errors import StudyFileError
from hpo.models import mlp
from hpo.parameters import MLPParameters, Parameters, TrainingParameters


def own_fit(*arguments: Any) -> keras.Model:
    class OwnFit(keras.Sequential):
        def fit(self, *arguments: Any, **options: Any) -> Any:
            return super().fit(*arguments, **options)

    return OwnFit(mlp(*arguments).layers)


def compiled(*arguments: Any) -> keras.Model:
    model = mlp(*arguments)
    model.compile("adamw", "sparse_categorical_crossentropy", metrics=[keras.metrics.SparseTopKCategoricalAccuracy(2)])
    return model


UNSAID = replace(BASELINE, training=TrainingParameters(batch_size=4, epochs=1))
STOP = keras.callbacks.EarlyStopping


class Several(keras.metrics.Metric):
    """A number for each class."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.sum = self.add_weight(shape=(N_CLASSES,), initializer="zeros", name="sum")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.sum.assign(self.sum + keras.ops.sum(y_pred, axis=0))

    def result(self) -> Any:
        return self.sum


def several() -> list[keras.metrics.Metric]:
    return [Several(name="several")]


def top() -> list[keras.metrics.Metric]:
    return [keras.metrics.SparseTopKCategoricalAccuracy(2, name="top")]


class OwnStep(keras.Sequential):
    def train_step(self, data: Any) -> Any:
        return super().train_step(data)


class LosslessTest(OwnStep):
    def test_step(self, data: Any) -> Any:
        return {"accuracy": super().test_step(data)["accuracy"]}


class Steps(keras.callbacks.Callback):
    def on_test_batch_end(self, batch: int, logs: object = None) -> None:
        pass


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": own_fit}, "The study cannot be trained: the model's class OwnFit has a fit"),
        ({"model": own_fit, "baseline": None}, "OwnFit has a fit"),
        (
            {"model": compiled},
            "an optimizer of its own, AdamW, and TrainingParameters has optimizer='adam'",
        ),
        ({"model": compiled, "baseline": UNSAID}, "STUDY.metric is 'val_accuracy', which the study does not measure"),
        ({"model": mlp, "baseline": UNSAID}, "TrainingParameters names no optimizer, and the model is not compiled"),
        ({"model": mlp, "loss": "msee"}, "its loss or metrics cannot be computed: .*msee"),
        ({"model": mlp, "metrics": several}, "the metric several has 4 values, not one. Have it averaged"),
        ({"model": mlp, "metrics": ["maee"]}, "loss or metrics .*maee"),
        ({"model": mlp, "metrics": top}, "STUDY.metric is 'val_accuracy', which the study does not measure"),
        ({"model": mlp, "loss": "categorical_crossentropy"}, "loss or metrics cannot be computed"),
        ({"model": mlp, "callbacks": lambda _: [STOP("val_acc", mode="max")]}, "EarlyStopping looks at 'val_acc'"),
        ({"model": mlp, "callbacks": lambda _: [Steps()]}, "the callback Steps cannot be used: on_test_batch_end"),
    ],
)
def test_what_hpo_does_not_do_is_refused_before_the_first_trial(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyFileError, match=words):
        rehearse_training(replace(DEFINITION, **fields), make_dataset())


def test_a_compiled_model_s_metric_may_be_the_study_s_whatever_keras_has_named_before() -> None:
    keras.metrics.SparseTopKCategoricalAccuracy(2)
    metric = "val_sparse_top_k_categorical_accuracy"
    definition = replace(DEFINITION, model=compiled, baseline=UNSAID, metric=metric)
    rehearse_training(definition, make_dataset())
    rehearse_training(definition, make_dataset())


def test_the_baseline_is_built_and_else_a_point_that_is_drawn() -> None:
    seen: list[Parameters] = []
    watched = replace(DEFINITION, model=mlp, callbacks=lambda parameters: seen.append(parameters) or [])
    rehearse_training(watched, make_dataset())
    rehearse_training(replace(watched, baseline=None), make_dataset())
    assert seen[0] == BASELINE
    assert len(seen) == 2


@pytest.mark.parametrize("baseline", [BASELINE, None])
def test_callbacks_that_ask_for_their_trial_are_rehearsed_as_the_first_trial_s_in_a_folder_that_goes(
    baseline: Parameters | None,
) -> None:
    seen: list[RunningTrial] = []

    def callbacks(parameters: Parameters, trial: RunningTrial) -> list[keras.callbacks.Callback]:
        (trial.folder / "settings.txt").write_text(str(parameters))
        seen.append(trial)
        return [keras.callbacks.CSVLogger(trial.folder / "log.csv")]

    rehearse_training(replace(DEFINITION, model=mlp, callbacks=callbacks, baseline=baseline), make_dataset())
    assert (seen[0].number, seen[0].seed) == (0, seed_of(DEFINITION.seed, 0, "training"))
    assert not seen[0].folder.exists()


def test_feasible_point_is_looked_for_until_there_is_one() -> None:
    def one_of_many(trial: optuna.Trial) -> Parameters:
        return replace(BASELINE, model=MLPParameters(width=trial.suggest_int("width", 1, 300), n_layers=1))

    definition = replace(DEFINITION, model=own_fit, baseline=None, search_space=one_of_many)
    with pytest.raises(StudyFileError, match="OwnFit has a fit"):
        rehearse_training(replace(definition, feasible=lambda chosen: chosen.model.width == 7), make_dataset())


def misspelt(*_: Any) -> keras.Model:
    return kers.Sequential()  # type: ignore[name-defined]  # noqa: F821


class Careless(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return self.not_made(x)


def too_few(chosen: Any, shape: Any, n_classes: int) -> keras.Model:
    build: Any = mlp
    return build(chosen, n_classes)


def careless(*_: Any) -> keras.Model:
    return keras.Sequential([Careless(), keras.layers.Dense(N_CLASSES, activation="softmax")])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": misspelt}, ["for its baseline, NameError: name 'kers' is not defined", "in misspelt: return kers."]),
        ({"model": misspelt, "baseline": None}, ["for a point drawn at random, NameError"]),
        ({"model": careless}, ["AttributeError: ", "not_made", "in call: return self.not_made(x)"]),
        ({"model": mlp, "callbacks": lambda chosen: [chosen.rate]}, ["AttributeError: ", "rate", "in <lambda>"]),
        ({"model": too_few}, ["TypeError: ", "n_classes", "in too_few"]),
    ],
)
def test_fault_of_the_file_in_its_model_or_callbacks_is_told_before_the_first_trial(
    fields: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(StudyFileError) as caught:
        rehearse_training(replace(DEFINITION, **fields), make_dataset())
    assert all(word in caught.value.message for word in words), caught.value.message
    assert f"{Path(__file__).name}, line " in caught.value.message
    assert caught.value.hint == "Mend its file and try again."


def test_hints_tell_what_is_measured_and_what_may_have_been_meant() -> None:
    with pytest.raises(StudyFileError) as caught:
        rehearse_training(replace(DEFINITION, model=mlp, metrics=top, metric="val_tip"), make_dataset())
    assert caught.value.hint == "Did you mean 'val_top'? It measures val_loss, val_top; metrics=[...] adds others."
    wrong = replace(DEFINITION, model=mlp, callbacks=lambda _: [STOP("val_acuracy", mode="max")])
    with pytest.raises(StudyFileError) as caught:
        rehearse_training(wrong, make_dataset())
    assert caught.value.hint == "Did you mean 'val_accuracy'? It measures accuracy, loss, val_accuracy, val_loss."


def broken(*_: Any) -> keras.Model:
    raise RuntimeError("no such layer")


@pytest.mark.parametrize("baseline", [BASELINE, None])
def test_code_that_raises_for_the_baseline_or_wherever_it_is_tried_is_told_first(baseline: Parameters | None) -> None:
    with pytest.raises(StudyFileError, match=r"its code raised, for .*, RuntimeError: no such layer"):
        rehearse_training(replace(DEFINITION, model=broken, baseline=baseline), make_dataset())


def test_code_that_raises_at_one_point_only_is_left_to_the_trial() -> None:
    n_built = []

    def once(*arguments: Any) -> keras.Model:
        n_built.append(1)
        return broken() if len(n_built) == 1 else mlp(*arguments)

    rehearse_training(replace(DEFINITION, model=once, baseline=None), make_dataset())
    assert len(n_built) == 2


def test_memory_that_is_short_now_is_no_fault_of_the_file() -> None:
    def large(*_: Any) -> keras.Model:
        raise MemoryError

    rehearse_training(replace(DEFINITION, model=large), make_dataset())


def test_space_of_which_nothing_can_be_drawn_is_told_elsewhere() -> None:
    def refuse(trial: object) -> Any:
        raise optuna.TrialPruned

    rehearse_training(replace(DEFINITION, model=compiled, baseline=None, search_space=refuse), make_dataset())


@pytest.mark.filterwarnings("ignore:Training runs by Keras's own fit")
def test_model_that_trains_by_itself_is_rehearsed_and_has_to_tell_its_loss() -> None:
    rehearse_training(replace(DEFINITION, model=lambda *given: OwnStep(mlp(*given).layers)), make_dataset())
    silent = replace(DEFINITION, model=lambda *given: LosslessTest(mlp(*given).layers))
    with pytest.raises(StudyFileError, match="train_step or test_step returns no loss, which hpo shows as val_loss"):
        rehearse_training(silent, make_dataset())
