"""A worker cut at any statement, COMMIT or file operation: its successor ends the study as if nothing had happened.

Each point of an undisturbed run is cut in each way that it can be: the worker is killed before or after it, the
connection breaks, the answer to the COMMIT is lost, the file operation fails or finds the disk full, the worker is told
to stop, or it stands still while a successor finishes the study, and then goes on. What may differ, by design:

* how often a trial was taken over, how long it was trained, and who held it;
* where the database failed just when a decision was due, nothing is pruned on stale data: the pruner is asked again
  after the next epoch, so such a trial may be trained for longer;
* where a file could not be written: the model or the curve is missing; the database holds everything all the same;
* frozen within a transaction that writes, a worker stops everybody on SQLite, which has one writer at a time;
  PostgreSQL ends such a transaction after a while, and so does the test.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import optuna
import pytest
from cuts import FAULTS, DeadError, Knife
from optuna.trial import TrialState
from toy import BASELINE, ToyStudy
from toy_training import LIMITS, SPLIT, toy_trainer, train_toys

from hpo.database import Store, open_store
from hpo.database.address import parse_address
from hpo.parameters import MLPParameters, Parameters, TrainingParameters
from hpo.run import worker
from hpo.run.context import WorkerContext
from hpo.study import RESULT_ATTR, StudyFolder, TicketState, expire_dead
from hpo.study.folder import CHECKPOINT, MODEL
from hpo.study.results import SPARED_ATTR
from hpo.study.schema import create_tables
from hpo.study.tickets import TicketTable

NAN, RAISES = float("nan"), -1.0
N_LOOPS, N_SAMPLED = 1000, 13
# A worker that is killed closes no file; what stands for one here leaves them to the collector, which complains.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
STRIDE = 3  # each cut takes 0.2 s on SQLite, 0.3 s on PostgreSQL, and there are over 20,000; 1 makes them all


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What a trial reaches, epoch by epoch, and how it must end.

    Attributes:
        values: After each epoch it was trained.
        state: How it ends.
        n_epochs: After how many.
        n_rungs: That it reaches.
        is_first: Whether it is the baseline's; else that has ended before, with the values FIRST.
        is_audited: Whether it goes on when the pruner gives it up.
    """

    values: tuple[float, ...]
    state: TrialState
    n_epochs: int
    n_rungs: int
    is_first: bool = False
    is_audited: bool = False

    def curve(self, _: Parameters, __: int, epoch: int) -> dict[str, float]:
        value = self.values[epoch - 1]
        if value == RAISES:
            raise RuntimeError("no such layer")
        return {"loss": 1 - value, "accuracy": value, "val_loss": 1 - value, "val_accuracy": value}


FIRST = (0.5, 0.55, 0.6, 0.65)
SCENARIOS = {
    "baseline": Scenario(values=FIRST, state=TrialState.COMPLETE, n_epochs=4, n_rungs=2, is_first=True),
    "best": Scenario(values=(0.6, 0.7, 0.8, 0.9), state=TrialState.COMPLETE, n_epochs=4, n_rungs=2),
    "pruned": Scenario(values=(0.2, 0.3, 0.4, 0.5), state=TrialState.PRUNED, n_epochs=1, n_rungs=1),
    "pruned later": Scenario(values=(0.75, 0.4, 0.5, 0.6), state=TrialState.PRUNED, n_epochs=2, n_rungs=2),
    "spared": Scenario(values=(0.2, 0.4, 0.35, 0.6), state=TrialState.COMPLETE, n_epochs=4, n_rungs=1, is_audited=True),
    "stopped early": Scenario(values=(0.7, 0.6, 0.65, 0.99), state=TrialState.COMPLETE, n_epochs=3, n_rungs=2),
    "diverged": Scenario(values=(0.8, NAN), state=TrialState.COMPLETE, n_epochs=1, n_rungs=1),
    "failed": Scenario(values=(0.8, RAISES), state=TrialState.FAIL, n_epochs=1, n_rungs=1),
}


def search_space(trial: optuna.Trial) -> Parameters:
    return Parameters(
        training=TrainingParameters(
            optimizer="adam",
            learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
            batch_size=8,
            epochs=trial.suggest_int("epochs", 4, 4),
        ),
        model=MLPParameters(width=trial.suggest_categorical("width", [4, 8]), n_layers=1),
    )


def callbacks(_: Parameters) -> list[keras.callbacks.Callback]:
    return [keras.callbacks.EarlyStopping("val_accuracy", patience=2, mode="max")]


FIELDS: dict[str, Any] = {
    "search_space": search_space,
    "callbacks": callbacks,
    "baseline": replace(BASELINE, training=replace(BASELINE.training, epochs=4)),
    "pruner": optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
}


@dataclass(frozen=True, kw_only=True)
class Site:
    """A database, two workers' handles of it, and folders."""

    ours: Store
    theirs: Store
    runs_dir: Path
    names: Iterator[str]

    def run(self, scenario: Scenario, knife: Knife, patch: pytest.MonkeyPatch) -> "Outcome":
        """Let a worker run a study's last trial, cut by the knife, and another finish it."""
        name = next(self.names)
        fields = {**FIELDS, "audited_share": float(scenario.is_audited)}
        toy = ToyStudy.create(self.theirs, name=name, n_trials=1 if scenario.is_first else 2, **fields)
        if not scenario.is_first:
            run_first(toy)
        knife.under = self.runs_dir / name
        knife.under.mkdir()
        knife.frozen = lambda: finish(toy, scenario, knife.under, is_frozen=True)
        context = worker_context(toy.on(self.ours), scenario, knife.under)
        with patch.context() as within:
            knife.cut_database(self.ours, within)
            knife.cut_files(within)
            knife.watch_decisions(within)
            try:
                work(context, lambda: knife.is_stopped)
            except DeadError:
                knife.bury()
        if knife.is_dead:
            self.ours.close()
        finish(toy, scenario, knife.under, is_frozen=False)
        return Outcome(contents=contents(toy), files=files(knife.under))


def run_first(toy: ToyStudy) -> None:
    """Run the baseline's trial undisturbed, without training."""
    record, _ = toy.begin()
    for epoch, value in enumerate(FIRST, 1):
        record.report(epoch, value)
        if epoch < len(FIRST):
            assert record.decide(epoch, lambda: None) is None
    record.end(TrialState.COMPLETE, max(FIRST), {}, seconds=1.0)


def finish(toy: ToyStudy, scenario: Scenario, study_dir: Path, *, is_frozen: bool) -> None:
    """Do what others do when a worker has died, or stands still for a whole lease; then finish the study."""
    if is_frozen:
        for ticket in toy.tickets.read(TicketState.LEASED):
            assert toy.tickets.expire(str(ticket.token), beat=ticket.beat)
    else:
        expire_dead(toy.tickets, StudyFolder(study_dir).leases_dir)
    loops = itertools.count()

    def should_stop() -> bool:
        assert next(loops) < N_LOOPS, "it never ends"
        return False

    work(worker_context(toy, scenario, study_dir), should_stop)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a study left behind."""

    contents: list[Any]
    files: list[str]


def worker_context(toy: ToyStudy, scenario: Scenario, study_dir: Path) -> WorkerContext:
    study = optuna.load_study(study_name=toy.stored.name, storage=toy.store.optuna, pruner=toy.definition.pruner)
    return WorkerContext(
        name="worker",
        study=toy.at(study_dir).study,
        definition=toy.definition,
        optuna_study=study,
        agenda=toy.agenda(),
        split=SPLIT,
        trainer=toy_trainer(scenario.curve),
        limits=LIMITS,
        say=lambda text: None,
        warn=lambda text: None,
    )


def work(context: WorkerContext, should_stop: Callable[[], bool]) -> None:
    assert worker.work(context, should_stop) == 0


def contents(toy: ToyStudy) -> list[Any]:
    """Return what the database holds, less what is no fact about the study."""
    trials = toy.store.rdb.get_all_trials(toy.stored.study_id)
    numbers = {trial._trial_id: trial.number for trial in trials}
    rows: list[Any] = []
    for trial in trials:
        attrs = {key: attr for key, attr in trial.user_attrs.items() if key != RESULT_ATTR}
        result = {key: fact for key, fact in trial.user_attrs.get(RESULT_ATTR, {}).items() if key != "seconds"}
        rows.append(
            (trial.number, trial.state.name, trial.values, trial.params, trial.distributions,
             trial.intermediate_values, attrs, result, trial.system_attrs)
        )  # fmt: skip
    for ticket in toy.tickets.read():
        number = None if ticket.trial_id is None else numbers[ticket.trial_id]
        rows.append(
            (ticket.number, number, ticket.state.value, ticket.outcome, ticket.token, ticket.epoch, ticket.epochs,
             ticket.value, ticket.verdict)
        )  # fmt: skip
    return rows


def files(study_dir: Path) -> list[str]:
    """Return the models, and what should not be there: checkpoints and what was left half-written."""
    return sorted(
        str(path.relative_to(study_dir))
        for path in study_dir.rglob("*")
        if path.name in (CHECKPOINT, MODEL) or path.name.endswith(".part") or path.parent.name == "leases"
    )


@pytest.fixture
def site(database_url: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    train_toys(monkeypatch)
    monkeypatch.setattr(worker, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr("hpo.database.outage.FIRST_RETRY_SECONDS", 0.0)
    (tmp_path / "runs").mkdir()
    create_tables(store.engine)
    TicketTable(engine=store.engine, study="").read()  # looks for missing columns, once per engine
    theirs = open_store(parse_address(database_url), create=False)
    yield Site(ours=store, theirs=theirs, runs_dir=tmp_path / "runs", names=(f"cut{i}" for i in itertools.count()))
    theirs.close()


def assert_as_undisturbed(got: Outcome, undisturbed: Outcome, knife: Knife, scenario: Scenario) -> None:
    if knife.how in ("broken", "answer lost") and knife.is_decision_cut and got.contents != undisturbed.contents:
        assert_decided_later(got, undisturbed, scenario)
        return
    assert got.contents == undisturbed.contents
    if knife.how not in ("failing", "full"):
        assert got.files == undisturbed.files


def assert_decided_later(got: Outcome, undisturbed: Outcome, scenario: Scenario) -> None:
    """Nothing was pruned on stale data: a decision fell to the next epoch. All else is as it is."""
    for ours, theirs in zip(got.contents, undisturbed.contents, strict=True):
        is_trial = isinstance(ours[1], str)
        assert ours[0] == theirs[0]
        if not is_trial:
            assert (ours[1], ours[2], ours[4]) == (theirs[1], theirs[2], None)
            continue
        reached = {epoch: value for epoch, value in enumerate(scenario.values, 1) if math.isfinite(value)}
        assert ours[3:5] == theirs[3:5]
        assert ours[1] == "FAIL" or ours[2] == [max(ours[5].values())]
        if ours[5] != theirs[5]:
            assert len(ours[5]) > len(theirs[5])
            assert ours[5] == {epoch: reached[epoch] for epoch in ours[5]}
            assert scenario.state == TrialState.PRUNED


def cuts_of(knife: Knife) -> list[tuple[int, str]]:
    return [(at, how) for at, kind in enumerate(knife.points) for how in FAULTS[kind]]


@pytest.mark.parametrize("name", SCENARIOS)
def test_undisturbed_trial_ends_as_it_must(site: Site, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    scenario = SCENARIOS[name]
    got = site.run(scenario, Knife(under=site.runs_dir), monkeypatch)
    trial = next(row for row in reversed(got.contents) if isinstance(row[1], str))
    assert (trial[1], list(trial[5]), len(trial[8])) == (
        scenario.state.name, list(range(1, scenario.n_epochs + 1)), scenario.n_rungs,
    )  # fmt: skip
    assert trial[6].get(SPARED_ATTR) == (1 if scenario.is_audited else None)
    is_best = scenario.is_first or max(scenario.values[: scenario.n_epochs]) > max(FIRST)
    assert got.files == ([f"trial-{trial[0]:05d}/{MODEL}"] if is_best and trial[1] != "FAIL" else [])


def test_worker_cut_at_a_sample_of_points(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for scenario in (SCENARIOS["stopped early"], SCENARIOS["pruned later"]):
        knife = Knife(under=site.runs_dir)
        undisturbed, cuts = site.run(scenario, knife, monkeypatch), cuts_of(knife)
        for at, how in cuts[:: len(cuts) // N_SAMPLED]:
            knife = Knife(under=site.runs_dir, at=at, how=how)
            got = site.run(scenario, knife, monkeypatch)
            assert_as_undisturbed(got, undisturbed, knife, scenario)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("has_checkpoints", [True, False])
@pytest.mark.parametrize("name", SCENARIOS)
def test_worker_cut_at_every_point(
    site: Site, monkeypatch: pytest.MonkeyPatch, name: str, *, has_checkpoints: bool
) -> None:
    monkeypatch.setattr("hpo.engine.saver.CHECKPOINT_SHARE", float("inf") if has_checkpoints else 0.0)
    scenario, counted, n_skipped = SCENARIOS[name], Knife(under=site.runs_dir), 0
    undisturbed = site.run(scenario, counted, monkeypatch)
    wrong: list[str] = []
    # Kills at every point, other cuts at every third; together three fifths of all.
    first = (list(SCENARIOS).index(name) + has_checkpoints) % STRIDE
    cuts = [(at, how) for at, how in cuts_of(counted) if how.startswith("killed") or at % STRIDE == first]
    for at, how in cuts:
        knife = Knife(under=site.runs_dir, at=at, how=how)
        try:
            assert_as_undisturbed(site.run(scenario, knife, monkeypatch), undisturbed, knife, scenario)
        except Exception as error:
            wrong.append(f"{how} at point {at}, a {counted.points[at]}: {error!r}"[:500])
            print(wrong[-1], flush=True)
        n_skipped += knife.is_skipped
    print(f"{name}: {len(counted.points)} points, {len(cuts)} cuts, {n_skipped} frozen with SQLite's lock")
    assert wrong == []
