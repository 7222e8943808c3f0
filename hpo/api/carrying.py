"""A command on a study, carried out for a caller: started, its course shown, and what it says at its end."""

from collections.abc import Sequence
from typing import Any

from hpo.api.child import call
from hpo.api.place import Place
from hpo.api.progress import Progress, open_screen
from hpo.api.watch import Watch
from hpo.api.wording import in_python
from hpo.errors import HpoError
from hpo.names import search_of

ENDINGS = {"finished": "its finish has ended"}


def seconds_as_typed(timeout: float | str) -> str:
    """Return a duration as it is typed: numbers are seconds."""
    return timeout if isinstance(timeout, str) else f"{timeout:f}"


def carry_out(
    command: str,
    study: str,
    arguments: Sequence[str],
    place: Place,
    *,
    is_new: bool = False,
    is_shown: bool = True,
) -> dict[str, Any]:
    """Run a command that works on a study, show its course, and return what it says at its end.

    Raises:
        HpoError: The command's.
        KeyboardInterrupt: The caller was interrupted.
    """
    name = search_of(study)
    shown = Progress(open_screen(is_shown=is_shown), name)
    watch = Watch(place, study, is_new=is_new)
    try:
        told = call(command, arguments, place, show=lambda lines: shown.show(watch.look(), lines), say=shown.say)
    except KeyboardInterrupt:
        shown.close(f"{name}: interrupted. Nothing is lost: the same call goes on, and hpo.load shows what there is.")
        raise
    except HpoError:
        shown.close(f"{name}: stopped")  # why is said by the error
        raise
    finally:
        watch.close()
    shown.close(in_python(str(told.get("message") or f"{name}: {ENDINGS.get(told['ending'], 'stopped')}")))
    return told
