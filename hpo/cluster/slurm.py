"""Slurm: an array of jobs, one slot each, that leave before their time is up and are queued again."""

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpo import __version__
from hpo.cluster.slots import NOT_READ, Slots, slot_options
from hpo.command import typed_hpo
from hpo.errors import ClusterError, OptionError
from hpo.run import UNFINISHED

WARNING_SECONDS = 60  # before the time is up; Slurm looks once a minute, so it may be twice as long
SHORTEST_SECONDS = 180  # a job takes half a minute to begin, and leaves two minutes before its end
MAX_RESTARTS = 20  # of a job whose database stays away for longer than it waits
# MINUTES, MINUTES:SECONDS, HOURS:MINUTES:SECONDS, DAYS-HOURS, DAYS-HOURS:MINUTES, DAYS-HOURS:MINUTES:SECONDS
TIME = re.compile(r"(?:(?P<days>\d+)-(?P<of_day>\d+(?::\d+){0,2}))|(?P<short>\d+(?::\d+){0,2})")

SCRIPT = """\
#!/bin/bash
# {title}, by hpo {version}. Start them: sbatch FILE
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={n_threads}
#SBATCH --mem={memory_mib}M
#SBATCH --time={time}
#SBATCH --chdir={folder}
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@{warning_seconds}
{directives}
# What your cluster needs before a program starts goes here: module load ...

slot="${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
told= caught= worker=

tell() {{ # the worker hands its trial back, and leaves within seconds
    told=$1 caught=1
    [ -z "$worker" ] || kill -TERM "$worker" 2>/dev/null
}}
trap 'tell time' USR1         # the time is nearly up
trap 'tell leave' TERM INT    # scancel; or another job takes the place, and Slurm queues this one again by itself

unset {not_read} # of the shell that submits this
{command} &
worker=$!
[ -z "$told" ] || kill -TERM "$worker" 2>/dev/null
while
    caught=
    wait "$worker"
    code=$?
    [ -n "$caught" ]
do :; done

again() {{ # on any node, when there is room; another worker goes on with the trial meanwhile
    echo "slot $slot goes back to the queue: $1"
    scontrol requeue "$slot"
    exit "$code"
}}
case "$code/$told" in
    {unfinished}/leave) ;;
    {unfinished}/* | 143/time) again "the study goes on" ;;
    11/leave) ;;
    11/*) [ "${{SLURM_RESTART_COUNT:-0}}" -ge {max_restarts} ] || again "the database is away" ;;
esac
exit "$code" # 0: the study has ended, or is paused. All else is a mistake that another try would repeat
"""


@dataclass(frozen=True, kw_only=True)
class SlurmJob:
    """What is asked of Slurm beside the slots.

    Attributes:
        time: How long a job may run, as Slurm writes it.
        partition: None for the cluster's own choice.
        directives: Further options of sbatch, as they are typed.
    """

    time: str
    partition: str | None
    directives: Sequence[str] = ()


def seconds_of_slurm(text: str) -> int:
    """Return a time that is written as Slurm writes it.

    Raises:
        OptionError: It is none, or too short for a slot.
    """
    match = TIME.fullmatch(text)
    if match is None:
        raise OptionError(f"--time {text} is no time as Slurm writes it.", "Write 4:00:00 for hours, 2-12 for days.")
    numbers = [int(number) for number in (match["short"] or match["of_day"]).split(":")]
    if match["short"] and len(numbers) < 3:
        numbers = [0, *numbers]  # a number alone counts minutes
    hours, minutes, seconds = [*numbers, 0, 0][:3]
    total = int(match["days"] or 0) * 86400 + hours * 3600 + minutes * 60 + seconds
    if total < SHORTEST_SECONDS:
        raise OptionError(
            f"--time {text} is too short: a job begins in half a minute, and leaves up to two before its end.",
            f"Give at least {SHORTEST_SECONDS // 60} minutes, better hours.",
        )
    return total


def write_script(slots: Slots, job: SlurmJob, *, python: str = sys.executable, folder: Path | None = None) -> str:
    """Return the script for sbatch.

    Args:
        slots: What is asked for.
        job: The same, in Slurm's words.
        python: What runs hpo, on all nodes.
        folder: Where the jobs run and write their logs; by default the current one.
    """
    seconds_of_slurm(job.time)
    words = [python, "-m", "hpo", "run", *slot_options(slots), "--storage", slots.address.typable]
    directives = [] if job.partition is None else [f"--partition={job.partition}"]
    for line in (*directives, *job.directives):
        if "\n" in line or not line.startswith("-"):
            raise OptionError(f"{line!r} is no option of sbatch.", "It begins with a dash: --sbatch=--account=NAME")
    return SCRIPT.format(
        title=slots.title,
        version=__version__,
        name="hpo-" + re.sub(r"[^\w.-]", "-", slots.file.name),
        last=slots.n_workers - 1,
        n_threads=slots.n_threads,
        memory_mib=slots.memory_mib,
        time=job.time,
        folder=_quoted(str(Path.cwd() if folder is None else folder)),
        warning_seconds=WARNING_SECONDS,
        directives="".join(f"#SBATCH {line}\n" for line in (*directives, *job.directives)),
        not_read=" ".join(NOT_READ),
        command=" ".join(map(shlex.quote, words)),
        unfinished=UNFINISHED,
        max_restarts=MAX_RESTARTS,
    )


def submit(script: str, slots: Slots) -> str:
    """Give a script to sbatch; return what to tell of it.

    Raises:
        ClusterError: There is no sbatch, or it refuses.
    """
    try:
        done = subprocess.run(["sbatch", "--parsable"], input=script, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise ClusterError(
            "There is no sbatch here: this machine cannot submit to Slurm.",
            "Type this on a login node of your cluster; without --submit the script is only printed.",
        ) from error
    if done.returncode != 0:
        said = " ".join(done.stderr.replace("sbatch: error: ", "").split())
        raise ClusterError(f"sbatch refuses the job: {said or f'exit code {done.returncode}'}", "")
    job = done.stdout.strip().partition(";")[0]
    where = slots.address.as_options(slots.runs_dir)
    return (
        f"job {job}: {slots.title}\n"
        f"watch it:     squeue --job {job}; {typed_hpo()} status{where}\n"
        f"its logs:     slurm-{job}_*.out\n"
        f"stop it:      scancel {job}"
    )


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"' if re.search(r"[^\w./@%+-]", path) else path
