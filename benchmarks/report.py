"""How often a report says what is not so: python benchmarks/report.py [--searches 100] [--trials 50].

Searches of made-up objectives, whose truth is known, by the samplers that people use: in one nothing matters, in the
other the learning rate alone does. Counted is how often what hpo report says calls an optimizer better, or says of a
parameter that it mattered, that it did not, or that its range should be wider.
"""

import argparse
import math
from collections.abc import Callable, Sequence

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from hpo.metric import Metric
from hpo.report import Findings, Record, Trial, find
from hpo.report.space import parameter_of
from hpo.study import StudyFacts, Ticket, TicketState, TrialRow

SPACE: dict[str, BaseDistribution] = {
    "optimizer": CategoricalDistribution(["adam", "sgd", "rmsprop"]),
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "n_layers": IntDistribution(1, 4),
}
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "TPE": lambda seed: TPESampler(seed=seed, multivariate=True),
    "random": lambda seed: RandomSampler(seed=seed),
}
WORLDS: dict[str, float] = {"nothing": 0.0, "the learning rate": 0.05}  # what matters, and how steep its peak is
NOISE = 0.02
FACTS = StudyFacts(
    name="simulated", study_id=1, key="0" * 32, metric=Metric(name="value", direction="maximize"), seed=0, n_threads=1,
    baseline=None, meaning={}, libraries={}, data="",
)  # fmt: skip


def search(sampler: BaseSampler, steepness: float, n_trials: int, seed: int) -> Record:
    """Run a search, and return it as a report reads it."""
    random = np.random.default_rng(seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    trials = []
    for number in range(n_trials):
        drawn = study.ask(SPACE)
        off = math.log10(drawn.params["learning_rate"]) + 2.5
        value = float(random.normal(0.0, NOISE)) - steepness * off**2
        study.tell(drawn, value)
        trials.append(_trial(number, value, drawn.params))
    return Record(
        facts=FACTS,
        storage="",
        is_paused=False,
        tickets=[one.ticket for one in trials],
        trials=trials,
        parameters={name: parameter_of(name, one) for name, one in SPACE.items()},
    )


def _trial(number: int, value: float, params: dict[str, object]) -> Trial:
    row = TrialRow(
        number=number, trial_id=number, state=TrialState.COMPLETE, value=value, best_epoch=1, params=dict(params),
        seconds=1.0, is_diverged=False, reason="",
    )  # fmt: skip
    ticket = Ticket(
        number=number, trial_id=number, state=TicketState.ENDED, worker="w-1-0", token=None, beat=0, takeovers=0,
        seconds=1.0, epoch=1, epochs=1, value=value, outcome="COMPLETE",
    )  # fmt: skip
    return Trial(row=row, curve=((1, value),), begun_seconds=number, ended_seconds=number + 1.0, ticket=ticket)


def shares(found: Sequence[Findings], says: Callable[[Findings, str], bool]) -> str:
    """Return how many of a hundred reports say something, of each parameter."""
    counts = (sum(says(one, name) for one in found) for name in SPACE)
    return " / ".join(f"{100 * count / len(found):.0f}" for count in counts)


def verdict(findings: Findings, name: str) -> str:
    """Return what a report says of a parameter."""
    return next(one.verdict for one in findings.importances.parameters if one.name == name)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=100)
    parser.add_argument("--trials", type=int, default=50)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"Per 100 searches of {arguments.trials} trials; each three are {' / '.join(SPACE)}\n")
    print("| sampler | what matters | an optimizer is better | mattered | did not matter | widen its range |")
    print("|---|---|---|---|---|---|")
    for sampler, make in SAMPLERS.items():
        for world, steepness in WORLDS.items():
            found = [find(search(make(seed), steepness, arguments.trials, seed)) for seed in range(arguments.searches)]
            is_better = sum(one.groups.sentences[0].startswith("A typical trial is better") for one in found)
            cells = [
                sampler,
                world,
                f"{100 * is_better / len(found):.0f}",
                shares(found, lambda one, name: verdict(one, name) == "mattered"),
                shares(found, lambda one, name: verdict(one, name) == "did not matter"),
                shares(found, lambda one, name: name in {edge.name for edge in one.advice.edges}),
            ]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
