"""The rows of a Dataset and their Split as plain Python: code that reads and splits the same data without hpo."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpo.data.arrays import split
from hpo.data.datasets import Dataset
from hpo.data.digits import TEST_SHARE
from hpo.data.rows import arrays_of, form_of
from hpo.data.splits import VALIDATION_SHARE, drawn_groups, first_held_out, is_classified
from hpo.data.words import are_words

READ_CIFAR10 = '''def read_cifar10():
    """Return CIFAR-10's training rows: of the unpacked folder that the command names, or downloaded by Keras."""
    if len(sys.argv) < 2:
        (x, y), _ = keras.datasets.cifar10.load_data()
        return {"x": x, "y": y}
    files = [Path(sys.argv[1]) / f"data_batch_{number}" for number in range(1, 6)]
    batches = [pickle.loads(file.read_bytes(), encoding="bytes") for file in files]
    x = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return {"x": x, "y": np.concatenate([batch[b"labels"] for batch in batches])}
'''
DIGITS = (
    "digits = load_digits()",
    'found = {"x": np.rint(digits.images[..., np.newaxis] * (255 / 16)), "y": digits.target}',
    f'kept, _ = split_rows(found["y"], {TEST_SHARE}, seed=0)  # the others are test rows',
    "found = {key: rows[kept] for key, rows in found.items()}",
)


@dataclass(frozen=True, kw_only=True)
class RowsCode:
    """Python code, in parts.

    Attributes:
        imports: Lines.
        functions: Their text.
        lines: They make x_train, y_train, x_val and y_val, and where rows have weights w_train and w_val.
    """

    imports: tuple[str, ...]
    functions: tuple[str, ...]
    lines: tuple[str, ...]


def rows_as_code(
    dataset: Dataset, source: Any, *, call: str, base_dir: Path, seed: int | None, is_scaled: Any
) -> RowsCode:
    """Write down how to have the rows that a study trains and validates on, as its models take them.

    Args:
        dataset: The rows.
        source: What they come from, as load_dataset takes it.
        call: Of the study's function, where that is the source.
        base_dir: The study file's folder.
        seed: Of the split; None where all rows are to train on, and none to validate on.
        is_scaled: For each input whether its bytes are scaled to [0, 1].
    """
    imports, functions, lines = _reading(source, call, base_dir)
    keys = '"x"', '"y"'
    if callable(source) or str(source).endswith(".npz"):
        lines.append('x_key, y_key = ("x", "y") if "x" in found else ("x_train", "y_train")')
        keys = "x_key", "y_key"
    if dataset.classes:
        lines.append(f"classes = {list(dataset.classes)!r}")
    if dataset.n_given_val:
        lines += [*_given(dataset, keys, is_scaled), *(_joined(dataset) if seed is None else [])]
    else:
        lines += _all(dataset, keys, is_scaled) if seed is None else _drawn(dataset, keys, is_scaled, seed)
    if dataset.order is not None and seed is not None:
        functions += [f"VALIDATION_SHARE = {VALIDATION_SHARE}", inspect.getsource(first_held_out)]
    if dataset.groups is not None and seed is not None:
        functions += [f"VALIDATION_SHARE = {VALIDATION_SHARE}", inspect.getsource(drawn_groups)]
    if any("split_rows(" in line for line in lines):
        functions.append(inspect.getsource(split).replace("def split(", "def split_rows("))
    return RowsCode(imports=tuple(imports), functions=tuple(functions), lines=tuple(lines))


def _given(dataset: Dataset, keys: tuple[str, str], is_scaled: Any) -> list[str]:
    """Return lines for validation rows that the data bring."""
    lines = []
    for part, (x_key, y_key) in (("train", keys), ("val", ('"x_val"', '"y_val"'))):
        lines.append(f"x_{part}, y_{part} = {_x(dataset, x_key, is_scaled)}, {_y(dataset, y_key)}")
    if dataset.sample_weight is not None:
        ones = f"np.ones({dataset.n_given_val})"
        lines += [
            'w_train = np.asarray(found["sample_weight"], "float32").reshape(-1)',
            f'w_val = found["sample_weight_val"] if "sample_weight_val" in found else {ones}',
            'w_val = np.asarray(w_val, "float32").reshape(-1)',
        ]
    return lines


def _drawn(dataset: Dataset, keys: tuple[str, str], is_scaled: Any, seed: int) -> list[str]:
    """Return lines for validation rows that hpo holds out."""
    lines = [f"x, y = {_x(dataset, keys[0], is_scaled)}, {_y(dataset, keys[1])}"]
    if dataset.groups is not None:
        lines += [
            'groups = np.asarray(found["groups"]).reshape(-1).astype(str)',
            "groups = np.unique(groups, return_inverse=True)[1].reshape(-1)",
            f"is_val = np.isin(groups, drawn_groups(np.bincount(groups), seed={seed}))",
            "train, val = np.flatnonzero(~is_val), np.flatnonzero(is_val)",
        ]
    elif dataset.order is not None:
        lines += [
            'order = np.asarray(found["order"]).reshape(-1)',
            'order = order.astype("datetime64[us]") if order.dtype == object else order',
            "order = np.unique(order, return_inverse=True)[1].reshape(-1)",
            "is_val = order >= first_held_out(order)",
            "train, val = np.flatnonzero(~is_val), np.flatnonzero(is_val)",
        ]
    else:
        strata = "y.reshape(-1)" if is_classified(dataset) else f"np.zeros({dataset.n_rows}, int)"
        lines.append(f"train, val = split_rows({strata}, {VALIDATION_SHARE}, seed={seed})")
    for part in ("train", "val"):
        taken = ", ".join(_taken(name, form_of(rows), part) for name, rows in (("x", dataset.x), ("y", dataset.y)))
        lines.append(f"x_{part}, y_{part} = {taken}")
    if dataset.sample_weight is not None:
        lines.append('weight = np.asarray(found["sample_weight"], "float32").reshape(-1)')
        lines.append("w_train, w_val = weight[train], weight[val]")
    return lines


def _all(dataset: Dataset, keys: tuple[str, str], is_scaled: Any) -> list[str]:
    """Return lines for all rows of data that bring no validation rows."""
    lines = [f"x_train, y_train = {_x(dataset, keys[0], is_scaled)}, {_y(dataset, keys[1])}"]
    if dataset.sample_weight is not None:
        lines.append('w_train = np.asarray(found["sample_weight"], "float32").reshape(-1)')
    return lines


def _joined(dataset: Dataset) -> list[str]:
    """Return lines that put validation rows behind the training rows."""
    lines = [
        f"{name}_train = {_together_of(name, form_of(rows))}" for name, rows in (("x", dataset.x), ("y", dataset.y))
    ]
    return [*lines, *(["w_train = np.concatenate([w_train, w_val])"] if dataset.sample_weight is not None else [])]


def _together_of(name: str, form: Any) -> str:
    if form is None:
        return f"np.concatenate([{name}_train, {name}_val])"
    if isinstance(form, list):
        return f"{{key: np.concatenate([rows, {name}_val[key]]) for key, rows in {name}_train.items()}}"
    return f"[np.concatenate(both) for both in zip({name}_train, {name}_val)]"


def _reading(source: Any, call: str, base_dir: Path) -> tuple[list[str], list[str], list[str]]:
    if callable(source):
        return [], [], [f"found = {call}"]
    if str(source) == "digits":
        return ["from sklearn.datasets import load_digits"], [], list(DIGITS)
    if str(source) == "cifar10":
        imports = ["import pickle", "import sys", "from pathlib import Path"]
        return imports, [READ_CIFAR10], ["found = read_cifar10()"]
    path = Path(source).expanduser()
    found = next((place for place in (base_dir / path, Path.cwd() / path) if place.is_file()), path)
    return [], [], [f"with np.load({str(found.resolve())!r}) as file:", "    found = dict(file)"]


def _x(dataset: Dataset, key: str, is_scaled: Any) -> str:
    form = form_of(dataset.x)
    if form is None:
        return _fed(f"found[{key}]", dataset.x, is_scaled=is_scaled, is_single=True)
    names = form if isinstance(form, list) else range(form)
    parts = {
        name: _fed(f"found[{key}][{name!r}]", rows, is_scaled=is_scaled[name], is_single=False)
        for name, rows in zip(names, arrays_of(dataset.x), strict=True)
    }
    return _together(form, parts)


def _fed(found: str, rows: np.ndarray, *, is_scaled: bool, is_single: bool) -> str:
    if are_words(rows):
        return f"np.asarray({found}, str).reshape(-1, {', '.join(map(str, rows.shape[1:]))}).astype(object)"
    dtype = "int32" if rows.dtype == np.int32 else "float32"
    column = ".reshape(-1, 1)" if not is_single and rows.shape[1:] == (1,) else ""
    return f'np.asarray({found}, "{dtype}"){column}{" / 255" if is_scaled else ""}'


def _y(dataset: Dataset, key: str) -> str:
    form = form_of(dataset.y)
    if dataset.classes:
        return f"np.searchsorted(classes, np.asarray(found[{key}], str).reshape(-1))"
    if form is None:
        return f'np.asarray(found[{key}], "{dataset.y.dtype}"){".reshape(-1)" if dataset.y.ndim == 1 else ""}'
    names = form if isinstance(form, list) else range(form)
    arrays = zip(names, arrays_of(dataset.y), strict=True)
    return _together(form, {name: f'np.asarray(found[{key}][{name!r}], "{rows.dtype}")' for name, rows in arrays})


def _together(form: Any, parts: dict[Any, str]) -> str:
    if isinstance(form, list):
        return "{" + ", ".join(f"{name!r}: {text}" for name, text in parts.items()) + "}"
    return "[" + ", ".join(parts.values()) + "]"


def _taken(name: str, form: Any, part: str) -> str:
    if form is None:
        return f"{name}[{part}]"
    if isinstance(form, list):
        return f"{{key: rows[{part}] for key, rows in {name}.items()}}"
    return f"[rows[{part}] for rows in {name}]"
