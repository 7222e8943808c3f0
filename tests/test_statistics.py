"""Intervals and tests are the published ones, with figures written out; what they promise holds where it is tried."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from hpo.statistics import (
    N_MANY_ROWS,
    bootstrap_mean,
    clopper_pearson,
    compare,
    dropped,
    estimate,
    failure_bound,
    holm,
    probability_better,
    wilson,
)

SIX = [0.51, 0.53, 0.50, 0.52, 0.54, 0.52]  # mean 0.52, squares of the differences 0.001, variance 0.0002
OTHER = [0.50, 0.50, 0.50, 0.50, 0.50, 0.50]


def test_an_estimate_is_student_s_interval() -> None:
    found = estimate(SIX)
    half = 2.570582 * math.sqrt(0.0002 / 6)  # t(0.975) of 5 degrees of freedom, from the tables
    assert found.n == 6
    assert [found.mean, found.sd] == pytest.approx([0.52, math.sqrt(0.0002)])
    assert [found.low, found.high] == pytest.approx([0.52 - half, 0.52 + half])
    published = stats.t.interval(0.95, 5, np.mean(SIX), stats.sem(SIX))
    assert (found.low, found.high) == pytest.approx(published)


def test_a_step_widens_an_interval_by_the_rounding_s_variance() -> None:
    found, step = estimate(SIX, step=0.01), 0.01
    half = 2.570582 * math.sqrt((0.0002 + step * step / 12) / 6)
    assert [found.low, found.high] == pytest.approx([0.52 - half, 0.52 + half])
    assert found.sd == pytest.approx(math.sqrt(0.0002))  # as it was seen


@pytest.mark.parametrize("value", [0.1, 0.7, 1e-9, -3.3])
def test_equal_values_have_no_spread_to_the_last_bit_and_a_step_keeps_them_from_being_sure(value: float) -> None:
    found = estimate([value] * 6)
    assert (found.mean, found.low, found.high, found.sd) == (value, value, value, 0.0)
    coarse = estimate([value] * 6, step=0.01)
    assert coarse.high - coarse.low == pytest.approx(2 * 2.570582 * 0.01 / math.sqrt(72))


def test_a_single_value_says_nothing_about_others() -> None:
    found = estimate([0.5], step=0.01)
    assert (found.mean, found.low, found.high, found.n) == (0.5, -math.inf, math.inf, 1)
    assert math.isnan(found.sd)


def test_far_from_zero_a_small_spread_is_not_lost() -> None:
    assert estimate([1e9 + one for one in (1.0, 2.0, 3.0)]).sd == 1.0


# Two settings' race is the one-sided paired t test at 0.80: these differences have mean 0.02 and standard error 0.01.
DIFFERENCES = [0.01, 0.03, 0.01, 0.03]
ERROR = math.sqrt(0.0004 / 3 / 4)


@pytest.mark.parametrize(("behind", "falls"), [(0.979 * ERROR, {"last"}), (0.978 * ERROR, set())])
def test_who_falls_behind_the_leader_by_more_than_t_080_errors_is_dropped(behind: float, falls: set[str]) -> None:
    # t(0.80) of 3 degrees of freedom is 0.97847
    leader = [0.5 + behind + (one - 0.02) for one in DIFFERENCES]
    assert dropped({"leader": leader, "last": [0.5] * 4}) == falls


def test_a_race_s_noise_is_what_setting_and_seed_leave_over() -> None:
    # What is left: a is +-0.01, b is -+0.01, c is 0. So the squares' sum is 0.0008 at 2 x 3 degrees of freedom, and
    # t(0.80; 6) = 0.90570 times the error of a difference is 0.00739.
    seeds, noise = [0.3, 0.1, -0.2, 0.4], [0.01, -0.01, 0.01, -0.01]
    a = [0.5 + seed + one for seed, one in zip(seeds, noise, strict=True)]
    b = [0.5 - 0.0073 + seed - one for seed, one in zip(seeds, noise, strict=True)]
    c = [0.5 - 0.0075 + seed for seed in seeds]
    assert dropped({"a": a, "b": b, "c": c}) == {"c"}


def test_a_race_drops_nobody_without_a_rival_nor_between_equals_and_all_others_where_there_is_no_noise() -> None:
    assert dropped({}) == dropped({"a": [0.5]}) == set()
    assert dropped({1: [0.5, 0.6], 2: [0.5, 0.6], 3: [0.5, 0.6]}) == set()
    assert dropped({1: [0.5, 0.5], 2: [0.5, 0.5], 3: [0.25, 0.25]}) == {3}


def test_two_settings_are_compared_by_the_paired_t_test() -> None:
    one, other = SIX, [0.50, 0.51, 0.50, 0.49, 0.51, 0.51]
    found, published = compare(one, other), stats.ttest_rel(one, other)
    interval = published.confidence_interval(0.95)
    assert [found.difference, found.p] == pytest.approx([0.1 / 6, published.pvalue])
    assert [found.low, found.high] == pytest.approx([interval.low, interval.high])
    assert found.detectable == pytest.approx((interval.high - interval.low) / 2)
    turned = compare(other, one)
    assert (turned.difference, turned.p) == (-found.difference, found.p)


def test_the_step_of_two_rounded_values_is_a_difference_s_noise_twice() -> None:
    found = compare(SIX, OTHER, step=0.01)
    error = math.sqrt((0.0002 + 0.01**2 / 6) / 6)
    assert found.detectable == pytest.approx(2.570582 * error)
    assert found.p == pytest.approx(2 * stats.t.sf(0.02 / error, 5))


def test_equal_settings_do_not_differ_and_a_difference_without_noise_is_taken_as_it_is() -> None:
    equal, constant = compare(SIX, SIX), compare([0.75] * 6, [0.5] * 6)
    assert (equal.difference, equal.low, equal.high, equal.p, equal.detectable) == (0, 0, 0, 1, 0)
    assert (constant.difference, constant.low, constant.high, constant.p) == (0.25, 0.25, 0.25, 0)
    assert compare([0.51] * 6, OTHER, step=0.01).p == pytest.approx(2 * stats.t.sf(6.0, 5))
    single = compare([0.6], [0.5])
    assert (single.low, single.high, single.p, single.detectable) == (-math.inf, math.inf, 1.0, math.inf)


def test_holm_rejects_step_by_step_and_stops_at_the_first_that_may_be_chance() -> None:
    assert holm([]) == []
    assert holm([0.04]) == [True]
    assert holm([0.030, 0.010, 0.020]) == [True, True, True]  # 0.05 / 3, 0.05 / 2, 0.05
    assert holm([0.030, 0.010, 0.026]) == [False, True, False]
    assert holm([0.017, 0.017, 0.017]) == [False, False, False]
    assert holm([0.017, 0.5], level=0.01) == [False, False]


def test_a_setting_is_better_with_the_probability_that_eight_pairs_without_a_difference_leave() -> None:
    error = math.sqrt(0.0002 / 6)
    assert probability_better(SIX, OTHER) == pytest.approx(stats.t.cdf(0.02 / error * math.sqrt(6 / 14), 5))
    assert probability_better(OTHER, SIX) == pytest.approx(1 - probability_better(SIX, OTHER))
    assert probability_better(SIX, SIX) == 0.5
    assert probability_better([0.9], [0.1]) == 0.5
    assert probability_better([0.75] * 6, [0.5] * 6) == 1.0
    assert 0.9 < probability_better([0.51] * 6, OTHER, step=0.01) < 1.0


@pytest.mark.parametrize(("n_hits", "n_tries"), [(0, 20), (20, 20), (7, 20), (1, 1), (9903, 10000)])
def test_a_share_s_interval_is_clopper_s_and_pearson_s(n_hits: int, n_tries: int) -> None:
    published = stats.binomtest(n_hits, n_tries).proportion_ci(0.95, "exact")
    assert clopper_pearson(n_hits, n_tries) == pytest.approx((published.low, published.high))


def test_no_tries_say_nothing_about_a_share() -> None:
    assert clopper_pearson(0, 0) == wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 hits of 2 tries"):
        clopper_pearson(3, 2)


def test_wilson_s_interval_is_the_published_one() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 3.
    for n_hits, n_tries, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)]:
        assert wilson(n_hits, n_tries) == pytest.approx((low, high), abs=5e-5)


def test_six_clean_runs_leave_a_failure_rate_of_up_to_39_percent() -> None:
    assert [round(failure_bound(n), 2) for n in (0, 1, 6, 12)] == [1.0, 0.95, 0.39, 0.22]
    assert (1 - failure_bound(6)) ** 6 == pytest.approx(0.05)


def test_a_mean_loss_s_interval_leans_to_the_side_of_its_tail_and_is_the_same_every_time() -> None:
    rows = np.random.default_rng(3).lognormal(0, 1.5, 400)
    low, high = bootstrap_mean(rows)
    assert (low, high) == bootstrap_mean(rows)
    assert (low, high) != bootstrap_mean(rows, seed=1)
    mean = rows.mean()
    assert high - mean > 1.3 * (mean - low)
    even = np.random.default_rng(3).normal(0, 1, 400)
    published = stats.t.interval(0.95, 399, even.mean(), stats.sem(even))
    assert bootstrap_mean(even) == pytest.approx(published, abs=0.03)


def test_a_bootstrap_of_few_or_equal_or_very_many_rows() -> None:
    assert bootstrap_mean(np.array([0.5])) == bootstrap_mean(np.array([0.5, 0.7])) == (-math.inf, math.inf)
    assert bootstrap_mean(np.full(50, 0.1)) == pytest.approx((0.1, 0.1))
    many = np.random.default_rng(3).normal(0, 1, N_MANY_ROWS + 1)
    published = stats.t.interval(0.95, N_MANY_ROWS, many.mean(), stats.sem(many))
    assert bootstrap_mean(many, n_draws=1) == pytest.approx(published)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite_or_not_pairs_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        estimate([0.5, bad])
    with pytest.raises(ValueError, match="not finite"):
        dropped({"a": [0.5, 0.6], "b": [0.5, bad]})
    with pytest.raises(ValueError, match="not finite"):
        compare([0.5, bad], [0.5, 0.6])
    with pytest.raises(ValueError, match="not finite"):
        probability_better([0.5, 0.6], [bad, 0.6])
    with pytest.raises(ValueError, match="finite"):
        bootstrap_mean(np.array([0.5, bad]))


def test_too_few_values_are_refused() -> None:
    for empty in (lambda: estimate([]), lambda: compare([], []), lambda: bootstrap_mean(np.array([]))):
        with pytest.raises(ValueError, match=r"0 values|at least one"):
            empty()
    with pytest.raises(ValueError, match="2 or more"):
        dropped({"a": [0.5], "b": [0.6]})
    with pytest.raises(ValueError, match="a value per seed"):
        dropped({"a": [0.5, 0.6], "b": [0.6]})
    with pytest.raises(ValueError, match="not pairs"):
        compare([0.5, 0.6], [0.5])
    with pytest.raises(ValueError, match="p value"):
        holm([0.5, 1.5])


def test_the_interval_of_six_untouched_seeds_covers_the_winner_of_a_race_and_the_race_s_own_seeds_do_not() -> None:
    random, n_searches = np.random.default_rng(1), 1500
    n_covered = n_naive = n_called = 0
    for _ in range(n_searches):
        sd = np.exp(random.normal(0, 0.5, 5))[:, np.newaxis]  # five equal settings of unequal noise
        race, fresh = sd * random.normal(size=(5, 6)), sd * random.normal(size=(5, 6))
        alive = {*range(5)}
        for n_seeds in range(2, 7):
            alive -= dropped({one: race[one, :n_seeds].tolist() for one in alive})
        winner = max(alive, key=lambda one: float(race[one].mean()))
        found, naive = estimate(fresh[winner].tolist()), estimate(race[winner].tolist())
        n_covered += found.low <= 0 <= found.high
        n_naive += naive.low <= 0 <= naive.high
        others = [compare(fresh[winner].tolist(), fresh[one].tolist()).p for one in range(5) if one != winner]
        n_called += any(holm(others))
    assert n_covered / n_searches == pytest.approx(0.95, abs=0.012)
    assert n_naive / n_searches < 0.925
    assert n_called / n_searches < 0.05 + 0.012


def test_importing_statistics_loads_neither_scipy_nor_numpy() -> None:
    code = "import sys, hpo.statistics; print(sorted({'scipy', 'numpy', 'optuna'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
