"""What it costs to keep checkpoints in PostgreSQL, beside a file: seconds, CPU, memory, and bytes that the server logs.

    python benchmarks/carried.py [--megabytes 0.1,2,20,200] [--rounds 5]

Starts a PostgreSQL of its own, durable as installed, on this machine: a network adds its own time. Each size is written
by a process of its own, as a worker writes it, through the same code.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import sqlalchemy as sa
from storage import postgresql

from hpo.database import open_store
from hpo.database.address import parse_address
from hpo.study import CarriedFiles, TrialFile
from hpo.study.schema import create_tables
from hpo.study.tickets import TicketTable


def main() -> None:
    """Measure each size, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", default="0.1,2,20,200")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--url", help=argparse.SUPPRESS)  # of a measuring process
    arguments = parser.parse_args()
    if arguments.url:
        print(measured(arguments.url, int(float(arguments.megabytes) * 1e6), arguments.rounds))
        return
    print("| MB | file, s | put, s | its CPU, s | read, s | memory, times the size | logged, times the size |")
    print("|---|---|---|---|---|---|---|")
    with postgresql() as (new_database, _):
        url = new_database(None)
        for size in arguments.megabytes.split(","):
            command = [sys.executable, __file__, "--megabytes", size, "--rounds", str(arguments.rounds), "--url", url]
            print(f"| {size} {subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()}")


def measured(url: str, n_bytes: int, n_rounds: int) -> str:
    """Write and read a file of this size so many times; returns the medians as a table's row."""
    database = open_store(parse_address(url), create=True)
    create_tables(database.engine)
    tickets = TicketTable(engine=database.engine, study=uuid.uuid4().hex)
    tickets.grow(1)
    tickets.claim("worker", "token")
    carried, content = CarriedFiles(tickets=tickets), os.urandom(n_bytes)
    before_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    logged = sa.text("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
    with database.engine.connect() as connection:
        began_bytes = float(connection.scalar(logged) or 0)
    file_seconds, put_seconds, cpu_seconds, read_seconds = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        file = TrialFile(Path(folder) / "trial" / "checkpoint.npz")
        for epoch in range(1, n_rounds + 1):
            begun = time.monotonic()
            file.save(lambda opened: opened.write(content))
            file_seconds.append(time.monotonic() - begun)
            begun, cpu = time.monotonic(), time.process_time()
            carried.put("token", 0, "checkpoint.npz", epoch=epoch, content=content)
            put_seconds.append(time.monotonic() - begun)
            cpu_seconds.append(time.process_time() - cpu)
            begun = time.monotonic()
            (found,) = carried.listed()
            assert carried.read(found) == content
            read_seconds.append(time.monotonic() - begun)
    with database.engine.connect() as connection:
        logged_bytes = float(connection.scalar(logged) or 0) - began_bytes
    grown_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before_bytes
    medians = [statistics.median(times) for times in (file_seconds, put_seconds, cpu_seconds, read_seconds)]
    shown = [f"{seconds:.4f}" for seconds in medians]
    return " | ".join(["", *shown, f"{grown_bytes / n_bytes:.1f}", f"{logged_bytes / n_rounds / n_bytes:.2f}", ""])


if __name__ == "__main__":
    main()
