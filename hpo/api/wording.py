"""What commands say, said to who calls them from Python: arguments in place of options."""

import re

# By option: the argument of hpo.tune, load or StoredStudy.finish that stands for it.
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
}
# What is to be typed in a terminal stays as it is.
COMMAND = r"\b(?:hpo|optuna|python\S* -m) [^.]*"
OPTION = re.compile(rf"{COMMAND}|(?P<option>--[a-z][a-z-]*)(?: (?P<value>\d(?:[\w.]*\w)?))?")


def in_python(text: str) -> str:
    """Return a command's message with arguments in place of options, and cells where a file stands for them."""
    text = re.sub(r"\S*\.cells/\S+\.py", "The definition", text)
    text = text.replace("--new-generation", "new_generation=True")
    text = re.sub(r"\b([Tt])he same command\b", r"\1he same call", text).replace("this command", "this call")
    return OPTION.sub(_renamed, text)


def _renamed(found: re.Match[str]) -> str:
    argument = ARGUMENTS.get(found["option"] or "")
    if argument is None:
        return found[0]
    return f"{argument}={found['value']}" if found["value"] else argument
