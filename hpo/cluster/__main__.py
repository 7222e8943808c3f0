"""Have an engine start workers on many machines: python -m hpo.cluster slurm | kubernetes."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.command import DataDir, RunsDir, Storage, StudiesDir, plain_app, run_command, whole_number
from hpo.errors import OptionError
from hpo.terminal import plain

if TYPE_CHECKING:
    from hpo.database import DatabaseAddress

app = plain_app(no_args_is_help=True)
MAX_SLOTS = 10_000
MEMORY = {"M": 1, "G": 1024}


def mebibytes_of(text: str) -> int:
    """Read a size: 4G, 800M."""
    match = re.fullmatch(r"([1-9]\d{0,6})([MG])(?:i?B?)?", text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no size; write 4G or 800M")
    return int(match[1]) * MEMORY[match[2]]


Study = Annotated[str, typer.Option("--study", envvar="HPO_STUDY", metavar="NAME", help="The study's file.")]
Workers = Annotated[
    int, typer.Option("--workers", parser=whole_number(1, MAX_SLOTS), metavar="N", help="How many, one in each slot.")
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        envvar="HPO_THREADS",
        parser=whole_number(1, 1024),
        metavar="N",
        help="Threads and cores per worker. Default: the stored study's, or 1.",
    ),
]
Memory = Annotated[int, typer.Option("--memory", parser=mebibytes_of, metavar="4G", help="Memory per worker.")]
More = Annotated[
    list[str] | None, typer.Argument(metavar="[-- OPTIONS]", help="Further options of hpo run: -- --trials 500")
]


@app.callback()
def cluster() -> None:
    """Have an engine start workers on many machines: it is given slots, and keeps them filled."""


@app.command()
def slurm(
    study: Study,
    workers: Workers,
    time: Annotated[str, typer.Option("--time", metavar="4:00:00", help="How long a job may run, as Slurm writes it.")],
    partition: Annotated[str | None, typer.Option("--partition", metavar="NAME", help="Slurm's partition.")] = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option("--sbatch", metavar="OPTION", help="A further option: --sbatch=--account=NAME. May be repeated."),
    ] = None,
    threads: Threads = None,
    memory: Memory = "4G",  # type: ignore[assignment]
    storage: Storage = None,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    studies_dir: StudiesDir = Path("studies"),
    submit: Annotated[bool, typer.Option("--submit", help="Give the script to sbatch.")] = False,
    more: More = None,
) -> None:
    """Print a job array for Slurm: a worker in each job, which leaves in time and is queued again."""
    from hpo.cluster.slots import Slots
    from hpo.cluster.slurm import SlurmJob, write_script
    from hpo.cluster.slurm import submit as submit_script
    from hpo.command import typed_hpo
    from hpo.database import address_of
    from hpo.definition import find_study

    address = address_of(storage, runs_dir)
    several = f"On one node, one job does without: sbatch --wrap '{typed_hpo()} run --workers {workers} ...'"
    slots = Slots(
        file=find_study(study, studies_dir),
        n_workers=workers,
        address=address,
        runs_dir=runs_dir.absolute(),
        data_dir=None if data_dir is None else data_dir.absolute(),
        studies_dir=studies_dir.absolute(),
        n_threads=prepare(address, study, workers, threads=threads, more=more or [], advice=several),
        memory_mib=memory,
        more=more or [],
    )
    script = write_script(slots, SlurmJob(time=time, partition=partition, directives=sbatch or []))
    print(submit_script(script, slots) if submit else script, end="\n" if submit else "")


@app.command()
def kubernetes(
    study: Study,
    workers: Workers,
    image: Annotated[str, typer.Option("--image", metavar="IMAGE", help="Has hpo in it; the Dockerfile makes one.")],
    threads: Threads = None,
    memory: Memory = "4G",  # type: ignore[assignment]
    storage: Storage = None,
    studies_dir: StudiesDir = Path("studies"),
    database_secret: Annotated[
        str,
        typer.Option("--database-secret", metavar="NAME", help='A Secret: "password" is the database\'s.'),
    ] = "hpo-database",
    web_secret: Annotated[
        str, typer.Option("--web-secret", metavar="NAME", help='A Secret: "password" is the dashboard\'s.')
    ] = "hpo-web",
    pull_secret: Annotated[
        str | None, typer.Option("--pull-secret", metavar="NAME", help="The Secret of the image's registry.")
    ] = None,
    runs_claim: Annotated[
        str | None,
        typer.Option("--runs-claim", metavar="NAME", help="A volume for checkpoints and models, that all nodes write."),
    ] = None,
    data_claim: Annotated[
        str | None, typer.Option("--data-claim", metavar="NAME", help="The same for data. Default: downloaded per pod.")
    ] = None,
    more: More = None,
) -> None:
    """Print manifests for Kubernetes: an indexed Job with a worker in each pod, and the dashboard."""
    from hpo.cluster.kubernetes import Deployment, write_manifests
    from hpo.cluster.slots import Slots
    from hpo.database import address_of
    from hpo.definition import find_study

    address = address_of(storage, Path("runs"))
    if address.sqlite_path is not None:
        raise OptionError(
            "Pods share no file, which a SQLite database is.",
            "Give --storage postgresql://USER@HOST/DATABASE, as pods reach it; docs/cluster.md says where to get one.",
        )
    slots = Slots(
        file=find_study(study, studies_dir),
        n_workers=workers,
        address=address,
        runs_dir=Path("/runs"),
        data_dir=Path("/data"),
        studies_dir=Path("/studies"),
        n_threads=prepare(address, study, workers, threads=threads, more=more or []),
        memory_mib=memory,
        more=more or [],
    )
    deployment = Deployment(
        image=image,
        database_secret=database_secret,
        web_secret=web_secret,
        runs_claim=runs_claim,
        data_claim=data_claim,
        pull_secret=pull_secret,
    )
    print(write_manifests(slots, deployment), end="")


def prepare(
    address: "DatabaseAddress", study: str, n_workers: int, *, threads: int | None, more: list[str], advice: str = ""
) -> int:
    """Refuse what no slot could be filled with, as far as it can be known here; return the threads of each worker.

    Raises:
        HpoError: There is such a thing.
    """
    from hpo.cluster.seen import look
    from hpo.cluster.slots import check_more, check_sessions, check_shared
    from hpo.run import app as run_app

    check_more(more)
    command: Any = typer.main.get_command(run_app)
    command.make_context("hpo run", list(more))  # refuses what hpo run would
    check_shared(address, n_workers, advice)
    seen = look(address, study, threads)
    check_sessions(seen.n_sessions, n_workers)
    if seen.problem is not None:
        print(f"note: {plain(seen.problem.rstrip('.'))}. Workers may well reach it where they run.", file=sys.stderr)
    return threads or seen.n_threads or 1


if __name__ == "__main__":
    run_command(app)
