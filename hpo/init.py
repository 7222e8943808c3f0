"""A study file to begin with, written into the studies folder: python -m hpo.init."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from hpo.command import StudiesDir, plain_app, run_command, typed_hpo
from hpo.errors import FolderError, OptionError
from hpo.names import is_file_name

FIRST = "first"
HINT = "Give another name: hpo init NAME"

app = plain_app()


@app.command()
def init(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The new study's name. Default: the example's.")
    ] = None,
    example: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What to begin with: first, a model of your own; digits_mlp; cifar_mlp; cifar_cnn; diabetes_mlp; "
            "digits_rows; or digits_sgd.",
        ),
    ] = FIRST,
    studies_dir: StudiesDir = Path("studies"),
) -> None:
    """Write a study file to begin with: it runs as it is, and its comments say what to change."""
    from hpo.definition import find_examples

    shipped = find_examples()
    if example not in shipped:
        raise OptionError(f'hpo has no example "{example}".', f"It has {', '.join(shipped)}.")
    name = (name or example).removesuffix(".py")
    check_name(name, studies_dir)
    path = studies_dir / f"{name}.py"
    hint = HINT if example == FIRST else f"{HINT} --example {example}"
    if path.is_file() and path.read_bytes() == shipped[example].read_bytes():
        hint = f"It is the example, unchanged, and can be run. {hint}"
    write_new(path, shipped[example].read_text(), hint)
    where = "" if studies_dir == Path("studies") else f" --studies-dir {shlex.quote(str(studies_dir))}"
    print(f"{path} is written. Run it, then change it:\n    {typed_hpo()} run --study {shlex.quote(name)}{where}")


def check_name(name: str, studies_dir: Path) -> None:
    """Refuse what cannot be a study's name, or would hide a module from the files of the studies folder.

    Raises:
        OptionError: It is one of those.
    """
    from hpo.definition import hides_module

    if not is_file_name(name) or name.startswith("_"):
        raise OptionError(f'"{name}" cannot be a study\'s name.', HINT)
    if "." not in name and hides_module(studies_dir / f"{name}.py"):
        raise OptionError(f"A study file {name}.py would hide Python's module {name} from all files beside it.", HINT)


def write_new(path: Path, text: str, hint: str) -> None:
    """Write a file that is not there yet; the hint is for where it is.

    Raises:
        OptionError: It is.
        FolderError: It cannot be written.
    """
    if path.exists() or path.is_symlink():
        raise OptionError(f"{path} is there already, and stays as it is.", hint)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            file.write(text)
    except OSError as error:
        raise FolderError(f"{path} cannot be written: {error.strerror}.") from error


if __name__ == "__main__":
    run_command(app)
