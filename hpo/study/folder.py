"""A study's folder under the runs folder: whose it is, and what in it may be deleted.

Nothing is taken, resumed from or deleted that hpo cannot prove to be this study's: names come from a database that
others write, and a folder may be anybody's.
"""

import contextlib
import fcntl
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hpo.errors import FolderError, StudyMismatchError
from hpo.files import delete_left, make_private, replace, sweep
from hpo.study.files import TrialFile

ANSWER, ARTIFACTS = "answer", "artifacts"
OWNER = ".study"  # in a study's folder: its key
LOG, IMPORT_LOG, LEASES = "workers.log", "tensorflow.log", "leases"
CHECKPOINT, OWN = "checkpoint.npz", "files"  # in a trial's folder; the latter is the study's own code's
MODEL, OWN_MODEL = "model.keras", "model.npz"  # the latter of a training function: the state that it reported
WRITTEN_BEFORE = {LOG, IMPORT_LOG, LEASES}  # what commands may write into it before it is marked
KEY = re.compile(r"[0-9a-f]{32}")
TRIAL = re.compile(r"trial-([0-9]{5,})")
# Temporary files of hpo 0.1, which locked none: one that stands for this long is of a writer that died.
OLD_PART = re.compile(r"\.checkpoint\.npz\.[0-9]+|\.[0-9]+\.model\.keras|[0-9a-f]{32}\.part")
OLD_SECONDS = 3600.0
LOCK_SECONDS, LOCK_POLL_SECONDS = 2.0, 0.1  # of waiting for who deletes, or opens


def open_runs_dir(runs_dir: Path, report: Callable[[str], None]) -> None:
    """Make the runs folder, for this user alone; say so where others can write into the one there is.

    Raises:
        FolderError: It cannot be made or written.
    """
    hint = "Name another --runs-dir, or have its permissions changed."
    try:
        make_private(runs_dir)
        mode, group = runs_dir.stat().st_mode, runs_dir.stat().st_gid
    except OSError as error:
        raise FolderError(f"The runs folder {runs_dir} cannot be made: {error.strerror}.", hint) from error
    if not os.access(runs_dir, os.W_OK | os.X_OK):
        raise FolderError(f"The runs folder {runs_dir} cannot be written by user {os.getuid()}.", hint)
    # A group of the user's own name is the custom of many systems, and no other user.
    if mode & stat.S_IWOTH or (mode & stat.S_IWGRP and group != os.getgid()):
        report(f"other users can write into {runs_dir} and so change models and results: chmod go-w {runs_dir}")


@dataclass(frozen=True)
class StudyFolder:
    """Where a study's files are, made or not: the one place that knows what they are called.

    Attributes:
        path: The folder's.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def log(self) -> Path:
        """What its processes write."""
        return self.path / LOG

    @property
    def import_log(self) -> Path:
        """What TensorFlow says while it is imported."""
        return self.path / IMPORT_LOG

    @property
    def answer_dir(self) -> Path:
        """Where the model is that a search ends with, to be used, and what describes it."""
        return self.path / ANSWER

    @property
    def artifacts_dir(self) -> Path:
        """Optuna's artifact store of the study: what is attached to it, each file named by its id."""
        return self.path / ARTIFACTS

    @property
    def leases_dir(self) -> Path:
        """Where the lock files of those are that hold its tickets."""
        return self.path / LEASES

    def trial_dir(self, number: int) -> Path:
        """Return a trial's folder."""
        return self.path / f"trial-{number:05d}"

    def checkpoint(self, number: int) -> TrialFile:
        """Return where it is kept from what a trial goes on."""
        return TrialFile(self.trial_dir(number) / CHECKPOINT)

    def model(self, number: int, ending: str | None = None) -> TrialFile:
        """Return where a trial's model is kept, by its file's ending; without one, that which is there."""
        own = TrialFile(self.trial_dir(number) / OWN_MODEL)
        is_own = own.is_there if ending is None else OWN_MODEL.endswith(ending)
        return own if is_own else TrialFile(self.trial_dir(number) / MODEL)

    def own_dir(self, number: int) -> Path:
        """Return where the study's own code keeps a trial's files, whatever they are called: hpo deletes none alone."""
        return self.trial_dir(number).absolute() / OWN

    def logged_seconds(self, number: int) -> float | None:
        """Return when a trial's logs were last written to, which is at an epoch's end; None where they are not here."""
        found = []
        with contextlib.suppress(OSError):
            found = [file.stat() for file in self.trial_dir(number).glob("*/*.tfevents*")]
        return max((one.st_mtime for one in found if one.st_size), default=None)  # an empty one waits for its first

    def trial_dirs(self) -> dict[int, Path]:
        """Return the folders of trials by number: those that are exactly named so, and no links."""
        found = {}
        with contextlib.suppress(OSError):  # there is no folder
            for entry in os.scandir(self.path):
                match = TRIAL.fullmatch(entry.name)
                path = Path(entry.path)
                if match and path == self.trial_dir(int(match[1])) and entry.is_dir(follow_symlinks=False):
                    found[int(match[1])] = path
        return found

    @property
    def owner(self) -> str | None:
        """The key of the study whose files it holds; None where nothing tells."""
        with contextlib.suppress(OSError, ValueError):
            file = os.open(self.path / OWNER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a FIFO would block
            try:
                text = os.read(file, 64).decode("ascii").strip()
            finally:
                os.close(file)
            return text if KEY.fullmatch(text) else None
        return None

    def check(self, key: str | None) -> None:
        """Refuse a folder that is another study's, or whose files nobody can tell whose they are.

        Args:
            key: The study's; None for one that is to be created.

        Raises:
            StudyMismatchError: It belongs to another study.
        """
        owner = self.owner
        if owner is None and not self._is_free():
            raise StudyMismatchError(
                f"The folder {self} holds files, and no {OWNER} file says that they are this study's.",
                "Move them away, or name another --runs-dir."
                + (f" If they are, mend it: echo {key} > {self.path / OWNER}" if key else ""),
            )
        if owner not in (None, key):
            raise StudyMismatchError(
                f"The folder {self} holds the files of another study of this name.",
                "Name another --runs-dir for this database, or move that folder away.",
            )

    def mark(self, key: str) -> None:
        """Note whose files it holds; what writers that died have left there goes.

        Raises:
            FolderError: It cannot be written. Without the note, a later command would refuse the folder.
        """
        try:
            make_private(self.path)
            if self.owner != key:
                replace(self.path / OWNER, lambda file: file.write(key.encode()), mode=0o666)
        except OSError as error:
            hint = "Free some space or mend its permissions, or name another --runs-dir."
            raise FolderError(f"The folder {self} cannot be written: {error.strerror}.", hint) from error
        self.sweep()

    def sweep(self) -> int:
        """Delete what writers that died have left in a study's own folder: the bytes that are free now."""
        n_bytes = sweep(self.path)
        paths = (path for folder in self.trial_dirs().values() for path in folder.glob("*"))
        for path in filter(lambda path: OLD_PART.fullmatch(path.name), paths):
            with contextlib.suppress(OSError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > OLD_SECONDS:
                    n_bytes += delete_left(path)
        return n_bytes

    @contextlib.contextmanager
    def being_opened(self) -> Iterator[None]:
        """Keep the study from being deleted meanwhile: nothing in the database tells of a command that opens it."""
        with contextlib.suppress(OSError):  # opening it says what is wrong with the folder
            make_private(self.path)
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextlib.contextmanager
    def held(self) -> Iterator[bool]:
        """Keep commands from opening the study for a moment; yields whether none is just doing so."""
        with self._locked(fcntl.LOCK_EX) as is_locked:
            yield is_locked

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[bool]:
        until_seconds, is_locked, folder = time.monotonic() + LOCK_SECONDS, True, None
        try:
            # Without the folder, or locks, there is nothing to wait for; a folder that was deleted is another one.
            with contextlib.suppress(OSError):
                while folder is None or not os.path.samestat(os.fstat(folder), os.stat(self.path)):
                    if folder is not None:
                        os.close(folder)
                    folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                    is_locked = _try_to_lock(folder, how)
                    while not is_locked and time.monotonic() < until_seconds:
                        time.sleep(LOCK_POLL_SECONDS)
                        is_locked = _try_to_lock(folder, how)
            yield is_locked
        finally:
            if folder is not None:
                os.close(folder)

    def delete(self, key: str) -> str:
        """Delete the folder of the study with this key; returns what people should know, empty where it is gone."""
        if not os.path.lexists(self.path):
            return ""
        if self.path.is_symlink():
            return f"{self} is a link, and what it points to was left."
        if self.owner != key:
            return f"{self} was left: no {OWNER} file in it says that it is this study's."
        try:
            for path in self.path.iterdir():
                if path.name != OWNER:
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            shutil.rmtree(self.path)  # the owner's mark last: a deletion that is cut short can be repeated
        except OSError as error:
            return f"{self} was not deleted whole: {error.strerror}."
        return ""

    def _is_free(self) -> bool:
        try:
            return all(name in WRITTEN_BEFORE or name.startswith(".") for name in os.listdir(self.path))
        except OSError:
            return True  # there is none; or whoever writes there says why that cannot be


def _try_to_lock(folder: int, how: int) -> bool:
    try:
        fcntl.flock(folder, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def folder_of(runs_dir: Path, name: str) -> StudyFolder:
    """Return the folder of a stored study, or of a study's file before it is known which generation is meant."""
    return StudyFolder(runs_dir / name)
