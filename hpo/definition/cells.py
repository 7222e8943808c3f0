"""A definition that was made in a notebook or script -> the text of a file that means the same.

hpo tells by a file's text whether a study means what it meant. This text has what the definition's functions are and
reach, as it is written, and the values that they look up; large ones by their SHA-256. It is compared, and never run.
"""

import dataclasses
import enum
import functools
import hashlib
import sys
from pathlib import Path
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

from hpo.definition.live import Living, look_at_class, look_at_function
from hpo.definition.meaning import FUNCTION, MEANING, content_of
from hpo.definition.study import StudyDefinition
from hpo.errors import StudyFileError
from hpo.tracebacks import is_library

WORDS = (bool, int, float, complex, str, bytes, type(None), type(...))
ADVICE = (
    "Make it inside the function that uses it, keep it as numbers, words, lists, dictionaries or NumPy arrays, or "
    "write the study as a file: hpo init."
)
MAX_DEPTH = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """A definition written down.

    Attributes:
        text: Of a file that means the same.
        files: The files, or cells, that the text was found in.
    """

    text: str
    files: frozenset[str]


def write_down(definition: StudyDefinition) -> Written:
    """Write a definition down.

    Raises:
        StudyFileError: Something that it reaches has no source, or no value that can be compared.
    """
    writer = Writer()
    fields = {field.name: field for field in dataclasses.fields(definition)}
    said = []
    for name in (*MEANING, FUNCTION):
        value = getattr(definition, name)
        if name == "direction" and value == "maximize":
            continue
        default = fields[name].default
        if value is not default and not (isinstance(value, WORDS) and value == default):
            said.append(f"    {name}={writer.expression(value, f'STUDY.{name}')},")
    call = "\n".join(["STUDY = StudyDefinition(", *said, ")"])
    return Written(text="\n\n".join([*writer.statements, call]) + "\n", files=frozenset(writer.files))


class Writer:
    """Writes values down as expressions, and what these reach as statements.

    Attributes:
        statements: So far.
        files: Where they were found.
    """

    def __init__(self) -> None:
        self.statements: dict[str, None] = {}  # a set that keeps its order
        self.files: set[str] = set()
        self._bound: dict[tuple[str, int], Any] = {}
        self._depth = 0

    def expression(self, value: Any, where: str) -> str:
        """Return a value as an expression.

        Raises:
            StudyFileError: It cannot be written down.
        """
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise StudyFileError(f"{where} is nested too deeply to be compared.", ADVICE)
        try:
            return self._expression(value, where)
        finally:
            self._depth -= 1

    def _expression(self, value: Any, where: str) -> str:
        if isinstance(value, enum.Enum):
            return f"{self.expression(type(value), where)}.{value.name}"
        if type(value) in WORDS:
            return repr(value)
        if isinstance(value, list | tuple | set | frozenset | dict):
            return self._gathered(value, where)
        if isinstance(value, Path):
            return f"Path({str(value)!r})"
        if isinstance(value, FunctionType | BuiltinFunctionType | MethodType | type | functools.partial):
            return self._callable(value, where)
        inner = getattr(value, "__wrapped__", getattr(value, "python_function", None))  # of a cache, of tf.function
        if callable(inner):
            return f"{type(value).__name__}({self.expression(inner, where)})"
        return self._object(value, where)

    def _gathered(self, value: Any, where: str) -> str:
        if isinstance(value, dict):
            pairs = (f"{self.expression(key, where)}: {self.expression(one, where)}" for key, one in value.items())
            return f"{{{', '.join(pairs)}}}"
        parts = [self.expression(one, where) for one in value]
        if isinstance(value, set | frozenset):
            return f"{type(value).__name__}([{', '.join(sorted(parts))}])"
        return f"[{', '.join(parts)}]" if isinstance(value, list) else f"({', '.join([*parts, ''])})"

    def _callable(self, value: Any, where: str) -> str:
        if isinstance(value, functools.partial):
            parts = [value.func, *value.args]
            named = [f"{name}={self.expression(one, where)}" for name, one in value.keywords.items()]
            return f"partial({', '.join([*(self.expression(one, where) for one in parts), *named])})"
        if isinstance(value, MethodType):
            return f"{self.expression(value.__self__, where)}.{value.__name__}"
        wrapped = getattr(value, "__wrapped__", None)
        if isinstance(value, FunctionType) and isinstance(wrapped, FunctionType):
            self._reach_closure(value, where)  # of its decorator
            return self.expression(wrapped, where)
        return self._typed(value, where) if _is_typed_here(value) else self._imported(value, where)

    def _typed(self, value: Any, where: str) -> str:
        """Write down a function or class that was typed in the notebook or script, and return its name or text."""
        is_class = isinstance(value, type)
        living = look_at_class(value, where) if is_class else look_at_function(value, where)
        is_lambda = value.__name__ == "<lambda>"
        if not is_lambda:
            self.statements.setdefault(living.text)
        self._reach(living, where)
        if is_class:
            for base in value.__bases__:
                self.expression(base, where)
        else:
            self._reach_closure(value, where)
        return living.text if is_lambda else str(value.__name__)

    def _reach(self, living: Living, where: str) -> None:
        self.files |= living.files
        for name in sorted(living.names):
            if name in living.scope:
                self._bind(name, living.scope[name], where)
        for name in sorted(living.imports):
            module = sys.modules.get(name)
            if module is not None and _is_users(module):
                self._bind(name.partition(".")[0], module, where)

    def _reach_closure(self, function: FunctionType, where: str) -> None:
        cells: tuple[CellType, ...] = function.__closure__ or ()
        for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
            if name != "__class__":
                self._bind(name, cell.cell_contents, where)

    def _bind(self, name: str, value: Any, where: str) -> None:
        if (name, id(value)) in self._bound:
            return
        self._bound[name, id(value)] = value  # kept: the id of what is gone may be given again
        where = f'{where} uses "{name}", which'
        if isinstance(value, ModuleType):
            self.statements.setdefault(f"import {value.__name__} as {name}")
            self._note_content(name, value)
            return
        text = self.expression(value, where)
        if text != name:
            self.statements.setdefault(f"{name} = {text}")

    def _imported(self, value: Any, where: str) -> str:
        module, name = str(value.__module__ or "builtins"), str(value.__qualname__)
        first = name.partition(".")[0]
        if "<locals>" in name:
            raise StudyFileError(f"{where} is {name} of {module}, made by a function there.", ADVICE)
        # As a file's text has it: which module of hpo a name comes from does not count.
        home = "hpo" if module.partition(".")[0] == "hpo" else module
        if home != "builtins":
            self.statements.setdefault(f"from {home} import {first}")
        if module in sys.modules and _is_users(sys.modules[module]):
            self._note_content(first, sys.modules[module])
        return name

    def _note_content(self, name: str, module: ModuleType) -> None:
        """Have a module of the user's own count by its text, as files beside a study's file do."""
        if _is_users(module):
            self.statements.setdefault(f"{name} = {content_of(Path(str(module.__file__)))!r}")

    def _object(self, value: Any, where: str) -> str:
        kind = type(value)
        if dataclasses.is_dataclass(value):
            fields = [
                f"{one.name}={self.expression(getattr(value, one.name), f'{where}.{one.name}')}"
                for one in dataclasses.fields(value)
            ]
            return f"{self.expression(kind, where)}({', '.join(fields)})"
        content = _content(value)
        if content is not None:
            return f"{kind.__name__}({content})"
        if callable(getattr(value, "get_config", None)):  # of Keras
            weights = value.get_weights() if hasattr(value, "get_weights") else []
            parts = [self.expression(one, where) for one in (value.get_config(), weights)]
            return f"{self.expression(kind, where)}({', '.join(parts)})"
        raise StudyFileError(
            f"{where} is of type {kind.__name__}, whose value hpo cannot compare with a later one.", ADVICE
        )


def _content(value: Any) -> str | None:
    """Return what an array or table holds, as its kind and a hash; None of anything else."""
    np, pd = sys.modules.get("numpy"), sys.modules.get("pandas")
    if pd is not None and isinstance(value, pd.DataFrame | pd.Series):
        hashed = pd.util.hash_pandas_object(value).to_numpy().tobytes()
        columns = [str(one) for one in getattr(value, "columns", [value.name])]
        return f"{columns!r}, {hashlib.sha256(hashed).hexdigest()!r}"
    array = value.numpy() if np is not None and callable(getattr(value, "numpy", None)) else value  # a tensor
    if np is None or not isinstance(array, np.ndarray | np.generic) or array.dtype.hasobject:
        return None
    content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return f"{array.dtype.str!r}, {list(array.shape)!r}, {content!r}"


def _is_typed_here(value: Any) -> bool:
    """Whether a function or class is of the notebook or script itself, and not of a module that can be imported."""
    module = sys.modules.get(value.__module__ or "")
    return value.__module__ == "__main__" or (module is None and isinstance(value, FunctionType))


def _is_users(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    is_own = module.__name__.partition(".")[0] == "hpo"
    return file is not None and str(file).endswith(".py") and not is_own and not is_library(str(file))
