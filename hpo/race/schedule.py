"""What a finish trains, in which order, and what has come of it: a plan and its results -> all trainings so far.

The schedule is a function of the results alone, and more results only make it longer. So whoever works it out, with
however many workers, gets the same trainings under the same numbers, and the same winner.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hpo.race.plan import Plan
from hpo.statistics import dropped


@dataclass(frozen=True, order=True, kw_only=True)
class Repeat:
    """One setting, trained with one seed.

    Attributes:
        setting: Its place in the plan.
        seed: The seed's number, from 1.
    """

    setting: int
    seed: int


# The value of each training that has ended, the higher the better; None for one that brought none.
Results = Mapping[Repeat, float | None]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How far a finish has come.

    Attributes:
        repeats: What is to be trained, as far as the results so far tell; ticket n is the n-th of them.
        order: The finalists, best first, once the race has been decided; empty where all of them failed.
        is_decided: Whether it has been.
        n_spared: How many trainings of the race were not needed.
    """

    repeats: tuple[Repeat, ...]
    order: tuple[int, ...] = ()
    is_decided: bool = False
    n_spared: int = 0

    @property
    def winner(self) -> int | None:
        """The setting that won the race."""
        return self.order[0] if self.order else None

    @property
    def runner_up(self) -> int | None:
        """The second."""
        return self.order[1] if len(self.order) > 1 else None


def schedule(plan: Plan, results: Results) -> Schedule:
    """Work out what is to be trained.

    The race goes by rounds, a seed each, the first two together; after each, those are dropped that have fallen behind
    or failed. Beside each round, what is known to be confirmed is trained with a seed that chooses nothing, so that
    idle workers have something to do.
    """
    beside = _beside(plan)
    if plan.n_finalists == 1:
        return _confirmed(plan, [], (0,), n_spared=0)
    repeats: list[Repeat] = []
    racing = list(range(plan.n_finalists))
    left: list[int] = []  # who left the race, the last one first
    n_spared = 0
    for seed in range(1, plan.n_race_seeds + 1):
        repeats += [Repeat(setting=setting, seed=seed) for setting in racing]
        repeats += next(beside, [])
        if seed == 1 and plan.n_race_seeds > 1:
            continue
        done = {one: [results.get(Repeat(setting=one, seed=s), _MISSING) for s in range(1, seed + 1)] for one in racing}
        if any(value is _MISSING for values in done.values() for value in values):
            return Schedule(repeats=tuple(repeats))
        whole = {one: [v for v in values if isinstance(v, float)] for one, values in done.items() if None not in values}
        behind = dropped(whole) if seed > 1 and len(whole) > 1 else set()
        racing = _ranked(whole, [one for one in whole if one not in behind])
        left = _ranked(whole, behind) + left
        n_spared += (plan.n_race_seeds - seed) * (len(done) - len(racing))
        if len(racing) <= 1:
            n_spared += (plan.n_race_seeds - seed) * len(racing)
            break
    return _confirmed(plan, repeats, (*racing, *left), n_spared=n_spared)


_MISSING = object()


def _ranked(values: Mapping[int, Sequence[float]], those: "Sequence[int] | set[int]") -> list[int]:
    """Return settings by their means, best first; of equal ones that with the better record."""
    return sorted(those, key=lambda one: (-sum(values[one]) / len(values[one]), one))


def _beside(plan: Plan) -> Iterator[list[Repeat]]:
    for seed in plan.seeds:
        yield [Repeat(setting=setting, seed=seed) for setting in plan.known]


def _confirmed(plan: Plan, repeats: list[Repeat], order: tuple[int, ...], *, n_spared: int) -> Schedule:
    """Add what is confirmed, with the same seeds for all."""
    settings = list(dict.fromkeys([*order[:2], *plan.known]))
    scheduled = set(repeats)
    wanted = [Repeat(setting=setting, seed=seed) for seed in plan.seeds for setting in settings]
    repeats = repeats + [repeat for repeat in wanted if repeat not in scheduled]
    return Schedule(repeats=tuple(repeats), order=order, is_decided=True, n_spared=n_spared)
