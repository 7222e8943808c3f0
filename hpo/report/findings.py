"""All that the report says of a study, computed; as values and as JSON."""

import dataclasses
import math
import shlex
from dataclasses import dataclass
from enum import Enum
from typing import Any

from hpo.errors import StudyMismatchError
from hpo.finish import Found, find_found, since_sentence
from hpo.names import search_of
from hpo.report.advice import Advice, find_advice
from hpo.report.answer import AgainstBaseline, Answer, Finish, find_against, find_answer, state_of
from hpo.report.groups import Groups, find_groups
from hpo.report.importance import Importances, find_importances
from hpo.report.progress import Curves, Progress, find_curves, find_progress
from hpo.report.record import Record, read_record
from hpo.report.spending import Pruning, Time, Troubles, find_pruning, find_time, find_troubles
from hpo.study import OpenStudy

EXPLAINED = (
    "Seeds that chose nothing belong to trainings made after the race, so that luck in the race has no part in them."
)
IN_TRIALS = {"members", "steps"}  # what "trials" says already


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a study found, in the page's order."""

    answer: Answer
    against_baseline: AgainstBaseline
    groups: Groups
    importances: Importances
    curves: Curves
    progress: Progress
    time: Time
    pruning: Pruning
    advice: Advice
    troubles: Troubles


Side = tuple[Record, Findings]  # a study, and what it found


def find(record: Record, *, finish: Finish | None = None, command: str = "") -> Findings:
    """Compute all findings.

    Args:
        record: The study.
        finish: What hpo finish found, if it has been run.
        command: What is to be typed to finish the study.
    """
    importances, curves = find_importances(record), find_curves(record)
    groups = find_groups(record, importances)
    troubles = find_troubles(record)
    return Findings(
        answer=find_answer(record, finish, command or f"hpo finish --study {record.name}"),
        against_baseline=find_against(record),
        groups=groups,
        importances=importances,
        curves=curves,
        progress=find_progress(record),
        time=find_time(record),
        pruning=find_pruning(record),
        advice=find_advice(record, groups, importances, troubles, is_improving=curves.is_improving),
        troubles=troubles,
    )


def examine(study: OpenStudy, *, where: str = "") -> Side:
    """Read a study and compute all findings.

    Args:
        study: Which.
        where: The options that name its database, with a space before, for commands that are to be typed.
    """
    if study.facts.finishes is not None:
        name = search_of(study.name)
        raise StudyMismatchError(f'What "{study.name}" found is in the report of "{name}".', f"Name it: --study {name}")
    record = read_record(study)
    finish = shown(find_found(study, study.folder.path.parent))
    return record, find(record, finish=finish, command=f"hpo finish --study {shlex.quote(record.name)}{where}")


def shown(found: Found | None) -> Finish | None:
    """Return what a finish has found as the page shows it."""
    if found is None:
        return None
    headings, rows = found.table() if found.answer.is_complete else ((), ())
    sentences = tuple(f"{label[0].upper()}{label[1:]}: {line}" for label, line in found.lines)
    since = since_sentence(found.n_since)
    explained = (EXPLAINED,) if found.answer.is_complete and found.answer.winner is not None else ()
    sentences = (*sentences, *explained, *((since,) if since else ()))
    return Finish(
        lead=found.lead(), sentences=sentences, headings=tuple(headings), rows=tuple(tuple(row) for row in rows)
    )


def described(record: Record, findings: Findings) -> dict[str, Any]:
    """Describe a study and its findings for programs; what JSON has no number for becomes null."""
    return {
        "study": record.name,
        "storage": record.storage,
        "metric": record.metric.name,
        "direction": record.metric.direction,
        "n_trials": len(record.tickets),
        "n_ended": record.n_ended,
        **_plain(findings),
        "trials": [
            {
                "number": one.number,
                "state": state_of(one),
                "value": _plain(one.row.value),
                "best_epoch": one.row.best_epoch,
                "epochs": one.n_epochs,
                "seconds": _plain(round(one.seconds, 3)),
                "reason": one.row.reason,
                "parameters": _plain(one.row.params),
            }
            for one in record.trials
        ],
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value) if field.name not in IN_TRIALS)
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.value if isinstance(value, Enum) else value
