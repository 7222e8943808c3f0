"""Numbers as people type them: what cannot be meant is refused before anything is loaded."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from toy import ToyStudy
from typer.testing import CliRunner

from hpo.errors import OptionError
from hpo.metric import METRICS
from hpo.run.__main__ import app
from hpo.run.amounts import gigabytes_of, lease_of, number_of, positive_seconds_of, seconds_of
from hpo.run.ending import find_finished


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("10m", 600.0), ("1h30m", 5400.0), ("2d", 172800.0), ("0", 0.0), ("1.5", 1.5)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *[(seconds_of, text) for text in ("soon", "-5s", "-1", "nan", "inf", "1e9", "5 s", "", "9" * 400, "367d")],
        *[(lease_of, text) for text in ("0", "1s", "1.9", "soon")],
        *[(positive_seconds_of, text) for text in ("0", "0s", "0h0m")],
        *[(number_of, text) for text in ("nan", "inf", "-inf", "1e999", "", "many")],
        *[(gigabytes_of, text) for text in ("nan", "inf", "-1", "1e7")],
    ],
)
def test_number_that_cannot_be_meant_is_refused(read: Callable[[str], float], text: str) -> None:
    with pytest.raises(typer.BadParameter):
        read(text)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--target", "nan"),
        ("--target", "inf"),
        ("--timeout", "0"),
        ("--timeout", "-5s"),
        ("--timeout", "9" * 30),
        ("--patience", "9" * 400),
        ("--lease", "1s"),
        ("--trial-timeout", "0"),
        ("--max-growth", "nan"),
        ("--max-growth", "inf"),
        ("--max-growth", "-1"),
        ("--seed", str(2**63)),
        ("--trials", str(10**9)),
        ("--workers", "-1"),
        ("--workers", "100000"),
        ("--threads", "100000"),
        ("--keep-models", str(2**64)),
    ],
)
def test_option_s_nonsense_is_a_message_that_names_it(option: str, value: str) -> None:
    result = CliRunner().invoke(app, ["--study", "nowhere", option, value])
    assert result.exit_code == 2
    assert option in result.stderr


@pytest.mark.parametrize(
    ("target", "metric", "said"),
    [(98.0, "val_accuracy", "Did you mean 0.98?"), (1.01, "val_accuracy", "0.0101"), (-0.1, "val_accuracy", ""),
     (250.0, "val_accuracy", ""), (-1.0, "val_loss", "")],
)  # fmt: skip
def test_target_that_the_metric_never_reaches_is_refused(target: float, metric: str, said: str) -> None:
    with pytest.raises(OptionError) as caught:
        METRICS[metric].check_target(target)
    assert metric in caught.value.message
    assert said in caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("target", "metric"), [(None, "val_accuracy"), (0.0, "val_accuracy"), (1.0, "val_accuracy"), (98.0, "val_loss")]
)
def test_target_within_the_metric_s_range_is_taken(target: float | None, metric: str) -> None:
    METRICS[metric].check_target(target)


def test_target_outside_the_range_is_refused_before_a_stored_study_goes_on(
    sqlite_toy: ToyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.run.ending.fingerprint", lambda path, **_: sqlite_toy.stored.meaning)
    address = sqlite_toy.store.address
    file: Any = SimpleNamespace(name="toy", path=tmp_path / "toy.py")
    asked = {"seed": None, "n_trials": None, "target": 98.0, "is_new_generation": False}
    options: Any = SimpleNamespace(file=file, address=address, runs_dir=tmp_path, **asked)
    with pytest.raises(OptionError, match="98"):
        find_finished(options)
