"""What all commands share: plain help, and every error a user can meet as one message with an exit code of its own."""

import os
import sys

import typer

from hpo.errors import HpoError


def plain_app(*, no_args_is_help: bool = False) -> typer.Typer:
    """Return an empty command line whose help and errors are plain text."""
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=no_args_is_help,
    )


def run_command(app: typer.Typer) -> None:
    """Run a command line and exit."""
    try:
        app()
    except HpoError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"       {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader, head say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
