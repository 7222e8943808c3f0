"""Have an engine start workers on many machines: python -m hpo.cluster slurm | kubernetes | ray."""

import os
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


def part_of(text: str) -> float:
    """Read how much of a resource a slot takes: 0.25, 1, 2."""
    if not re.fullmatch(r"\d{1,4}(\.\d{1,4})?", text.strip()):
        raise typer.BadParameter(f"{text!r} is no number; write 1 or 0.25")
    return float(text)


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
    is_one = workers == 1
    n_threads = prepare(
        address, study, workers, threads=threads, more=more or [], advice=several, is_one_machine=is_one
    )
    slots = Slots(
        file=find_study(study, studies_dir),
        n_workers=workers,
        address=address,
        runs_dir=runs_dir.absolute(),
        data_dir=None if data_dir is None else data_dir.absolute(),
        studies_dir=studies_dir.absolute(),
        n_threads=n_threads,
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
        runs_dir=Path("/runs") if runs_claim else Path("/runs/slot"),  # all may write a pod's own volume
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


@app.command()
def ray(
    study: Study,
    workers: Workers,
    address: Annotated[
        str, typer.Option("--address", metavar="URL", help="Ray's Jobs API: http://HEAD:8265; local is this machine.")
    ],
    cpus_per_worker: Annotated[
        float | None,
        typer.Option("--cpus-per-worker", parser=part_of, metavar="N", help="Default: the worker's threads."),
    ] = None,
    gpus_per_worker: Annotated[
        float, typer.Option("--gpus-per-worker", parser=part_of, metavar="N", help="0.25 lets four share one.")
    ] = "0",  # type: ignore[assignment]
    threads: Threads = None,
    storage: Storage = None,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    studies_dir: StudiesDir = Path("studies"),
    detach: Annotated[bool, typer.Option("--detach", help="Submit, and do not wait for the end.")] = False,
    attached: Annotated[bool, typer.Option("--attached", help="Ctrl-C stops the workers, and not only this.")] = False,
    more: More = None,
) -> None:
    """Have a Ray cluster keep worker slots filled, and show how far the study is."""
    from hpo.cluster.plan import RayPlan
    from hpo.cluster.ray_jobs import LOCAL, check_ray, follow, run_here, stop_command
    from hpo.cluster.ray_jobs import submit as submit_job
    from hpo.cluster.slots import Slots, slot_options
    from hpo.database import address_of
    from hpo.definition import find_study

    file, database, is_local = find_study(study, studies_dir), address_of(storage, runs_dir), address == LOCAL
    n_threads = prepare(database, study, workers, threads=threads, more=more or [], is_one_machine=is_local)
    check_ray(address)
    slots = Slots(
        file=file,
        n_workers=workers,
        address=database,
        runs_dir=runs_dir.absolute(),
        data_dir=None if data_dir is None else data_dir.absolute(),
        studies_dir=studies_dir.absolute() if is_local else Path("studies"),
        n_threads=n_threads,
        memory_mib=0,
        more=more or [],
    )
    plan = RayPlan(
        study=study,
        options=slot_options(slots),
        storage=database.typable,
        n_workers=workers,
        n_cpus=n_threads if cpus_per_worker is None else cpus_per_worker,
        n_gpus=gpus_per_worker,
    )
    if is_local:
        raise typer.Exit(run_here(plan))
    job = submit_job(plan, file, address)
    print(f"{job}: {slots.title}\nstop it:      {stop_command(job, address)}", flush=True)
    if not detach:
        raise typer.Exit(follow(job, address, lambda line: print(plain(line), flush=True), is_attached=attached))


@app.command()
def stop(
    job: Annotated[str, typer.Argument(metavar="JOB", help="As hpo cluster ray has named it.")],
    address: Annotated[str, typer.Option("--address", metavar="URL", help="Ray's Jobs API: http://HEAD:8265.")],
) -> None:
    """Stop what hpo cluster ray has started: the workers hand their trials back."""
    from hpo.cluster.ray_jobs import check_ray
    from hpo.cluster.ray_jobs import stop as stop_job

    check_ray(address)
    was_at_work = stop_job(job, address)
    print(
        f"{job} is stopped: its workers hand their trials back." if was_at_work else f"{job} was not at work any more."
    )


def prepare(
    address: "DatabaseAddress",
    study: str,
    n_workers: int,
    *,
    threads: int | None,
    more: list[str],
    advice: str = "",
    is_one_machine: bool = False,
) -> int:
    """Refuse what no slot could be filled with, as far as it can be known here; return the threads of each worker.

    Raises:
        HpoError: There is such a thing.
    """
    from hpo.cluster.seen import look
    from hpo.cluster.slots import NOT_READ, check_more, check_sessions, check_shared
    from hpo.run import app as run_app

    check_more(more)
    found = [name for name in NOT_READ if os.environ.pop(name, "")]
    if found:
        print(f"note: {', '.join(found)} of this shell is not for slots, and none of them reads it.", file=sys.stderr)
    command: Any = typer.main.get_command(run_app)
    command.make_context("hpo run", list(more))  # refuses what hpo run would
    check_shared(address, n_workers, advice, is_one_machine=is_one_machine)
    seen = look(address, study, threads)
    check_sessions(seen.n_sessions, n_workers)
    if seen.problem is not None:
        print(f"note: {plain(seen.problem.rstrip('.'))}. Workers may well reach it where they run.", file=sys.stderr)
    return threads or seen.n_threads or 1


if __name__ == "__main__":
    run_command(app)
