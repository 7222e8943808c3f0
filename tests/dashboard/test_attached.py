"""Files attached to studies and trials, as the dashboard shows, sends, takes and deletes them."""

import json
import os
import uuid
from base64 import b64encode
from pathlib import Path
from typing import Any

import optuna
import pytest
from pages import CHROMIUM, ask_app, served
from toy import ToyStudy

from hpo.dashboard.database import Database
from hpo.dashboard.pages import build_app
from hpo.dashboard.shown import BASELINE_NOTE
from hpo.dashboard.writing import is_writing
from hpo.study import attach, folder_of
from hpo.web import Rules, protect

PAGE = b"<script>document.title = 'run'; window.has_run = true</script>"
EVIL = "\r\nSet-Cookie: a=b\r\n"


@pytest.fixture
def shown(sqlite_toy: ToyStudy, tmp_path: Path) -> ToyStudy:
    """A study with its folder below tmp_path."""
    folder = folder_of(tmp_path, sqlite_toy.stored.name)
    folder.mark(sqlite_toy.stored.key)
    return sqlite_toy.at(folder.path)


@pytest.fixture
def app(shown: ToyStudy, tmp_path: Path) -> Any:
    rules = Rules(host="127.0.0.1", password=None, allow=lambda *_: True)
    return protect(build_app(Database(shown.store.address), tmp_path), rules, lambda: True)


def record(toy: ToyStudy, content: Any, *, key: str | None = None, trial_id: int | None = None) -> None:
    """Store what another client of the database may: text, or what is stored as JSON in a text."""
    text = content if isinstance(content, str) else json.dumps(content)
    key = key or f"artifacts:{content['artifact_id']}"
    if trial_id is None:
        toy.store.optuna.set_study_system_attr(toy.stored.study_id, key, text)
    else:
        toy.store.optuna.set_trial_system_attr(trial_id, key, text)


def put(toy: ToyStudy, content: bytes, *, filename: str, mimetype: str) -> str:
    """Attach a file as another program may, and return its address."""
    id_ = str(uuid.uuid4())
    toy.study.folder.artifacts_dir.mkdir(exist_ok=True)
    (toy.study.folder.artifacts_dir / id_).write_bytes(content)
    record(toy, {"artifact_id": id_, "filename": filename, "mimetype": mimetype, "encoding": None})
    return f"/artifacts/{toy.stored.study_id}/{id_}"


def detail(app: Any, toy: ToyStudy) -> dict[str, Any]:
    status, _, body = ask_app(app, f"/api/studies/{toy.stored.study_id}")
    assert status == 200
    return dict(json.loads(body))


def test_what_is_attached_is_listed_and_sent_byte_for_byte(app: Any, shown: ToyStudy, tmp_path: Path) -> None:
    content = os.urandom(200_000)
    (tmp_path / "model.keras").write_bytes(content)
    attach(shown.study, {"model.keras": tmp_path / "model.keras"})
    (listed,) = detail(app, shown)["artifacts"]
    assert listed["filename"] == "model.keras"
    path = f"/artifacts/{shown.stored.study_id}/{listed['artifact_id']}"
    status, headers, body = ask_app(app, path)
    assert (status, body) == (200, content)
    assert headers["Content-Disposition"].startswith('attachment; filename="model.keras"')
    assert ask_app(app, path, "HEAD") == (200, headers, b"")
    assert json.loads(ask_app(app, "/api/meta")[2])["artifact_is_available"] is True


@pytest.mark.parametrize(
    ("filename", "mimetype"),
    [("a.html", "text/html"), ("a.svg", "image/svg+xml"), ("a.js", "text/javascript"), (f"a{EVIL}", f"text/x{EVIL}")],
)
def test_a_page_or_a_picture_with_a_script_is_never_sent_as_one(
    app: Any, shown: ToyStudy, filename: str, mimetype: str
) -> None:
    status, headers, body = ask_app(app, put(shown, PAGE, filename=filename, mimetype=mimetype))
    assert (status, body) == (200, PAGE)
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert headers["Content-Disposition"].startswith("attachment; ")
    assert "Access-Control-Allow-Origin" not in headers
    assert not any("\n" in value or "\r" in value for value in headers.values())


def test_no_record_leads_out_of_the_study_s_own_store(app: Any, shown: ToyStudy, tmp_path: Path) -> None:
    study_id, store = shown.stored.study_id, shown.study.folder.artifacts_dir
    (tmp_path / "secret").write_text("secret")
    store.mkdir()
    link, pipe = (str(uuid.uuid4()) for _ in range(2))
    (store / link).symlink_to(tmp_path / "secret")
    os.mkfifo(store / pipe)
    for id_ in ("../../secret", "..", "/etc/passwd", link, pipe, str(uuid.uuid4())):
        record(shown, {"artifact_id": id_, "filename": "secret", "mimetype": "text/plain", "encoding": None})
        for path in (f"/artifacts/{study_id}/{id_}", f"/artifacts/{study_id}/0/{id_}", f"/artifacts/9{study_id}/{id_}"):
            status, _, body = ask_app(app, path)
            assert (status, b"secret" in body) == (404, False), path
    assert {one["artifact_id"] for one in detail(app, shown)["artifacts"]} >= {link, pipe}


def test_a_folder_that_is_another_study_s_sends_nothing(app: Any, shown: ToyStudy) -> None:
    path = put(shown, b"theirs", filename="a.txt", mimetype="text/plain")
    assert ask_app(app, path)[0] == 200
    (shown.study.folder.path / ".study").write_text("f" * 32)
    assert ask_app(app, path)[0] == 404


ODD = [
    ("artifacts:x", "["),
    ("artifacts:x", "null"),
    ("artifacts:x", json.dumps({"artifact_id": "x"})),
    ("artifacts:x", json.dumps([1])),
    ("artifacts:x", "[" * 3000),
    ("dashboard:artifacts:1:x", "{"),
    ("dashboard:note_str:1", "a hole before it"),
    ("dashboard:note_ver", "two"),
    ("study:metric_names", "loss"),
]


@pytest.mark.parametrize(("key", "content"), ODD)
def test_an_odd_attribute_of_a_study_leaves_it_readable(app: Any, shown: ToyStudy, key: str, content: str) -> None:
    record(shown, content, key=key)
    found = detail(app, shown)
    assert found["artifacts"] == []
    assert found["note"]["body"] == ""
    assert found["objective_names"] == ["val_accuracy"]


def test_an_odd_artifact_of_a_trial_leaves_its_study_readable(app: Any, shown: ToyStudy) -> None:
    (trial,) = shown.trials
    record(shown, "[", key="artifacts:x", trial_id=trial._trial_id)
    assert detail(app, shown)["trials"][0]["artifacts"] == []


def test_the_models_that_are_kept_are_shown_with_their_trials_for_as_long_as_they_are(
    app: Any, shown: ToyStudy
) -> None:
    shown.run(0.5)
    (trial,) = shown.trials
    model = shown.study.folder.model(0)
    model.save(lambda file: file.write(b"weights"))
    (listed,) = detail(app, shown)["trials"][0]["artifacts"]
    path = f"/artifacts/{shown.stored.study_id}/{trial._trial_id}/{listed['artifact_id']}"
    assert ask_app(app, path)[::2] == (200, b"weights")
    assert ask_app(app, f"/api{path}", "DELETE")[0] == 409
    model.delete()
    assert detail(app, shown)["trials"][0]["artifacts"] == []
    assert ask_app(app, path)[0] == 404
    assert not [key for key in shown.store.optuna.get_study_system_attrs(shown.stored.study_id) if "artifacts" in key]


def test_the_baseline_is_marked_until_people_write_another_note(app: Any, shown: ToyStudy) -> None:
    trial = detail(app, shown)["trials"][0]
    assert trial["note"] == {"version": 0, "body": BASELINE_NOTE}
    note = json.dumps({"version": 1, "body": "mine"}).encode()
    path = f"/api/studies/{shown.stored.study_id}/{trial['trial_id']}/note"
    assert ask_app(app, path, "PUT", note)[0] == 204
    assert detail(app, shown)["trials"][0]["note"] == {"version": 1, "body": "mine"}


def upload(app: Any, path: str, **asked: Any) -> tuple[int, dict[str, Any]]:
    status, _, body = ask_app(app, f"/api{path}", "POST", json.dumps(asked).encode())
    return status, dict(json.loads(body))


def test_people_attach_and_delete_files_of_theirs_where_they_may(app: Any, shown: ToyStudy) -> None:
    file = f"data:image/png;base64,{b64encode(b'picture').decode()}"
    (trial,) = shown.trials
    study = f"/artifacts/{shown.stored.study_id}"
    for place in (study, f"{study}/{trial._trial_id}"):
        status, told = upload(app, place, file=file, filename="../a.png")
        assert (status, told["artifacts"][0]["filename"]) == (201, "../a.png")
        path = f"{place}/{told['artifact_id']}"
        status, headers, body = ask_app(app, path)
        assert (status, body, headers["Content-Type"]) == (200, b"picture", "image/png")
        assert ask_app(app, f"/api{path}", "DELETE")[0] == 204
        assert ask_app(app, path)[0] == 404
        assert ask_app(app, f"/api{path}", "DELETE")[0] == 404
        assert list(shown.study.folder.artifacts_dir.iterdir()) == []
        for wrong in ({}, {"file": file}, {"file": "a", "filename": "a"}, {"file": "data:;base64,?", "filename": "a"}):
            assert upload(app, place, **wrong)[0] == 400
    assert upload(app, "/artifacts/999", file=file, filename="a")[0] == 404
    assert upload(app, f"{study}/999", file=file, filename="a")[0] == 404
    shown.run(0.5)
    assert upload(app, f"{study}/{trial._trial_id}", file=file, filename="a")[0] == 409


def test_nobody_deletes_what_hpo_has_attached(app: Any, shown: ToyStudy, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("card")
    attach(shown.study, {"card.md": tmp_path / "card.md"})
    (listed,) = detail(app, shown)["artifacts"]
    path = f"/artifacts/{shown.stored.study_id}/{listed['artifact_id']}"
    assert ask_app(app, f"/api{path}", "DELETE")[0] == 403
    assert ask_app(app, path)[0] == 200


def test_only_uploads_and_removals_of_artifacts_count_as_writing_them() -> None:
    one = str(uuid.uuid4())
    assert is_writing("POST", "/api/artifacts/1")
    assert is_writing("POST", "/api/artifacts/1/2")
    assert is_writing("DELETE", f"/api/artifacts/1/2/{one}")
    for method, path in [
        ("DELETE", "/api/artifacts/1"),
        ("DELETE", "/api/artifacts/1/2"),
        ("PUT", "/api/artifacts/1"),
        ("POST", f"/api/artifacts/1/2/{one}"),
        ("DELETE", "/api/artifacts/1/../../studies/1"),
        ("DELETE", "/api/studies/1"),
    ]:
        assert not is_writing(method, path), (method, path)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_saves_a_model_whole_and_runs_nothing_of_a_page(shown: ToyStudy, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    content = os.urandom(300_000)
    (tmp_path / "model.keras").write_bytes(content)
    attach(shown.study, {"model.keras": tmp_path / "model.keras"})
    evil = put(shown, PAGE, filename="page.html", mimetype="text/html")
    study = optuna.load_study(study_name=shown.stored.name, storage=shown.store.optuna)
    study.add_trial(optuna.create_trial(value=0.1, user_attrs={"hpo:ticket": 9}))
    url = shown.store.address.url.render_as_string()
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with (
        served(tmp_path, "dashboard", "--storage", url, "--runs-dir", str(tmp_path)) as page,
        playwright.sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        visitor = browser.new_page()
        visitor.set_default_timeout(120_000)  # a busy machine is no fault
        visitor.goto(f"{page.url}/dashboard/studies/{shown.stored.study_id}")
        card = visitor.locator("div.MuiCard-root", has_text="model.keras").last
        with visitor.expect_download() as saved:
            card.locator("a[download]").click()
        assert Path(saved.value.path()).read_bytes() == content
        assert saved.value.suggested_filename == "model.keras"
        with visitor.expect_download(), pytest.raises(playwright.Error, match="Download is starting"):
            visitor.goto(page.url + evil)
        framed = f"<iframe src='{evil}'></iframe><script src='{evil}'></script><object data='{evil}'></object>"
        visitor.set_content(framed)
        visitor.wait_for_timeout(500)
        assert visitor.evaluate("window.has_run === undefined")
        browser.close()
