"""The main command: python -m hpo.run --study NAME."""

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    whole_number,
)
from hpo.errors import OptionError
from hpo.run.amounts import (
    MAX_PROCESSES,
    MAX_TRIALS,
    Seed,
    StalledAfter,
    TrustStoredFile,
    gigabytes_of,
    lease_of,
    number_of,
    positive_seconds_of,
    seconds_of,
)

if TYPE_CHECKING:
    from rich.console import Console

    from hpo.run.ending import Signals
    from hpo.run.settings import RunSettings
    from hpo.run.teller import Shown, Teller

STARTED_SECONDS = time.monotonic()

app = plain_app()


@app.command()
def run(
    study: Annotated[
        str | None, typer.Option(envvar="HPO_STUDY", metavar="NAME", help="The study: a file in the studies folder.")
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            envvar="HPO_TRIALS",
            parser=whole_number(1, MAX_TRIALS),
            metavar="N",
            help="The study's total, over all workers. More than stored extends it.",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            envvar="HPO_TIMEOUT", parser=positive_seconds_of, metavar="10m", help="Stop after this time; go on later."
        ),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            envvar="HPO_TARGET", parser=number_of, metavar="0.9", help="Stop when the metric has reached this."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            envvar="HPO_WORKERS",
            parser=whole_number(0, MAX_PROCESSES),
            metavar="N",
            help="Worker processes. Default: what this machine bears. 0 only makes the study.",
        ),
    ] = None,
    storage: Storage = None,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    studies_dir: StudiesDir = Path("studies"),
    seed: Seed = None,
    threads: Annotated[
        int | None,
        typer.Option(
            envvar="HPO_THREADS",
            parser=whole_number(1, MAX_PROCESSES),
            metavar="N",
            help="Threads per worker, for a new study. Default: 1.",
        ),
    ] = None,
    keep_models: Annotated[
        int,
        typer.Option(
            envvar="HPO_KEEP_MODELS",
            parser=whole_number(0, MAX_TRIALS),
            metavar="N",
            help="How many of the best trials keep their model.",
        ),
    ] = 3,
    lease: Annotated[
        float | None,
        typer.Option(
            envvar="HPO_LEASE",
            parser=lease_of,
            metavar="60s",
            help="A worker silent for so long loses its trial, for a new study.",
        ),
    ] = None,
    trial_timeout: Annotated[
        float | None,
        typer.Option(
            envvar="HPO_TRIAL_TIMEOUT",
            parser=positive_seconds_of,
            metavar="30m",
            help="A worker that ends no epoch for so long is replaced. Default: never.",
        ),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(envvar="HPO_PATIENCE", parser=seconds_of, metavar="1h", help="How long the database may be away."),
    ] = "1h",  # type: ignore[assignment]
    max_carried: MaxCarried = 32,
    max_growth: Annotated[
        float,
        typer.Option(
            envvar="HPO_MAX_GROWTH",
            parser=gigabytes_of,
            metavar="GB",
            help="A worker whose memory grew by more is replaced.",
        ),
    ] = "0.25",  # type: ignore[assignment]
    health_file: Annotated[
        Path | None,
        typer.Option(envvar="HPO_HEALTH_FILE", metavar="FILE", help="Touched about every second while all is well."),
    ] = None,
    new_generation: Annotated[
        bool,
        typer.Option("--new-generation", envvar="HPO_NEW_GENERATION", help="Begin anew beside the stored study."),
    ] = False,
    finish: Annotated[
        bool,
        typer.Option(
            "--finish",
            envvar="HPO_FINISH",
            help="Then do what hpo finish does, within --timeout: the search leaves the time that it takes.",
        ),
    ] = False,
    when_done: WhenDone = None,
    stalled_after: StalledAfter = "30m",  # type: ignore[assignment]
    trust_stored_file: TrustStoredFile = False,
    slot: Annotated[
        bool,
        typer.Option(
            "--slot", envvar="HPO_SLOT", help="Leave with 99 when told to leave while the study goes on: for engines."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", envvar="HPO_JSON", help="Print one JSON object at the end.")
    ] = False,
    list_: Annotated[
        bool, typer.Option("--list", envvar="HPO_LIST", help="List the studies in the studies folder.")
    ] = False,
) -> None:
    """Tune a Keras model: run a study's trials until its budget is spent; the same command again goes on with it."""
    from hpo.definition import list_studies

    if list_:
        for file in list_studies(studies_dir):
            print(f"{file.name:24} {file.title}")
        return
    if study is None:
        raise OptionError("No study is named.", "Name one with --study NAME; --list shows them.")
    if slot and finish:
        raise OptionError(
            "--finish does not go with --slot: each slot of an engine would finish the search.",
            "Leave it out, and run hpo finish once when the search has ended.",
        )
    from hpo.database import address_of
    from hpo.run.settings import RunSettings, WorkerLimits
    from hpo.run.stored_file import find_file
    from hpo.study import StudyOptions

    address, is_trusted = address_of(storage, runs_dir), trust_stored_file
    options = StudyOptions(
        file=find_file(study, studies_dir, address, runs_dir, is_stored_trusted=is_trusted, patience_seconds=patience),
        address=address,
        runs_dir=runs_dir,
        data_dir=data_dir,
        n_trials=trials,
        seed=seed,
        n_threads=threads,
        lease_seconds=lease,
        target=target,
        is_new_generation=new_generation,
    )
    limits = WorkerLimits(
        trial_timeout_seconds=trial_timeout,
        patience_seconds=patience,
        n_kept_models=keep_models,
        max_growth_bytes=int(max_growth * 1e9),
        max_carried_bytes=max_carried * 10**6,
    )
    settings = RunSettings(
        options=options,
        limits=limits,
        n_workers=workers,
        deadline_seconds=None if timeout is None else STARTED_SECONDS + timeout,
        health_path=health_file,
        is_finished_next=finish and workers != 0,  # which only makes the study
        when_done=when_done,
        stall_seconds=stalled_after,
        is_slot=slot,
    )
    raise typer.Exit(carry_out(settings, as_json=as_json))


def carry_out(settings: "RunSettings", *, as_json: bool) -> int:
    """Run what is asked for, show it, tell who asked to be told, and return the exit code."""
    import optuna

    from hpo.run.display import open_view
    from hpo.run.ending import Ending, Signals, exit_code
    from hpo.run.teller import Teller

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    signals = Signals(settings.deadline_seconds)
    console, view = open_view(is_shown_on_stderr=as_json)
    name = settings.options.file.name
    teller = Teller(settings, signals, view, command="run", study=name, started_seconds=STARTED_SECONDS)
    with teller.failures():
        described = run_and_show(settings, signals, console, view, teller, as_json=as_json)
        ending = Ending[str(described["ending"]).upper()]
        code = exit_code(ending, n_interrupts=signals.n_interrupts, is_slot=settings.is_slot)
        if as_json:
            print(json.dumps(described), flush=True)
    teller.tell_end(described, exit_code=code)
    return code


def run_and_show(
    settings: "RunSettings", signals: "Signals", console: "Console", view: "Shown", teller: "Teller", *, as_json: bool
) -> dict[str, object]:
    """Run what is asked for, show what came of it, and return the same as values; or go on as hpo finish."""
    from hpo.errors import NotOpenedError
    from hpo.run.display import say
    from hpo.run.launcher import run_study
    from hpo.run.report import describe, describe_not_opened, is_over, not_opened, show
    from hpo.run.teller import WatchedView

    try:
        with WatchedView(view, teller, limit_seconds=settings.stall_seconds) as watched:
            outcome = run_study(settings, watched, signals)
    except NotOpenedError as cut:
        say(console, not_opened(cut, settings.options))
        return describe_not_opened(cut, settings.options, seconds=time.monotonic() - STARTED_SECONDS)
    show(outcome, settings.options, console)
    described = describe(outcome, settings.options, seconds=time.monotonic() - STARTED_SECONDS)
    teller.know(direction=outcome.study.metric.direction)
    if settings.is_finished_next and is_over(outcome) and signals.ending is None:
        if as_json:
            print(json.dumps(described), flush=True)
        teller.wait()
        become_finish(settings, outcome.study.name, as_json=as_json)
    return described


def become_finish(settings: "RunSettings", study: str, *, as_json: bool) -> None:
    """Go on as hpo finish, in this process's place: a search knows nothing of what comes after it."""
    options, left_seconds = settings.options, None
    if settings.deadline_seconds is not None:
        left_seconds = max(1.0, settings.deadline_seconds - time.monotonic())
    typed = ["--study", study, "--runs-dir", str(options.runs_dir), "--studies-dir", str(options.file.path.parent)]
    limits = settings.limits
    typed += ["--patience", f"{limits.patience_seconds}s", "--max-carried", str(limits.max_carried_bytes // 10**6)]
    typed += [] if left_seconds is None else ["--timeout", f"{left_seconds:.1f}s"]
    also = {"--data-dir": options.data_dir, "--workers": settings.n_workers, "--health-file": settings.health_path}
    typed += [word for option, value in also.items() if value is not None for word in (option, str(value))]
    typed += ["--stalled-after", f"{settings.stall_seconds}s", *(["--json"] if as_json else [])]
    if settings.when_done and os.environ.get("HPO_WHEN_DONE") != settings.when_done:
        typed += ["--when-done", settings.when_done]
    if options.address.typed:
        os.environ["HPO_STORAGE"] = options.address.typed  # not as an option: others see a command's options
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "hpo.finish", *typed])


if __name__ == "__main__":
    run_command(app)
