"""A named data set -> arrays with documented shapes: checked, split, fingerprinted, memory-mapped and shared.

Never trains, never imports Keras. Arrays are prepared once, as .npy files in
`<--data-dir or hpo's cache>/prepared/<name>-<fingerprint>/`; every process maps those, so one copy in the page cache
serves all workers. The test rows lie beside them and are never loaded here.
"""

import contextlib
import difflib
import fcntl
import hashlib
import importlib.metadata
import inspect
import json
import os
import re
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpo import cifar10
from hpo.errors import DatasetError

NAMES = ("cifar10", "digits")
VALIDATION_SHARE = 0.1  # of the rows, when the data bring no validation rows of their own
DIGITS_TEST_SHARE = 0.2
UNUSED_SECONDS = 7 * 24 * 3600  # prepared arrays that no command has used for so long are deleted
FORMAT = 1  # of the prepared folder; a change makes older ones be prepared again

Report = Callable[[str], None]
Function = Callable[[], Mapping[str, np.ndarray]]
Stamp = list[list[str | int]]  # what must be unchanged for a source to hold the same data


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """What a search trains and validates on; the test rows are not in it.

    Attributes:
        name: "cifar10", "digits", the .npz file's name without its ending, or the function's name.
        x: (n_rows, *input_shape). uint8: 0 to 255, training scales it to [0, 1]. float32: used as it is. Memory-mapped
            copy-on-write: frameworks may alias it, and no write reaches the file or another process.
        y: (n_rows,) int32, labels from 0 to n_classes - 1.
        train_rows: (n_train,) int32, ascending row numbers of x.
        val_rows: (n_val,) int32, ascending; none of them in train_rows.
        n_classes: The largest label + 1.
        fingerprint: SHA-256 in hex of x, y and the validation rows that the data bring; the same for the same data from
            whatever source, and independent of the seed.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    train_rows: np.ndarray
    val_rows: np.ndarray
    n_classes: int
    fingerprint: str

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One row's shape."""
        return tuple(self.x.shape[1:])


@dataclass(frozen=True, eq=False, kw_only=True)
class Arrays:
    """Checked data, before they are prepared.

    Attributes:
        x, y: As in Dataset.
        n_given_val: How many of the last rows are validation rows that the data bring; 0 when they bring none.
        test: Further .npy files by name, for the test rows.
    """

    x: np.ndarray
    y: np.ndarray
    n_given_val: int = 0
    test: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where data come from.

    Attributes:
        name: For people, and for the prepared folder's name.
        key: What tells this source from others of the same name.
        stamp: Empty when nothing tells whether the data have changed, so they are read every time.
        read: Takes the folder for downloads; slow.
    """

    name: str
    key: str
    stamp: Stamp
    read: Callable[[Path], Arrays]


def load(
    source: str | Path | Function,
    *,
    seed: int,
    data_dir: Path | None = None,
    base_dir: Path | None = None,
    report: Report | None = None,
) -> Dataset:
    """Load a data set; the first time it is downloaded, checked and prepared, afterwards only mapped.

    Args:
        source: "cifar10"; "digits"; a path that ends in .npz; or a function that returns what such a file holds. Keys:
            x, y (or x_train, y_train); x_val, y_val where the data bring their validation rows, else 10 % are drawn
            from the seed, stratified; x_test, y_test are left alone.
        seed: The study's; decides the split and nothing else.
        data_dir: Searched for CIFAR-10, and the place for what is downloaded and prepared. Without it, or where it
            cannot be written: $HPO_CACHE_DIR, $XDG_CACHE_HOME/hpo or ~/.cache/hpo; failing that, a temporary folder.
        base_dir: The study file's folder. A relative .npz path is looked up there, then in the current folder.
        report: Receives a line for whatever takes time or should be known.

    Raises:
        DatasetError: The data cannot be found, read, downloaded, trained on or prepared.
    """
    report = report or (lambda line: None)
    if data_dir is not None:
        data_dir = Path(data_dir).expanduser()
        if data_dir.exists() and not data_dir.is_dir():
            raise DatasetError(f"--data-dir {data_dir} is a file, not a folder.", "Give the folder that holds it.")
    dirs = home_dirs(data_dir)
    found = find_source(source, dirs, base_dir, report)
    # Twice: between finding prepared arrays and mapping them, another process may replace or delete them.
    for _attempt in range(2):
        folder = remembered(found, dirs) or prepare(source, dirs, base_dir, report)
        with contextlib.suppress(OSError, ValueError):
            return open_prepared(folder, found.name, seed)
    raise DatasetError(f"The prepared data in {folder} cannot be read.", "Delete that folder and try again.")


# ---- sources ----


def find_source(source: str | Path | Function, dirs: list[Path], base_dir: Path | None, report: Report) -> Source:
    """What the study asks for, with the files that it stands for now; reads none of them."""
    if callable(source):
        return function_source(source, report)
    if str(source) == "cifar10":
        return cifar10_source(dirs, report)
    if str(source) == "digits":
        stamp: Stamp = [["scikit-learn", importlib.metadata.version("scikit-learn")]]
        return Source(name="digits", key="digits", stamp=stamp, read=lambda _: read_digits())
    if str(source).endswith(".npz"):
        return npz_source(Path(source), base_dir, report)
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
        test = {"test_x": test_x, "test_y": test_y.astype(np.int32)}
        return Arrays(x=x, y=y.astype(np.int32), test=test)

    key = str(found[0].path.resolve()) if found else ""
    return Source(name="cifar10", key=key, stamp=stamp_of(files), read=read)


def npz_source(path: Path, base_dir: Path | None, report: Report) -> Source:
    """A .npz file, wherever it is."""
    path = path.expanduser()
    candidates = [folder / path for folder in (base_dir, Path.cwd()) if folder is not None]
    existing = next((candidate for candidate in candidates if candidate.is_file()), None)
    if existing is None:
        places = ", ".join(dict.fromkeys(str(candidate) for candidate in candidates))
        raise DatasetError(f"There is no file {path.name}: looked for {places}.", "Check the path in STUDY.dataset.")
    file = existing.resolve()
    return Source(name=path.stem, key=str(file), stamp=stamp_of([file]), read=lambda _: read_npz(file, report))


def function_source(function: Function, report: Report) -> Source:
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
            message = f"{where} raised {type(error).__name__}: {error}"
            raise DatasetError(message, "Mend the function in the study file.") from error
        if not isinstance(returned, Mapping):
            kind = type(returned).__name__
            raise DatasetError(f"{where} returned a {kind}.", 'Return a dictionary: {"x": ..., "y": ...}.')
        return checked(where, list(returned), lambda key: np.asarray(returned[key]), report)

    return Source(name=name, key=where, stamp=[], read=read)


def stamp_of(files: list[Path]) -> Stamp:
    """Path, bytes and time of change of each file."""
    return [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def read_digits() -> Arrays:
    """scikit-learn's digits: (n, 8, 8, 1) uint8, scaled from its 0 to 16; a fifth is set aside for testing."""
    # A second to import, so only when it is asked for.
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    bunch = load_digits()
    x = np.rint(bunch.images[..., np.newaxis] * (255 / 16)).astype(np.uint8)
    y = bunch.target.astype(np.int32)
    rows, test_rows = split(y, DIGITS_TEST_SHARE, seed=0)  # the same test rows for every study
    return Arrays(x=x[rows], y=y[rows], test={"test_x": x[test_rows], "test_y": y[test_rows]})


def read_npz(path: Path, report: Report) -> Arrays:
    """Read and check what a search needs of a .npz file; never unpickles."""
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DatasetError(f"{path} holds a single array.", "Write it with np.savez(path, x=..., y=...).")
            return checked(str(path), list(archive), lambda key: np.asarray(archive[key]), report)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(
            f"{path} cannot be read as .npz: {error}.", "Write it with np.savez(path, x=..., y=...)."
        ) from error


# ---- checking ----


def checked(where: str, keys: list[str], read: Callable[[str], np.ndarray], report: Report) -> Arrays:
    """Check what a file or function brings, and bring it into the form that Dataset documents."""
    x_key, y_key = training_keys(where, keys)
    if ("x_val" in keys) != ("y_val" in keys):
        raise DatasetError(f"{where} holds only one of x_val and y_val.", "Give both, or neither.")
    ignored = [key for key in keys if key not in (x_key, y_key, "x_val", "y_val", "x_test", "y_test")]
    if ignored:
        report(f"{where}: ignoring {', '.join(map(str, ignored))}")
    x, y = checked_pair(where, x_key, y_key, read, report)
    n_given_val = 0
    if "x_val" in keys:
        x_val, y_val = checked_pair(where, "x_val", "y_val", read, report)
        if (x_val.shape[1:], x_val.dtype) != (x.shape[1:], x.dtype):
            found = f"{x_val.dtype} {x_val.shape[1:]}, {x_key}'s {x.dtype} {x.shape[1:]}"
            raise DatasetError(f"{where}: x_val's rows are {found}.", "Both must have one shape and dtype.")
        n_given_val = len(y_val)
        x, y = np.concatenate([x, x_val]), np.concatenate([y, y_val])
    check_classes(where, y_key, y)
    if not n_given_val and len(np.unique(y)) == len(y):
        hint = "Give x_val and y_val, or at least two rows of some class: one to train on, one to validate on."
        raise DatasetError(f"{where}: every label of {y_key} occurs only once.", hint)
    return Arrays(x=x, y=y, n_given_val=n_given_val)


def training_keys(where: str, keys: list[str]) -> tuple[str, str]:
    """Which of the two namings is used."""
    complete = [pair for pair in (("x", "y"), ("x_train", "y_train")) if set(pair) <= set(keys)]
    if len(complete) == 1:
        return complete[0]
    fault = "both x, y and x_train, y_train" if complete else "neither x and y nor x_train and y_train"
    raise DatasetError(
        f"{where} holds {fault} (its keys: {', '.join(map(str, keys)) or 'none'}).",
        "Name the rows x and the labels y, and where the split is given, x_val and y_val.",
    )


def checked_pair(
    where: str, x_key: str, y_key: str, read: Callable[[str], np.ndarray], report: Report
) -> tuple[np.ndarray, np.ndarray]:
    """Check rows and their labels."""
    arrays = []
    for key in (x_key, y_key):
        try:
            arrays.append(read(key))
        except Exception as error:  # also what np.asarray raises for a user's own objects
            raise DatasetError(f"{where}: {key} cannot be read as an array: {error}", "Store a plain array.") from error
    x, y = checked_rows(where, x_key, arrays[0], report), checked_labels(where, y_key, arrays[1])
    if len(x) != len(y):
        raise DatasetError(
            f"{where}: {x_key} has {len(x):,} rows, {y_key} {len(y):,} labels.", "Give each row one label."
        )
    return x, y


def checked_rows(where: str, key: str, x: np.ndarray, report: Report) -> np.ndarray:
    """Rows as uint8 or finite float32."""
    if x.dtype.kind not in "buif":
        hint = "Store one plain array of numbers: np.stack(rows)."
        raise DatasetError(f"{where}: {key} has dtype {x.dtype}, which is not a number's.", hint)
    if x.ndim < 2 or x.size == 0:
        hint = "It needs rows of at least one number: (n_rows, n_features) or (n_rows, height, width, channels)."
        raise DatasetError(f"{where}: {key} has shape {x.shape}.", hint)
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    if x.dtype.kind in "ui" and x.max() > 1:
        report(f"{where}: {key} holds {x.dtype} and is used as it is; only uint8 is scaled, from 0..255 to [0, 1]")
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(x, dtype=np.float32)
    step = max(1, (1 << 24) // rows[0].size)  # by parts: no mask as long as the data
    for start in range(0, len(rows), step):
        if not np.isfinite(rows[start : start + step]).all():
            bad = start + int(np.argmin(np.isfinite(rows[start : start + step]).reshape(-1, rows[0].size).all(axis=1)))
            hint = "Remove or replace such rows; a model learns nothing from them."
            raise DatasetError(f"{where}: {key} holds NaN or infinity, first in row {bad:,} (as float32).", hint)
    return rows


def checked_labels(where: str, key: str, y: np.ndarray) -> np.ndarray:
    """Labels as int32 (n,), none negative."""
    if y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "buif":
        hint = f"hpo takes one class number per row. From one-hot: {key} = {key}.argmax(axis=1)."
        raise DatasetError(f"{where}: {key} has shape {y.shape}: one-hot, or several outputs per row.", hint)
    if y.dtype.kind == "f":
        hint = f'hpo does no regression. If these are class numbers: {key} = {key}.astype("int32").'
        raise DatasetError(f"{where}: hpo trains classifiers; {key} holds floats.", hint)
    if y.dtype.kind not in "bui":
        hint = f"hpo takes class numbers from 0: {key} = np.unique({key}, return_inverse=True)[1]."
        raise DatasetError(f"{where}: {key} holds {y.dtype}, not integers.", hint)
    if y.size == 0 or y.ndim not in (1, 2):
        raise DatasetError(f"{where}: {key} has shape {y.shape}.", "Give one class number per row: (n_rows,).")
    if y.min() < 0 or y.max() >= 2**31:
        hint = f"Number the classes from 0 without gaps: {key} = np.unique({key}, return_inverse=True)[1]."
        raise DatasetError(f"{where}: {key} holds {y.min()} to {y.max()}.", hint)
    return y.reshape(-1).astype(np.int32)


def check_classes(where: str, key: str, y: np.ndarray) -> None:
    """Refuse labels that are one class only, or no class numbers: hardly any of 0 to the largest occurs."""
    classes = np.unique(y)
    if len(classes) < 2:
        hint = "A classifier needs rows of at least two classes."
        raise DatasetError(f"{where}: all of {key} is {classes[0]}, a single class.", hint)
    n_classes = int(classes[-1]) + 1
    # Some classes may lack rows (a sample of a larger set); numbers like 1000, 2000 would only build a huge layer.
    if 2 * len(classes) < n_classes:
        hint = f"Number the classes from 0 without gaps: {key} = np.unique({key}, return_inverse=True)[1]."
        raise DatasetError(f"{where}: {key} has {len(classes):,} classes, numbered up to {classes[-1]:,}.", hint)


def split(y: np.ndarray, share: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a share of every class, at least one row of any two: (the other rows, the drawn rows), both ascending."""
    # Raw draws of a bit generator: NumPy promises these, but not a Generator's permutation, for every version to come.
    draws = np.random.PCG64(np.random.SeedSequence(seed % 2**64)).random_raw(len(y))
    order = np.lexsort((draws, y))  # class by class, in the order drawn
    counts = np.bincount(y)
    n_drawn = np.where(counts < 2, 0, np.maximum(1, np.rint(counts * share))).astype(np.int64)
    place_in_class = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    is_drawn = np.zeros(len(y), bool)
    is_drawn[order[place_in_class < np.repeat(n_drawn, counts)]] = True
    return np.flatnonzero(~is_drawn).astype(np.int32), np.flatnonzero(is_drawn).astype(np.int32)


# ---- prepared arrays ----


def home_dirs(data_dir: Path | None) -> list[Path]:
    """Where data are looked for and kept, in this order: --data-dir, hpo's cache, a temporary folder."""
    own_cache, caches = os.environ.get("HPO_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    cache = os.path.expanduser(own_cache or os.path.join(caches or "~/.cache", "hpo"))
    dirs = [] if data_dir is None else [data_dir]
    if not cache.startswith("~"):  # a container's user may have no home
        dirs.append(Path(cache))
    return [*dirs, temporary_dir()] if is_trusted(temporary_dir()) else dirs


def writable_dir(dirs: list[Path], report: Report) -> Path:
    """The first of these that can be written.

    Raises:
        DatasetError: None can.
    """
    for folder in dirs:
        with contextlib.suppress(OSError):
            (folder / "prepared").mkdir(parents=True, exist_ok=True)
            if not os.access(folder / "prepared", os.W_OK | os.X_OK):
                continue
            if folder == temporary_dir():
                if not is_trusted(folder):
                    continue
                report(f"no permanent folder can be written, data go to {folder}")
            return folder
    tried = ", ".join(str(folder) for folder in dirs)
    raise DatasetError(f"None of these folders can be written: {tried}.", "Set HPO_CACHE_DIR to one that can.")


def temporary_dir() -> Path:
    """The last resort: the same folder for all of a user's processes."""
    return Path(tempfile.gettempdir()) / f"hpo-{os.getuid()}"


def is_trusted(folder: Path) -> bool:
    """Whether a folder among everyone's temporary ones is this user's; one that is not there yet may become so."""
    with contextlib.suppress(FileNotFoundError):
        return folder.lstat().st_uid == os.getuid()
    return True


def record_path(root: Path, source: Source) -> Path:
    """The note of which prepared folder belongs to a source."""
    key = hashlib.sha256(source.key.encode()).hexdigest()[:16]
    return root / "prepared" / f"{plain(source.name)}-{key}.json"


def plain(name: str) -> str:
    """A name for a file."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:40] or "data"


def remembered(source: Source, dirs: list[Path]) -> Path | None:
    """The folder that this very source was prepared into, if it is still whole."""
    if not source.stamp:
        return None
    for root in dirs:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(record_path(root, source).read_text())
            folder = root / "prepared" / Path(note["folder"]).name
            if note["stamp"] == source.stamp and is_whole(folder):
                return folder
    return None


def is_whole(folder: Path) -> bool:
    """Whether every prepared file is there and as long as it was written."""
    try:
        facts = json.loads((folder / "dataset.json").read_text())
        sizes = {name: (folder / name).stat().st_size for name in facts["n_bytes"]}
        return bool(facts["format"] == FORMAT and sizes == facts["n_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def prepare(source: str | Path | Function, dirs: list[Path], base_dir: Path | None, report: Report) -> Path:
    """Read, check and write the arrays, or wait for the process that is doing so: the prepared folder."""
    root = writable_dir(dirs, report)
    found = find_source(source, dirs, base_dir, report)
    # A function may take long, and no other process can spare us the call: outside the lock.
    arrays = found.read(root) if callable(source) else None
    with locked(root / "prepared" / f".{plain(found.name)}.lock", report):
        found = find_source(source, dirs, base_dir, report)
        folder = remembered(found, dirs)
        if folder is not None:
            return folder
        arrays = arrays or found.read(root)
        fingerprint = fingerprint_of(arrays)
        folder = root / "prepared" / f"{plain(found.name)}-{fingerprint[:16]}"
        with explained(root, arrays.x.nbytes):
            if not is_whole(folder):
                report(f"preparing {found.name} in {folder}")
                delete_unused(root / "prepared")
                write_prepared(folder, arrays, fingerprint)
            # After a download there are files that were not there before.
            found = found if found.stamp else find_source(source, dirs, base_dir, report)
            if found.stamp:
                write_atomically(record_path(root, found), {"stamp": found.stamp, "folder": folder.name})
    return folder


def fingerprint_of(arrays: Arrays) -> str:
    """SHA-256 of the data a search sees."""
    digest = hashlib.sha256(f"hpo data, last {arrays.n_given_val} rows for validation".encode())
    for array in (arrays.x, arrays.y):
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{little.dtype.str} {little.shape}".encode())
        digest.update(np.ascontiguousarray(little).data)
    return digest.hexdigest()


def write_prepared(folder: Path, arrays: Arrays, fingerprint: str) -> None:
    """Write the folder under another name, then rename it, so that it is whole or not there. The caller has the lock.

    Raises:
        OSError: Not enough space, or no permission.
    """
    name, making = folder.name[:-16], folder.with_name(f".making-{folder.name}")
    for left in folder.parent.glob(f".making-{name}{'[0-9a-f]' * 16}"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        making.mkdir()
        files = {"x": arrays.x, "y": arrays.y, **arrays.test}
        n_bytes = {f"{name}.npy": write_npy(making / f"{name}.npy", array) for name, array in files.items()}
        facts = {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "n_classes": int(arrays.y.max()) + 1,
            "n_given_val": arrays.n_given_val,
            "n_bytes": n_bytes,
        }
        write_atomically(making / "dataset.json", facts)
        if folder.exists():  # damaged; whoever maps it keeps what is mapped
            folder.rename(making / "damaged")
            making.rename(folder)
            shutil.rmtree(folder / "damaged", ignore_errors=True)
        else:
            making.rename(folder)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def write_npy(path: Path, array: np.ndarray) -> int:
    """Write a .npy file down to the disk: its bytes. Unlike np.save, a full disk shows by its errno."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def write_atomically(path: Path, content: Mapping[str, Any]) -> None:
    """Write a small JSON file; a reader sees the old one or the new one."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_text(json.dumps(content))
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def open_prepared(folder: Path, name: str, seed: int) -> Dataset:
    """Map the arrays and draw the split.

    Raises:
        OSError, ValueError: The folder has gone or is damaged.
    """
    facts = json.loads((folder / "dataset.json").read_text())
    x = np.load(folder / "x.npy", mmap_mode="c", allow_pickle=False)
    y = np.load(folder / "y.npy", mmap_mode="c", allow_pickle=False)
    n_given_val = facts["n_given_val"]
    if n_given_val:
        train_rows, val_rows = np.split(np.arange(len(y), dtype=np.int32), [len(y) - n_given_val])
    else:
        train_rows, val_rows = split(y, VALIDATION_SHARE, seed=seed)
    with contextlib.suppress(OSError):  # may be another user's folder
        os.utime(folder / "dataset.json")
    return Dataset(
        name=name,
        x=x,
        y=y,
        train_rows=train_rows,
        val_rows=val_rows,
        n_classes=facts["n_classes"],
        fingerprint=facts["fingerprint"],
    )


def delete_unused(prepared_dir: Path) -> None:
    """Make room: prepared folders that nobody has loaded for long go. They can be made again."""
    for facts in prepared_dir.glob("*/dataset.json"):
        with contextlib.suppress(OSError):
            if time.time() - facts.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(facts.parent, ignore_errors=True)


@contextlib.contextmanager
def explained(root: Path, n_bytes: int) -> Iterator[None]:
    """Turn what the operating system says about writing into plain words."""
    try:
        yield
    except OSError as error:
        free_bytes = shutil.disk_usage(root).free
        raise DatasetError(
            f"The prepared data ({n_bytes / 1e6:,.0f} MB) cannot be written to {root}: {error.strerror}"
            f" ({free_bytes / 1e6:,.0f} MB are free). Nothing was left there.",
            "Free some space, or choose another folder with --data-dir or HPO_CACHE_DIR.",
        ) from error


@contextlib.contextmanager
def locked(path: Path, report: Report) -> Iterator[None]:
    """Hold a file's lock; it ends with the process, however that ends.

    Raises:
        DatasetError: The file system knows no locks.
    """
    try:
        file = path.open("a")
    except PermissionError:  # another user's, in a shared folder: reading is enough to lock it
        file = path.open("r")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another process that prepares the same data")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            message = f"{path} cannot be locked: {error.strerror}."
            raise DatasetError(message, "Choose another folder with --data-dir or HPO_CACHE_DIR.") from error
        yield
