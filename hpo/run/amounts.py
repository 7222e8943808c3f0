"""What people type after an option -> a number that everything behind it can work with."""

import math
import re
from typing import Annotated

import typer

from hpo.command import whole_number

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_SECONDS = 366 * 86400  # threading's waits overflow beyond 292 years; nobody means more than one
MIN_LEASE_SECONDS = 2.0  # six beats are due in it, and a busy database may take longer than a third of a second
MAX_TRIALS = 1_000_000  # each is a row that every look may read
MAX_PROCESSES = 1024  # of workers or threads: more only fill a machine's memory
MIN_SEED, MAX_SEED = -(2**63), 2**63 - 1  # the split is drawn from 64 bits: two longer seeds could share it


def seconds_of(text: str) -> float:
    """Read a duration: 90s, 10m, 2h, 1h30m; a bare number is seconds."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        seconds = float(text)
    elif re.fullmatch(r"(\d+(\.\d+)?[smhd])+", text):
        seconds = sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+)([smhd])", text))
    else:
        raise typer.BadParameter(f"{text!r} is not a duration; write 90s, 10m, 2h or 1h30m")
    if seconds > MAX_SECONDS:
        raise typer.BadParameter(f"{text!r} is longer than a year")
    return seconds


def positive_seconds_of(text: str) -> float:
    """Read a duration that is not zero."""
    seconds = seconds_of(text)
    if seconds == 0:
        raise typer.BadParameter(f"{text!r} is no time at all; leave it out for no limit")
    return seconds


Seed = Annotated[
    int | None,
    typer.Option(
        envvar="HPO_SEED",
        parser=whole_number(MIN_SEED, MAX_SEED, "a whole number of at most 64 bits"),
        metavar="N",
        help="A new study's seed. Default: its file's.",
    ),
]
StalledAfter = Annotated[
    float,
    typer.Option(
        envvar="HPO_STALLED_AFTER",
        parser=positive_seconds_of,
        metavar="30m",
        help="A study of which no epoch ends for so long is said to stall.",
    ),
]

TrustStoredFile = Annotated[
    bool,
    typer.Option(
        "--trust-stored-file",
        envvar="HPO_TRUST_STORED_FILE",
        help="Without the study's file here, run the one stored with the study: whoever writes the database wrote it.",
    ),
]


def lease_of(text: str) -> float:
    """Read how long a worker may be silent."""
    seconds = seconds_of(text)
    if seconds < MIN_LEASE_SECONDS:
        raise typer.BadParameter(
            f"{text!r} is too short: write {MIN_LEASE_SECONDS:g}s or more, or living workers lose their trials"
        )
    return seconds


def number_of(text: str) -> float:
    """Read a number; "nan" and "inf", which are never reached, are none."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise typer.BadParameter(f"{text!r} is not a number")
    return number


def gigabytes_of(text: str) -> float:
    """Read a size in GB."""
    number = number_of(text)
    if not 0 <= number <= 1e6:
        raise typer.BadParameter(f"{text!r} is not from 0 to 1000000 GB")
    return number
