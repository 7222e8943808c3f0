"""docker-compose.yml as its tools read it."""

import os
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docker-compose.yml").read_text()
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def variables() -> set[str]:
    """Return the names of the variables that a user may set."""
    return {match[1] for match in VARIABLE.finditer(TEXT)}


def load(**values: str) -> dict[str, Any]:
    """Return the file with its variables filled in, as compose does: $$ is a dollar."""
    filled = VARIABLE.sub(lambda match: values.get(match[1]) or match[2] or "", TEXT).replace("$$", "$")
    return dict(YAML(typ="safe").load(filled))


def clean_environment(**values: str) -> dict[str, str]:
    """Return this environment without hpo's variables, but with these."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HPO_")} | values
