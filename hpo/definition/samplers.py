"""The study's sampler: built from its recipe, refused where it is unsafe, and blamed for its own errors only."""

import warnings
from collections.abc import Iterator

import optuna
from optuna.samplers import BaseSampler, GridSampler

from hpo.definition.study import StudyDefinition
from hpo.errors import SamplerError
from hpo.tracebacks import told


def sampler_of(definition: StudyDefinition, seed: int) -> BaseSampler:
    """Build the study's sampler from a seed.

    Raises:
        SamplerError: It cannot be built, is none, or is one that hpo refuses.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # that it is experimental, at every draw
            sampler = definition.sampler(seed)
    except Exception as error:
        raise _explained(error, "STUDY.sampler") from error
    if not isinstance(sampler, BaseSampler):
        raise SamplerError(f"STUDY.sampler must return an Optuna sampler, not {type(sampler).__name__}.")
    if any(isinstance(one, optuna.samplers.CmaEsSampler) for one in _asked(sampler, set())):
        raise SamplerError(
            "STUDY.sampler is, or asks, a CmaEsSampler. hpo refuses it: it unpickles attributes of trials, and so runs "
            "whatever somebody who can write to the database has put there.",
            "Take another sampler: TPESampler, GPSampler or NSGAIISampler.",
        )
    return sampler


def steady_sampler_of(definition: StudyDefinition) -> BaseSampler:
    """Build the study's sampler as its first trial has it.

    Raises:
        SamplerError: See sampler_of, or it is a grid whose order changes with the trial.
    """
    sampler, other = sampler_of(definition, 0), sampler_of(definition, 1)
    if isinstance(sampler, GridSampler) and sampler._all_grids != getattr(other, "_all_grids", None):
        raise SamplerError(
            "STUDY.sampler numbers the points of its grid anew for each trial, so that some would be left out.",
            "Give it one seed for all: sampler=lambda seed: GridSampler(grid, seed=0).",
        )
    return sampler


def _asked(value: object, seen: set[int]) -> Iterator[BaseSampler]:
    """Yield a sampler and all others in its attributes."""
    if id(value) in seen:
        return
    seen.add(id(value))
    inner: list[object] = []
    if isinstance(value, BaseSampler):
        yield value
        inner = list(vars(value).values())
    elif isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, list | tuple):
        inner = list(value)
    for one in inner:
        yield from _asked(one, seen)


def sampler_error(error: Exception) -> SamplerError | None:
    """Tell an exception that a sampler raised, though search_space may have called it; None where none was at work."""
    trace = error.__traceback__
    while trace is not None:
        sampler = trace.tb_frame.f_locals.get("self")
        if isinstance(sampler, BaseSampler):
            return _explained(error, f"STUDY.sampler ({type(sampler).__name__})", type(sampler).__module__)
        trace = trace.tb_next
    return None


def _explained(error: Exception, who: str, module: str = "") -> SamplerError:
    if isinstance(error, ImportError):
        return SamplerError(
            f"{who} needs a package that is not installed: {error}.",
            f"Install {error.name or 'it'} wherever workers run, or take another sampler.",
        )
    # The frames of search_space, which asked, would mislead.
    reason = f"{type(error).__name__}: {error}" if module.startswith("optuna.") else told(error)
    return SamplerError(f"{who} raised {reason}")
