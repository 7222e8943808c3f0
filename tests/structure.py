"""The structure of hpo as its imports make it: rooms, floors, arrows. Run it to write CONTRIBUTING's map anew."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hpo"
CONTRIBUTING = ROOT / ".github" / "CONTRIBUTING.md"
BEGIN, END = "<!-- The map: `python tests/structure.py` writes it. -->", "<!-- The map ends. -->"

Graph = Mapping[str, set[str]]


def module_of(path: Path) -> str:
    """Return a file's dotted name under hpo: "errors", "study.tickets", "study" for a room's door."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """Return the room that a file stands in; a file that stands in none is one of its own."""
    return module.partition(".")[0]


FILES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"}
DOORS = {path.parent.name: path for path in sorted(PACKAGE.glob("*/__init__.py"))}
EXPORTS = {
    room: {
        alias.name: statement.module or alias.name
        for statement in ast.parse(path.with_suffix(".pyi").read_text()).body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    for room, path in DOORS.items()
}


def imported(path: Path) -> Iterator[tuple[str, str, int]]:
    """Yield what a file imports anywhere: the module, the name out of it or "", and the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((str(node.module), alias.name, node.lineno) for alias in node.names)


def own(path: Path) -> set[str]:
    """Return the files of hpo that a file imports; what it asks of a door is the file behind it."""
    found = set()
    for module, name, _ in imported(path):
        if module.partition(".")[0] != "hpo":
            continue
        inner = f"{module}.{name}".removeprefix("hpo.").removesuffix(".")
        room, _, asked = inner.partition(".")
        behind = f"{room}.{EXPORTS.get(room, {}).get(asked, '')}"
        found |= {one for one in (behind, inner, inner.rpartition(".")[0], room) if one in FILES and one not in DOORS}
    return found


def files() -> Graph:
    """Return which file imports which."""
    return {module: own(path) - {module} for module, path in FILES.items() if module not in DOORS}


def rooms() -> Graph:
    """Return which room asks which; a file outside the rooms counts as one."""
    graph: dict[str, set[str]] = {}
    for module, others in files().items():
        room = room_of(module)
        graph.setdefault(room, set()).update(room_of(other) for other in others if room_of(other) != room)
    return graph


def floors(graph: Graph) -> dict[str, int]:
    """Return each node's floor: one above the highest that it imports; a circle is an AssertionError."""
    found: dict[str, int] = {}
    while len(found) < len(graph):
        ready = {node for node in graph if node not in found and graph[node] <= set(found)}
        assert ready, f"these import each other: {sorted(set(graph) - set(found))}"
        found |= {node: 1 + max((found[other] for other in graph[node]), default=-1) for node in ready}
    return found


def first_line(path: Path) -> str:
    """Return what a file says that it is for."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


def written_map() -> str:
    """Return the map as CONTRIBUTING shows it."""
    graph = rooms()
    heights = floors(graph)
    lines = [BEGIN, "", _counted(graph, heights), "", "| floor | | what it is for |", "|---|---|---|"]
    for room in sorted(graph, key=lambda one: (heights[one], one)):
        path = DOORS.get(room, FILES.get(room))
        assert path is not None
        shown = f"`{room}/`" if room in DOORS else f"`{room}.py`"
        lines.append(f"| {heights[room]} | {shown} | {first_line(path)} |")
    for room in sorted(DOORS, key=lambda one: (heights[one], one)):
        lines += ["", f"**`{room}/`** {first_line(DOORS[room])}", "", "| file | |", "|---|---|"]
        inside = {module: path for module, path in FILES.items() if room_of(module) == room and module != room}
        lines += [f"| `{module.partition('.')[2]}.py` | {first_line(path)} |" for module, path in inside.items()]
    return "\n".join([*lines, "", END])


def _counted(graph: Graph, heights: Mapping[str, int]) -> str:
    n_arrows = sum(len(others) for others in graph.values())
    return (
        f"{len(FILES) - len(DOORS)} files; {len(DOORS)} rooms and {len(graph) - len(DOORS)} files outside them, on "
        f"{max(heights.values()) + 1} floors, with {n_arrows} arrows between them and no circle."
    )


if __name__ == "__main__":
    before, rest = CONTRIBUTING.read_text().split(BEGIN)
    CONTRIBUTING.write_text(before + written_map() + rest.partition(END)[2])
    print(_counted(rooms(), floors(rooms())))
