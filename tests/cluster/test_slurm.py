"""Slurm's job array, as bash runs it: with Slurm's variables, a scontrol that notes what it is asked, real signals."""

import os
import re
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from project import SLOW_MODEL, Project
from slot_files import make_slots
from toy import wait_for

from hpo.cluster.slurm import SlurmJob, seconds_of_slurm, submit, write_script
from hpo.errors import ClusterError, OptionError

# In hpo's place: leaves with a code of its own, or as a slot does when it is told to.
WORKER = """#!/bin/bash
echo "$@" > {folder}/asked
if [ -z "{code}" ]; then
    trap 'sleep 0.3; exit 99' TERM
    touch {folder}/working
    for i in $(seq 600); do sleep 0.05; done
fi
exit {code}
"""
SCONTROL = """#!/bin/bash
echo "$@" >> {folder}/scontrol
"""


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def start(script: str, folder: Path, **variables: str) -> subprocess.Popen[str]:
    program(folder / "scontrol", SCONTROL.format(folder=folder)).rename(folder / "bin" / "scontrol")
    slurm = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2", "SLURM_JOB_ID": "9"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    environment |= {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", **slurm, **variables}
    return subprocess.Popen(
        ["bash", "-c", script], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    return tmp_path


def script_for(folder: Path, code: str) -> str:
    python = program(folder / "bin" / "python", WORKER.format(folder=folder, code=code))
    job = SlurmJob(time="1:00:00", partition=None)
    return write_script(make_slots(folder), job, python=str(python), folder=folder)


def requeued(folder: Path) -> list[str]:
    path = folder / "scontrol"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(
    ("told", "expected"), [(signal.SIGUSR1, ["requeue 7_2"]), (signal.SIGTERM, []), (signal.SIGINT, [])]
)
def test_a_slot_whose_time_is_nearly_up_is_queued_again_but_not_one_that_is_cancelled(
    told: signal.Signals, expected: list[str], folder: Path
) -> None:
    process = start(script_for(folder, ""), folder)
    wait_for((folder / "working").exists)
    process.send_signal(told)
    process.communicate(timeout=30)
    assert process.returncode == 99
    assert requeued(folder) == expected


def test_a_signal_that_comes_twice_does_not_cut_the_worker_s_leaving(folder: Path) -> None:
    process = start(script_for(folder, ""), folder)
    wait_for((folder / "working").exists)
    process.send_signal(signal.SIGUSR1)
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=30)
    assert (process.returncode, requeued(folder)) == (99, ["requeue 7_2"])


@pytest.mark.parametrize(
    ("code", "restarts", "expected"),
    [
        ("0", "0", []),  # the study has ended
        ("99", "900", ["requeue 7_2"]),  # told to leave, by whom ever
        ("11", "0", ["requeue 7_2"]),  # the database is away
        ("11", "20", []),  # for good, it seems
        ("3", "0", []),
        ("5", "0", []),
        ("137", "0", []),
    ],
)
def test_the_exit_code_says_whether_a_slot_is_queued_again(
    code: str, restarts: str, expected: list[str], folder: Path
) -> None:
    process = start(script_for(folder, code), folder, SLURM_RESTART_COUNT=restarts)
    process.communicate(timeout=30)
    assert process.returncode == int(code)
    assert requeued(folder) == expected


def test_script_names_what_was_asked_for_and_quotes_it(folder: Path) -> None:
    there = folder / "with 'spaces'"
    (there / "bin").mkdir(parents=True)
    password = there / "database password"
    password.write_text("hunter2\n")
    storage = f"postgresql://hpo@db/hpo?password_file={password}"
    slots = make_slots(there, storage=storage, n_workers=64, n_threads=2, memory_mib=512, more=["--trials", "500"])
    job = SlurmJob(time="2-12", partition="long", directives=["--account=phys"])
    script = write_script(slots, job, folder=there)
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script, re.MULTILINE))
    assert options["array"] == "0-63"
    assert (options["cpus-per-task"], options["mem"], options["time"]) == ("2", "512M", "2-12")
    assert (options["partition"], options["account"], options["signal"]) == ("long", "phys", "B:USR1@60")
    assert shlex.split(options["chdir"]) == [str(there)]
    line = next(line for line in script.splitlines() if line.startswith(sys.executable))
    words = shlex.split(line)
    assert words[:5] == [sys.executable, "-m", "hpo", "run", "--slot"]
    assert words[words.index("--studies-dir") + 1] == str(there / "studies")
    assert words[words.index("--trials") + 1] == "500"
    assert "hunter2" not in script
    assert subprocess.run(["bash", "-n", "-c", script]).returncode == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 1800), ("30:30", 1830), ("4:00:00", 14400), ("1-0", 86400), ("1-2:30", 95400), ("1-2:30:05", 95405)],
)
def test_times_are_read_as_slurm_reads_them(text: str, seconds: int) -> None:
    assert seconds_of_slurm(text) == seconds


@pytest.mark.parametrize("text", ["4h", "", "1:2:3:4", "2", "1:59", "-5", "1-"])
def test_no_time_and_too_little_of_it_are_refused(text: str) -> None:
    with pytest.raises(OptionError):
        seconds_of_slurm(text)


def test_sbatch_is_given_the_script_and_its_refusal_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slots = make_slots(folder)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    program(folder / "bin" / "sbatch", f"#!/bin/bash\ncat > {folder}/given\necho '42;cluster'\n")
    assert submit("the script", slots).startswith("job 42: 4 worker slots for 'tiny'\n")
    assert (folder / "given").read_text() == "the script"
    program(folder / "bin" / "sbatch", "#!/bin/bash\necho 'sbatch: error: invalid partition' >&2\nexit 1\n")
    with pytest.raises(ClusterError, match="refuses the job: invalid partition"):
        submit("the script", slots)
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(ClusterError, match="no sbatch here"):
        submit("the script", slots)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_time_that_is_up_hands_the_trial_back_and_the_slot_queued_again_ends_the_study(tmp_path: Path) -> None:
    project, bin_dir = Project(tmp_path), tmp_path / "bin"
    bin_dir.mkdir()
    project.write(SLOW_MODEL)
    asked = ["slurm", "--study", "blobs", "--workers", "1", "--time", "1:00:00", "--", "--trials", "3"]
    printed = project.run(*asked, command="cluster")
    assert printed.returncode == 0, printed.stderr
    cache = {"HPO_CACHE_DIR": str(tmp_path / "cache")}
    first = start(printed.stdout, tmp_path, **cache)
    project.wait_for_epoch(1)
    first.send_signal(signal.SIGUSR1)
    out, _ = first.communicate(timeout=60)
    assert (first.returncode, requeued(tmp_path)) == (99, ["requeue 7_2"]), out
    assert "RUNNING" not in {trial.state.name for trial in project.trials()}
    again = start(printed.stdout, tmp_path, SLURM_RESTART_COUNT="1", **cache)
    out, _ = again.communicate(timeout=200)
    assert again.returncode == 0, out
    project.tune("--runs-dir", "calm", "--workers", "1", "--trials", "3")
    seen = [[(t.params, t.values, t.intermediate_values) for t in project.trials(runs=r)] for r in ("runs", "calm")]
    assert seen[0] == seen[1]
