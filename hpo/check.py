"""What a study will do, before it costs hours: python -m hpo.check --study NAME. Stores nothing."""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.command import DataDir, StudiesDir, plain_app, run_command, whole_number
from hpo.errors import FolderError, HpoError, InexactError, TrialsFailingError, WorkersFailingError
from hpo.run import MAX_PROCESSES
from hpo.terminal import plain_lines

if TYPE_CHECKING:
    from hpo.findings import Finding, Findings
    from hpo.stretch import Configuration, Stretch
    from hpo.study import StudyOptions

N_TAIL = 12  # lines of what a process that died said last
LOADED = {"keras": "TensorFlow and the data", "own": "the study's file and the data"}  # by what trains

app = plain_app()


@app.command()
def check(
    study: Annotated[
        str, typer.Option(envvar="HPO_STUDY", metavar="NAME", help="The study: a file in the studies folder.")
    ],
    data_dir: DataDir = None,
    studies_dir: StudiesDir = Path("studies"),
    threads: Annotated[
        int,
        typer.Option(
            envvar="HPO_THREADS",
            parser=whole_number(1, MAX_PROCESSES),
            metavar="N",
            help="Threads per worker.",
        ),
    ] = "1",  # type: ignore[assignment]
    as_json: Annotated[bool, typer.Option("--json", envvar="HPO_JSON", help="Print one JSON object.")] = False,
) -> None:
    """Train a few epochs of a study, and tell what a run of it does, needs and costs. Stores nothing."""
    from hpo.database import address_of
    from hpo.definition import find_study
    from hpo.study import StudyOptions

    file = find_study(study, studies_dir)
    with temporary_folder() as folder:
        options = StudyOptions(
            file=file,
            address=address_of(None, Path(folder)),  # of no database: it is never opened
            runs_dir=Path(folder),
            data_dir=data_dir,
            n_trials=None,
            seed=None,
            n_threads=threads,
            lease_seconds=None,
            target=None,
            is_new_generation=False,
        )
        findings = Examiner(options).examine()
    if findings is not None:
        show(findings, as_json=as_json)
    if findings is None or findings.is_stopped:
        raise typer.Exit(130)
    judge(findings)


def temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    """Make the folder for checkpoints and logs; what is left in it goes with it.

    Raises:
        FolderError: It cannot be made.
    """
    try:
        return tempfile.TemporaryDirectory(prefix="hpo-check-", ignore_cleanup_errors=True)
    except OSError as error:
        hint = "Free some space, or name another folder in the variable TMPDIR."
        raise FolderError(f"No temporary folder can be made: {error.strerror}.", hint) from error


class Examiner:
    """One command's processes, one after the other, and its folder for their files."""

    def __init__(self, options: "StudyOptions") -> None:
        from hpo.run import Signals, start_forkserver
        from hpo.study import folder_of

        self._options = options
        self._folder = folder_of(options.runs_dir, options.file.name)
        self._signals = Signals()
        say(f"loading {LOADED[options.file.trainer]}")
        self._context = start_forkserver(self._folder, options.file.trainer)

    def examine(self) -> "Findings | None":
        """Look at each configuration; None where somebody stopped the check before there was anything to tell.

        Raises:
            HpoError: The study cannot be opened, as a run would say.
        """
        from hpo.findings import Findings
        from hpo.machine import memory_bytes
        from hpo.run import default_workers
        from hpo.stretch import plan_in_process

        plan = self._ask("loads the study", plan_in_process, self._options)
        if plan is None:
            return None
        found = []
        for configuration in plan.configurations:
            if self._signals.ending is None:
                found.append(self._look_at(configuration))
        n_threads = self._options.n_threads or 1
        return Findings(
            study=self._options.file.name,
            trainer=self._options.file.trainer,
            plan=plan,
            found=found,
            n_threads=n_threads,
            n_workers=min(default_workers(n_threads), plan.n_trials),
            memory_bytes=memory_bytes(),
            is_stopped=self._signals.ending is not None,
        )

    def _look_at(self, configuration: "Configuration") -> "Finding":
        from hpo.findings import Finding

        found = Finding(configuration=configuration)
        try:
            whole = self._train(configuration, "whole", min(2, configuration.epochs))
            if isinstance(whole, str):
                return replace(found, failure=whole)
            found = replace(found, whole=whole)
            n_epochs = 0 if whole is None or whole.is_too_long else len(whole.history)
            cut: Stretch | None = None
            for last_epoch in range(1, n_epochs + 1):
                again = self._train(configuration, "cut", last_epoch)
                if isinstance(again, str):
                    return replace(found, failure=f"trained again, up to epoch {last_epoch}: {again}")
                cut = again
                if cut is None:
                    break
        except WorkersFailingError as error:
            return replace(found, failure=f"{error.message} {error.hint}".strip(), is_dead=True)
        return replace(found, cut=cut)

    def _train(self, configuration: "Configuration", name: str, last_epoch: int) -> "Stretch | str | None":
        """Return what came of it, why it cannot be trained, or None where somebody stopped the check."""
        from hpo.stretch import train_in_process

        if name == "whole":
            doing = f"{last_epoch} epoch{'s' if last_epoch > 1 else ''}"
        else:
            doing = "1 epoch, then a stop" if last_epoch == 1 else "1 more, in another process"
        say(f"{configuration.label}: {doing}")
        trial_dir = self._folder.path / f"{configuration.label}-{name}"
        what = f"trains the configuration {configuration.label}"
        stretch: Stretch | str | None = self._ask(
            what, train_in_process, self._options, configuration, trial_dir, last_epoch
        )
        return stretch

    def _ask(self, what: str, target: Any, *arguments: Any) -> Any:
        from hpo.run import Errand, call_in_child

        errand = Errand(what=what, target=target, arguments=arguments)
        try:
            return call_in_child(self._context, errand, say, self._signals, folder=self._folder)
        except WorkersFailingError as error:
            raise WorkersFailingError(error.message, self._last_words()) from error

    def _last_words(self) -> str:
        for path in (self._folder.log, self._folder.import_log):
            text = path.read_text(errors="replace") if path.exists() else ""
            if text.strip():
                return "It said last:\n" + "\n".join(text.splitlines()[-N_TAIL:])
        return "Is the memory large enough?"


def say(text: str) -> None:
    """Tell people what is being done, beside the result."""
    print(plain_lines(text), file=sys.stderr, flush=True)


def show(findings: "Findings", *, as_json: bool) -> None:
    """Print what was found."""
    from hpo.findings import described, lines

    if as_json:
        print(json.dumps(described(findings)))
        return
    for line in lines(findings):
        print(plain_lines(line))


def judge(findings: "Findings") -> None:
    """End with an error where a run would not go well.

    Raises:
        WorkersFailingError: A worker would die.
        TrialsFailingError: A trial would fail.
        InexactError: A trial that is interrupted would end with other numbers.
    """
    failed = [one for one in findings.found if one.failure]
    hint = "Mend the study's file and check it again."
    if failed:
        first = failed[0].configuration.label
        more = f" (nor can {' and '.join(one.configuration.label for one in failed[1:])})" if failed[1:] else ""
        kind: type[HpoError] = WorkersFailingError if any(one.is_dead for one in failed) else TrialsFailingError
        raise kind(f"The configuration {first} cannot be trained{more}: {failed[0].failure}", hint)
    inexact = [one.configuration.label for one in findings.found if one.verdict == "inexact"]
    if inexact:
        what = f"In {findings.study}, a trial that is interrupted would end with other numbers ({', '.join(inexact)})."
        raise InexactError(what, findings.cause())


if __name__ == "__main__":
    run_command(app)
