"""The notebook: its outputs are those of one whole run, they show nothing of the machine, and it runs anywhere."""

import ast
import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from structure import ROOT

import hpo
from hpo.definition import find_study, load_definition

PATH = ROOT / "notebooks" / "cifar_mlp.ipynb"
FIGURES = ("optimizers", "scale", "parameters", "curves", "progress")
ABSOLUTE = re.compile(r"(?<![\w.<:/\\])/(?:tmp|home|root|work|usr|opt|var|mnt|Users|content)/")


read: Any = nbformat.read  # it has no types


def code_cells() -> list[Any]:
    notebook = read(PATH, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_outputs_are_those_of_one_run_from_top_to_bottom() -> None:
    cells = code_cells()
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert "error" not in kinds
    assert not any(output.get("name") == "stderr" for cell in cells for output in cell.outputs)


def test_figures_are_in_place_and_say_what_the_data_say() -> None:
    shown = {cell.source.strip(): cell.outputs for cell in code_cells()}
    for name in FIGURES:
        (output,) = shown[f"study.figures.{name}"]
        assert output.data["image/svg+xml"].startswith("<svg ")
        assert len(output.data["text/plain"].splitlines()) > 1


def test_stored_run_is_a_whole_one_on_cifar10() -> None:
    text = PATH.read_text()
    assert "(45000, 32, 32, 3)" in text
    assert "cifar_cells is finished" in text
    assert "The winner is " in text or "winner: " in text
    assert "rows that no training and no choice of this study has seen" in text


def test_nothing_of_the_machine_is_in_it() -> None:
    text = PATH.read_text()
    assert ABSOLUTE.findall(text) == []
    name = socket.gethostname()
    assert len(name) < 4 or name not in text


def test_baseline_is_the_one_of_the_study_that_ships() -> None:
    source = next(cell.source for cell in code_cells() if "STUDY = " in cell.source)
    names: dict[str, Any] = {one: getattr(hpo, one) for one in vars(hpo)["__all__"] if one[0].isupper()}
    made = next(
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.keyword) and node.arg == "baseline"
    )
    shipped = load_definition(find_study("cifar_mlp", ROOT / "studies"))
    assert eval(ast.unparse(made.value), names) == shipped.baseline


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_notebook_runs_from_top_to_bottom_on_data_that_need_no_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nbclient import NotebookClient

    for name in [name for name in os.environ if name.startswith("HPO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for name, value in {"DATASET": "digits", "TRIALS": "3", "EPOCHS": "2"}.items():
        monkeypatch.setenv(f"NOTEBOOK_{name}", value)
    notebook = read(PATH, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells[-1].outputs[0].data["text/plain"].startswith("(array([")
    assert (tmp_path / "report.html").stat().st_size > 10_000
    (bar, study) = next(cell.outputs for cell in cells if "hpo.tune(" in cell.source)
    assert "all of its 3 trials have ended" in bar.data["text/plain"]
    assert "3 of 3 trials" in study.data["text/html"]
