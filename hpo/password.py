"""Passwords, kept in files: python -m hpo.password FILE... makes the missing ones.

An argument is shown to everybody on the machine, an environment variable to everybody who may inspect the container.
"""

import os
import secrets
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from hpo import files
from hpo.command import plain_app, run_command
from hpo.errors import PasswordError

N_RANDOM_BYTES = 24
HINT = "It must be a file of yours with a password in its first line; hpo password FILE makes one."

app = plain_app()


@app.command()
def password(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE", readable=False, help="Files that shall hold a password each.")
    ],
    shared: Annotated[
        bool, typer.Option("--shared", help="Readable by every user, for a volume that guards them by itself.")
    ] = False,
) -> None:
    """Write a random password into each file that is missing or empty; the others are kept."""
    for path in paths:
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

    def write(file: BinaryIO) -> None:
        file.write(secrets.token_urlsafe(N_RANDOM_BYTES).encode() + b"\n")
        os.fchmod(file.fileno(), mode)  # --shared means it, whatever the umask

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, write)
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
