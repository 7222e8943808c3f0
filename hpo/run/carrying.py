"""A trial's files on their way to workers on other machines, and from there: when they go into the database.

A checkpoint goes at most every 30 seconds, and takes at most a fiftieth of the time; besides when its trial is handed
back. So a machine that vanishes costs a trial half a minute, and one that is shorter than that writes none.
"""

import io
import itertools
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from hpo.database import TRANSIENT
from hpo.run.context import WorkerContext
from hpo.study import TrialFile, TrialRow

CARRY_SECONDS, CARRY_SHARE = 30.0, 0.02


@dataclass(kw_only=True)
class Carrier:
    """A trial's checkpoint, in its folder and from time to time in the database; see hpo.engine.checkpoint.Kept.

    Attributes:
        context: The worker's.
        token: Of the ticket that it holds.
        trial: The trial's number.
    """

    context: WorkerContext
    token: str
    trial: int
    _put_at: float = field(default_factory=time.monotonic)
    _put_seconds: float = 0.0
    _is_behind: bool = False

    def __str__(self) -> str:
        return str(self._file)

    @property
    def _file(self) -> TrialFile:
        return self.context.study.folder.checkpoint(self.trial)

    def fetch(self) -> None:
        """Put the database's checkpoint into the folder where it is further on than the one there, if any.

        Where it cannot be written, training begins with what is there.
        """
        carried, count = self.context.carried, self.context.trainer.count_epochs
        found = None if carried is None else carried.find(self.trial, self._file.path.name)
        if carried is None or found is None or found.n_bytes > self.context.limits.max_carried_bytes:
            return
        if found.epoch <= count(self._file.load):
            return
        content = carried.read(found)
        if content is None or count(lambda: io.BytesIO(content)) != found.epoch:
            return  # dropped meanwhile, or not what it says
        try:
            self._file.save(lambda file: file.write(content))
        except OSError as error:
            self.context.warn(f"{self} was not fetched from the database: {error.strerror or error}.")
        else:
            self.context.say(f"goes on after epoch {found.epoch}, with the checkpoint that the database kept")

    def save(self, write: Callable[[BinaryIO], object]) -> None:
        """Write it, and carry it when that is due."""
        self._file.save(write)
        self._is_behind = True
        if time.monotonic() - self._put_at >= max(CARRY_SECONDS, self._put_seconds / CARRY_SHARE):
            self.carry()

    def load(self) -> BinaryIO:
        """Open the one in the folder."""
        return self._file.load()

    def carry(self) -> None:
        """Carry it now, if the database has an older one; where the database is away, that is left to a later time.

        Raises:
            LeaseLostError: The trial has been given to another worker.
        """
        if not self._is_behind or self.context.carried is None:
            return
        begun_seconds = time.monotonic()
        try:
            content = self._file.path.read_bytes()
            self._put(self._file, content, self.context.trainer.count_epochs(lambda: io.BytesIO(content)))
            self._is_behind = False
        except (OSError, *TRANSIENT) as error:
            self.context.say(f"its checkpoint was not carried into the database: {error}")
        self._put_at = time.monotonic()
        self._put_seconds = self._put_at - begun_seconds

    def carry_model(self, model: TrialFile, *, epoch: int) -> None:
        """Carry the model that was saved, of an epoch.

        Raises:
            LeaseLostError: The trial has been given to another worker.
        """
        if self.context.carried is not None:
            self._put(model, model.path.read_bytes(), epoch)

    def _put(self, file: TrialFile, content: bytes, epoch: int) -> None:
        if self.context.carried is None or epoch == 0:
            return
        if len(content) > self.context.limits.max_carried_bytes:
            self.context.say(f"{file} is larger than --max-carried, and is kept in its folder only")
            return
        self.context.carried.put(self.token, self.trial, file.path.name, epoch=epoch, content=content)


def drop_checkpoint(context: WorkerContext, number: int) -> None:
    """Drop the checkpoint of a trial that has ended."""
    if context.carried is not None:
        context.carried.drop([(number, context.study.folder.checkpoint(number).path.name)])


def drop_carried(context: WorkerContext, rows: Sequence[TrialRow], keep: Collection[int]) -> None:
    """Drop what ended trials need no more: their checkpoints, and their models but for those to keep, by number."""
    if context.carried is None:
        return
    ended, folder = {row.number for row in rows if row.state.is_finished()}, context.study.folder
    listed = [(one.trial, one.name) for one in context.carried.listed() if one.trial in ended]
    is_spare = (trial not in keep or name == folder.checkpoint(trial).path.name for trial, name in listed)
    context.carried.drop(list(itertools.compress(listed, is_spare)))
