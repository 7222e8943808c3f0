"""A Ray cluster of several nodes on one machine, in a process of its own that does what it reads: add, kill, close.

Not in the tests' own process: Ray starts threads there, and warns.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

AGENTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
N_TRIES = 6  # a node waits 15 s for its agent, which a busy machine may not have started by then
PATIENT = {  # a busy machine starts nodes slowly
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "45",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "180",
}


class RayCluster:
    """A head without cores, and nodes of one core each that come and go."""

    def __init__(self) -> None:
        for _ in range(N_TRIES):
            with contextlib.suppress(AssertionError):
                self.address = self._begin()
                return
            self._process.communicate(timeout=60)
        raise AssertionError("Ray does not start")

    def _begin(self) -> str:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # jobs are started by python
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HPO_", "RAY_"))}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env={**environment, **PATIENT, "PATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return str(self._hear())

    def add_node(self) -> None:
        self._ask("add")

    def kill_node(self) -> None:
        """End the oldest node as a crash does."""
        self._ask("kill")

    def close(self) -> None:
        self._ask("close")
        self._process.communicate(timeout=60)

    def _ask(self, what: str) -> None:
        assert self._process.stdin is not None
        print(what, file=self._process.stdin, flush=True)
        self._hear()

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)["told"]
        raise AssertionError("the cluster says nothing")


def free_ports() -> dict[str, int]:
    """Return a free port for each of a node's agents: for one that chooses its own a node waits 15 s and then dies."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in AGENTS]
        for one in sockets:
            one.bind(("", 0))
        return {name: one.getsockname()[1] for name, one in zip(AGENTS, sockets, strict=True)}


def serve() -> None:
    """Do what is read on standard input."""
    from ray.cluster_utils import Cluster

    def tell(what: str) -> None:
        print(json.dumps({"told": what}), flush=True)

    dashboard = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": 0}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **dashboard, **free_ports()})
    nodes: list[Any] = []
    tell(f"http://{cluster.head_node.webui_url}")
    for line in sys.stdin:
        if line.strip() == "add":
            nodes.append(cluster.add_node(num_cpus=1, **free_ports()))
        elif line.strip() == "kill":
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
        else:
            cluster.shutdown()
        tell(line.strip())
        if line.strip() == "close":
            return


if __name__ == "__main__":
    serve()
