"""The study files that come with hpo, to copy: those of the project's own studies folder."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def find_examples() -> dict[str, Path]:
    """Return the studies that come with hpo, by name."""
    installed = PACKAGE / "examples"  # setup.py puts them there; in a checkout they stand beside the package
    folder = installed if installed.is_dir() else PACKAGE.parent / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.py"))}
