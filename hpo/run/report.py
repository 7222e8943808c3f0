"""What a command says at its end: how it ended, the result, how to go on, where to look; the same as JSON."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from optuna.trial import TrialState
from rich.console import Console

from hpo.command import as_given, typed_hpo
from hpo.errors import NotOpenedError
from hpo.run.display import describe_audit, describe_best, say, summary
from hpo.run.ending import Ending, Outcome
from hpo.study import (
    StudyOptions,
    TicketState,
    as_json,
    audit,
    count_by_state,
    count_infeasible,
    count_unused,
    find_baseline,
    rank,
)

NAMEABLE = (Ending.FINISHED, Ending.TARGET, Ending.RESERVED)  # when a winner may well be named


def show(outcome: Outcome, options: StudyOptions, console: Console) -> None:
    """Print the result and what to do next."""
    for line in headlines(outcome, options):
        say(console, line)
    if outcome.ending == Ending.PAUSED:
        say(console, f"resume it:    {resume_command(outcome, options)}")
    console.print(summary(outcome.rows, outcome.study.facts))
    pruning = describe_audit(audit(outcome.tickets, outcome.rows, outcome.study.metric))
    if pruning:
        say(console, pruning)
    n_infeasible = count_infeasible(outcome.rows)
    if n_infeasible:
        say(console, f"infeasible:   {n_infeasible} of the draws, each refused and drawn anew")
    say(console, f"files:        {outcome.study.folder}")
    model = describe_model(outcome, options)
    if model:
        say(console, f"best model:   {model}")
    for label, command in commands(outcome, options):
        say(console, f"{label:13} {command}")
    if "PASSWORD@" in options.address.as_options(options.runs_dir):
        say(console, "              (with the database's password in place of PASSWORD)")


def headlines(outcome: Outcome, options: StudyOptions) -> list[str]:
    """Say how the command ended, and how to go on."""
    name, n_trials = outcome.study.name, len(outcome.tickets)
    n_unused = count_unused(outcome.tickets)
    if n_unused:
        kind = "feasible configurations" if "feasible" in outcome.study.facts.meaning else "configurations"
        lines = [
            f"{name} is finished: its space holds no more than {n_trials - n_unused} {kind}.",
            f"{n_unused} of {n_trials} trials were not needed (allow_duplicates would try some again).",
        ]
    elif outcome.ending == Ending.FINISHED:
        ended = "its one trial has" if n_trials == 1 else f"all of its {n_trials} trials have"
        lines = [f"{name} is finished: {ended} ended."]
    else:
        ended = f"{name}: {outcome.n_ended} of {n_trials} trials have ended."
        lines = [f"{ended} Stopped: {outcome.ending.value}. {go_on(outcome, options)}{starting_over(outcome, options)}"]
    failed = [row for row in outcome.rows if row.state == TrialState.FAIL]
    if failed:
        reason = failed[-1].reason.partition("\n")[0]
        lines.append(f"{len(failed)} of its trials failed, last trial {failed[-1].number}: {reason}")
    if options.n_trials is not None and options.n_trials < n_trials:
        lines.append(f"--trials {options.n_trials} changes nothing: the study already has {n_trials}.")
    elif options.n_trials is not None and options.n_trials > n_trials:  # a study that was paused, or not reached
        lines.append(
            f"--trials {options.n_trials} has not been stored: the study keeps its {n_trials} until it goes on."
        )
    return [as_given(line) for line in lines]


def go_on(outcome: Outcome, options: StudyOptions) -> str:
    """Say which command goes on with the study."""
    without = ["--new-generation"] if options.is_new_generation else []  # it would begin yet another
    without += {Ending.TARGET: ["--target"], Ending.OPENED: ["--workers 0"]}.get(outcome.ending, [])
    command = f"same command{' without ' + ' and '.join(without) if without else ''}"
    if outcome.ending == Ending.PAUSED:
        return f"Resume it, and the {command} goes on."
    return f"The {command} goes on."


def starting_over(outcome: Outcome, options: StudyOptions) -> str:
    """Say which interrupted trials have no checkpoint here, where callbacks cannot be carried say; with a space before.

    Those that were interrupted in their first epoch lose nothing that was ever kept, and are not named.
    """
    handed_back = [ticket for ticket in outcome.tickets if ticket.state == TicketState.HANDED_BACK and ticket.epoch]
    trial_ids = {ticket.trial_id for ticket in handed_back}
    numbers = [row.number for row in outcome.rows if row.trial_id in trial_ids]
    lost = [n for n in numbers if not outcome.study.folder.checkpoint(n).is_there]
    which = f"Trial {lost[0]} begins" if len(lost) == 1 else f"Trials {', '.join(map(str, lost))} begin"
    return f" {which} again at epoch 1: there is no checkpoint here." if lost else ""


def not_opened(cut: NotOpenedError, options: StudyOptions) -> str:
    """Say what became of a command that was stopped before there was a study."""
    return (
        f"{options.file.name}: stopped while its data and the study were being prepared: {cut.ending.value}. "
        "Nothing is lost. The same command begins again."
    )


def best_model(outcome: Outcome, options: StudyOptions) -> Path | None:
    """Return the best trial's model, if it was kept."""
    ranked = rank(outcome.rows, outcome.study.metric)
    model = outcome.study.folder.model(ranked[0].number) if ranked else None
    return model.path if model is not None and model.is_there else None


def describe_model(outcome: Outcome, options: StudyOptions) -> str:
    """Say where the best trial's model is, or why there is none yet; empty where it was not kept."""
    model, ranked = best_model(outcome, options), rank(outcome.rows, outcome.study.metric)
    if model is not None:
        return str(model)
    if not ranked or ranked[0].state.is_finished():
        return ""
    return f"none yet: trial {ranked[0].number} has not ended, and goes on with the study"


def is_over(outcome: Outcome) -> bool:
    """Whether nothing more is searched for now, so that a winner may be named."""
    return outcome.ending in NAMEABLE


def can_be_finished(outcome: Outcome) -> bool:
    """Whether there is one to name too: a trial that was trained to its end with a value."""
    whole = (row for row in outcome.rows if row.state == TrialState.COMPLETE and row.best_epoch is not None)
    return is_over(outcome) and any(whole)


def commands(outcome: Outcome, options: StudyOptions) -> Sequence[tuple[str, str]]:
    """Return the commands that follow, to be pasted, each with what it is for."""
    where = options.address.as_options(options.runs_dir)
    name = shlex.quote(outcome.study.name)
    finish = f"{typed_hpo()} finish --study {name}{where}"
    return [
        *([("how sure:", finish)] if can_be_finished(outcome) else []),
        ("look further:", f"{typed_hpo()} report --study {name}{where}"),
        ("look further:", f"{typed_hpo()} dashboard{where}"),
        ("look further:", f"{typed_hpo()} tensorboard --study {name}{runs_option(options)}"),
    ]


def resume_command(outcome: Outcome, options: StudyOptions) -> str:
    """Return the command that lets a paused study go on."""
    where = options.address.as_options(options.runs_dir)
    return f"{typed_hpo()} study resume --study {shlex.quote(outcome.study.name)}{where}"


def runs_option(options: StudyOptions) -> str:
    """Return --runs-dir as a command needs it, with a space before."""
    return "" if options.runs_dir == Path("runs") else f" --runs-dir {shlex.quote(str(options.runs_dir))}"


def describe(outcome: Outcome, options: StudyOptions, *, seconds: float) -> dict[str, object]:
    """Return what --json prints: all that people are told, and more of it."""
    ranked, model = rank(outcome.rows, outcome.study.metric), best_model(outcome, options)
    return {
        "study": outcome.study.name,
        "storage": options.address.public,
        "ending": outcome.ending.name.lower(),
        "message": " ".join([*headlines(outcome, options), describe_best(outcome.rows, outcome.study.facts)]),
        "n_trials": len(outcome.tickets),
        "n_unused": count_unused(outcome.tickets),
        "n_infeasible": count_infeasible(outcome.rows),
        "states": count_by_state(outcome.tickets),
        "metric": outcome.study.metric.name,
        "pruning": asdict(audit(outcome.tickets, outcome.rows, outcome.study.metric)),
        "best": as_json(ranked[0] if ranked else None),
        "baseline": as_json(find_baseline(outcome.rows, outcome.study.facts)),
        "files": str(outcome.study.folder.path.absolute()),
        "best_model": None if model is None else str(model.absolute()),
        "look_further": [command for _, command in commands(outcome, options)],
        "seconds": round(seconds, 3),
    }


def describe_not_opened(cut: NotOpenedError, options: StudyOptions, *, seconds: float) -> dict[str, object]:
    """Return what --json prints where there is no study yet."""
    return {
        "study": options.file.name,
        "ending": cut.ending.name.lower(),
        "message": not_opened(cut, options),
        "best": None,
        "seconds": round(seconds, 3),
    }
