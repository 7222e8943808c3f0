"""What a study will do, before it costs hours: python -m hpo.check --study NAME. Stores nothing."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.command import DataDir, StudiesDir, plain_app, run_command, whole_number
from hpo.errors import HpoError, InexactError, TrialsFailingError, WorkersFailingError
from hpo.run import MAX_PROCESSES
from hpo.terminal import plain_lines

if TYPE_CHECKING:
    from hpo.check.findings import Findings

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
    from hpo.check.children import temporary_folder
    from hpo.check.examiner import Examiner
    from hpo.database import address_of
    from hpo.definition import find_study
    from hpo.study import StudyOptions

    file = find_study(study, studies_dir)
    with temporary_folder("check") as folder:
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


def show(findings: "Findings", *, as_json: bool) -> None:
    """Print what was found."""
    from hpo.check.findings import described, lines

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
