"""Finish a search: python -m hpo.finish --study NAME."""

import json
import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.command import (
    DataDir,
    MaxCarried,
    RunsDir,
    Storage,
    StudiesDir,
    WhenDone,
    plain_app,
    run_command,
    typed_hpo,
    whole_number,
)
from hpo.run import MAX_PROCESSES, StalledAfter, TrustStoredFile, positive_seconds_of, seconds_of

if TYPE_CHECKING:
    from hpo.finish.launching import Finished
    from hpo.finish.request import FinishRequest
    from hpo.run import RunSettings

STARTED_SECONDS = time.monotonic()
MAX_FINALISTS, MIN_SEEDS, MAX_SEEDS = 50, 2, 100
GROWTH_BYTES = 250_000_000

app = plain_app()


@app.command()
def finish(
    study: Annotated[
        str,
        typer.Option(
            envvar="HPO_STUDY", metavar="NAME", help="The search: NAME for its latest generation; NAME@1, NAME@2 ..."
        ),
    ],
    finalists: Annotated[
        int | None,
        typer.Option(
            envvar="HPO_FINISH_FINALISTS",
            parser=whole_number(1, MAX_FINALISTS),
            metavar="N",
            help="How many of the best trials race. Default: 5; 3 after 20 trials or fewer.",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            envvar="HPO_FINISH_SEEDS",
            parser=whole_number(MIN_SEEDS, MAX_SEEDS),
            metavar="N",
            help="Seeds that choose nothing, with which the winner is measured. Default: 6.",
        ),
    ] = None,
    retrain: Annotated[
        bool | None,
        typer.Option(
            "--retrain/--no-retrain",
            help="Train the winner once more, on the validation rows too: that is the model to use. Default: no.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(parser=positive_seconds_of, metavar="20m", help="Stop after this time; go on later."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            envvar="HPO_WORKERS",
            parser=whole_number(1, MAX_PROCESSES),
            metavar="N",
            help="Worker processes. Default: what this machine bears.",
        ),
    ] = None,
    storage: Storage = None,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    studies_dir: StudiesDir = Path("studies"),
    trust_stored_file: TrustStoredFile = False,
    patience: Annotated[
        float,
        typer.Option(envvar="HPO_PATIENCE", parser=seconds_of, metavar="1h", help="How long the database may be away."),
    ] = "1h",  # type: ignore[assignment]
    when_done: WhenDone = None,
    stalled_after: StalledAfter = "30m",  # type: ignore[assignment]
    max_carried: MaxCarried = 32,
    health_file: Annotated[
        Path | None,
        typer.Option(envvar="HPO_HEALTH_FILE", metavar="FILE", help="Touched about every second while it trains."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Turn a search into an answer: train its best settings again, name the winner and say how sure that is.

    The same command again goes on where it was stopped, and shows the answer once there is one.
    """
    from hpo.database import address_of
    from hpo.finish.request import FinishRequest
    from hpo.names import file_of, search_of
    from hpo.run import RunSettings, WorkerLimits, find_file
    from hpo.study import StudyOptions

    name, address = search_of(study), address_of(storage, runs_dir)
    options = StudyOptions(
        file=find_file(
            file_of(name),
            studies_dir,
            address,
            runs_dir,
            is_stored_trusted=trust_stored_file,
            patience_seconds=patience,
        ),
        address=address,
        runs_dir=runs_dir,
        data_dir=data_dir,
        n_trials=None,
        seed=None,
        n_threads=None,
        lease_seconds=None,
        target=None,
        is_new_generation=False,
    )
    request = FinishRequest(
        search=name,
        options=options,
        n_finalists=finalists,
        n_seeds=seeds,
        is_retrained=retrain,
        patience_seconds=patience,
        max_carried_bytes=max_carried * 10**6,
    )
    limits = WorkerLimits(
        trial_timeout_seconds=None,
        patience_seconds=patience,
        n_kept_models=1,
        max_growth_bytes=GROWTH_BYTES,
        max_carried_bytes=request.max_carried_bytes,
    )
    settings = RunSettings(
        options=options,
        limits=limits,
        n_workers=workers,
        deadline_seconds=None if timeout is None else STARTED_SECONDS + timeout,
        when_done=when_done,
        stall_seconds=stalled_after,
        health_path=health_file,
    )
    raise typer.Exit(carry_out(request, settings, as_json=as_json))


def carry_out(request: "FinishRequest", settings: "RunSettings", *, as_json: bool) -> int:
    """Do what is asked for, show it, tell who asked to be told, and return the exit code."""
    import optuna

    from hpo.errors import NotOpenedError
    from hpo.finish.launching import finish_search
    from hpo.run import Signals, Teller, WatchedView, open_view, say

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    signals = Signals(settings.deadline_seconds)
    console, view = open_view(is_shown_on_stderr=as_json)
    teller = Teller(settings, signals, view, command="finish", study=request.search, started_seconds=STARTED_SECONDS)
    with teller.failures():
        try:
            with WatchedView(view, teller, limit_seconds=settings.stall_seconds) as watched:
                finished = finish_search(request, settings, watched, signals)
        except NotOpenedError as cut:
            lines = [f"{request.search}: stopped while its finish was being prepared: {cut.ending.value}."]
            lines.append("Nothing is lost. The same command begins again.")
            ending, fault, lead = cut.ending, None, lines[-1]
            described: dict[str, Any] = {"study": request.search, "ending": ending.name.lower()}
            described |= {"message": " ".join(lines), "answer": None}
        else:
            ending, fault, lead = finished.ending, finished.fault, finished.found.lead()
            lines, described = shown(finished, request), described_as_json(finished)
            teller.know(**told(finished, request))
        for line in lines:
            say(console, line)
        exit_code = 130 if signals.n_interrupts else 0
        if as_json:
            print(json.dumps(described), flush=True)
        if fault is not None:
            raise fault
    teller.tell("ended", f"{lines[0]} {lead}", ending=ending.name.lower(), exit_code=exit_code)
    return exit_code


def shown(finished: "Finished", request: "FinishRequest") -> list[str]:
    """Return what people are told."""
    from hpo.finish.found import since_sentence
    from hpo.finish.sentences import aligned
    from hpo.run import Ending

    name = finished.search.name
    if finished.ending != Ending.FINISHED:
        head = f"{name}: its finish has not ended. Stopped: {finished.ending.value}. The same command goes on."
    else:
        head = f"{name} is finished."
    lines_found = [*finished.found.lines]
    if finished.found.settled is not None:
        folder, where = finished.search.folder.answer_dir, request.options.address.as_options(request.options.runs_dir)
        is_here = folder.is_dir()
        fetch = f"{typed_hpo()} study fetch --study {shlex.quote(name)}{where}"
        how = "card.md says how to use it" if is_here else f"it was written elsewhere; {fetch} brings it"
        lines_found.append(("model", f"{folder} ({how})"))
    lines = [head, *aligned(lines_found)]
    if finished.n_since > 0:
        where = request.options.address.as_options(request.options.runs_dir)
        begin_anew = f"{typed_hpo()} study delete --study {shlex.quote(finished.study.name)}{where}"
        lines.append(f"{since_sentence(finished.n_since)} To begin it anew: {begin_anew}")
    return lines


def told(finished: "Finished", request: "FinishRequest") -> dict[str, Any]:
    """Return what a notice says of a finish: its winner is the best, at its mean over seeds that chose nothing."""
    from hpo.study import count_by_state

    answer, folder = finished.found.answer, finished.search.folder
    where = request.options.address.as_options(request.options.runs_dir)

    def mean_of(setting: int | None) -> dict[str, Any] | None:
        one = None if setting is None else answer.confirmed.get(setting)
        if one is None or one.estimate is None:
            return None
        return {"number": one.trial, "value": one.estimate.mean, "parameters": dict(one.params), "best_epoch": None}

    return {
        "metric": answer.metric.name,
        "direction": answer.metric.direction,
        "best": mean_of(answer.winner),
        "baseline": mean_of(answer.plan.baseline),
        "n_trials": len(finished.tickets),
        "states": count_by_state(finished.tickets),
        "files": str(folder.path.absolute()),
        "answer_dir": None if finished.found.settled is None else str(folder.answer_dir.absolute()),
        "look_further": (f"{typed_hpo()} report --study {shlex.quote(finished.search.name)}{where}",),
    }


def described_as_json(finished: "Finished") -> dict[str, Any]:
    """Return what --json prints."""
    from hpo.finish.description import described
    from hpo.words import finite

    found = finished.found
    settled: dict[str, Any] | None = None
    if found.settled is not None:
        settled = {**finite(asdict(found.settled)), "is_validated": not found.settled.is_retrained}
    return {
        "study": finished.search.name,
        "ending": finished.ending.name.lower(),
        "n_trials_since": finished.n_since,
        "answer": described(found.answer),
        "settled": settled,
        "test": None if found.opening is None else finite(asdict(found.opening)),
        "is_test_of_this_model": found.is_tested,
        "answer_dir": None if found.settled is None else str(finished.search.folder.answer_dir),
    }


if __name__ == "__main__":
    run_command(app)
