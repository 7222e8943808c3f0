"""Find and import the files in a studies folder.

Finding and listing read the source only; nothing of the file runs. Importing runs it, with the same
trust as any Python file.
"""

import ast
import difflib
import importlib.machinery
import importlib.util
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpo.definition.examples import find_examples
from hpo.definition.shipped import SHIPPED_DIR, digest_of, load_shipped
from hpo.definition.source import definitions, parse, study_fields
from hpo.definition.study import StudyDefinition
from hpo.errors import HpoError, StudyFileError
from hpo.names import FINISH, is_file_name, search_of
from hpo.terminal import warn_once
from hpo.tracebacks import field_hint, is_library, told


@dataclass(frozen=True, kw_only=True)
class StudyFile:
    """One file of a studies folder; its stem is the study's name, and `trainer` the name of what trains its trials."""

    name: str
    path: Path
    title: str
    trainer: str = "keras"


def list_studies(studies_dir: Path) -> list[StudyFile]:
    """Read names and first docstring lines of all study files, by name; hidden ones and those named _... are left out.

    Raises:
        StudyFileError: The folder does not exist.
    """
    if not studies_dir.is_dir():
        raise StudyFileError(
            f"There is no folder {studies_dir}.",
            "hpo init makes it, with a first study file in it; --studies-dir names another folder.",
        )
    paths = sorted(path for path in studies_dir.glob("*.py") if not path.name.startswith(("_", ".")))
    files = []
    for path in paths:
        if not is_file_name(path.stem):
            warn_once(f"{path} is left out: its name cannot be a study's.")
        elif not path.is_file():  # reading a FIFO would never end
            warn_once(f"{path} is left out: it is no regular file.")
        else:
            files.append(path)
    return [_study_file(path, tree) for path, tree in ((path, _tree(path)) for path in files) if tree is not None]


def find_study(name: str, studies_dir: Path, *, runs_dir: Path | None = None) -> StudyFile:
    """Find a study's file by name.

    Args:
        name: The study's.
        studies_dir: Where it is.
        runs_dir: May hold the definitions that hpo.tune was given; of one, the message says so.

    Raises:
        StudyFileError: There is none; close names are suggested.
    """
    if "@" in name:
        raise StudyFileError(
            f'"{name}" names a generation of a stored study; a run works on the latest.', "Leave @ out."
        )
    if name.endswith(FINISH):
        raise StudyFileError(
            f'"{name}" is the finish of a study, and has no file.', f"hpo finish --study {search_of(name)} goes on."
        )
    if not is_file_name(name):
        raise StudyFileError(f'"{name}" cannot be a study\'s name.', _advice_on_path(Path(name), studies_dir))
    path = studies_dir / f"{name}.py"
    if runs_dir is not None and not path.is_file() and (runs_dir / SHIPPED_DIR / path.name).is_file():
        raise StudyFileError(
            f'There is no study named "{name}" in {studies_dir}: it was made in Python, and hpo.tune wrote it down.',
            f"Name the folder with what was written: --studies-dir {shlex.quote(str(runs_dir / SHIPPED_DIR))}",
        )
    is_unmade = name in find_examples() and not studies_dir.exists()
    found = {} if is_unmade else {study.name: study for study in list_studies(studies_dir)}
    if name in found:
        return found[name]
    if path.is_file():
        parse(path)  # a syntax error is the likelier reason than a missing STUDY
        raise StudyFileError(f"{path} declares no STUDY.", "End the file with STUDY = StudyDefinition(...).")
    names = ", ".join(found) or "none"
    raise StudyFileError(
        f'There is no study named "{name}" in {studies_dir} (found: {names}).', _advice(name, [*found], studies_dir)
    )


def _advice_on_path(path: Path, studies_dir: Path) -> str:
    if path.suffix == ".py" and (studies_dir / path.name).is_file():
        return f'Did you mean "{path.stem}"?'
    if path.suffix == ".py" and path.is_file():
        return (
            f"Its name is {path.stem}: --study {shlex.quote(path.stem)} --studies-dir {shlex.quote(str(path.parent))}"
        )
    return "Name a file of the studies folder, without .py."


def hides_module(path: Path) -> bool:
    """Whether a file has the name of an installed module, which the files beside it would get this one for."""
    folder = path.parent.resolve()
    others = [entry for entry in sys.path if Path(entry).resolve() != folder]
    found = importlib.machinery.PathFinder.find_spec(path.stem, others)
    is_installed = found is not None and found.origin is not None and is_library(found.origin)
    return is_installed or path.stem in (*sys.builtin_module_names, "hpo")


def _advice_on_import(file: StudyFile) -> str:
    if hides_module(file.path):
        return f"Give it another name: {file.path} hides Python's module {file.name} from all that import it."
    return f"Try it by itself: python {file.path}"


def _advice(name: str, found: Sequence[str], studies_dir: Path) -> str:
    where = "" if studies_dir == Path("studies") else f" --studies-dir {shlex.quote(str(studies_dir))}"
    if name in find_examples():
        return f"It comes with hpo: hpo init --example {name}{where}"
    close = difflib.get_close_matches(name, found, n=1)
    if close:
        return f'Did you mean "{close[0]}"?'
    if not found:
        return f"Write a file to begin with: hpo init {shlex.quote(name)}{where}"
    return "Name one of those, or another folder with --studies-dir."


def load_definition(file: StudyFile) -> StudyDefinition:
    """Import a study's file and return its STUDY. Modules beside the file can be imported by it.

    Raises:
        StudyFileError: It cannot be imported, or STUDY is not a StudyDefinition.
    """
    digest = digest_of(file.path)
    definition = _run(file) if digest is None else load_shipped(file.path, digest)
    if not isinstance(definition, StudyDefinition):
        raise StudyFileError(
            f"{file.path}: STUDY must be an hpo StudyDefinition, not {type(definition).__name__}.",
            "End the file with STUDY = StudyDefinition(...).",
        )
    if definition.trainer != file.trainer:  # what trains was settled before the file was run
        raise StudyFileError(
            f"{file.path}: it is not to be seen in the file's text whether STUDY has train.",
            "Write it out at the file's end: STUDY = StudyDefinition(train=..., search_space=..., ...).",
        )
    return definition


def _run(file: StudyFile) -> object:
    """Run a study's file and return its STUDY."""
    folder = str(file.path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = f"studies.{file.name}"
    spec = importlib.util.spec_from_file_location(name, file.path)
    if spec is None or spec.loader is None:
        raise StudyFileError(f"{file.path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    try:
        # Not by the loader: it takes the bytecode of an earlier import for a file edited within the same second.
        exec(compile(file.path.read_bytes(), file.path, "exec", dont_inherit=True), vars(module))
    except HpoError as error:
        raise type(error)(f"{file.path}: {error.message}", error.hint) from error
    except Exception as error:
        raise StudyFileError(
            f"{file.path} cannot be imported: {told(error)}",
            field_hint(error) or _advice_on_import(file),
        ) from error
    return getattr(module, "STUDY", None)


def _study_file(path: Path, tree: ast.Module) -> StudyFile:
    title = (ast.get_docstring(tree) or "").partition("\n")[0]
    return StudyFile(name=path.stem, path=path, title=title, trainer="own" if _has_train(tree) else "keras")


def _has_train(tree: ast.Module) -> bool:
    train = (study_fields(tree) or {}).get("train")
    return train is not None and not (isinstance(train, ast.Constant) and train.value is None)


def _tree(path: Path) -> ast.Module | None:
    """Return what is in a file that declares a study; None for others."""
    try:
        tree = ast.parse(path.read_bytes())
        return tree if "STUDY" in definitions(tree) else None
    except (SyntaxError, ValueError, OSError):
        return None
