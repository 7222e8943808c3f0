"""What commands say, said to who calls them from Python: arguments in place of options."""

import contextlib
import re
from collections.abc import Iterator

from hpo.errors import HpoError

# By option: what of hpo.tune, load or StoredStudy.finish stands for it.
ARGUMENTS = {
    "--trials": "n_trials",
    "--timeout": "timeout",
    "--target": "target",
    "--workers": "workers",
    "--storage": "storage",
    "--runs-dir": "runs_dir",
    "--data-dir": "data_dir",
    "--studies-dir": "studies_dir",
    "--seed": "seed",
    "--finalists": "finalists",
    "--seeds": "seeds",
    "--retrain": "retrain=True",
    "--no-retrain": "retrain=False",
    # No argument stands for these: commands that are started here take their variables from the environment.
    "--trust-stored-file": "HPO_TRUST_STORED_FILE=1 in the environment",
    "--threads": "HPO_THREADS",
    "--lease": "HPO_LEASE",
    "--max-carried": "HPO_MAX_CARRIED",
    "--trial-timeout": "HPO_TRIAL_TIMEOUT",
}
# What is to be typed in a terminal stays as it is.
COMMAND = r"\b(?:hpo|optuna|python\S* -m) [^.]*"
VALUE = r"(?: (?P<value>\d(?:[\w.]*\w)?))?"
OPTION = re.compile(rf"{COMMAND}|--study (?P<study>[\w.-]*\w)|(?P<option>--[a-z][a-z-]*){VALUE}")


def in_python(text: str) -> str:
    """Return a command's message with arguments in place of options, and cells where a file stands for them."""
    text = re.sub(r"\S*\.cells/\S+\.py", "The definition", text)
    text = text.replace("--new-generation", "new_generation=True")
    text = re.sub(r"\b([Tt])he same command\b", r"\1he same call", text).replace("this command", "this call")
    return OPTION.sub(_renamed, text)


def _renamed(found: re.Match[str]) -> str:
    if found["study"]:
        return f'study="{found["study"]}"'
    argument = ARGUMENTS.get(found["option"] or "")
    if argument is None:
        return found[0]
    return f"{argument}={found['value']}" if found["value"] else argument


@contextlib.contextmanager
def worded() -> Iterator[None]:
    """Have errors of what is read here, in this process, said in the words of Python as well.

    Raises:
        HpoError: As it came, with other words.
    """
    try:
        yield
    except HpoError as error:
        error.message, error.hint = in_python(error.message), in_python(error.hint)
        error.args, error.__notes__ = (error.message,), [error.hint] if error.hint else []
        raise
