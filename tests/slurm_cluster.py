"""A Slurm of our own on one machine: its controller, and several node daemons that think they are nodes of their own.

Needs Debian's slurm-wlm and munge, and root, since Slurm's daemons change users.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from toy import wait_for

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "scontrol", "squeue")
NODE = "NODE_OF_A_TEST"  # a variable of the daemons
CONFIGURATION = """\
ClusterName=hpo
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
JobRequeue=1
ReturnToService=2
SlurmdTimeout=15
KillWait=15
MessageTimeout=30
NodeName={nodes} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports} CPUs=1 RealMemory=8000
PartitionName=main Nodes={nodes} Default=YES MaxTime=INFINITE State=UP
"""


def is_installed() -> bool:
    return sys.platform == "linux" and os.getuid() == 0 and all(map(shutil.which, PROGRAMS))


def free_ports(n: int) -> int:
    """Return the first of some ports beside each other that are free."""
    for first in range(20_000, 30_000, n):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + n):
                taken = stack.enter_context(socket.socket())
                taken.bind(("127.0.0.1", port))
            return first
    raise AssertionError("no port is free")


class SlurmCluster:
    """Slurm with some nodes of one core each.

    Args:
        folder: For all that it writes; its path must be short.
        n_nodes: How many.
    """

    def __init__(self, folder: Path, n_nodes: int) -> None:
        self.folder, first = folder, free_ports(n_nodes + 1)
        for name in ("state", "munge"):
            (folder / name).mkdir()
        folder.chmod(0o755)
        (folder / "munge").chmod(0o700)
        key = folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        nodes, ports = f"n[1-{n_nodes}]", f"[{first + 1}-{first + n_nodes}]"
        text = CONFIGURATION.format(
            host=socket.gethostname(), folder=folder, controller=first, nodes=nodes, ports=ports
        )
        (folder / "slurm.conf").write_text(text)
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        beside = [f"--{name}-file={folder / 'munge' / name}" for name in ("key", "pid", "log", "seed")]
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._start("munged", "--foreground", "--force", f"--socket={folder / 'munge.socket'}", *beside)
        wait_for((folder / "munge.socket").exists, seconds=20)
        self._start("slurmctld", "-D")
        for number in range(1, n_nodes + 1):
            self._start("slurmd", "-D", "-N", f"n{number}", node=f"n{number}")
        wait_for(lambda: self.ask("sinfo", "--noheader", "--format=%T").split() == ["idle"], seconds=60)

    def ask(self, *command: str) -> str:
        """Return what one of Slurm's commands says; nothing where it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        return done.stdout if done.returncode == 0 else ""

    def jobs(self, what: str) -> list[str]:
        """Return something of each job that waits or runs, in squeue's language."""
        return self.ask("squeue", "--noheader", "--array", f"--format={what}").splitlines()

    def kill_node(self, name: str) -> None:
        """End a node as a power cut does: its daemon, which could tell, and then all that runs on it."""
        self._daemons[name].kill()
        for mark in (f"{NODE}={name}", f"SLURMD_NODENAME={name}"):
            for pid in self._marked(mark.encode()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._daemons.pop(name).wait()

    def close(self) -> None:
        self.ask("scancel", "--state=PENDING,RUNNING", "--user=root")
        with contextlib.suppress(AssertionError):
            wait_for(lambda: not self.jobs("%i"), seconds=30)
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()

    def _marked(self, mark: bytes) -> list[int]:
        """Return the processes of this cluster with a variable: Slurm's own have that of their daemon, jobs others."""
        found, ours = [], f"SLURM_CONF={self.folder / 'slurm.conf'}".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if {mark, ours} <= set(path.read_bytes().split(b"\0")):
                    found.append(int(path.parent.name))
        return found

    def _start(self, program: str, *arguments: str, node: str = "") -> None:
        path = self.environment["PATH"] + os.pathsep + "/usr/sbin"
        with open(self.folder / f"{node or program}.out", "wb") as log:
            environment = {**self.environment, "PATH": path, NODE: node}
            self._daemons[node or program] = subprocess.Popen(
                [program, *arguments], env=environment, stdout=log, stderr=log
            )
