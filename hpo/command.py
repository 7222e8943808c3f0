"""What all commands share: plain help, and every error a user can meet as one message with an exit code of its own."""

import contextlib
import io
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

try:
    import fcntl as fcntl
except ImportError:
    sys.exit(
        "error: hpo does not run on Windows itself: it needs file locks (fcntl) that Linux and macOS have.\n"
        "       Install it in WSL (https://learn.microsoft.com/windows/wsl/install), or use its container image."
    )

from hpo.errors import HpoError
from hpo.files import make_private
from hpo.terminal import plain_lines

# What is to be typed whole, or an option in a sentence, with its number.
COMMAND = r"\b(?:hpo|optuna|python\S* -m) [^.]*"
OPTION = re.compile(COMMAND + r"|(?P<option>--[a-z][a-z-]*)(?: (?P<value>\d(?:[\w.]*\w)?))?")

# Of the option parser: click's, or typer's own copy of it. BadParameter is the only public name below it.
USAGE_ERROR = typer.BadParameter.__mro__[1]
MAX_DIGITS = 40  # of a number; Python itself refuses to read thousands

# Options that several commands have.
Storage = Annotated[
    str | None,
    typer.Option(envvar="HPO_STORAGE", metavar="URL", help="Database. Default: a SQLite file in the runs folder."),
]
DataDir = Annotated[
    Path | None, typer.Option(envvar="HPO_DATA_DIR", metavar="DIR", help="Where data sets are, or are downloaded to.")
]
RunsDir = Annotated[Path, typer.Option(envvar="HPO_RUNS_DIR", metavar="DIR", help="Logs, checkpoints and models.")]
StudiesDir = Annotated[Path, typer.Option(envvar="HPO_STUDIES_DIR", metavar="DIR", help="Your study files.")]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        envvar="HPO_WEB_PASSWORD_FILE", metavar="FILE", help="Holds the password, which is needed beyond 127.0.0.1."
    ),
]
AllowedHost = Annotated[
    list[str] | None,
    typer.Option(
        envvar="HPO_ALLOWED_HOST", metavar="NAME", help="A further name this page is reached by; may be repeated."
    ),
]


# Of the commands that keep workers at a study.
WhenDone = Annotated[
    str | None,
    typer.Option(
        envvar="HPO_WHEN_DONE",
        metavar="COMMAND",
        help="Run by the shell when this command ends, fails or stalls, with the outcome as JSON on its input.",
    ),
]


def plain_app(*, no_args_is_help: bool = False, add_completion: bool = False) -> typer.Typer:
    """Return an empty command line whose help and errors are plain text."""
    return typer.Typer(
        add_completion=add_completion,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=no_args_is_help,
    )


def run_command(app: typer.Typer, *, name: str | None = None) -> None:
    """Run a command line and exit. Its name is what to type for it; by default what was typed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks ends no command
    try:
        code = app(prog_name=name, standalone_mode=False)
    except HpoError as error:
        tell(as_given(error.message), as_given(error.hint))
        sys.exit(error.exit_code)
    except typer.Abort:
        print("Aborted!", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # the reader, head say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if not isinstance(error, USAGE_ERROR):
            raise
        tell_usage(error)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def tell(message: str, hint: str) -> None:
    """Print an error and what to do next."""
    print(f"error: {plain_lines(message)}", file=sys.stderr)
    if hint:
        print(f"       {plain_lines(hint)}", file=sys.stderr)


def tell_usage(error: Any) -> None:
    """Print what the option parser refuses, as all other errors are."""
    kind = type(error).__name__
    if kind == "NoArgsIsHelpError":
        error.show()
        return
    more = f"{error.ctx.command_path} --help shows what there is." if error.ctx is not None else ""
    if kind == "NoSuchOption":
        meant = f" Did you mean {' or '.join(sorted(error.possibilities))}?" if error.possibilities else ""
        tell(f"There is no option {error.option_name}.{meant}", more)
    elif kind == "MissingParameter":
        tell(f"{named(error.param)} is missing.", more)
    elif isinstance(error, typer.BadParameter) and getattr(error, "param", None) is not None:
        is_switch = error.message.startswith("Input should be a valid boolean")  # pydantic's words
        tell(f"{named(error.param)}: {'write 1 or 0' if is_switch else error.message.rstrip('.')}.", "")
    else:
        tell(error.format_message(), more)


def named(parameter: Any) -> str:
    """Return what an option or argument was given by: itself, or its variable."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    is_typed = any(argument.partition("=")[0] in parameter.opts for argument in sys.argv)
    by_variable = not is_typed and parameter.envvar and os.environ.get(parameter.envvar)
    return str(parameter.envvar if by_variable else max(parameter.opts, key=len))


def whole_number(low: int, high: int, wanted: str = "") -> Callable[[str], int]:
    """Return a parser of an option's whole number, whose error says what is wanted."""

    def read(text: str) -> int:
        typed = str(text).strip()  # a default is a number already
        if re.fullmatch(r"[+-]?\d+", typed) and len(typed) <= MAX_DIGITS and low <= int(typed) <= high:
            return int(typed)
        raise typer.BadParameter(f"{typed!r:.60} is not {wanted or f'a whole number from {low} to {high}'}")

    return read


MaxCarried = Annotated[
    int,
    typer.Option(
        envvar="HPO_MAX_CARRIED",
        parser=whole_number(0, 512),
        metavar="MB",
        help="Checkpoints and models up to this size are kept in a PostgreSQL database too; 0 for none. Default: 32.",
    ),
]


def as_given(text: str) -> str:
    """Name the variable in place of an option that was given by it; commands that are to be typed stay as they are.

    What the option parser itself refuses names both; this is for what is found wrong later.
    """

    def renamed(found: re.Match[str]) -> str:
        option, value = found["option"] or "", found["value"]
        variable = "HPO_" + option.removeprefix("--").upper().replace("-", "_")
        is_typed = any(argument.partition("=")[0] == option for argument in sys.argv)
        if is_typed or not os.environ.get(variable):
            return found[0]
        return f"{variable}={value}" if value else variable

    return OPTION.sub(renamed, text)


def typed_python() -> str:
    """Return what to type for Python: with its folder where the environment is not active."""
    return "python" if shutil.which("python") == sys.executable else shlex.quote(os.path.relpath(sys.executable))


def typed_hpo() -> str:
    """Return what to type for hpo: by way of Python where the installed command is not found."""
    found, own = shutil.which("hpo"), Path(sys.executable).with_name("hpo")
    is_found = found is not None and os.path.realpath(found) == os.path.realpath(own)
    return "hpo" if is_found else f"{typed_python()} -m hpo"


@contextlib.contextmanager
def stderr_to(path: Path) -> Iterator[None]:
    """Send this process's stderr to a file for a moment, for a child to inherit."""
    try:
        make_private(path.parent)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY)
    kept = os.dup(2)
    os.dup2(log, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(log)
