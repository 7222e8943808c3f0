"""hpo report as it is typed, and its page in a real browser."""

import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from searches import a_search, a_trial
from small_disk import fill, small_disk
from toy import ToyStudy

from hpo.errors import OptionError
from hpo.report.drawings import draw
from hpo.report.findings import find

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def call(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hpo.report", "--runs-dir", ".", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def searched(sqlite_toy: ToyStudy, tmp_path: Path) -> Path:
    """A folder with a study of four trials in its database."""
    sqlite_toy.run(0.5, 0.7)
    sqlite_toy.run(0.4, 0.8)
    sqlite_toy.run(0.1, state=TrialState.PRUNED)
    sqlite_toy.run(state=TrialState.FAIL, attrs={"hpo:reason": "it broke"})
    return tmp_path


def test_report_is_a_file_and_says_where_it_is(searched: Path) -> None:
    assert "The report of toy is in toy.html (" in call(searched, "--study", "toy").stdout
    page = (searched / "toy.html").read_text()
    assert "of trial 1 (" in page
    assert "0.1000 better than the baseline&#x27;s 0.7000" in page
    assert "finish --study toy --runs-dir ." in page
    assert stat.S_IMODE((searched / "toy.html").stat().st_mode) & 0o400
    call(searched, "--study", "toy", "--output", "other.html")
    assert (searched / "other.html").is_file()
    assert not list(searched.glob(".*.part"))


def test_report_is_attached_once_and_then_replaced(searched: Path, sqlite_toy: ToyStudy) -> None:
    for _ in range(2):
        call(searched, "--study", "toy", "--attach")
    study = optuna.load_study(study_name="toy", storage=sqlite_toy.store.optuna)
    (one,) = optuna.artifacts.get_all_artifact_meta(study)
    assert (one.filename, one.mimetype) == ("report.html", "text/html")
    assert (searched / "toy" / "artifacts" / one.artifact_id).read_text() == (searched / "toy.html").read_text()
    for wrong in (("--format", "json"), ("--against", "toy"), ("--output", "/dev/null"), ("--output", "-")):
        assert "in a file" in call(searched, "--study", "toy", "--attach", *wrong, code=2).stderr


def test_full_disk_is_told_in_one_message_and_leaves_no_half_report(searched: Path) -> None:
    with small_disk(searched, n_bytes=32_768) as disk:
        (disk / "found.html").write_text("the last one")
        fill(disk)
        done = call(searched, "--study", "toy", "--output", str(disk / "found.html"), code=2)
        assert (disk / "found.html").read_text() == "the last one"
        assert sorted(path.name for path in disk.iterdir()) == ["ballast", "found.html"]
    assert done.stderr.startswith("error: --output: cannot write")
    assert "No space left on device. Nothing of it was left there." in done.stderr
    assert "Free some space, or name a file on another disk. The study is as it was." in done.stderr
    assert done.stdout == ""


def test_report_as_json_says_the_same(searched: Path) -> None:
    found = json.loads(call(searched, "--study", "toy", "--format", "json").stdout)
    assert found["study"] == "toy"
    assert found["against_baseline"]["best"]["number"] == 1
    assert found["against_baseline"]["difference"] == pytest.approx(0.1)
    assert [one["state"] for one in found["trials"]] == ["complete", "complete", "pruned", "failed"]
    assert found["troubles"]["troubles"][0]["reason"] == "it broke"
    piped = call(searched, "--study", "toy", "--format", "json", "--output", "/dev/stdout").stdout
    assert found["answer"]["sentence"] in piped
    call(searched, "--study", "toy", "--format", "json", "--output", "found.json")
    assert json.loads((searched / "found.json").read_text())["study"] == "toy"


def test_report_to_standard_output_is_the_page_and_nothing_else(searched: Path) -> None:
    page = call(searched, "--study", "toy", "--output", "-").stdout
    assert page.startswith("<!DOCTYPE html>")
    assert page.endswith("</html>\n")
    assert not (searched / "-").exists()
    assert not (searched / "toy.html").exists()
    assert json.loads(call(searched, "--study", "toy", "--format", "json", "--output", "-").stdout)["study"] == "toy"


def test_figure_is_saved_as_svg_or_refused_in_one_message(tmp_path: Path) -> None:
    record = a_search([a_trial(0, 0.5)], ranges={})
    figure = draw("progress", record, find(record))
    figure.save(tmp_path / "x.svg")
    assert (tmp_path / "x.svg").read_text() == figure.svg
    with pytest.raises(OptionError, match=r"x\.png ends otherwise"):
        figure.save(tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()
    with pytest.raises(OptionError, match=r"Cannot write .*No such file or directory"):
        figure.save(tmp_path / "nope" / "x.svg")


def test_what_cannot_be_is_said(searched: Path) -> None:
    assert "found: toy" in call(searched, "--study", "toys", code=3).stderr
    assert "cannot write" in call(searched, "--study", "toy", "--output", "no/folder.html", code=2).stderr
    assert "error: " in call(searched, "--study", "toy", "--format", "pdf", code=2).stderr


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)])
def test_page_in_a_browser_fits_asks_for_nothing_and_can_be_read_with_keys(
    searched: Path, width: int, height: int, scheme: Any
) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    call(searched, "--study", "toy")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        visitor = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        said: list[str] = []
        asked: list[str] = []
        visitor.on("console", lambda message: said.append(message.text))
        visitor.on("pageerror", lambda error: said.append(str(error)))
        visitor.on("request", lambda request: asked.append(request.url))
        address = (searched / "toy.html").as_uri()
        visitor.goto(address)
        assert visitor.evaluate("document.documentElement.scrollWidth") == width
        assert (
            visitor.evaluate("Math.min(...[...document.querySelectorAll('.plane')].map(one => one.clientHeight))") > 200
        )
        for _ in range(3):
            visitor.keyboard.press("Tab")
        assert visitor.evaluate("document.activeElement.tagName") == "A"
        visitor.get_by_text("4 trials as a table").click()
        assert visitor.get_by_role("table", name="Trials").is_visible()
        browser.close()
    assert said == []
    assert [one for one in asked if one not in (address, "data:,")] == []


def test_two_studies_are_put_beside_each_other(sqlite_toy: ToyStudy, searched: Path) -> None:
    other = ToyStudy.create(sqlite_toy.store, name="toy@2", facts={"data": "d" * 16})
    other.run(0.5, 0.9)
    said = call(searched, "--study", "toy@1", "--against", "toy").stdout
    assert "The report of toy against toy@2 is in toy-against-toy@2.html" in said
    assert "Their data differ" in (searched / "toy-against-toy@2.html").read_text()
    found = json.loads(call(searched, "--study", "toy@1", "--against", "toy@2", "--format", "json").stdout)
    assert [one["study"] for one in found["studies"]] == ["toy", "toy@2"]
    assert "data" in [one["what"] for one in found["versus"]["differences"]]
    assert "found: toy" in call(searched, "--study", "toy", "--against", "none", code=3).stderr
    assert "both name toy@2" in call(searched, "--study", "toy", "--against", "toy@2", code=2).stderr
