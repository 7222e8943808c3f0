"""A Ray cluster as its Jobs API shows it: a driver is submitted with the study's files, followed, and stopped."""

import asyncio
import os
import shlex
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hpo.cluster.driver import drive
from hpo.cluster.plan import RayPlan
from hpo.definition import StudyFile, files_of
from hpo.errors import ClusterError

LOCAL = "local"
ASK_SECONDS = 10.0
INSTALL = "Install it: pip install 'keras-hpo[ray]'"


def check_ray(address: str) -> None:
    """Refuse to go on where Ray is not installed, does not answer, or is another release than here.

    Raises:
        ClusterError: It is so.
    """
    try:
        import ray
    except ImportError as error:
        raise ClusterError("Ray is not installed here.", INSTALL) from error
    if address == LOCAL:
        return
    hint = "Give the address of its Jobs API: --address http://HEAD:8265, or local for this machine."
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ClusterError(f"{address} is no address of Ray's Jobs API.", hint)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), ASK_SECONDS).close()  # Ray's client would wait for minutes
        client = client_of(address)
    except (OSError, RuntimeError) as error:
        raise ClusterError(f"No Ray cluster answers at {address}: {last_line(error)}", hint) from error
    there = getattr(client, "_server_ray_version", None)
    if there is not None and there.split(".")[:2] != ray.__version__.split(".")[:2]:
        raise ClusterError(
            f"The cluster at {address} runs Ray {there}, and here is Ray {ray.__version__}.",
            f"Install the same here: pip install 'ray[default]=={there}'",
        )


def run_here(plan: RayPlan) -> int:
    """Keep a plan's slots filled on this machine, until the study has ended or Ctrl-C; returns the exit code."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # who started no Ray has not agreed that it reports
    return drive(plan, address=LOCAL, include_dashboard=False)


def submit(plan: RayPlan, file: StudyFile, address: str) -> str:
    """Start a driver on a cluster, with the study's files in its working folder; returns the job's name.

    Raises:
        ClusterError: Ray refuses.
    """
    with tempfile.TemporaryDirectory() as folder:
        plan.write(Path(folder))
        for path in files_of(file.path):
            copy = Path(folder) / "studies" / path.relative_to(file.path.parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        try:
            job: str = client_of(address).submit_job(
                entrypoint="python -m hpo.cluster.driver",
                runtime_env={"working_dir": folder},
                metadata={"hpo_study": plan.study},
            )
        except (RuntimeError, OSError) as error:
            raise ClusterError(f"Ray refuses the job: {last_line(error)}", "") from error
    return job


def follow(job: str, address: str, say: Callable[[str], None], *, is_attached: bool) -> int:
    """Show what a driver says until it ends; returns its exit code.

    Args:
        job: Its name.
        address: The cluster's.
        say: Shows a text.
        is_attached: Whether Ctrl-C stops the job; else it goes on without its viewer.
    """
    client = client_of(address)
    try:
        asyncio.run(_tell(client, job, say))
    except KeyboardInterrupt:
        if is_attached:
            stop(job, address)
            say(f"{job} is stopped: its workers hand their trials back. The same command goes on.")
        else:
            say(f"{job} goes on without you. To stop it: {stop_command(job, address)}")
        return 130
    except (RuntimeError, OSError) as error:
        raise ClusterError(
            f"The cluster does not answer any more: {last_line(error)}", f"{job} may still be at work."
        ) from error
    info = client.get_job_info(job)
    if info.driver_exit_code is None and str(info.status.value) == "FAILED":
        raise ClusterError(f"{job} failed: {last_line(info.message)}", "")
    return int(info.driver_exit_code or 0)


async def _tell(client: Any, job: str, say: Callable[[str], None]) -> None:
    async for text in client.tail_job_logs(job):
        for line in filter(None, text.splitlines()):
            say(line)


def stop(job: str, address: str) -> bool:
    """Stop a job: its workers hand their trials back within seconds. Returns whether it was at work.

    Raises:
        ClusterError: There is no such job.
    """
    try:
        return bool(client_of(address).stop_job(job))
    except (RuntimeError, OSError) as error:
        raise ClusterError(f"Ray does not stop {job}: {last_line(error)}", "ray job list names its jobs.") from error


def stop_command(job: str, address: str) -> str:
    """Return what to type to stop a job."""
    return f"hpo cluster stop {shlex.quote(job)} --address {shlex.quote(address)}"


def client_of(address: str) -> Any:
    """Return Ray's client of its Jobs API."""
    from ray.job_submission import JobSubmissionClient

    return JobSubmissionClient(address)


def last_line(error: object) -> str:
    """Return the last line of what Ray says: of a traceback, the error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
