"""A study on a Stream as people run it: killed in the middle of an epoch and gone on with, finished and reproduced."""

import signal
from pathlib import Path

import pytest
from project import Project, kill_family

STREAMED = '''"""Rows that come from a Stream; an epoch takes as long as the file naps says."""

import time
from pathlib import Path

import keras
import numpy as np
import optuna
import tensorflow as tf
from hpo import Parameters, Stream, StudyDefinition, TrainingParameters


def rows(seed, n_rows):
    y = np.arange(n_rows) % 3
    x = np.random.default_rng(seed).normal(size=(n_rows, 4)) + y[:, None]
    return tf.data.Dataset.from_tensor_slices((x.astype("float32"), y))


def nap(x):
    time.sleep(float(Path("naps").read_text()))
    return x


def train(seed, batch_size):
    def slowly(x, y):
        return tf.ensure_shape(tf.numpy_function(nap, [x], tf.float32), x.shape), y

    noisy = lambda x, y: (x + tf.random.normal(tf.shape(x)), y)
    return rows(0, 160).shuffle(160, seed=seed).map(noisy).batch(batch_size).map(slowly)


def search_space(trial):
    rate = trial.suggest_float("learning_rate", 1e-3, 1e-2, log=True)
    training = TrainingParameters(optimizer="adam", learning_rate=rate, batch_size=16, epochs=6)
    return Parameters(training=training, model=None)


def model(chosen, input_shape, n_classes):
    hidden = [keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.2)]
    return keras.Sequential([keras.Input(input_shape), *hidden, keras.layers.Dense(n_classes, activation="softmax")])


STUDY = StudyDefinition(
    dataset=Stream(
        train=train,
        validation=lambda batch_size: rows(1, 60).batch(batch_size),
        test=lambda batch_size: rows(2, 60).batch(batch_size),
        n_classes=3,
    ),
    search_space=search_space,
    model=model,
    n_trials=2,
    pruner=optuna.pruners.NopPruner(),
)
'''


def project_in(folder: Path, nap_seconds: float) -> Project:
    folder.mkdir()
    project = Project(folder)
    (folder / "studies" / "blobs.py").write_text(STREAMED)
    (folder / "naps").write_text(str(nap_seconds))
    return project


def curves(project: Project) -> list[dict[int, float]]:
    return [trial.intermediate_values for trial in project.trials()]


@pytest.mark.slow
def test_run_on_a_stream_that_is_killed_within_an_epoch_ends_with_the_numbers_of_an_undisturbed_one(
    tmp_path: Path,
) -> None:
    calm, killed = project_in(tmp_path / "calm", 0.0), project_in(tmp_path / "killed", 0.2)  # two seconds an epoch
    calm.tune("--workers", "1")
    command = killed.start("--study", "blobs", "--workers", "1", "--lease", "2s")
    try:
        killed.wait_for_epoch(2)
    finally:
        kill_family(command.pid)
    command.communicate()
    assert command.returncode == -signal.SIGKILL
    assert 0 < len(curves(killed)[0]) < 6
    (killed.folder / "naps").write_text("0")
    killed.tune("--workers", "1")
    assert curves(killed) == curves(calm)

    calm.finish("--workers", "1", "--finalists", "1", "--seeds", "2")
    card = (calm.folder / "runs" / "blobs" / "answer" / "card.md").read_text()
    assert "On 60 test rows that no training and no choice has seen" in card
    assert "160 rows to train on, 60 to validate on" in card
    assert "train.py trains such a model by Keras alone" in card
    refused = killed.run("--study", "blobs", "--retrain", command="finish")
    assert refused.returncode != 0
    assert "a Stream keeps them apart" in refused.stderr
    again = calm.run("--study", "blobs", "--trial", "0", command="reproduce")
    assert again.returncode == 0, again.stdout + again.stderr
