"""How far a finished search's answer can be trusted: python benchmarks/answer.py [--searches 20000] [--trials 50].

Simulates whole searches, whose truth is known, and ends each by what `hpo finish` itself ends one by, the schedule of
hpo.race and the answer of hpo.finish: the five best records race over the seeds 1 to 6; winner, runner-up, the search's
best and the baseline are trained on the seeds 7 to 12, which chose nothing. What is then said is held against truth.
Worlds differ in the settings' true means, in the noise's size and shape, and in what one seed does to two settings.
Figures are in standard deviations of a setting's value over seeds. `--rows` tries the intervals of a number that was
measured on test rows instead.
"""

import argparse
import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import TrialState
from scipy import stats

from hpo.finish.answer import Answer, answer_of
from hpo.metric import Metric
from hpo.race import N_RACE_SEEDS, N_SEEDS, Difference, Plan, Repeat
from hpo.race.plan import Setting
from hpo.race.schedule import schedule
from hpo.statistics import bootstrap_mean, clopper_pearson, estimate, failure_bound
from hpo.study import TrialRow

Vector = np.ndarray[Any, Any]
N_FINALISTS = 5
METRIC = Metric(name="value", direction="maximize")
BANDS = (0.5, 0.7, 0.8, 0.9, 0.96, 1.01)  # of what is said of the winner and another
LEAST_COVERAGE, MOST_CALLED = 0.94, 0.05


@dataclass(frozen=True, kw_only=True)
class World:
    """Where searches take place.

    Attributes:
        means: The settings' true means are like those of "real" (recorded trainings), "sampler" (their better third,
            as a sampler that learns draws them) or "equal".
        size: A setting's noise, in standard deviations of the better half of the true means.
        spread: The standard deviation of the logarithm of that noise from setting to setting.
        correlation: Of two settings' values with the same seed.
        shape: "normal", "heavy" (Student's with 3 degrees of freedom), "skewed" (-1.4) or "coarse" (normal, rounded to
            two standard deviations).
        collapsing: The share of runs that end ten standard deviations below.
    """

    means: str = "real"
    size: float = 1.0
    spread: float = 0.0
    correlation: float = 0.0
    shape: str = "normal"
    collapsing: float = 0.0

    @property
    def is_promised(self) -> bool:
        """Whether the interval's coverage is promised here."""
        return self.shape == "normal" and not self.collapsing


WORLDS = {
    "real, noise 0.3": World(size=0.3),
    "real, noise 1": World(),
    "real, noise 3": World(size=3.0),
    "real, noise 1, unequal": World(spread=0.5),
    "real, noise 3, unequal": World(size=3.0, spread=0.5),
    "real, noise 1, correlated 0.7": World(correlation=0.7),
    "sampler, noise 0.5, unequal, correlated 0.35 (as measured)": World(
        means="sampler", size=0.5, spread=0.5, correlation=0.35
    ),
    "sampler, noise 2, unequal": World(means="sampler", size=2.0, spread=0.5),
    "all equal": World(means="equal"),
    "all equal, unequal noise": World(means="equal", spread=0.5),
    "all equal, heavy tails": World(means="equal", shape="heavy"),
    "real, noise 1, skewed": World(shape="skewed"),
    "all equal, skewed": World(means="equal", shape="skewed"),
    "real, noise 1, coarse": World(shape="coarse"),
    "real, noise 1, 3 % collapse": World(collapsing=0.03),
    "real, noise 1, 10 % collapse": World(collapsing=0.1),
}


@dataclass(frozen=True, kw_only=True)
class Search:
    """One search, with what its finish may see and what it may not.

    Attributes:
        values: Of each setting that may be trained again, over twelve seeds.
        settings: Their numbers: the finalists, best record first, and the baseline.
        step: Of the metric.
        records: Of all trials.
        truth: All settings' true means.
        sds: Of each setting's noise.
    """

    values: list[list[float]]
    settings: list[int]
    step: float
    records: Vector
    truth: Vector
    sds: Vector


@dataclass(kw_only=True)
class Tally:
    """What was counted in one world, a value per search."""

    covers: list[bool] = field(default_factory=list)
    covers_best: list[bool] = field(default_factory=list)
    covers_chosen: list[bool] = field(default_factory=list)  # by the interval of the seeds that chose it
    trainings: list[int] = field(default_factory=list)
    width: list[float] = field(default_factory=list)
    regret: list[float] = field(default_factory=list)
    regret_best: list[float] = field(default_factory=list)
    behind_five: list[float] = field(default_factory=list)
    optimism: list[float] = field(default_factory=list)
    called: list[bool] = field(default_factory=list)
    wrong: list[bool] = field(default_factory=list)
    said: list[tuple[float, bool]] = field(default_factory=list)


def main() -> None:
    """Simulate, and print a table for Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=20_000)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worlds", nargs="*", default=list(WORLDS), help="the beginnings of their names")
    parser.add_argument("--rows", action="store_true")
    arguments = parser.parse_args()
    if arguments.rows:
        show_rows(arguments.searches, arguments.seed)
        return
    chosen = {name: world for name, world in WORLDS.items() if name.startswith(tuple(arguments.worlds))}
    show(chosen, n_searches=arguments.searches, n_trials=arguments.trials, seed=arguments.seed)


def show(worlds: dict[str, World], *, n_searches: int, n_trials: int, seed: int) -> None:
    """Print what came of each world, how probabilities that were said came true, and whether all promises hold."""
    print(
        "| world | covers winner / search's best, % | by the seeds that chose, % | width | trainings"
        " | regret: winner / search's best | behind the best of the five | optimism"
        " | called different, % | wrongly, % |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    said: list[tuple[float, bool]] = []
    broken = []
    for name, world in worlds.items():
        tally = simulate(world, n_searches=n_searches, n_trials=n_trials, seed=seed)
        said += tally.said
        print(
            f"| {name} | {_percent(tally.covers)} / {_percent(tally.covers_best)}"
            f" | {_percent(tally.covers_chosen)} | {np.mean(tally.width):.2f}"
            f" | {np.mean(tally.trainings):.1f} | {np.mean(tally.regret):.2f} / {np.mean(tally.regret_best):.2f}"
            f" | {np.mean(tally.behind_five):.2f} | {np.mean(tally.optimism):.1f} | {_percent(tally.called)}"
            f" | {_percent(tally.wrong)} |",
            flush=True,
        )
        doubt = 3 * math.sqrt(MOST_CALLED * (1 - MOST_CALLED) / n_searches)
        if world.is_promised and np.mean(tally.covers) < LEAST_COVERAGE - doubt:
            broken.append(f"{name}: the interval covers too seldom")
        if world.is_promised and np.mean(tally.wrong) > MOST_CALLED + doubt:
            broken.append(f"{name}: differences are called too often")
    print("\n| said of the winner against another | true in |\n|---|---|")
    for low, high in itertools.pairwise(BANDS):
        band = [one for one in said if low <= one[0] < high]
        if band:
            print(f"| {np.mean([p for p, _ in band]):.2f} | {np.mean([true for _, true in band]):.2f} |")
    print(
        f"\nRuns that fail: up to {failure_bound(6):.0%} after six that did not, {failure_bound(12):.0%} after twelve."
    )
    print("\n".join(broken) or "Every promise holds.")


def simulate(world: World, *, n_searches: int, n_trials: int, seed: int) -> Tally:
    """End simulated searches, and hold what is said against the truth."""
    random, tally = np.random.default_rng(seed), Tally()
    draw_means = _means_of(world)
    for _ in range(n_searches):
        means = draw_means(random, n_trials)
        sds = np.exp(random.normal(0, world.spread, n_trials)) if world.spread else np.ones(n_trials)
        records = means + sds * _noise(random, world, (n_trials,))
        by_record = np.argsort(-records)
        finalists = [int(one) for one in by_record[:N_FINALISTS]]
        seen = [*finalists, *([] if 0 in finalists else [0])]  # trial 0 is the baseline
        shape = len(seen), N_RACE_SEEDS + N_SEEDS
        shared = random.normal(size=shape[1]) if world.correlation else None
        runs = means[seen][:, None] + sds[seen][:, None] * _noise(random, world, shape, shared)
        step = 2.0 if world.shape == "coarse" else 0.0
        if step:
            records, runs = step * np.round(records / step), step * np.round(runs / step)
        search = Search(
            values=runs.tolist(),
            settings=seen,
            step=step,
            records=records,
            truth=means - 10 * sds * world.collapsing,  # what collapses take from each mean
            sds=sds,
        )
        _finish(tally, search)
    return tally


def _finish(tally: Tally, search: Search) -> None:
    answer, results = finish(search)
    truth, of = search.truth, search.settings
    assert answer.winner is not None
    winner, best = of[answer.winner], of[0]
    found, of_best = answer.confirmed[answer.winner].estimate, answer.confirmed[0].estimate
    assert found is not None
    assert of_best is not None
    tally.covers.append(_within(truth[winner], (found.low, found.high)))
    tally.covers_best.append(_within(truth[best], (of_best.low, of_best.high)))
    of_winner = ((repeat.seed, value) for repeat, value in results.items() if repeat.setting == answer.winner)
    chosen_by = estimate([value for seed, value in of_winner if seed <= N_RACE_SEEDS], step=search.step)
    tally.covers_chosen.append(_within(truth[winner], (chosen_by.low, chosen_by.high)))
    tally.width.append((found.high - found.low) / search.sds[winner])
    tally.trainings.append(len(results))
    tally.regret.append(truth.max() - truth[winner])
    tally.regret_best.append(truth.max() - truth[best])
    tally.behind_five.append(max(truth[one] for one in of[:N_FINALISTS]) - truth[winner])
    tally.optimism.append(search.records[best] - truth[best])
    others = {of[one.setting]: one for one in answer.differences}
    tally.called.append(any(one.is_different for one in answer.differences if one.setting == answer.runner_up))
    signs = {one: np.sign(truth[winner] - truth[one]) for one in others}
    tally.wrong.append(any(one.is_different and signs[trial] != _sign(one) for trial, one in others.items()))
    for trial, one in others.items():
        if trial in of[:N_FINALISTS] and signs[trial] and one.probability is not None:
            p, is_better = one.probability, bool(signs[trial] > 0)
            tally.said.append((p, is_better) if p >= 0.5 else (1 - p, not is_better))


def _sign(difference: Difference) -> float:
    return 0.0 if difference.comparison is None else float(np.sign(difference.comparison.difference))


def finish(search: Search) -> tuple[Answer, dict[Repeat, float]]:
    """Train what hpo's own schedule asks for, until it asks for no more, and return hpo's own answer."""
    settings = tuple(
        Setting(
            trial=trial,
            params={},
            distributions={},
            record=float(search.records[trial]),
            is_baseline=trial == 0,
        )
        for trial in search.settings
    )
    plan = Plan(
        settings=settings,
        n_finalists=N_FINALISTS,
        n_race_seeds=N_RACE_SEEDS,
        n_seeds=N_SEEDS,
        n_trials=len(search.records),
        n_open=0,
        step=search.step,
    )
    results: dict[Repeat, float] = {}
    while True:
        wanted = [repeat for repeat in schedule(plan, results).repeats if repeat not in results]
        if not wanted:
            rows = [_row(number, repeat, value) for number, (repeat, value) in enumerate(results.items())]
            return answer_of(plan, rows, METRIC, is_complete=True), results
        results |= {one: search.values[one.setting][one.seed - 1] for one in wanted}


def _row(number: int, repeat: Repeat, value: float) -> TrialRow:
    return TrialRow(
        number=number,
        trial_id=number,
        state=TrialState.COMPLETE,
        value=value,
        best_epoch=1,
        params={},
        seconds=1.0,
        is_diverged=False,
        reason="",
        repeat=(repeat.setting, repeat.seed),
    )


def _means_of(world: World) -> Callable[[np.random.Generator, int], Vector]:
    """Return what draws the true means of a search's settings, in standard deviations of the noise."""
    if world.means == "equal":
        return lambda random, n: np.zeros(n)
    path = Path(__file__).with_name("curves.jsonl")
    curves = [json.loads(line) for line in path.read_text().splitlines()]
    recorded = np.sort([max(curve["val_accuracy"]) for curve in curves if curve["epochs"] >= 15])
    pool = recorded[-(len(recorded) // 3) :] if world.means == "sampler" else recorded
    noise = world.size * pool[len(pool) // 2 :].std(ddof=1)
    smoothing = 0.1 * pool.std()

    def draw(random: np.random.Generator, n: int) -> Vector:
        drawn: Vector = (random.choice(pool, n) + random.normal(0, smoothing, n)) / noise
        return drawn

    return draw


def _noise(random: np.random.Generator, world: World, shape: tuple[int, ...], shared: Vector | None = None) -> Vector:
    """Return noise of mean 0 and standard deviation 1, before runs collapse."""
    if world.shape == "heavy":
        noise = random.standard_t(3, shape) / math.sqrt(3)
    elif world.shape == "skewed":
        k = 4 / 1.4**2
        noise = (k - random.gamma(k, size=shape)) / math.sqrt(k)
    else:
        noise = random.normal(size=shape)
    if shared is not None:
        noise = math.sqrt(world.correlation) * shared + math.sqrt(1 - world.correlation) * noise
    return noise - 10 * (random.random(shape) < world.collapsing) if world.collapsing else noise


def show_rows(n_searches: int, seed: int) -> None:
    """Print how often the intervals of an accuracy, and of a mean loss with a long tail, contain the truth."""
    print("| accuracy | rows | Clopper-Pearson covers, % |\n|---|---|---|")
    for share in (0.5, 0.9, 0.99):
        for n in (100, 1000, 10_000):
            hits = np.arange(n + 1)
            weights = stats.binom.pmf(hits, n, share)
            inside = sum(
                weights[k] for k in hits[weights > 1e-12] if _within(share, clopper_pearson(int(k), n))
            )  # fmt: skip
            print(f"| {share} | {n} | {100 * inside:.1f} |")
    random, n_drawn = np.random.default_rng(seed), min(n_searches, 1000)
    print(f"\n| loss, rows | bootstrap-t covers, % of {n_drawn} | plain t |\n|---|---|---|")
    for n in (100, 360, 1000):
        covered = {"bootstrap": 0, "t": 0}
        for _ in range(n_drawn):
            rows = random.lognormal(0, 1.5, n)
            mean = math.exp(1.5**2 / 2)
            covered["bootstrap"] += _within(mean, bootstrap_mean(rows))
            plain = estimate(rows.tolist())
            covered["t"] += plain.low <= mean <= plain.high
        print(f"| {n} | {100 * covered['bootstrap'] / n_drawn:.1f} | {100 * covered['t'] / n_drawn:.1f} |", flush=True)


def _within(value: float, interval: tuple[float, float]) -> bool:
    return interval[0] <= value <= interval[1]


def _percent(those: Sequence[bool]) -> str:
    return f"{100 * np.mean(those):.1f}"


if __name__ == "__main__":
    main()
