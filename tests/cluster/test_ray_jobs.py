"""Ray's Jobs API as hpo uses it: what is wrong is one message, the study's files are shipped, a job is followed."""

import socket
import sys
import types
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from slot_files import make_slots

from hpo.cluster import ray_jobs
from hpo.cluster.plan import RayPlan, read_plan
from hpo.cluster.ray_jobs import check_ray, follow, stop, submit
from hpo.errors import ClusterError

PLAN = RayPlan(study="tiny", options=["--slot"], storage="postgresql://hpo@db/hpo", n_workers=2, n_cpus=1, n_gpus=0)


class Client:
    """Stands in for Ray's own."""

    def __init__(self, *, version: str = "2.60.0", said: list[Any] | None = None, code: int | None = 0) -> None:
        self._server_ray_version, self._said, self._code = version, said or [], code
        self.shipped: dict[str, str] = {}
        self.plan: RayPlan | None = None
        self.stopped: list[str] = []

    def submit_job(self, *, entrypoint: str, runtime_env: dict[str, str], metadata: dict[str, str]) -> str:
        folder = Path(runtime_env["working_dir"])
        self.shipped = {str(one.relative_to(folder)): one.read_text() for one in folder.rglob("*.py")}
        self.plan = read_plan(folder)
        assert entrypoint == "python -m hpo.cluster.driver"
        return "raysubmit_1"

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        for one in self._said:
            if isinstance(one, BaseException):
                raise one
            yield one

    def get_job_info(self, job: str) -> Any:
        status = "FAILED" if self._code is None else "SUCCEEDED"
        return SimpleNamespace(
            driver_exit_code=self._code, status=SimpleNamespace(value=status), message="a\nb: no hpo"
        )

    def stop_job(self, job: str) -> bool:
        self.stopped.append(job)
        return True


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where something listens, and a Ray that is installed here."""
    fake: Any = types.ModuleType("ray")
    fake.__version__ = "2.60.1"
    monkeypatch.setitem(sys.modules, "ray", fake)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def use(monkeypatch: pytest.MonkeyPatch, client: Client) -> Client:
    monkeypatch.setattr(ray_jobs, "client_of", lambda address: client)
    return client


def test_a_ray_of_another_release_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Client(version="2.60.0"))
    check_ray(address)
    use(monkeypatch, Client(version="2.9.3"))
    with pytest.raises(ClusterError, match=r"runs Ray 2\.9\.3, and here is Ray 2\.60\.1"):
        check_ray(address)


@pytest.mark.parametrize("wrong", ["auto", "ray://head:10001", "http://", "head:8265"])
def test_an_address_of_something_else_is_refused(wrong: str, address: str) -> None:
    with pytest.raises(ClusterError, match="no address of Ray's Jobs API"):
        check_ray(wrong)


def test_no_cluster_and_no_ray_are_one_message_each(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match=r"No Ray cluster answers at http://127\.0\.0\.1:9: "):
        check_ray("http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match="not installed") as told:
        check_ray("local")
    assert "keras-hpo[ray]" in told.value.hint


def test_a_job_is_given_the_study_s_files_and_what_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots, client = make_slots(tmp_path), use(monkeypatch, Client())
    (tmp_path / "studies" / "beside.py").write_text("WIDTH = 8\n")
    (tmp_path / "studies" / "other.py").write_text("SECRET = 1\n")
    slots.file.path.write_text("from beside import WIDTH\n" + slots.file.path.read_text())
    assert submit(PLAN, slots.file, "http://head:8265") == "raysubmit_1"
    assert set(client.shipped) == {"studies/tiny.py", "studies/beside.py"}
    assert client.shipped["studies/tiny.py"] == slots.file.path.read_text()
    assert client.plan == PLAN


def test_what_a_job_says_is_shown_and_its_exit_code_is_this_command_s(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    use(monkeypatch, Client(said=["one\ntwo\n", "three\n"], code=3))
    assert follow("raysubmit_1", "http://head:8265", said.append, is_attached=False) == 3
    assert said == ["one", "two", "three"]


@pytest.mark.parametrize("stopped", [[], ["raysubmit_1"]], ids=["display", "job"])
def test_ctrl_c_ends_the_display_or_the_job_as_asked(stopped: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    client = use(monkeypatch, Client(said=["one\n", KeyboardInterrupt()]))
    assert follow("raysubmit_1", "http://head:8265", said.append, is_attached=bool(stopped)) == 130
    assert client.stopped == stopped
    shown = "is stopped" if stopped else "hpo cluster stop raysubmit_1 --address http://head:8265"
    assert shown in said[-1]


def test_a_job_that_could_not_begin_and_a_cluster_that_goes_away_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Client(code=None))
    with pytest.raises(ClusterError, match="raysubmit_1 failed: b: no hpo"):
        follow("raysubmit_1", "http://head:8265", print, is_attached=False)
    use(monkeypatch, Client(said=[ConnectionError("gone")]))
    with pytest.raises(ClusterError, match="does not answer any more: gone"):
        follow("raysubmit_1", "http://head:8265", print, is_attached=False)


def test_a_job_that_is_not_there_cannot_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    client = use(monkeypatch, Client())
    assert stop("raysubmit_1", "http://head:8265")
    monkeypatch.setattr(client, "stop_job", lambda job: (_ for _ in ()).throw(RuntimeError("no such job")))
    with pytest.raises(ClusterError, match="Ray does not stop raysubmit_1: no such job"):
        stop("raysubmit_1", "http://head:8265")
