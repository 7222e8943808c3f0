"""Points of a study's search space: drawn, or placed by their values; and what is asked of the study's own code."""

import contextlib
import difflib
import math
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from hpo.definition.feasibility import N_REFUSALS, check_feasible, refused_all
from hpo.definition.own import check_chosen
from hpo.definition.samplers import sampler_error, steady_sampler_of
from hpo.definition.study import StudyDefinition
from hpo.errors import InfeasibleError, ParameterError, StudyFileError
from hpo.parameters import Parameters, flat, is_count, is_number
from hpo.tracebacks import field_hint, told

STORABLE = (bool, int, float, str)  # the choices, beside None, that a database gives back as they were
N_REHEARSED, N_TRIED = 50, 1000  # points that are looked at, and how many are drawn for them
FIXED_SUGGEST = optuna.trial.FixedTrial._suggest.__code__


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One configuration, as hpo trains it and as Optuna stores it."""

    parameters: Any  # Parameters, or what a training function is given
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]


def draw(definition: StudyDefinition, trial: optuna.Trial | optuna.trial.FixedTrial) -> Draw:
    """Run the search space on a trial, and ask the study's rule about what it gives.

    Raises:
        InfeasibleError: One of them refuses this point.
        SamplerError: The trial's sampler cannot draw.
        StudyFileError: The search space raised something else than TrialPruned, returned something else than
            Parameters, Parameters refused its values, a category has choices that cannot be stored, or the rule gives
            no answer.
    """
    drawn = _draw_unasked(definition, trial)
    check_feasible(definition, drawn.parameters)
    return drawn


def _draw_unasked(definition: StudyDefinition, trial: optuna.Trial | optuna.trial.FixedTrial) -> Draw:
    try:
        with warnings.catch_warnings(action="ignore"):  # out of range, not storable: errors here
            parameters = definition.search_space(trial)  # type: ignore[arg-type]
    except ParameterError as error:
        raise StudyFileError(f"search_space gave Parameters a wrong value: {told(error)}") from error
    except optuna.TrialPruned as error:
        raise InfeasibleError("search_space") from error
    except Exception as error:
        hint = field_hint(error)
        if "dynamic value space" in str(error) or "incompatible distribution" in str(error):  # Optuna's words
            hint = "A name stands for one kind of value and one list of choices: give what differs a name of its own."
        raise sampler_error(error) or StudyFileError(f"search_space raised {told(error)}", hint) from error
    if definition.train is not None:
        check_chosen(parameters, "What search_space returns")
    elif not isinstance(parameters, Parameters):
        raise StudyFileError(f"search_space must return hpo.Parameters, not {type(parameters).__name__}.")
    _check_choices(trial.distributions)
    return Draw(parameters=parameters, params=trial.params, distributions=trial.distributions)


def _check_choices(distributions: Mapping[str, BaseDistribution]) -> None:
    for name, distribution in distributions.items():
        for choice in getattr(distribution, "choices", ()):
            if choice is not None and not isinstance(choice, STORABLE):
                raise StudyFileError(
                    f"search_space: a choice of {name} is {choice!r}, of type {type(choice).__name__}; the database "
                    f"gives back None, True, False, numbers and text as they were, and nothing else.",
                    'Give it a name and look it up: SHAPES[trial.suggest_categorical("shape", ["32-16", "64"])].',
                )


def place(definition: StudyDefinition, values: Mapping[str, Any]) -> Draw:
    """Find the point of the search space that has these values, by parameter name.

    Raises:
        ParameterError: A value is missing or lies outside its range, which the message gives, or the study refuses the
            point.
        StudyFileError: See draw.
    """
    trial = optuna.trial.FixedTrial(dict(values))
    try:
        found = _drawn_from_values(definition, trial)
    except StudyFileError:
        _check_inside(trial)  # the likelier reason, and it names the range
        raise
    _check_inside(trial)
    check_feasible(definition, found.parameters)
    return found


def _drawn_from_values(definition: StudyDefinition, trial: optuna.trial.FixedTrial) -> Draw:
    try:
        return _draw_unasked(definition, trial)
    except StudyFileError as error:
        misfit = _misfit(error.__cause__)
        raise error if misfit is None else ParameterError(misfit) from error


def _misfit(error: BaseException | None) -> str | None:
    """Say which value Optuna did not take; None where it was no value, but how search_space asks for one."""
    frames = list(traceback.walk_tb(error.__traceback__)) if error is not None else []
    asked = next((frame.f_locals for frame, _ in frames if frame.f_code is FIXED_SUGGEST), None)
    if asked is None:
        return None
    name, distribution = str(asked["name"]), asked["distribution"]
    if "value" not in asked:
        return f"{name} has no value; it may be {describe(distribution)}"
    if frames[-1][0].f_code.co_name == "to_internal_repr":
        return outside(name, asked["value"], distribution)
    return None


def check_names(definition: StudyDefinition, values: Mapping[str, Any]) -> None:
    """Compare the names of some values with those that the search space asks for, given these values.

    Raises:
        ParameterError: Some are unknown, missing or of no use; all are named.
    """
    space = rehearse(definition)
    trial = optuna.trial.FixedTrial({**{name: ends[0] for name, ends in space.items()}, **values})
    is_whole = False
    with contextlib.suppress(InfeasibleError, StudyFileError):  # place says what is wrong with the values
        _draw_unasked(definition, trial)
        is_whole = True
    asked = list(trial.distributions)
    found = []
    for name in values:
        if name not in space:
            close = difflib.get_close_matches(name, space, n=1)
            found.append(f"there is no {name}" + (f" (did you mean {close[0]}?)" if close else ""))
        elif is_whole and name not in asked:
            found.append(f"this configuration has no {name}")
    missing = [name for name in asked if name not in values]
    if missing:
        found.append(f"{', '.join(missing)} must have a value")
    if found:
        raise ParameterError(f"{'; '.join(found)}. It has {', '.join(asked if is_whole else space)}")


def _check_inside(trial: optuna.trial.FixedTrial) -> None:
    for name, distribution in trial.distributions.items():
        value = trial.params[name]
        if not distribution._contains(distribution.to_internal_repr(value)):
            raise ParameterError(outside(name, value, distribution))


def place_baseline(definition: StudyDefinition) -> Draw | None:
    """Return the baseline with the ranges of the search space, widened where it lies outside; None for no baseline.

    Raises:
        StudyFileError: It lacks a value that the search space draws, a category does not have it, or search_space
            refuses it.
    """
    if definition.baseline is None:
        return None
    hint = "Parameters of the search space are looked up in the baseline by name: name them like its fields."
    trial = optuna.trial.FixedTrial(flat(definition.baseline))
    try:
        found = _drawn_from_values(definition, trial)
        distributions = {name: _widen(name, found.distributions[name], value) for name, value in found.params.items()}
    except ValueError as error:
        raise StudyFileError(f"STUDY.baseline does not fit the search space: {error}.", hint) from error
    return Draw(parameters=definition.baseline, params=found.params, distributions=distributions)


def is_baseline_inside(definition: StudyDefinition) -> bool:
    """Whether the baseline is a point of the search space."""
    if definition.baseline is None:
        return False
    try:
        return bool(place(definition, flat(definition.baseline)).parameters == definition.baseline)
    except (ParameterError, StudyFileError):
        return False


def _widen(name: str, distribution: BaseDistribution, value: Any) -> BaseDistribution:
    """Return the distribution, with a range that holds value."""
    if distribution._contains(distribution.to_internal_repr(value)):
        return distribution
    if isinstance(distribution, IntDistribution) and is_count(value):
        low, high = min(distribution.low, value), max(distribution.high, value)
        on_step = (value - distribution.low) % distribution.step == 0
        return IntDistribution(low, high, log=distribution.log, step=distribution.step if on_step else 1)
    if isinstance(distribution, FloatDistribution) and is_number(value) and math.isfinite(value):
        return FloatDistribution(min(distribution.low, value), max(distribution.high, value), log=distribution.log)
    raise ParameterError(outside(name, value, distribution))


def outside(name: str, value: object, distribution: BaseDistribution) -> str:
    """Say that a distribution does not have a value."""
    lies = "lies outside" if getattr(distribution, "choices", None) is None else "is not"
    return f"{name} = {value!r} {lies} {describe(distribution)}"


def describe(distribution: BaseDistribution) -> str:
    """Say a range in words."""
    choices = getattr(distribution, "choices", None)
    if choices is not None:
        return "one of " + ", ".join(repr(choice) for choice in choices)
    low, high, step = (getattr(distribution, name) for name in ("low", "high", "step"))
    steps = f" in steps of {step}" if step not in (None, 1) else ""
    return f"{low} to {high}{steps}"


def rehearse(definition: StudyDefinition) -> dict[str, tuple[object, ...]]:
    """Draw points at random, then one with the study's sampler, before anything is stored.

    Returns each parameter's choices, or the two ends of its range; a space with conditions is asked often enough to see
    its branches. What a sampler needs after its first random trials only, a package say, is missed here and not later.

    Raises:
        StudyFileError: See draw and sampler_of, or the study refuses all points, or its own baseline.
    """
    _check_baseline(definition)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen: dict[str, tuple[object, ...]] = {}
    n_drawn, refuser = 0, ""
    for n_tried in range(N_REFUSALS):
        if n_drawn == N_REHEARSED or (n_drawn and n_tried >= N_TRIED):
            break
        trial = study.ask()
        try:
            drawn = draw(definition, trial)
        except InfeasibleError as error:
            refuser = error.refuser
            study.tell(trial, state=TrialState.FAIL)
            continue
        study.tell(trial, n_drawn)
        for name, distribution in drawn.distributions.items():
            ends = getattr(distribution, "choices", None)
            seen[name] = ends or (getattr(distribution, "low", None), getattr(distribution, "high", None))
        n_drawn += 1
    if n_drawn == 0:
        raise refused_all(refuser)
    study.sampler = steady_sampler_of(definition)
    with contextlib.suppress(InfeasibleError):
        draw(definition, ask(study))
    return seen


def _check_baseline(definition: StudyDefinition) -> None:
    if definition.baseline is None:
        return
    try:
        check_feasible(definition, definition.baseline)  # what is trained: not always the point that has its values
    except InfeasibleError as error:
        hint = "Give it values that feasible takes, or have feasible take it."
        raise StudyFileError(f"STUDY.baseline is not feasible: {error}.", hint) from error


def ask(study: optuna.Study) -> optuna.Trial:
    """Begin a trial.

    Raises:
        SamplerError: The study's sampler cannot.
    """
    try:
        return study.ask()
    except Exception as error:
        told_error = sampler_error(error)
        if told_error is None:
            raise
        raise told_error from error
