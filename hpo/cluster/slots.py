"""Worker slots: what an engine is asked to keep filled, and the command that fills one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpo.database import DatabaseAddress
from hpo.definition import StudyFile
from hpo.errors import DatabaseAwayError, OptionError

MISTAKES = (2, 3, 4, 5, 6, 7, 9, 12)  # exit codes of what each further worker would meet again
AWAY = DatabaseAwayError.exit_code
CONNECTIONS = 3  # of a slot: its command's, its worker's, and for moments that of the worker's lease
BESIDE = ("--study", "--workers", "--storage", "--runs-dir", "--data-dir", "--studies-dir", "--threads", "--slot")
# Each slot would do it, or begin anew after it, or nobody would see it.
NOT_FOR_SLOTS = {
    "--timeout": "hpo study pause stops all of them, and they are not started again.",
    "--new-generation": "Make it first: hpo run --new-generation --workers 0.",
    "--finish": "Run hpo finish once when the search has ended.",
    "--when-done": "Each of them would tell: wait for hpo status --json to say that it is finished.",
    "--json": "hpo status --json tells the same of all slots.",
    "--list": "",
}
# The same as variables: a slot reads none of the shell that it was asked for in, which Slurm hands on to its jobs.
NOT_READ = tuple("HPO_" + option.removeprefix("--").upper().replace("-", "_") for option in NOT_FOR_SLOTS)


@dataclass(frozen=True, kw_only=True)
class Slots:
    """What an engine is asked for.

    Attributes:
        file: The study's.
        n_workers: How many slots.
        address: The database's.
        runs_dir: As it is called where workers run, and so are the next two.
        data_dir: None for hpo's own choice.
        studies_dir: Where the study's file is.
        n_threads: Of each worker.
        memory_mib: Of each slot.
        more: Further options of hpo run.
    """

    file: StudyFile
    n_workers: int
    address: DatabaseAddress
    runs_dir: Path
    data_dir: Path | None
    studies_dir: Path
    n_threads: int
    memory_mib: int
    more: Sequence[str] = ()

    @property
    def title(self) -> str:
        """What they are, for people."""
        return f"{self.n_workers} worker {'slot' if self.n_workers == 1 else 'slots'} for {self.file.name!r}"


def check_more(more: Sequence[str]) -> None:
    """Refuse options for hpo run that are the engine's to give, or that no slot may have.

    Raises:
        OptionError: There is one.
    """
    for word in more:
        option = word.partition("=")[0]
        if option in BESIDE:
            raise OptionError(f"{option} is no option for the workers' own command.", f"Give {option} before the --.")
        if option in NOT_FOR_SLOTS:
            raise OptionError(f"{option} is not for workers that an engine starts.", NOT_FOR_SLOTS[option])


def check_shared(address: DatabaseAddress, n_workers: int, advice: str, *, is_one_machine: bool) -> None:
    """Refuse a database that workers on several machines cannot share, or whose password would be seen.

    Raises:
        OptionError: It is such a one.
    """
    if address.sqlite_path is not None and not is_one_machine:
        raise OptionError(
            f"{n_workers} workers may be on several machines, and SQLite is a file: the locks of a network's file "
            "system do not keep several machines from damaging it.",
            f"Give --storage postgresql://USER@HOST/DATABASE?password_file=FILE. {advice}".rstrip(),
        )
    if not address.is_typable:
        raise OptionError(
            "The database's URL holds a secret, which everybody could read who sees what is printed here.",
            "Write a password into a file, and ?password_file=FILE into the URL.",
        )


def check_sessions(n_sessions: int | None, n_workers: int) -> None:
    """Refuse more workers than the database has room for.

    Args:
        n_sessions: How many the server grants in all; None where nobody counts them.
        n_workers: How many slots.

    Raises:
        OptionError: It has less.
    """
    n_needed = CONNECTIONS * n_workers
    if n_sessions is not None and n_needed > n_sessions:
        raise OptionError(
            f"{n_workers} workers open up to {n_needed} connections, and the database grants {n_sessions}.",
            f"Raise its max_connections, put PgBouncer in transaction mode before it, or give --workers "
            f"{max(1, n_sessions // CONNECTIONS)}.",
        )


def slot_options(slots: Slots) -> list[str]:
    """Return the options of hpo run by which a worker fills a slot, but for the database's."""
    data_dir = [] if slots.data_dir is None else ["--data-dir", str(slots.data_dir)]
    return [
        *("--slot", "--workers", "1", "--study", slots.file.name, "--threads", str(slots.n_threads)),
        *("--studies-dir", str(slots.studies_dir), "--runs-dir", str(slots.runs_dir), *data_dir, *slots.more),
    ]
