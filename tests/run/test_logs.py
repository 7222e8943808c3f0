"""What stands in workers.log."""

import io
import logging
import re
import warnings
from collections.abc import Iterator

import pytest

from hpo.run.logs import QUIET, log, note_trial, write_lines


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What is logged here, with logging as it was afterwards."""
    names = [None, *QUIET]
    before = {name: (logging.getLogger(name).handlers[:], logging.getLogger(name).level) for name in names}
    logging.getLogger().handlers.clear()  # pytest's, which would be closed
    written = io.StringIO()
    note_trial(None)
    write_lines(written, "host-12-0")
    yield written
    logging.captureWarnings(capture=False)
    for name, (handlers, level) in before.items():
        logging.getLogger(name).handlers[:] = handlers
        logging.getLogger(name).setLevel(level)


def test_lines_carry_time_worker_trial_and_level(stream: io.StringIO) -> None:
    log.info("no %s of a format")
    note_trial(7)
    log.warning("no checkpoint\x1b[2J")
    note_trial(None)
    first, second = stream.getvalue().splitlines()
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
    assert re.fullmatch(f"{time} host-12-0 - INFO no %s of a format", first)
    assert re.match(f"{time} host-12-0 trial 7 WARNING no checkpoint", second)
    assert "\x1b" not in second


def test_chatter_of_libraries_is_left_out_but_not_their_errors(stream: io.StringIO) -> None:
    logging.getLogger("tensorflow").warning("5 out of the last 5 calls to <function> triggered tf.function retracing")
    logging.getLogger("absl").warning("Skipping variable loading for optimizer 'adam'")
    assert stream.getvalue() == ""
    logging.getLogger("tensorflow").error("out of memory")
    assert stream.getvalue().endswith("ERROR out of memory\n")
    assert stream.getvalue().count("\n") == 1


def test_what_a_study_s_own_code_logs_and_warns_of_arrives(stream: io.StringIO) -> None:
    logging.getLogger("my.study").info("width is 64")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("a rate of 10 is high", stacklevel=1)
    assert "INFO width is 64" in stream.getvalue()
    assert re.search("host-12-0 - WARNING .*a rate of 10 is high", stream.getvalue())
