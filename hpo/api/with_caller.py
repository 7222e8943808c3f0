"""A command that stops, as at SIGTERM, when its caller dies: python -m hpo.api.with_caller hpo.run ...

A notebook's kernel may be killed at any moment, and what it has started would go on where nobody sees it. The caller
holds the other end of this process's standard input, which the kernel of the system closes for whoever dies.
"""

import os
import runpy
import signal
import sys
import threading


def main() -> None:
    """Run the module that the command line names, with the rest of it."""
    threading.Thread(target=stop_with_caller, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def stop_with_caller() -> None:
    """Wait until the caller is gone, then ask this process to stop in good order."""
    while os.read(0, 1024):
        pass
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # nobody reads them any more: each print would raise, and trials would not be handed back
        os.dup2(nowhere, stream)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
