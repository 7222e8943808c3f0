"""Manifests as YAML for people to read and edit: each with a comment, texts of several lines as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

Body = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One object of Kubernetes, and what a reader of it should know."""

    comment: str
    body: Body


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _write_text)


def as_yaml(head: str, manifests: Sequence[Manifest]) -> str:
    """Return manifests as one file, below what is to be done first."""
    parts = [_comment(head)]
    for one in manifests:
        text = yaml.dump(one.body, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
        parts.append(_comment(one.comment) + text)
    return "---\n".join(parts)


def _comment(text: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())
