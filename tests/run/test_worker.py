"""What a worker leaves behind that cannot go on."""

from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from toy import BASELINE, ToyStudy
from toy_training import LIMITS, SPLIT, toy_trainer, train_toys

from hpo.database import Store
from hpo.errors import StudyFileError
from hpo.run import worker
from hpo.run.context import WorkerContext
from hpo.run.worker import work
from hpo.study import TicketState


def rates(trial: optuna.Trial) -> object:
    trial.suggest_float("learning_rate", 0.1, 0.2)
    return BASELINE


def test_trial_for_which_nothing_feasible_is_found_waits_and_counts_no_death(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_toys(monkeypatch)
    toy = ToyStudy.create(sqlite_store, n_trials=3, search_space=rates, feasible=lambda parameters: False)
    (tmp_path / "toy").mkdir()
    context = WorkerContext(
        name="worker",
        study=toy.at(tmp_path / "toy").study,
        definition=toy.definition,
        optuna_study=optuna.load_study(study_name="toy", storage=toy.store.optuna, pruner=toy.definition.pruner),
        agenda=toy.agenda(),
        trainer=toy_trainer(),
        split=SPLIT,
        limits=LIMITS,
        say=print,
        warn=print,
    )
    with pytest.raises(StudyFileError, match="Nothing is feasible"):
        work(context, lambda: False)
    states = [(ticket.state, ticket.deaths, ticket.trial_id is not None) for ticket in toy.tickets.read()]
    waiting, free = (TicketState.HANDED_BACK, 0, False), (TicketState.FREE, 0, False)
    assert states == [(TicketState.ENDED, 0, True), waiting, free]


@pytest.mark.parametrize(
    ("states", "n_most", "seconds"),
    [
        ({TicketState.LEASED: 1}, 1, 0.5),
        ({TicketState.LEASED: 100}, 100, 4.0),
        ({TicketState.LEASED: 2}, 100, 4.0),  # the others wait too
        ({TicketState.LEASED: 100, TicketState.FREE: 1}, 100, 0.5),
        ({TicketState.LEASED: 100, TicketState.HANDED_BACK: 1}, 100, 0.5),
    ],
)
def test_idle_worker_rests_the_longer_the_more_there_are(
    monkeypatch: pytest.MonkeyPatch, states: dict[TicketState, int], n_most: int, seconds: float
) -> None:
    clock = [100.0]
    passing = SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda slept: clock.append(clock.pop() + slept))
    monkeypatch.setattr(worker, "time", passing)
    worker._idle(states, n_most, lambda: False)
    assert clock[0] == 100.0 + seconds
    worker._idle(states, n_most, lambda: True)
    assert clock[0] == 100.0 + seconds, "a stop is answered at once"
