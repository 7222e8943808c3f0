"""What a finish will take, from what the search's trials took: so much of a run's time is left for it."""

from collections.abc import Sequence

from optuna.trial import TrialState

from hpo.metric import Metric
from hpo.race.plan import N_SEEDS, default_finalists
from hpo.study import TrialRow, rank

N_RACE_ROUNDS = 4  # each finalist's share of a race: 3 where one is clearly better, 6 where all are equal
N_CONFIRMED = 3  # beside the baseline
SETTLING_SECONDS = 30.0  # to start, and in the end to write the model and measure it on the test rows
SHARE = 1.15  # of what it took before: workers wait for the last one, and new shapes are compiled anew


def finish_seconds(rows: Sequence[TrialRow], metric: Metric, *, baseline: TrialRow | None, n_workers: int) -> float:
    """Return about how long it takes to finish a search now; 0 where no trial was trained to its end yet."""
    whole = [row for row in rank(rows, metric) if row.state == TrialState.COMPLETE and row.best_epoch]
    if not whole:
        return 0.0
    finalists = whole[: default_finalists(len(rows))]
    mean_seconds = sum(row.seconds for row in finalists) / len(finalists)
    n_race = N_RACE_ROUNDS * len(finalists) if len(finalists) > 1 else 0
    n_confirmed = N_SEEDS * min(N_CONFIRMED, len(finalists))
    trained_seconds = (n_race + n_confirmed) * mean_seconds
    trained_seconds += 0.0 if baseline is None else N_SEEDS * baseline.seconds
    return SETTLING_SECONDS + SHARE * (trained_seconds / n_workers + max(row.seconds for row in finalists))
