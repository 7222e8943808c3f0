"""A machine without the study's file: told where it is to be had; the stored one is run only where it is trusted."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from toy import ToyStudy
from typer.testing import CliRunner

from hpo.database import Store
from hpo.definition import StudyFile, fingerprint
from hpo.errors import HpoError, StudyFileError, StudyMismatchError
from hpo.run.stored_file import find_file
from hpo.study import read_source, write_source
from hpo.study.__main__ import app
from hpo.study.creation import withdraw
from hpo.study.deletion import delete_whole
from hpo.study.schema import files
from hpo.study.source import MAX_SOURCE_BYTES, keep_source

HELPER = "WIDTH = 4\n"
STUDY = '''"""A study with a neighbour."""

from hpo import StudyDefinition
from helper import WIDTH


def model(parameters, shape, n_classes):
    return WIDTH


print("this file is run")
STUDY = StudyDefinition(dataset="digits", search_space=print, model=model)
'''


@dataclass(frozen=True)
class Machine:
    """One that has the study's file, and what it stored."""

    toy: ToyStudy
    studies_dir: Path
    runs_dir: Path

    def find(self, *, is_stored_trusted: bool, name: str = "toy") -> StudyFile:
        """Look for the file as a machine does that has none."""
        empty = self.runs_dir.parent / "elsewhere"
        empty.mkdir(exist_ok=True)
        return find_file(
            name,
            empty,
            self.toy.store.address,
            self.runs_dir,
            is_stored_trusted=is_stored_trusted,
            patience_seconds=0.0,
        )

    def tamper(self, change: dict[str, object]) -> None:
        """Have somebody write into the database."""
        stored = {**(read_source(self.toy.study) or {}), **change}
        content = json.dumps({path: text for path, text in stored.items() if text is not None}).encode()
        with self.toy.store.engine.begin() as connection:
            connection.execute(sa.update(files).values(content=content))


@pytest.fixture
def machine(store: Store, tmp_path: Path) -> Machine:
    studies_dir = tmp_path / "studies"
    studies_dir.mkdir()
    (studies_dir / "toy.py").write_text(STUDY)
    (studies_dir / "helper.py").write_text(HELPER)
    toy = ToyStudy.create(store, facts={"meaning": fingerprint(studies_dir / "toy.py")})
    toy = toy.at(tmp_path / "runs" / "toy")
    keep_source(toy.study, studies_dir / "toy.py")
    return Machine(toy, studies_dir, tmp_path / "runs")


def test_stored_file_is_run_only_where_it_is_trusted(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StudyFileError, match="The database has the file") as caught:
        machine.find(is_stored_trusted=False)
    assert "--trust-stored-file runs it from the database: then whoever can write" in caught.value.hint
    assert not machine.runs_dir.exists()
    file = machine.find(is_stored_trusted=True)
    assert file.path.read_text() == STUDY
    assert file.path.with_name("helper.py").read_text() == HELPER
    assert file.path.is_relative_to(machine.runs_dir / "toy")
    assert fingerprint(file.path) == machine.toy.stored.meaning
    assert machine.find(is_stored_trusted=True) == file, "and again"
    said = capsys.readouterr()
    assert "the file that the study was made with is run" in said.err
    assert said.out == "", "finding runs nothing"


def test_file_that_is_there_goes_before_the_stored_one(machine: Machine) -> None:
    address = machine.toy.store.address
    asked = {"is_stored_trusted": True, "patience_seconds": 0.0}
    found = find_file("toy", machine.studies_dir, address, machine.runs_dir, **asked)  # type: ignore[arg-type]
    assert found.path == machine.studies_dir / "toy.py"
    found.path.write_text("def (")
    with pytest.raises(StudyFileError, match=r"toy\.py"):
        find_file("toy", machine.studies_dir, address, machine.runs_dir, **asked)  # type: ignore[arg-type]
    assert not machine.runs_dir.exists(), "a broken file is no missing one"


def test_nothing_stored_is_said(machine: Machine) -> None:
    with pytest.raises(StudyFileError, match="Nor does the database hold a study of this name"):
        machine.find(is_stored_trusted=True, name="absent")
    with pytest.raises(StudyFileError) as caught:
        machine.find(is_stored_trusted=False, name="absent")
    assert "database" not in caught.value.message
    with machine.toy.store.engine.begin() as connection:
        connection.execute(sa.delete(files))
    with pytest.raises(StudyFileError, match="No file is stored"):
        machine.find(is_stored_trusted=True)
    with pytest.raises(StudyFileError) as caught:
        machine.find(is_stored_trusted=False)
    assert "trust" not in caught.value.hint


def test_stored_file_of_another_meaning_is_not_run(machine: Machine) -> None:
    machine.tamper({"helper.py": "WIDTH = 5\n"})
    with pytest.raises(StudyMismatchError, match="is not the one that it was made with, and is not run: model differ"):
        machine.find(is_stored_trusted=True)
    assert not list(machine.runs_dir.rglob("*.py"))


def test_text_of_a_notebook_s_definition_is_not_run(machine: Machine) -> None:
    machine.tamper({"toy.py": f'{STUDY}SHIPPED = "{"0" * 64}"\n'})
    with pytest.raises(StudyFileError, match="was made in a notebook or script, and only its text is stored"):
        machine.find(is_stored_trusted=True)


def test_path_that_leads_elsewhere_is_nothing_stored(machine: Machine) -> None:
    for path in ("../../o.py", "/tmp/o.py", ".o.py", "a//o.py", "a\\o.py", "o.sh", "a/../o.py"):
        machine.tamper({path: "x = 1\n"})
        assert read_source(machine.toy.study) is None, path
        with pytest.raises(HpoError, match="No file is stored"):
            machine.find(is_stored_trusted=True)
        machine.tamper({"toy.py": STUDY, "helper.py": HELPER})


def test_source_is_kept_as_the_study_was_made_and_not_where_it_is_too_large(machine: Machine) -> None:
    (machine.studies_dir / "toy.py").write_text(STUDY + "# a later thought\n")
    keep_source(machine.toy.study, machine.studies_dir / "toy.py")
    assert (read_source(machine.toy.study) or {})["toy.py"] == STUDY
    other = ToyStudy.create(machine.toy.store, name="other", facts={"meaning": {}})
    (machine.studies_dir / "other.py").write_text(STUDY + "#" * MAX_SOURCE_BYTES)
    keep_source(other.study, machine.studies_dir / "other.py")
    assert read_source(other.study) is None
    with pytest.raises(StudyFileError, match="No file is stored"):
        write_source(other.study)


def test_source_goes_with_its_study(machine: Machine) -> None:
    def count() -> int:
        with machine.toy.store.engine.connect() as connection:
            return int(connection.scalar(sa.select(sa.func.count()).select_from(files)) or 0)

    assert count() == 1
    delete_whole(machine.toy.study)
    assert count() == 0
    again = ToyStudy.create(machine.toy.store, facts={"meaning": {}}).at(machine.runs_dir / "toy")
    keep_source(again.study, machine.studies_dir / "toy.py")
    assert withdraw(again.study)
    assert count() == 0


def test_source_is_shown_as_it_is(machine: Machine) -> None:
    where = ["--storage", machine.toy.store.address.typed or "", "--runs-dir", str(machine.runs_dir)]
    done = CliRunner().invoke(app, ["show", "toy", "--source", *where])
    assert done.stdout == f"{STUDY}\n# helper.py, beside it:\n{HELPER}"
    done = CliRunner().invoke(app, ["show", "toy", "--source", "--json", *where])
    assert json.loads(done.stdout) == {"study": "toy", "source": {"toy.py": STUDY, "helper.py": HELPER}}
    done = CliRunner().invoke(app, ["show", "toy", "--source", "--trial", "0", *where])
    assert "no trial's" in str(done.exception)
    shutil.rmtree(machine.studies_dir)
