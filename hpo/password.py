"""Passwords, kept in files: python -m hpo.password FILE... makes the missing ones.

An argument is shown to everybody on the machine, an environment variable to everybody who may inspect the container.
"""

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from hpo.command import plain_app, run_command
from hpo.errors import PasswordError

N_RANDOM_BYTES = 24
HINT = "It must be a file of yours with a password in its first line; hpo password FILE makes one."

app = plain_app()


@app.command()
def password(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", readable=False, help="Files that shall hold a password each.")
    ],
    shared: Annotated[
        bool, typer.Option("--shared", help="Readable by every user, for a volume that guards them by itself.")
    ] = False,
) -> None:
    """Write a random password into each file that is missing or empty; the others are kept."""
    for path in files:
        is_new = make_password(path, mode=0o444 if shared else 0o400)
        print(f"{path}: {'a new password' if is_new else 'its password is kept'}")


def make_password(path: Path, *, mode: int) -> bool:
    """Write a random password unless the file holds one; returns whether it did.

    Raises:
        PasswordError: The file cannot be read or written.
    """
    try:
        if path.exists() and not path.is_file():
            raise PasswordError(f"{path} is no file.", HINT)
        if path.exists() and path.read_bytes().strip():
            read_password(path)
            return False
    except OSError as error:
        raise unreadable(path, error) from error
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(N_RANDOM_BYTES) + "\n")
        temporary.chmod(mode)
        os.replace(temporary, path)
    except OSError as error:
        who = f"user {os.getuid()}"
        raise PasswordError(f"Cannot write {path}: {error.strerror}.", f"Its folder must be {who}'s.") from error
    return True


def read_password(path: Path) -> str:
    """Return the first line of a file.

    Raises:
        PasswordError: It cannot be read, or has none.
    """
    try:
        found = path.read_text().partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error
    if not found.strip():
        raise PasswordError(f"The first line of the password file {path} is empty.", HINT)
    return found


def unreadable(path: Path, error: OSError | UnicodeDecodeError) -> PasswordError:
    """Say why a file gives no password."""
    reason = error.strerror if isinstance(error, OSError) else "it is not text"
    return PasswordError(f"Cannot read the password file {path}: {reason}.", HINT)


if __name__ == "__main__":
    run_command(app)
