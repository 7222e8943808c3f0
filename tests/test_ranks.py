"""Statistics of order: known values, what they promise counted on made-up data, and infinite values among them."""

import math
from itertools import combinations

import numpy as np
import pytest

from hpo.ranks import among_alike, expected_best, explained, median_interval, running_median, superiority


def test_median_interval_is_between_the_values_that_the_binomial_gives() -> None:
    assert median_interval([3.0, 1.0, 2.0]).median == 2.0
    assert median_interval([1.0, 2.0, 3.0, 4.0]).median == 2.5
    assert median_interval(list(range(5))).low is None
    six = median_interval(list(map(float, range(6))))
    assert (six.low, six.high) == (0.0, 5.0)  # 1 - 2 / 2**6 = 0.969
    twenty = median_interval(list(map(float, range(20))))
    assert (twenty.low, twenty.high) == (5.0, 14.0)  # of tables: the 6th and the 15th
    with pytest.raises(ValueError, match="needs values"):
        median_interval([])


def test_median_interval_covers_the_median_of_a_skewed_law_and_bears_infinite_values() -> None:
    random, n_covered = np.random.default_rng(0), 0
    for _ in range(1000):
        found = median_interval(random.exponential(size=15).tolist())
        assert found.low is not None
        assert found.high is not None
        n_covered += found.low <= math.log(2) <= found.high
    assert 945 <= n_covered <= 985  # 1 - 2 * P(Binomial(15, 0.5) <= 3) = 0.965
    assert median_interval([-math.inf] * 4 + [1.0, 2.0, 3.0]).median == -math.inf


def test_running_median_follows_the_trend_and_not_an_outlier() -> None:
    x = list(map(float, range(30)))
    y = [*x[:15], 1000.0, *x[16:]]
    found = running_median(x, y, [5.0, 15.0, 25.0], 7)
    assert [one.median for one in found] == [
        5.0,
        16.0,
        25.0,
    ]  # without 15 its window has 12, 13, 14, 16, 17, 18 and the outlier
    assert found[0].low == 2.0


def test_superiority_of_equal_and_of_separate_groups() -> None:
    share, p = superiority([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (share, p) == (0.5, 1.0)
    share, p = superiority(list(map(float, range(10, 20))), list(map(float, range(10))))
    assert share == 1.0
    assert p < 0.001
    assert superiority([0.0] * 9, [0.0] * 9) == (0.5, 1.0)
    assert superiority([], [1.0]) == (0.5, 1.0)
    assert superiority([1.0, -math.inf], [2.0, -math.inf])[0] == pytest.approx(0.375)


def test_p_values_of_equal_groups_are_small_as_seldom_as_they_say() -> None:
    random = np.random.default_rng(1)
    small = [superiority(random.normal(size=8).tolist(), random.normal(size=12).tolist())[1] for _ in range(1000)]
    assert 25 <= sum(p <= 0.05 for p in small) <= 60
    groups = [0, 1, 2] * 8
    chance = [explained(groups, random.normal(size=24).tolist(), seed=seed) for seed in range(200)]
    assert sum(one is not None and one.p <= 0.05 for one in chance) <= 20
    assert sum(one is not None and one.p <= 0.5 for one in chance) >= 70


def test_expected_best_is_the_mean_over_all_ways_to_draw() -> None:
    values = [0.1, 0.7, 0.2, 0.9, 0.4]
    by_hand = [max(chosen) for chosen in combinations(values, 3)]
    assert expected_best(values, 3) == pytest.approx(sum(by_hand) / len(by_hand))
    assert expected_best(values, 5) == 0.9
    assert expected_best([-math.inf, 1.0, 2.0], 2) == pytest.approx(5 / 3)
    assert expected_best([-math.inf, 1.0], 1) == -math.inf


@pytest.mark.parametrize("n", [60, 3000])
def test_explained_of_a_grouping_that_decides_and_of_one_that_does_not(n: int) -> None:
    random = np.random.default_rng(3)
    groups = [place % 3 for place in range(n)]
    noise = random.normal(size=n)
    decides = explained(groups, (noise + 10 * np.array(groups)).tolist())
    assert decides is not None
    assert decides.share == pytest.approx(8 / 9, abs=0.03)  # of ranks in three thirds
    assert decides.low <= decides.share <= decides.high
    assert decides.p < 0.005
    not_so = explained(groups, noise.tolist())
    assert not_so is not None
    assert not_so.share <= not_so.chance < 0.2
    assert not_so.p > 0.05


def test_explained_has_nothing_to_say_of_one_group_of_equal_values_or_of_too_few() -> None:
    assert explained([0, 0, 0, 0], [1.0, 2.0, 3.0, 4.0]) is None
    assert explained([0, 0, 1, 1], [1.0, 1.0, 1.0, 1.0]) is None
    assert explained([0, 1, 2], [1.0, 2.0, 3.0]) is None
    assert explained([], []) is None


def test_same_data_say_the_same() -> None:
    groups, values = [0, 1] * 10, [float(place % 7) for place in range(20)]
    assert explained(groups, values) == explained(groups, values)


def test_ranks_among_alike_leave_nothing_of_the_places() -> None:
    assert among_alike([1, 2, 3, 4], [10.0, 20.0, 31.0, 30.0], 2) == [0.25, 0.75, 0.75, 0.25]
    assert among_alike([1, 1, 1, 2, 2], [5.0, 7.0, 6.0, 100.0, -math.inf], 2) == [1 / 6, 5 / 6, 0.5, 0.75, 0.25]
    assert among_alike([1, 2, 3], [1.0, 1.0, 1.0], 8) == [0.5, 0.5, 0.5]
    assert among_alike([3, 1, 2, 4, 5], [1.0, 2.0, 3.0, 4.0, 5.0], 4) == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert among_alike([], [], 8) == []
