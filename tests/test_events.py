"""What hpo.events writes, read back by both of TensorBoard's own readers: what these tests see, a user sees."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from hpo.events import Session, TrialLog, open_log, write_experiment, write_session

# Runs in a process of its own: in this one, "notf" would take TensorFlow away from tensorboard for the other tests,
# and TensorFlow, which tensorboard would import otherwise, costs seconds.
READER = """
import json, sys, time, types
sys.modules["tensorboard.compat.notf"] = types.ModuleType("tensorboard.compat.notf")
from google.protobuf import json_format
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.data import server_ingester
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups
from tensorboard.util import grpc_util

logdir = sys.argv[1]

def python_reader():
    multiplexer = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance={"scalars": 1000})
    multiplexer.AddRunsFromDirectory(logdir)
    multiplexer.Reload()
    return data_provider.MultiplexerDataProvider(multiplexer, logdir)

def rust_reader():
    binary, credentials = server_ingester.get_server_binary(), grpc_util.ChannelCredsType.LOCAL
    ingester = server_ingester.SubprocessServerDataIngester(
        binary, logdir, reload_interval=1, channel_creds_type=credentials
    )
    ingester.start()
    return ingester.data_provider

def seen(provider):
    ctx, context = RequestContext(), backend_context.Context(TBContext(data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=1000, allowed_statuses=[0, 1, 2, 3])
    rows = list_session_groups.Handler(ctx, context, "", request).run()
    columns = get_experiment.Handler(ctx, context, "", api_pb2.GetExperimentRequest()).run()
    scalars = provider.read_scalars(ctx, experiment_id="", plugin_name="scalars", downsample=1000)
    shown = {
        "rows": json_format.MessageToDict(rows).get("sessionGroups", []),
        "columns": json_format.MessageToDict(columns),
        "scalars": {
            run: {tag: [(point.step, point.value) for point in points] for tag, points in tags.items()}
            for run, tags in scalars.items()
        },
    }
    return json.dumps(shown, sort_keys=True)  # as text, in which NaN equals NaN

by_python, rust = seen(python_reader()), rust_reader()
deadline = time.monotonic() + 5
while (by_rust := seen(rust)) != by_python and time.monotonic() < deadline:  # it reads in the background
    time.sleep(0.05)
print(f"[{by_python}, {by_rust}]")
"""


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(logdir: Path) -> Any:
    """What TensorBoard shows of logdir, checked to be the same through its Python and its Rust reader."""
    by_python, by_rust = json.loads(run(READER, logdir), parse_constant=str)
    assert by_python == by_rust
    return by_python


def no_loss(sentence: str) -> None:
    raise AssertionError(sentence)


def session(**changes: Any) -> Session:
    usual = {
        "parameters": {"optimizer": "adam", "learning_rate": 1e-3, "momentum": None, "width": 32, "bias": True},
        "state": "complete",
        "metric": "val_accuracy",
        "best": 0.5,
        "epochs": 3,
        "trained_seconds": 7.5,
        "started_seconds": 1000.0,
        "ended_seconds": 1010.0,
    }
    return Session(**{**usual, **changes})


def train(log: TrialLog, epochs: Iterable[int], *, loss: float = 1.0) -> None:
    for epoch in epochs:
        log.epoch(epoch, {"loss": loss, "accuracy": 0.25, "val_loss": 2 * loss, "val_accuracy": epoch / 8}, 0.5)


def cells(row: dict[str, Any]) -> tuple[dict[str, Any], dict[str, float], str]:
    """One row of the HParams table: parameters, metrics by tag, status."""
    values = {metric["name"]["tag"]: metric.get("value", 0.0) for metric in row["metricValues"]}
    (one,) = row["sessions"]
    return row["hparams"], values, one["status"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A study of four ended trials and a running one, as TensorBoard shows it."""
    study_dir = tmp_path_factory.mktemp("digits_mlp")
    space = {
        "optimizer": ("adam", "sgd"),
        "learning_rate": (1e-5, 1e-1),
        "momentum": (0.0, 0.9),
        "width": (32, 64, 128),
        "bias": (True, False),
    }
    for _worker in range(2):
        write_experiment(study_dir, space=space, metric="val_accuracy", on_loss=no_loss)
    sgd = {"optimizer": "sgd", "learning_rate": 1e-2, "momentum": 0.9, "width": 128, "bias": False}
    ends = {
        0: session(),
        1: session(parameters=sgd, state="pruned", best=0.25, epochs=2),
        2: session(parameters=sgd, state="failed", best=None, epochs=0),
        3: session(best=-math.inf, epochs=1),
    }
    for number in range(5):
        trial_dir = study_dir / f"trial-{number:05d}"
        log = open_log(trial_dir, first_epoch=1, on_loss=no_loss)
        if number == 3:
            log.epoch(1, {"loss": math.nan, "accuracy": 0.1, "val_loss": math.inf, "val_accuracy": math.nan}, 0.5)
        else:
            train(log, range(1, 1 + (ends[number].epochs if number in ends else 3)))
        if number in ends:
            for _writer in range(2):
                write_session(trial_dir, ends[number], on_loss=no_loss)
    return read(study_dir)


def test_every_ended_trial_is_one_row_named_after_its_folder(study: dict[str, Any]) -> None:
    assert [row["name"] for row in study["rows"]] == ["trial-00000", "trial-00001", "trial-00002", "trial-00003"]


def test_complete_trial_shows_parameters_best_and_success(study: dict[str, Any]) -> None:
    parameters, values, status = cells(study["rows"][0])
    assert parameters == {
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "width": 32,
        "bias": True,
        "trial state": "complete",
    }
    assert values == {"best/val_accuracy": 0.5, "epoch_accuracy": 0.375, "trained/epochs": 3, "trained/seconds": 7.5}
    assert status == "STATUS_SUCCESS"
    assert study["rows"][0]["sessions"][0]["startTimeSecs"] == 1000
    assert study["rows"][0]["sessions"][0]["endTimeSecs"] == 1010


def test_pruned_trial_is_a_success_and_says_pruned(study: dict[str, Any]) -> None:
    parameters, values, status = cells(study["rows"][1])
    assert parameters["trial state"] == "pruned"
    assert parameters["momentum"] == 0.9
    assert values["best/val_accuracy"] == 0.25
    assert status == "STATUS_SUCCESS"


def test_failed_trial_is_a_row_without_a_best(study: dict[str, Any]) -> None:
    parameters, values, status = cells(study["rows"][2])
    assert parameters["trial state"] == "failed"
    assert parameters["width"] == 128
    assert values == {"trained/epochs": 0, "trained/seconds": 7.5}
    assert status == "STATUS_FAILURE"


def test_diverged_trial_keeps_its_nan_on_the_chart_and_has_no_best(study: dict[str, Any]) -> None:
    _parameters, values, _status = cells(study["rows"][3])
    assert "best/val_accuracy" not in values
    assert study["scalars"]["trial-00003/train"]["epoch_loss"] == [[1, "NaN"]]
    assert study["scalars"]["trial-00003/validation"]["epoch_loss"] == [[1, "Infinity"]]


def test_curves_have_the_names_of_keras_and_one_point_per_epoch(study: dict[str, Any]) -> None:
    assert study["scalars"]["trial-00000/train"] == {
        "epoch_loss": [[1, 1.0], [2, 1.0], [3, 1.0]],
        "epoch_accuracy": [[1, 0.25], [2, 0.25], [3, 0.25]],
        "epoch_learning_rate": [[1, 0.5], [2, 0.5], [3, 0.5]],
    }
    assert study["scalars"]["trial-00000/validation"] == {
        "epoch_loss": [[1, 2.0], [2, 2.0], [3, 2.0]],
        "epoch_accuracy": [[1, 0.125], [2, 0.25], [3, 0.375]],
    }
    assert study["scalars"]["trial-00004/train"] == study["scalars"]["trial-00000/train"]


def test_columns_carry_domains_and_readable_names(study: dict[str, Any]) -> None:
    columns = {info["name"]: info for info in study["columns"]["hparamInfos"]}
    assert set(columns) == {"optimizer", "learning_rate", "momentum", "width", "bias", "trial state"}
    assert columns["optimizer"]["domainDiscrete"] == ["adam", "sgd"]
    assert columns["learning_rate"]["domainInterval"] == {"minValue": 1e-5, "maxValue": 0.1}
    assert columns["width"]["domainInterval"] == {"minValue": 32, "maxValue": 128}
    assert columns["bias"]["domainDiscrete"] == [False, True]
    assert columns["trial state"]["domainDiscrete"] == ["complete", "failed", "pruned"]
    assert [info["displayName"] for info in study["columns"]["metricInfos"]] == [
        "best val_accuracy",
        "last val_accuracy",
        "epochs trained",
        "seconds trained",
    ]


def test_a_resumed_trial_shows_each_step_once(tmp_path: Path) -> None:
    """One that goes on from a checkpoint, one from the start, one after a record that a kill cut in two."""
    for name, first_epoch in {"checkpoint": 3, "start": 1, "cut": 3}.items():
        train(open_log(tmp_path / name, first_epoch=1, on_loss=no_loss), range(1, 6), loss=1.0)
        if name == "cut":
            for path in (tmp_path / name).glob("*/*"):
                path.write_bytes(path.read_bytes()[:-7])
        train(open_log(tmp_path / name, first_epoch=first_epoch, on_loss=no_loss), range(first_epoch, 5), loss=9.0)
    scalars = read(tmp_path)["scalars"]
    assert scalars["checkpoint/train"]["epoch_loss"] == [[1, 1], [2, 1], [3, 9], [4, 9]]
    assert scalars["checkpoint/validation"]["epoch_loss"] == [[1, 2], [2, 2], [3, 18], [4, 18]]
    assert scalars["start/train"]["epoch_loss"] == [[1, 9], [2, 9], [3, 9], [4, 9]]
    assert scalars["cut/train"]["epoch_loss"] == [[1, 1], [2, 1], [3, 9], [4, 9]]


def test_a_second_writer_never_makes_double_points_or_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was taken over writes on; its successor's clock is an hour behind."""
    trial_dir = tmp_path / "trial-00000"
    first = open_log(trial_dir, first_epoch=1, on_loss=no_loss)
    train(first, range(1, 5), loss=1.0)
    now = time.time
    monkeypatch.setattr("hpo.events.time.time", lambda: now() - 3600)
    successor = open_log(trial_dir, first_epoch=3, on_loss=no_loss)
    train(first, range(5, 8), loss=1.0)
    train(successor, range(3, 6), loss=9.0)
    write_session(trial_dir, session(state="failed", best=None), on_loss=no_loss)
    write_session(trial_dir, session(best=0.75), on_loss=no_loss)
    shown = read(tmp_path)
    assert shown["scalars"]["trial-00000/train"]["epoch_loss"] == [[1, 1], [2, 1], [3, 9], [4, 9], [5, 9]]
    (row,) = shown["rows"]
    parameters, values, status = cells(row)
    assert (parameters["trial state"], values["best/val_accuracy"], status) == ("complete", 0.75, "STATUS_SUCCESS")


def test_logs_of_any_study_are_charted(tmp_path: Path) -> None:
    """No validation, a schedule's own learning rate, numbers beyond float32, values that HParams does not know."""
    log = open_log(tmp_path / "t", first_epoch=1, on_loss=no_loss)
    log.epoch(1, {"loss": 1e300, "f1": 1, "learning_rate": 9.0}, 0.25)
    write_session(tmp_path / "t", session(parameters={"layers": (32, 16), "rate": math.inf}), on_loss=no_loss)
    choices = {"layers": ((32, 16), (8, 8)), "rate": (0.5, "auto"), "none": (None,)}
    write_experiment(tmp_path, space=choices, metric="accuracy", on_loss=no_loss)
    shown = read(tmp_path)
    assert shown["scalars"]["t/train"] == {
        "epoch_loss": [[1, "Infinity"]],
        "epoch_f1": [[1, 1.0]],
        "epoch_learning_rate": [[1, 0.25]],
    }
    assert shown["rows"][0]["hparams"] == {"layers": "(32, 16)", "rate": "inf", "trial state": "complete"}
    assert {info["type"] for info in shown["columns"]["hparamInfos"]} == {"DATA_TYPE_STRING"}


def test_no_tensorflow_keras_or_optuna(tmp_path: Path) -> None:
    script = """
import pathlib, sys, warnings
warnings.simplefilter("error")
from hpo.events import Session, open_log, write_experiment, write_session
trial_dir = pathlib.Path(sys.argv[1]) / "trial-00000"
open_log(trial_dir, first_epoch=1, on_loss=print).epoch(1, {"loss": 1.0, "val_loss": 1.0}, 0.1)
session = Session(parameters={"a": 1}, state="complete", metric="val_loss", best=1.0, epochs=1, trained_seconds=1.0,
                  started_seconds=1.0, ended_seconds=2.0)
write_session(trial_dir, session, on_loss=print)
write_experiment(trial_dir.parent, space={"a": (1, 2)}, metric="val_loss", on_loss=print)
print(sorted({"tensorflow", "keras", "optuna"} & set(sys.modules)))
"""
    assert run(script, tmp_path) == "[]\n"


def test_folder_removed_while_training(tmp_path: Path) -> None:
    losses: list[str] = []
    log = open_log(tmp_path / "runs" / "trial-00007", first_epoch=1, on_loss=losses.append)
    train(log, [1])
    shutil.rmtree(tmp_path / "runs")
    train(log, [2, 3])
    assert losses == [
        "TensorBoard will miss some of trial-00007 (No such file or directory); nothing else is affected."
    ]
    assert not (tmp_path / "runs").exists()
    write_session(tmp_path / "runs" / "trial-00007", session(), on_loss=no_loss)
    assert len(read(tmp_path / "runs")["rows"]) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_full_disk_while_training(tmp_path: Path) -> None:
    losses: list[str] = []
    log = open_log(tmp_path / "t", first_epoch=1, on_loss=losses.append)
    for path in (tmp_path / "t").glob("*/*"):
        path.unlink()
        path.symlink_to("/dev/full")
    train(log, [1, 2])
    assert losses == ["TensorBoard will miss some of t (No space left on device); nothing else is affected."]


def test_full_disk_before_training(tmp_path: Path) -> None:
    """A folder that cannot be made stands for it: root writes even where writing is forbidden."""
    (tmp_path / "runs").write_text("a file where the folder should be")
    losses: list[str] = []
    log = open_log(tmp_path / "runs" / "t", first_epoch=1, on_loss=losses.append)
    train(log, [1, 2])
    assert len(losses) == 1
    write_session(tmp_path / "runs" / "t", session(), on_loss=losses.append)
    write_experiment(tmp_path / "runs" / "s", space={}, metric="val_loss", on_loss=losses.append)
    assert len(losses) == 3


def test_disk_full_in_the_middle_of_a_record(tmp_path: Path) -> None:
    """The kernel cuts the write short: whole epochs stay readable, an HParams row is written whole or not at all."""
    script = """
import pathlib, resource, sys
from hpo.events import Session, open_log, write_session
trial_dir = pathlib.Path(sys.argv[1])
log = open_log(trial_dir, first_epoch=1, on_loss=print)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))  # bytes per file; Python ignores SIGXFSZ, so the write fails
for epoch in range(1, 10):
    log.epoch(epoch, {"loss": 1.0, "accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 0.5}, 0.5)
session = Session(parameters={"a": "b" * 300}, state="complete", metric="val_loss", best=1.0, epochs=1,
                  trained_seconds=1.0, started_seconds=1.0, ended_seconds=2.0)
write_session(trial_dir, session, on_loss=print)
"""
    sentence = "TensorBoard will miss some of t (File too large); nothing else is affected.\n"
    assert run(script, tmp_path / "t") == 2 * sentence
    assert sorted(os.listdir(tmp_path / "t")) == ["train", "validation"]
    assert os.path.getsize(tmp_path / "t" / "train" / "events.out.tfevents.000000") == 300
    train(open_log(tmp_path / "t", first_epoch=2, on_loss=no_loss), [2, 3], loss=9.0)
    assert read(tmp_path)["scalars"]["t/train"]["epoch_loss"] == [[1, 1], [2, 9], [3, 9]]


def test_an_epoch_only_appends_and_reads_nothing(tmp_path: Path) -> None:
    log = open_log(tmp_path / "t", first_epoch=1, on_loss=no_loss)
    train(log, [1])
    for path in (tmp_path / "t").rglob("events.*"):
        path.write_bytes(b"")  # what is there already does not matter to what comes
    train(log, [2])
    sizes = {path.stat().st_size for path in (tmp_path / "t").rglob("events.*")}
    train(log, [3])
    assert {path.stat().st_size for path in (tmp_path / "t").rglob("events.*")} == {2 * size for size in sizes}


def test_no_file_stays_open(tmp_path: Path) -> None:
    before = os.listdir("/dev/fd")
    logs = [open_log(tmp_path / f"t{number}", first_epoch=1, on_loss=no_loss) for number in range(50)]
    for log in logs:
        train(log, [1])
    assert len(os.listdir("/dev/fd")) == len(before)
