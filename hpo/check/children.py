"""The processes that a command trains in, one after the other, and the temporary folder of their files."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpo.definition import StudyFile
from hpo.errors import FolderError, WorkersFailingError
from hpo.run import Errand, Signals, call_in_child, start_forkserver
from hpo.study import folder_of
from hpo.terminal import plain_lines

N_TAIL = 12  # lines of what a process that died said last
LOADED = {"keras": "TensorFlow and the data", "own": "the study's file and the data"}  # by what trains


class Children:
    """One command's processes and the folder of their files. The first takes seconds: its framework is imported.

    Args:
        file: The study that they train.
        folder: A temporary one.
    """

    def __init__(self, file: StudyFile, folder: Path) -> None:
        self.folder = folder_of(folder, file.name)
        self._signals = Signals()
        say(f"loading {LOADED[file.trainer]}")
        self._context = start_forkserver(self.folder, file.trainer)

    @property
    def is_stopped(self) -> bool:
        """Whether somebody asked for a stop."""
        return self._signals.ending is not None

    def ask(self, what: str, target: Callable[..., None], *arguments: Any) -> Any:
        """Return what a process answers that calls target; None where somebody asked for a stop first.

        Args:
            what: For people, what it does: "loads the study".
            target: See Errand.
            arguments: See Errand.

        Raises:
            HpoError: It answered with it, or died.
        """
        errand = Errand(what=what, target=target, arguments=arguments)
        try:
            return call_in_child(self._context, errand, say, self._signals, folder=self.folder)
        except WorkersFailingError as error:
            raise WorkersFailingError(error.message, self._last_words()) from error

    def _last_words(self) -> str:
        for path in (self.folder.log, self.folder.import_log):
            text = path.read_text(errors="replace") if path.exists() else ""
            if text.strip():
                return "It said last:\n" + "\n".join(text.splitlines()[-N_TAIL:])
        return "Is the memory large enough?"


def temporary_folder(command: str) -> tempfile.TemporaryDirectory[str]:
    """Make the folder for checkpoints and logs; what is left in it goes with it.

    Raises:
        FolderError: It cannot be made.
    """
    try:
        return tempfile.TemporaryDirectory(prefix=f"hpo-{command}-", ignore_cleanup_errors=True)
    except OSError as error:
        hint = "Free some space, or name another folder in the variable TMPDIR."
        raise FolderError(f"No temporary folder can be made: {error.strerror}.", hint) from error


def say(text: str) -> None:
    """Tell people what is being done, beside the result."""
    print(plain_lines(text), file=sys.stderr, flush=True)
