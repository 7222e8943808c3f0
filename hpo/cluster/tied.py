"""A command that ends with the process which started it: python -m hpo.cluster.tied PARENT COMMAND...

Whoever kills a process leaves its children alive: they would go on beside those that take their place, and share their
cores. Linux tells a child of its parent's death, with a signal of the child's choice; that choice outlives execve.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def become(parent: int, command: list[str]) -> None:
    """Be replaced by a command, which receives SIGTERM when the parent has died: it hands its trial back."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == parent:  # else it died before this was asked for
        os.execvp(command[0], command)


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
