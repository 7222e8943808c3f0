"""What a study's file defines by name, for Keras to find what a saved model is made of."""

import inspect
from types import ModuleType
from typing import Any

from hpo.definition.study import StudyDefinition
from hpo.tracebacks import is_library


def own_names(definition: StudyDefinition) -> dict[str, Any]:
    """Return what the study's file, and files of its user that it imports, define by name for a model to be made of."""
    here = getattr(definition.model, "__globals__", {})
    beside = [one for one in here.values() if inspect.ismodule(one) and _is_of_user(one)]
    named = {name: value for one in beside for name, value in vars(one).items()} | dict(here)
    return {name: value for name, value in named.items() if callable(value) and not name.startswith("__")}


def _is_of_user(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and not is_library(file) and module.__name__.partition(".")[0] != "hpo"
