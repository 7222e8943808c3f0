"""A named data set -> arrays with documented shapes: checked, fingerprinted, memory-mapped and shared.

Never trains, never imports Keras, never loads the test rows; testrows.py does, for who comes last.
"""

import contextlib
import difflib
import functools
import importlib.metadata
import inspect
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpo.data import cifar10
from hpo.data.arrays import Arrays, Report, checked
from hpo.data.batches import CLASS_NAMES
from hpo.data.cache import home_dirs
from hpo.data.columns import as_rows
from hpo.data.digits import read_digits
from hpo.data.glimpse import open_stream
from hpo.data.held_out import TEST_KEYS, with_test_rows
from hpo.data.npz import PARTS, check_parts, open_npz
from hpo.data.prepared import kept, map_prepared
from hpo.data.rows import Rows, arrays_of, each, n_rows_of
from hpo.data.sources import Prepared, Source, Stamp, prepare, remembered, tell_unsteady
from hpo.data.streams import OpenStream
from hpo.data.targets import check_classes, n_classes_of
from hpo.errors import DatasetError
from hpo.stream import Stream
from hpo.tracebacks import told

NAMES = ("cifar10", "digits")
NONE = "none"  # the name and fingerprint of no data
AGAIN_SECONDS = 2.0  # of a data function that takes no longer it is looked whether it returns the same once more

Function = Callable[[], Mapping[str, Any]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """All rows that a search trains and validates on, which of them by a Split; the test rows are not in it.

    Attributes:
        name: "cifar10", "digits", the .npz file's name without its ending, or the function's name.
        x: (n_rows, *input_shape), or several such arrays. uint8: 0 to 255, training scales it to [0, 1]. float32 and
            int32: used as it is. Words, in UTF-8: for a study's preprocess. Memory-mapped copy-on-write: frameworks may
            alias it, and no write reaches the file or another process.
        y: (n_rows,) int32, labels from 0 to n_classes - 1; or other targets, as hpo.data.targets says.
        n_given_val: How many of the last rows are validation rows that the data bring; 0 when they bring none.
        n_classes: The largest label + 1; None where y holds other targets.
        fingerprint: SHA-256 in hex of x, y and the validation rows that the data bring; the same for the same data from
            whatever source.
        sample_weight: (n_rows,) float32, how much each row counts; None where all count alike.
        groups: (n_rows,) int32, which rows belong together; None where none do.
        order: (n_rows,) int32, which rows came before which; None where nobody says so.
        classes: Names of the classes, by their numbers, that y brought; empty where it has none.
        class_names: What people call the classes: those names, or those of a data set that hpo brings.
        test_fingerprint: SHA-256 in hex of the test rows, which are not read for it; empty where there are none, None
            where nobody has looked.
        preprocessed: Where the study's preprocess has made x, the fingerprint of all that there is then; else None.
        stream: Where the rows come from a Stream, that: all else here is said of its first rows.
    """

    name: str
    x: Rows
    y: Rows
    n_given_val: int
    n_classes: int | None
    fingerprint: str
    sample_weight: np.ndarray | None = None
    groups: np.ndarray | None = None
    order: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    test_fingerprint: str | None = None
    preprocessed: str | None = None
    stream: OpenStream | None = None

    @property
    def n_rows(self) -> int:
        """Of training and validation."""
        return n_rows_of(self.y)

    @property
    def input_shape(self) -> Any:
        """One row's shape; of several inputs, a dictionary or tuple of their shapes."""
        return each(lambda array: tuple(array.shape[1:]), self.x)

    def few(self, n_rows: int) -> "Dataset":
        """Return the first rows alone, again from the first where there are fewer."""
        rows = np.arange(n_rows) % self.n_rows
        weight = None if self.sample_weight is None else self.sample_weight[rows]
        x, y = (each(lambda array: np.array(array[rows]), one) for one in (self.x, self.y))
        return replace(self, x=x, y=y, sample_weight=weight, groups=None, order=None)


def no_data() -> Dataset:
    """Return no rows, for a training function that reads its own."""
    return Dataset(name=NONE, x=np.empty((0, 0)), y=np.empty(0, np.int32), n_given_val=0, n_classes=0, fingerprint=NONE)


def describe_numbering(dataset: Dataset) -> str:
    """Say that classes seem to be numbered from 1; empty where they don't."""
    if dataset.n_classes is None or int(np.min(arrays_of(dataset.y)[0])) != 1:
        return ""
    return "No row has class 0: classes are numbered from 0; did you mean y - 1?"


def load_dataset(
    source: str | Path | Function | Stream | None,
    *,
    data_dir: Path | None = None,
    base_dir: Path | None = None,
    fingerprint: str | None = None,
    report: Report | None = None,
    is_classes: bool = True,
) -> Dataset:
    """Load a data set; the first time it is downloaded, checked and prepared, afterwards only mapped.

    Args:
        source: "cifar10"; "digits"; a path that ends in .npz; or a function that returns what such a file holds. Keys:
            x, y (or x_train, y_train); x_val, y_val where the data bring their validation rows; sample_weight,
            sample_weight_val, groups and order, one for each row; and x_test, y_test, sample_weight_test, order_test,
            which are checked, prepared in a folder of their own and not loaded. Or a Stream. None for no rows.
        data_dir: Searched for CIFAR-10, and the place for what is downloaded and prepared. Without it, or where it
            cannot be written: $HPO_CACHE_DIR, $XDG_CACHE_HOME/hpo or ~/.cache/hpo; failing that, a temporary folder.
        base_dir: The study file's folder. A relative .npz path is looked up there, then in the current folder.
        fingerprint: Of data that were prepared before, by the process that opened the study say: they are mapped, and
            the source is read, or its function called, only where they are not found.
        report: Receives a line for whatever takes time or should be known.
        is_classes: Whether the targets must be class numbers.

    Raises:
        DatasetError: The data cannot be found, read, downloaded, trained on or prepared.
    """
    if source is None:
        return no_data()
    is_new, report = fingerprint is None and report is not None, report or (lambda line: None)
    if isinstance(source, Stream):
        arrays, stream, found_as, test = open_stream(source, report, is_new=is_new, is_classes=is_classes)
        dataset = dataset_of(arrays, found_as, "stream")
        return replace(dataset, n_classes=source.n_classes, test_fingerprint=test, stream=stream)
    dirs = home_dirs(data_dir)
    find = functools.partial(find_source, source, dirs, base_dir, report, is_classes=is_classes)
    found = find()
    # Twice: between finding prepared arrays and mapping them, another process may replace or delete them.
    for _attempt in range(2):
        folder, begun_seconds = kept(found.name, fingerprint, dirs), time.monotonic()
        made = Prepared(folder=folder) if folder else remembered(found, dirs) or prepare(find, dirs, report)
        if callable(source) and is_new and time.monotonic() - begun_seconds <= AGAIN_SECONDS:
            tell_unsteady(found, made, report)
        with contextlib.suppress(OSError, ValueError):
            dataset = replace(dataset_in(made.folder, found.name), test_fingerprint=made.test)
            if not callable(source) and str(source) == "cifar10":
                dataset = replace(dataset, class_names=CLASS_NAMES)
            if is_classes:  # it may have been prepared for a study of another kind
                check_classes(found.name, dataset.y, has_validation=dataset.n_given_val > 0)
            if made.test_fault:
                report(f"The test rows cannot be used, and the search does without them: {' '.join(made.test_fault)}")
            return dataset
    raise DatasetError(f"The prepared data in {made.folder} cannot be read.", "Delete that folder and try again.")


def dataset_in(folder: Path, name: str) -> Dataset:
    """Map what was prepared there."""
    return dataset_of(*map_prepared(folder), name)


def dataset_of(arrays: Arrays, fingerprint: str, name: str) -> Dataset:
    """Name arrays."""
    return Dataset(
        name=name,
        x=arrays.x,
        y=arrays.y,
        n_given_val=arrays.n_given_val,
        n_classes=n_classes_of(arrays.y),
        fingerprint=fingerprint,
        sample_weight=arrays.sample_weight,
        groups=arrays.groups,
        order=arrays.order,
        classes=arrays.classes,
        class_names=arrays.classes,
    )


def find_source(
    source: str | Path | Function, dirs: list[Path], base_dir: Path | None, report: Report, *, is_classes: bool = True
) -> Source:
    """What the study asks for, with the files that it stands for now; reads none of them."""
    if callable(source):
        return function_source(source, report, is_classes=is_classes)
    if str(source) == "cifar10":
        return cifar10_source(dirs, report)
    if str(source) == "digits":
        stamp: Stamp = [["scikit-learn", importlib.metadata.version("scikit-learn")]]
        return Source(name="digits", key="digits", stamp=stamp, read=lambda _: read_digits())
    if str(source).endswith(".npz"):
        return npz_source(Path(source), base_dir, report, is_classes=is_classes)
    close = difflib.get_close_matches(str(source), NAMES, n=1, cutoff=0.5)
    guess = f"Did you mean {close[0]!r}? " if close else ""
    known = f"hpo knows {', '.join(NAMES)}, paths that end in .npz, and functions in the study file."
    raise DatasetError(f"There is no data set {str(source)!r}.", guess + known)


def cifar10_source(dirs: list[Path], report: Report) -> Source:
    """The first CIFAR-10 there is, or none yet."""
    found = cifar10.find(dirs)
    files = found[0].files() if found else []

    def read(download_dir: Path) -> Arrays:
        (x, y), (test_x, test_y) = cifar10.obtain(found, dirs, download_dir, report)
        return Arrays(x=x, y=y.astype(np.int32), test=Arrays(x=test_x, y=test_y.astype(np.int32)))

    key = str(found[0].path.resolve()) if found else ""
    return Source(name="cifar10", key=key, stamp=stamp_of(files), read=read)


def npz_source(path: Path, base_dir: Path | None, report: Report, *, is_classes: bool) -> Source:
    """A .npz file, wherever it is."""
    path = path.expanduser()
    candidates = [folder / path for folder in (base_dir, Path.cwd()) if folder is not None]
    existing = next((candidate for candidate in candidates if candidate.is_file()), None)
    if existing is None:
        places = ", ".join(dict.fromkeys(str(candidate) for candidate in candidates))
        raise DatasetError(f"There is no file {path.name}: looked for {places}.", "Check the path in STUDY.dataset.")
    file = existing.resolve()
    return Source(
        name=path.stem,
        # A column of class numbers is kept as such for other tasks: two notes of what was prepared.
        key=str(file) if is_classes else f"{file} for other targets",
        stamp=stamp_of([file]),
        read=lambda _: read_npz(file, report, is_classes=is_classes),
    )


def function_source(function: Function, report: Report, *, is_classes: bool) -> Source:
    """A function of the study file."""
    name = getattr(function, "__name__", type(function).__name__)
    try:
        where = f"{inspect.getsourcefile(function)}: {name}()"
    except TypeError:
        where = f"{name}()"

    def read(_download_dir: Path) -> Arrays:
        try:
            returned = function()
        except DatasetError:
            raise
        except Exception as error:
            raise DatasetError(f"{where} raised {told(error)}", "Mend the function in the study file.") from error
        if not isinstance(returned, Mapping):
            hint = 'Return a dictionary: {"x": ..., "y": ...}. Batches come from a Stream: dataset=Stream(train=...).'
            raise DatasetError(f"{where} returned a {type(returned).__name__}.", hint)
        keys = list(returned)

        def part(key: str) -> Rows:
            return as_rows(where, key, returned[key])

        arrays = checked(where, keys, part, report, is_classes=is_classes)
        return with_test_rows(arrays, where, keys, part, is_classes=is_classes)

    return Source(name=name, key=where, stamp=None, read=read)


def stamp_of(files: list[Path]) -> Stamp:
    """Path, bytes and time of change of each file."""
    return [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def read_npz(path: Path, report: Report, *, is_classes: bool) -> Arrays:
    """Read and check what a search needs of a .npz file; never unpickles."""
    try:
        with path.open("rb") as file:
            archive = open_npz(path, file)
            keys = list(archive)

            def part(key: str) -> np.ndarray:
                if key in TEST_KEYS:  # a fault of theirs is no fault of the others
                    check_parts(path, file, (*PARTS, *TEST_KEYS))
                return np.asarray(archive[key])

            arrays = checked(str(path), keys, part, report, is_classes=is_classes)
            return with_test_rows(arrays, str(path), keys, part, is_classes=is_classes)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(
            f"{path} cannot be read as .npz: {error}.", "Write it with np.savez(path, x=..., y=...)."
        ) from error
