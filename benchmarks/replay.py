"""Which sampler, pruner, epochs and schedule find a good network soonest? Searches replayed in simulated parallel time.

    python benchmarks/replay.py [--curves FILE] [--workers 1,2,8] [--minutes 1,5,30] [--seeds 16] [--only TEXT]

Trials cost and score what benchmarks/surrogate.py makes of the curves that benchmarks/curves.py recorded. Samplers and
pruners are Optuna's own and see what they would see in hpo: a fresh seeded sampler per trial, a report per epoch, the
running trials of other workers. Each worker has a core to itself. Prints the best validation accuracy by then, median
and standard error over seeds. The Gaussian process needs torch, which hpo does not: without it its rows are left out.
"""

import argparse
import functools
import heapq
import importlib.util
import itertools
import os
import statistics
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import TrialState
from surrogate import LONG, N_EPOCHS, OPTIMIZERS, Surrogate, fit, read, work

from hpo.definition import seed_of
from hpo.definition.study import default_pruner, default_sampler

# As benchmarks/overhead.py measures them: until the first trial, per trial beyond its epochs, and for a new shape.
START_SECONDS, TRIAL_SECONDS, COMPILE_SECONDS = 7.0, 0.5, 0.9


@dataclass(frozen=True, kw_only=True)
class Policy:
    """One way to search; the defaults are hpo's.

    Attributes:
        name: For the table.
        sampler: Builds a trial's sampler from (seed, the trial's number, the study's seed).
        pruner: Builds the study's.
        epochs: Draws a trial's epochs.
        schedule: Draws "constant" or "cosine".
        n_candidates: Of so many draws, the one whose epoch needs the fewest multiplications is trained.
        first: Values of the first trials, from the study's seed; those left out are drawn.
        step: The pruner's step after an epoch, from (epoch, all epochs, relative cost of an epoch).
    """

    name: str
    sampler: Callable[[int, int, int], BaseSampler] = lambda seed, number, study: default_sampler(seed)
    pruner: Callable[[], BasePruner] = default_pruner
    epochs: Callable[[optuna.Trial], int] = lambda trial: N_EPOCHS
    schedule: Callable[[optuna.Trial], str] = lambda trial: "constant"
    n_candidates: Callable[[int], int] = lambda number: 1
    first: Callable[[int], Sequence[Mapping[str, Any]]] = lambda study: ()
    step: Callable[[int, int, float], int] = lambda epoch, epochs, cost: epoch


def from_to(low: int, high: int, step: int = 1) -> Callable[[optuna.Trial], int]:
    """Draw epochs from a range."""
    return lambda trial: trial.suggest_int("epochs", low, high, step=step)


def both(trial: optuna.Trial) -> str:
    """Draw the schedule."""
    return str(trial.suggest_categorical("schedule", ["constant", "cosine"]))


def by_share(epoch: int, epochs: int, cost: float) -> int:
    """Compare trials that are equally far on their way."""
    return round(epoch * N_EPOCHS / epochs)


def quasi_random(seed: int, number: int, study: int) -> BaseSampler:
    """Start with the points of one scrambled Sobol sequence."""
    return (
        QMCSampler(seed=study, scramble=True, warn_independent_sampling=False) if number < 10 else default_sampler(seed)
    )


def now_and_then(seed: int, number: int, study: int) -> BaseSampler:
    """Draw every fourth trial at random, as BOHB does every third (Falkner et al., 2018, arXiv:1807.01774)."""
    return RandomSampler(seed=seed) if number % 4 == 3 else default_sampler(seed)


def rates_of_keras(study: int) -> Sequence[Mapping[str, Any]]:
    """Start with Keras's own learning rates, the rest drawn."""
    return [{"optimizer": name, "learning_rate": 0.01 if name == "sgd" else 0.001} for name in OPTIMIZERS]


def cosine(trial: optuna.Trial) -> str:
    """Draw nothing."""
    return "cosine"


def averaged(trial: optuna.Trial) -> str:
    """Draw nothing."""
    return "averaged"


class Either(BasePruner):
    """Gives a trial up when one of some pruners does."""

    def __init__(self, *pruners: BasePruner) -> None:
        self._pruners = pruners

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        """Ask all of them: successive halving keeps books."""
        return any([pruner.prune(study, trial) for pruner in self._pruners])


@functools.cache
def sorted_start(n: int, seed: int) -> Sequence[Mapping[str, Any]]:
    """Return random configurations, the cheapest first."""
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    return sorted((suggest(study.ask()) for _ in range(n)), key=relative_cost)


POLICIES = [
    Policy(name="hpo: TPE multivariate, halving 1/3, 15 epochs"),
    # samplers
    Policy(name="random", sampler=lambda seed, *_: RandomSampler(seed=seed)),
    Policy(name="TPE, independent", sampler=lambda seed, *_: TPESampler(seed=seed, multivariate=False)),
    Policy(
        name="TPE, no constant liar",
        sampler=lambda seed, *_: TPESampler(seed=seed, multivariate=True, constant_liar=False),
    ),
    Policy(
        name="TPE, 5 at random first",
        sampler=lambda seed, *_: TPESampler(seed=seed, multivariate=True, n_startup_trials=5),
    ),
    Policy(
        name="TPE, 20 at random first",
        sampler=lambda seed, *_: TPESampler(seed=seed, multivariate=True, n_startup_trials=20),
    ),
    Policy(
        name="TPE, 64 candidates",
        sampler=lambda seed, *_: TPESampler(seed=seed, multivariate=True, n_ei_candidates=64),
    ),
    Policy(name="TPE, quasi-random first", sampler=quasi_random),
    Policy(name="GP", sampler=lambda seed, *_: GPSampler(seed=seed)),
    # pruners
    Policy(name="no pruner", pruner=NopPruner),
    Policy(name="median (5, 1)", pruner=lambda: MedianPruner(5, 1)),
    Policy(name="halving 1/2", pruner=lambda: SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)),
    Policy(name="halving 1/4", pruner=lambda: SuccessiveHalvingPruner(min_resource=1, reduction_factor=4)),
    Policy(name="halving 2/3", pruner=lambda: SuccessiveHalvingPruner(min_resource=2, reduction_factor=3)),
    Policy(name="halving 1/3, not before 2", pruner=lambda: SuccessiveHalvingPruner(1, 3, 0, 2)),
    Policy(name="halving 1/3, not before 3", pruner=lambda: SuccessiveHalvingPruner(1, 3, 0, 3)),
    Policy(name="halving 1/3, not before 5", pruner=lambda: SuccessiveHalvingPruner(1, 3, 0, 5)),
    Policy(name="Hyperband 1/3", pruner=lambda: HyperbandPruner(1, N_EPOCHS, 3)),
    Policy(name="halving 1/3, patient 2", pruner=lambda: PatientPruner(default_pruner(), patience=2)),
    # epochs
    Policy(name="epochs 20", epochs=lambda trial: 20),
    Policy(name="epochs 30", epochs=lambda trial: 30),
    Policy(name="epochs 3 to 15", epochs=from_to(3, 15)),
    Policy(name="epochs 5, 10, 15", epochs=from_to(5, 15, 5)),
    Policy(name="epochs 5, 10, 15, 20", epochs=from_to(5, 20, 5)),
    Policy(name="epochs 5, 10 ... 30", epochs=from_to(5, 30, 5)),
    Policy(name="epochs 12 to 15", epochs=from_to(12, 15)),
    Policy(name="epochs 20, 25, 30", epochs=from_to(20, 30, 5)),
    Policy(name="epochs 24 to 30", epochs=from_to(24, 30)),
    # schedules
    Policy(name="cosine", schedule=cosine),
    Policy(name="cosine or constant", schedule=both),
    Policy(name="cosine, epochs 5, 10, 15", schedule=cosine, epochs=from_to(5, 15, 5)),
    Policy(name="cosine, epochs 12 to 15", schedule=cosine, epochs=from_to(12, 15)),
    Policy(name="cosine, epochs 5, 10, 15, by share", schedule=cosine, epochs=from_to(5, 15, 5), step=by_share),
    # averaged weights
    Policy(name="averaged, hpo's defaults", schedule=averaged),
    Policy(name="averaged, random", schedule=averaged, sampler=lambda seed, *_: RandomSampler(seed=seed)),
    Policy(name="averaged, GP", schedule=averaged, sampler=lambda seed, *_: GPSampler(seed=seed)),
    Policy(
        name="averaged, 20 at random first",
        schedule=averaged,
        sampler=lambda seed, *_: TPESampler(seed=seed, multivariate=True, n_startup_trials=20),
    ),
    Policy(name="averaged, every fourth at random", schedule=averaged, sampler=now_and_then),
    Policy(name="averaged, Keras's rates first", schedule=averaged, first=rates_of_keras),
    Policy(name="averaged, no pruner", schedule=averaged, pruner=NopPruner),
    Policy(name="averaged, percentile 25 (1, 0)", schedule=averaged, pruner=lambda: PercentilePruner(25.0, 1, 0)),
    Policy(name="averaged, percentile 25 (1, 1)", schedule=averaged, pruner=lambda: PercentilePruner(25.0, 1, 1)),
    Policy(name="averaged, percentile 25 (4, 1)", schedule=averaged, pruner=lambda: PercentilePruner(25.0, 4, 1)),
    Policy(name="averaged, percentile 10 (1, 1)", schedule=averaged, pruner=lambda: PercentilePruner(10.0, 1, 1)),
    Policy(name="averaged, percentile 10 (1, 3)", schedule=averaged, pruner=lambda: PercentilePruner(10.0, 1, 3)),
    Policy(
        name="averaged, halving or percentile 25",
        schedule=averaged,
        pruner=lambda: Either(default_pruner(), PercentilePruner(25.0, 1, 1)),
    ),
    Policy(
        name="averaged, halving or percentile 50",
        schedule=averaged,
        pruner=lambda: Either(default_pruner(), PercentilePruner(50.0, 1, 1)),
    ),
    Policy(
        name="averaged, halving or percentile 10",
        schedule=averaged,
        pruner=lambda: Either(default_pruner(), PercentilePruner(10.0, 1, 1)),
    ),
    Policy(
        name="averaged, halving 1/4",
        schedule=averaged,
        pruner=lambda: SuccessiveHalvingPruner(min_resource=1, reduction_factor=4),
    ),
    Policy(
        name="averaged, halving 1/2",
        schedule=averaged,
        pruner=lambda: SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
    ),
    Policy(name="averaged, epochs 20, 25, 30", schedule=averaged, epochs=from_to(20, 30, 5)),
    Policy(
        name="averaged, epochs 20, 25, 30, random",
        schedule=averaged,
        epochs=from_to(20, 30, 5),
        sampler=lambda seed, *_: RandomSampler(seed=seed),
    ),
    Policy(
        name="averaged, epochs 20, 25, 30, 20 at random first",
        schedule=averaged,
        epochs=from_to(20, 30, 5),
        sampler=lambda seed, *_: TPESampler(seed=seed, multivariate=True, n_startup_trials=20),
    ),
    Policy(name="averaged, epochs 5, 10, 15", schedule=averaged, epochs=from_to(5, 15, 5)),
    # pruners of long trials
    Policy(name="epochs 30, no pruner", epochs=lambda trial: 30, pruner=NopPruner),
    Policy(name="epochs 30, median (5, 1)", epochs=lambda trial: 30, pruner=lambda: MedianPruner(5, 1)),
    Policy(name="epochs 30, Hyperband 1/3", epochs=lambda trial: 30, pruner=lambda: HyperbandPruner(1, LONG, 3)),
    Policy(
        name="epochs 30, halving 1/2",
        epochs=lambda trial: 30,
        pruner=lambda: SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
    ),
    Policy(
        name="epochs 30, halving 1/4",
        epochs=lambda trial: 30,
        pruner=lambda: SuccessiveHalvingPruner(min_resource=1, reduction_factor=4),
    ),
    Policy(name="epochs 30, random", epochs=lambda trial: 30, sampler=lambda seed, *_: RandomSampler(seed=seed)),
    Policy(
        name="epochs 30, 20 at random first",
        epochs=lambda trial: 30,
        sampler=lambda seed, *_: TPESampler(seed=seed, multivariate=True, n_startup_trials=20),
    ),
    Policy(
        name="epochs 30, 40 at random first",
        epochs=lambda trial: 30,
        sampler=lambda seed, *_: TPESampler(seed=seed, multivariate=True, n_startup_trials=40),
    ),
    Policy(
        name="epochs 30, TPE independent",
        epochs=lambda trial: 30,
        sampler=lambda seed, *_: TPESampler(seed=seed, multivariate=False),
    ),
    # cost
    Policy(name="10 random, cheapest first", first=lambda study: sorted_start(10, study)),
    Policy(name="20 random, cheapest first", first=lambda study: sorted_start(20, study)),
    Policy(
        name="epochs 30, 10 random, cheapest first",
        first=lambda study: sorted_start(10, study),
        epochs=lambda trial: 30,
    ),
    Policy(
        name="epochs 30, 20 random, cheapest first",
        first=lambda study: sorted_start(20, study),
        epochs=lambda trial: 30,
    ),
    Policy(name="cheapest of 2", n_candidates=lambda number: 2),
    Policy(name="cheapest of 3, first 10", n_candidates=lambda number: 3 if number < 10 else 1),
    Policy(name="halving by cost", step=lambda epoch, epochs, cost: max(1, round(epoch * cost))),
]


def simulate(
    policy: Policy, surrogate: Surrogate, n_workers: int, seconds: float, seed: int
) -> list[tuple[float, float]]:
    """Replay one search; returns (seconds since the command, best validation accuracy by then)."""
    study = optuna.create_study(direction="maximize", pruner=policy.pruner())
    chance = np.random.default_rng([seed, n_workers])
    numbers = itertools.count()
    compiled: list[set[tuple[Any, ...]]] = [set() for _ in range(n_workers)]
    events: list[tuple[float, int, int, Any]] = [(START_SECONDS, i, i, None) for i in range(n_workers)]
    order = itertools.count(n_workers)
    best, found = 0.0, []
    while events:
        now, _, worker, running = heapq.heappop(events)
        if now > seconds:
            break
        if running is None:
            number = next(numbers)
            study.sampler = policy.sampler(seed_of(seed, number, "sampler"), number, seed)
            trial, config, epochs, schedule = begin(policy, study, number, seed)
            curve = surrogate.curve(config, schedule=schedule, epochs=epochs, chance=chance)
            shape = (config["optimizer"], config["width"], config["batch_size"])
            now += TRIAL_SECONDS + (0.0 if shape in compiled[worker] else COMPILE_SECONDS)
            compiled[worker].add(shape)
            epoch, took = 0, surrogate.epoch_seconds(config)
        else:
            trial, config, curve, epoch, took = running
            epochs = len(curve)
            if curve[epoch - 1] > best:
                best = float(curve[epoch - 1])
                found.append((now, best))
            trial.report(float(curve[epoch - 1]), policy.step(epoch, epochs, relative_cost(config)))
            if epoch == epochs or trial.should_prune():
                if epoch == epochs:
                    study.tell(trial, float(curve.max()))
                else:
                    study.tell(trial, state=TrialState.PRUNED)
                heapq.heappush(events, (now, next(order), worker, None))
                continue
        heapq.heappush(events, (now + took, next(order), worker, (trial, config, curve, epoch + 1, took)))
    return found


def begin(policy: Policy, study: optuna.Study, number: int, seed: int) -> tuple[optuna.Trial, dict[str, Any], int, str]:
    """Draw a trial: the cheapest of the policy's candidates."""
    first = policy.first(seed)
    if number < len(first):
        study.enqueue_trial(dict(first[number]))
    candidates = []
    for _ in range(policy.n_candidates(number)):
        trial = study.ask()
        candidates.append((trial, suggest(trial), policy.epochs(trial), policy.schedule(trial)))
    chosen = min(candidates, key=lambda candidate: relative_cost(candidate[1]))
    for candidate in candidates:
        if candidate is not chosen:
            study.tell(candidate[0], state=TrialState.FAIL)
    return chosen


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Draw from the space of benchmarks/search.py."""
    return {
        "optimizer": trial.suggest_categorical("optimizer", list(OPTIMIZERS)),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
        "width": trial.suggest_categorical("width", [32, 64, 128, 256, 512]),
        "batch_size": trial.suggest_categorical("batch_size", [32, 64, 128, 256]),
    }


def relative_cost(config: Mapping[str, Any]) -> float:
    """Return an epoch's multiplications and updated elements, as they weigh; the cheapest shape's is about 1."""
    return float(work(config)[:2] @ [0.015, 0.5] / 0.3)


def main() -> None:
    """Replay all policies and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=Path(__file__).with_name("curves.jsonl"))
    parser.add_argument("--workers", default="1,2,8")
    parser.add_argument("--minutes", default="1,5,30")
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--only", default="", help="policies whose name holds one of these texts, divided by |")
    arguments = parser.parse_args()
    workers = [int(n) for n in arguments.workers.split(",")]
    budgets = [60 * float(minutes) for minutes in arguments.minutes.split(",")]
    chosen = [policy for policy in POLICIES if any(text in policy.name for text in arguments.only.split("|"))]
    if importlib.util.find_spec("torch") is None:
        chosen = [policy for policy in chosen if not policy.name.endswith("GP")]
        print("torch is not installed: without the Gaussian process", file=sys.stderr)
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor() as pool:
        tasks = [
            [pool.submit(replay, policy.name, arguments.curves, n, budgets, arguments.seeds) for n in workers]
            for policy in chosen
        ]
        titles = [f"{n} x {budget / 60:g} min" for n in workers for budget in budgets]
        print("| policy | " + " | ".join(titles) + " |\n|---|" + "---|" * len(titles))
        for policy, row in zip(chosen, tasks, strict=True):
            cells = [cell(values) for task in row for values in task.result()]
            print(f"| {policy.name} | " + " | ".join(cells) + " |", flush=True)


def replay(name: str, curves: Path, n_workers: int, budgets: Sequence[float], n_seeds: int) -> list[list[float]]:
    """Replay a policy, by name since functions do not travel between processes; returns each budget's accuracies."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    [policy] = [policy for policy in POLICIES if policy.name == name]
    surrogate = fitted(curves)
    runs = [simulate(policy, surrogate, n_workers, max(budgets), seed) for seed in range(n_seeds)]
    return [[max((value for at, value in run if at <= budget), default=0.0) for run in runs] for budget in budgets]


@functools.cache
def fitted(curves: Path) -> Surrogate:
    """Fit once per process: it takes seconds."""
    return fit(read(curves))


def cell(values: Sequence[float]) -> str:
    """Say the median and what its seeds leave open: 1.25 standard errors of a mean, as for a normal distribution."""
    return f"{statistics.median(values):.3f} ± {1.25 * statistics.stdev(values) / len(values) ** 0.5:.3f}"


if __name__ == "__main__":
    main()
