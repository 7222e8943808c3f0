"""A study's trials as a table to download, in place of optuna-dashboard's own.

There a study's name goes into a header as it is, so a line break or a Chinese name is an error 500, and a text that
begins with = is a formula to the spreadsheet that opens the file.
"""

import csv
import io
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from hpo.terminal import plain_cell
from hpo.web.attachment import to_be_saved


def answer_table(storage: BaseStorage, study_id: int, query: str, start_response: Any) -> Iterable[bytes]:
    """Answer a request for a study's trials as CSV; ?trial_ids=0,3 asks for some of them, by their numbers."""
    try:
        name, trials = storage.get_study_name_from_id(study_id), storage.get_all_trials(study_id, deepcopy=False)
        objectives = name_objectives(storage, study_id)
        numbers = {int(number) for number in parse_qs(query).get("trial_ids", [""])[0].split(",") if number.strip()}
    except KeyError:
        return _refuse(start_response, "404 Not Found", "There is no such study.")
    except ValueError:
        return _refuse(start_response, "400 Bad Request", "trial_ids are numbers with commas between them.")
    chosen = [trial for trial in trials if not numbers or trial.number in numbers]
    headers = to_be_saved(f"{name}.csv", otherwise="study")
    start_response("200 OK", [("Content-Type", "text/csv; charset=utf-8"), *headers])
    return [write_table(chosen, objectives).encode()]


def name_objectives(storage: BaseStorage, study_id: int) -> list[str]:
    """Return the names that Optuna's set_metric_names gave what is optimized, or optuna-dashboard's."""
    n_objectives = len(storage.get_study_directions(study_id))
    names = storage.get_study_system_attrs(study_id).get("study:metric_names")
    if isinstance(names, list) and len(names) == n_objectives:
        return [str(name) for name in names]
    return ["Value"] if n_objectives == 1 else [f"Objective {number}" for number in range(n_objectives)]


def write_table(trials: Iterable[FrozenTrial], objectives: list[str]) -> str:
    """Return trials as CSV, with the columns that optuna-dashboard gives them and no formula among the cells."""
    trials = list(trials)
    params = sorted({name for trial in trials for name in trial.params})
    attrs = sorted({name for trial in trials for name in trial.user_attrs})
    rows: list[list[Any]] = [
        [
            "Number",
            "State",
            *objectives,
            *(f"Param {name}" for name in params),
            *(f"UserAttribute {name}" for name in attrs),
        ]
    ]
    for trial in trials:
        rows.append([trial.number, trial.state.name, *(trial.values or [None] * len(objectives))])
        rows[-1] += [trial.params.get(name) for name in params] + [trial.user_attrs.get(name) for name in attrs]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([plain_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def _refuse(start_response: Any, status: str, reason: str) -> list[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{reason}\n".encode()]
