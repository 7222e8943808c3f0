"""What a database's studies are doing: python -m hpo.status. Reads tickets, not trials: thousands cost nothing."""

import json
import os
import shlex
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.command import Storage, plain_app, run_command, typed_hpo

if TYPE_CHECKING:
    from hpo.database import DatabaseAddress
    from hpo.study import OpenStudy

app = plain_app()

# What a person reads for the words of --json.
LABELS = {"waiting": "interrupted", "free": "not begun", "unused": "not needed"}
BETWEEN_SECONDS = 10.0
SILENT_SECONDS = 120.0  # a holder that has not written for so long is shown as silent; nothing is decided by it


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """One study at one moment, as --json prints it.

    Attributes:
        study: Its name, with the generation.
        state: "finished": all trials have ended. "paused": by hpo study pause. "running": a worker was heard of lately.
            "stopped": there is work left and nobody at it, and whoever was has left in good order. "stalled": whoever
            was died, with a trial that nobody has gone on with since.
        metric: See StudyDefinition.
        n_trials: The budget.
        is_latest: Whether it is the generation that NAME alone stands for.
        trials: How many are complete, pruned, failed, unused (the space ran out), running, waiting (interrupted, to be
            gone on with), free (not begun).
        best: number, value and parameters; None before there is one.
        baseline: The same for the baseline.
        workers: Who holds which trial, and for how many seconds nothing was heard.
    """

    study: str
    state: str
    metric: str
    n_trials: int
    is_latest: bool
    trials: dict[str, int]
    best: dict[str, Any] | None
    baseline: dict[str, Any] | None
    workers: list[dict[str, Any]]


@app.command()
def status(
    study: Annotated[
        str | None, typer.Option(envvar="HPO_STUDY", metavar="NAME", help="One study. Default: all.")
    ] = None,
    storage: Storage = None,
    runs_dir: Annotated[
        Path, typer.Option(envvar="HPO_RUNS_DIR", metavar="DIR", help="Where the SQLite file is.")
    ] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """Show studies, their trials and their workers."""
    from hpo.database import address_of, wait_shortly
    from hpo.names import is_generation_of
    from hpo.study import all_studies, find_latest, not_there, open_to_look

    address = address_of(storage, runs_dir)

    def look() -> list[StudyStatus]:
        database = open_to_look(address)
        studies = all_studies(database, runs_dir)
        found = [one for one in studies if study is None or is_generation_of(one.name, study)]
        if study is not None and not found:
            find_latest(database, runs_dir, study)  # says so if what has this name cannot be used
            raise not_there(database, runs_dir, study)
        return list(read_statuses(found, studies))

    statuses = wait_shortly(look, address)
    if as_json:
        print(json.dumps([asdict(one) for one in statuses]))
    else:
        show(statuses, address, runs_dir)


def read_statuses(found: "list[OpenStudy]", studies: "list[OpenStudy]") -> Iterator[StudyStatus]:
    """Read the statuses of those found among all studies; one that cannot be read is named and left out."""
    from hpo.database import ODD, describe_odd
    from hpo.errors import HpoError
    from hpo.names import file_of, generation
    from hpo.terminal import warn_once

    latest: dict[str, int] = {}
    for one in studies:
        latest[file_of(one.name)] = max(generation(one.name), latest.get(file_of(one.name), 1))
    for one in found:
        try:
            yield read_status(one, is_latest=generation(one.name) == latest[file_of(one.name)])
        except (HpoError, *ODD) as error:
            reason = error.message if isinstance(error, HpoError) else describe_odd(error)
            warn_once(f'The study "{one.name}" cannot be read and is left out: {reason}')


def read_status(study: "OpenStudy", *, is_latest: bool = True) -> StudyStatus:
    """Read one study's status from its tickets, and no more than three of its trials."""
    from hpo.study import TicketState, count_by_state, count_ended

    tickets, now = study.tickets.read(), time.time()
    leased = [ticket for ticket in tickets if ticket.state == TicketState.LEASED]
    valued = [ticket for ticket in tickets if ticket.value is not None and ticket.outcome != "FAIL"]
    best = study.metric.best(valued, key=lambda ticket: ticket.value or 0.0)
    baseline = next((ticket for ticket in tickets if study.facts.is_baseline(ticket.number)), None)
    workers = [
        {
            "worker": ticket.worker,
            "trial": None if (trial := read_trial(study, ticket)) is None else trial.number,
            "epoch": ticket.epoch,
            "epochs": ticket.epochs,
            "value": ticket.value,
            "silent_seconds": None if ticket.seen is None else round(max(0.0, now - ticket.seen), 1),
        }
        for ticket in leased
    ]
    state = "paused" if study.is_paused() else state_of(tickets, now)
    if count_ended(tickets) == len(tickets):
        state = "finished"
    return StudyStatus(
        study=study.name,
        state=state,
        metric=study.metric.name,
        n_trials=len(tickets),
        is_latest=is_latest,
        trials=count_by_state(tickets),
        best=describe_ticket(study, best),
        baseline=describe_ticket(study, baseline),
        workers=workers,
    )


def state_of(tickets: Any, now: float) -> str:
    """Return the state of a study that has trials left and is not paused."""
    from hpo.study import TicketState

    leased = [ticket for ticket in tickets if ticket.state == TicketState.LEASED]
    if any(now - (ticket.seen or now) < SILENT_SECONDS for ticket in leased):
        return "running"
    # Between two trials a worker holds no ticket while it deletes what the one that ended needs no more.
    ended = [ticket for ticket in tickets if ticket.outcome and now - (ticket.seen or 0.0) < BETWEEN_SECONDS]
    if any(may_live(ticket.worker) for ticket in ended):
        return "running"
    has_died = any(ticket.deaths > 0 for ticket in tickets if ticket.state == TicketState.HANDED_BACK)
    return "stalled" if leased or has_died else "stopped"


def may_live(worker: str | None) -> bool:
    """Whether the command of a worker, HOST-PROCESS-NUMBER, may still run: of another machine's nothing is known."""
    host, _, process = (worker or "").rpartition("-")[0].rpartition("-")
    if host != socket.gethostname() or not process.isdecimal():
        return True
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def describe_ticket(study: "OpenStudy", ticket: Any) -> dict[str, Any] | None:
    """Return the number, value and parameters of a ticket's trial; None where it is not born."""
    if ticket is None or ticket.trial_id is None:
        return None
    trial = read_trial(study, ticket)
    number, parameters = (None, {}) if trial is None else (trial.number, trial.params)
    return {"number": number, "value": ticket.value, "parameters": parameters}


def read_trial(study: "OpenStudy", ticket: Any) -> Any:
    """Return a ticket's trial; None where it is not born, or cannot be read."""
    from hpo.database import ODD, describe_odd
    from hpo.terminal import warn_once

    if ticket.trial_id is None:
        return None
    try:
        return study.database.optuna.get_trial(ticket.trial_id)
    except ODD as error:
        warn_once(f"the trial of ticket {ticket.number} cannot be read: {describe_odd(error)}")
        return None


def why(one: StudyStatus, where: str) -> str:
    """Say what a state means and what to type, given the options of the database; with a space before."""
    from hpo.names import FINISH, file_of, search_of

    if one.state == "paused":
        return f" ({typed_hpo()} study resume --study {shlex.quote(one.study)}{where} lets it go on)"
    if one.state not in ("stopped", "stalled"):
        return ""
    reason = "nobody works on it" if one.state == "stopped" else "its workers died"
    if one.study.endswith(FINISH):
        return f" ({reason}; {typed_hpo()} finish --study {shlex.quote(search_of(one.study))} goes on)"
    # A run is of a file, and so of its latest generation.
    how = f"; {typed_hpo()} run --study {shlex.quote(file_of(one.study))} goes on" if one.is_latest else ""
    return f" ({reason}{how})"


def show(statuses: list[StudyStatus], address: "DatabaseAddress", runs_dir: Path) -> None:
    """Print the statuses for people."""
    from hpo.run import describe_params, duration, number
    from hpo.terminal import plain

    if not statuses:
        print(f"There is no study in {address} yet.")
    where = address.as_options(runs_dir)
    for one in statuses:
        older = "" if one.is_latest else " (an older generation)"
        counts = ", ".join(f"{n} {LABELS.get(state, state)}" for state, n in one.trials.items() if n)
        trials = f"{one.n_trials} {'trial' if one.n_trials == 1 else 'trials'}"
        print(plain(f"{one.study}{older}: {one.state}{why(one, where)}; {trials}: {counts}"))
        for label, entry in (("best", one.best), ("baseline", one.baseline)):
            if entry is not None:
                params = describe_params(entry["parameters"])
                trial = "a trial that cannot be read" if entry["number"] is None else f"trial {entry['number']}"
                print(f"  {label:9} {plain(one.metric)} {number(entry['value'])}  {trial}  {params}")
        for worker in one.workers:
            trial = "a trial that is being set up" if worker["trial"] is None else f"trial {worker['trial']}"
            epochs = f"epoch {worker['epoch']}/{worker['epochs']}" if worker["epochs"] else "starting"
            print(
                f"  {plain(str(worker['worker']))}  {trial}  {epochs}  best {number(worker['value'])}  "
                f"seen {duration(worker['silent_seconds'] or 0.0)} ago"
            )


if __name__ == "__main__":
    run_command(app)
