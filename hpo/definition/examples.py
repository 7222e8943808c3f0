"""The study files that come with hpo, to copy: from the project's own studies folder, which may hold a user's too."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
NAMES = ("cifar_cnn", "cifar_mlp", "diabetes_mlp", "digits_mlp", "digits_rows", "digits_sgd", "first")


def find_examples() -> dict[str, Path]:
    """Return the studies that come with hpo, by name."""
    installed = PACKAGE / "examples"  # setup.py puts them there; in a checkout they stand beside the package
    folder = installed if installed.is_dir() else PACKAGE.parent / "studies"
    return {name: folder / f"{name}.py" for name in NAMES}
