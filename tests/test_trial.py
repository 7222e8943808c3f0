"""A trial with real training on a real database: what it leaves under the runs folder, also when its worker dies."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from small_training import make_dataset
from toy import ToyStudy

from hpo.engine import Engine
from hpo.models import mlp
from hpo.record import TrialRecord
from hpo.results import CHECKPOINT, MODEL, trial_dir
from hpo.tickets import Ticket
from hpo.trial import Workshop, run_trial


class KilledError(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


@pytest.fixture
def toy(new_study: Callable[..., ToyStudy]) -> ToyStudy:
    return new_study(model=mlp, pruner=optuna.pruners.NopPruner())


@pytest.fixture
def shop(toy: ToyStudy, tmp_path: Path) -> Workshop:
    return Workshop(
        store=toy.store,
        stored=toy.stored,
        definition=toy.definition,
        study=optuna.load_study(study_name=toy.stored.name, storage=toy.store.optuna, pruner=toy.definition.pruner),
        mirror=toy.mirror(),
        engine=Engine(make_dataset(), toy.definition.model),
        study_dir=tmp_path / "runs" / "toy",
        n_kept_models=1,
        patience_seconds=5.0,
        say=print,
    )


def run(shop: Workshop, ticket: Ticket) -> None:
    run_trial(shop, ticket, lambda: False)


def test_worker_killed_just_after_its_trial_s_end_leaves_the_model(
    toy: ToyStudy, shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KilledError

    monkeypatch.setattr(TrialRecord, "end_ticket", die)
    ticket = toy.claim()
    with pytest.raises(KilledError):
        run(shop, ticket)
    monkeypatch.undo()
    (ended,) = toy.trials
    assert ended.state == optuna.trial.TrialState.COMPLETE
    assert (trial_dir(shop.study_dir, 0) / MODEL).is_file()

    toy.tickets.expire(str(ticket.token))
    run(shop, toy.claim())
    assert [ticket.outcome for ticket in toy.tickets.read()][:2] == ["COMPLETE", None]
    run(shop, toy.claim())  # whoever ends the next trial tidies up
    assert not list(shop.study_dir.glob(f"*/{CHECKPOINT}"))
    assert len(list(shop.study_dir.glob(f"*/{MODEL}"))) == 1


def test_zombie_s_late_checkpoint_of_an_ended_trial_is_deleted_and_a_running_one_s_is_not(
    toy: ToyStudy, shop: Workshop
) -> None:
    run(shop, toy.claim())
    _, running = toy.begin()
    late, current = (trial_dir(shop.study_dir, number) / CHECKPOINT for number in (0, running.number))
    current.parent.mkdir()
    for path in (late, current):
        path.touch()
    run(shop, toy.claim())
    assert not late.exists()
    assert current.exists()


def test_model_that_cannot_be_saved_costs_nothing_else(
    toy: ToyStudy, shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise TypeError("no get_config")

    monkeypatch.setattr("hpo.trial.save_model", refuse)
    run(shop, toy.claim())
    assert toy.tickets.read()[0].outcome == "COMPLETE"
