"""When a study is said to stall: once for each stall, and once when it goes on."""

from hpo.run.stalls import AWAY_SECONDS, LOOK_LIMIT_SECONDS, Stall, Stalls

LIMIT_SECONDS = 1000.0


class Watch:
    """Looks at a study every second, by a clock of its own."""

    def __init__(self, limit_seconds: float = LIMIT_SECONDS) -> None:
        self.now, self.stalls = 50.0, Stalls(limit_seconds)

    def look(self, progress: int, seconds: float, *, is_away: bool = False) -> list[Stall]:
        said = []
        for _ in range(int(seconds)):
            self.now += 1.0
            said.append(self.stalls.look(progress, is_away=is_away, now_seconds=self.now))
        return [one for one in said if one is not None]


def test_no_epoch_for_long_is_told_once_and_so_is_the_next_one() -> None:
    watch = Watch()
    assert watch.look(0, LIMIT_SECONDS) == []
    assert watch.look(0, 3 * LIMIT_SECONDS) == [Stall(is_over=False, is_away=False, seconds=LIMIT_SECONDS)]
    assert watch.look(1, 10) == [Stall(is_over=True, is_away=False, seconds=4 * LIMIT_SECONDS)]
    assert len(watch.look(1, 2 * LIMIT_SECONDS)) == 1, "another stall is told again"


def test_slow_epochs_that_end_in_time_are_no_stall() -> None:
    watch = Watch()
    assert [one for epoch in range(5) for one in watch.look(epoch, LIMIT_SECONDS - 1)] == []


def test_database_that_stays_away_is_told_earlier_and_its_return_too() -> None:
    watch = Watch()
    watch.look(0, 10)
    assert watch.look(0, AWAY_SECONDS - 1, is_away=True) == [], "a restart is no stall"
    assert watch.look(0, 200, is_away=True) == [Stall(is_over=False, is_away=True, seconds=AWAY_SECONDS)]
    assert watch.look(0, 10) == [Stall(is_over=True, is_away=True, seconds=AWAY_SECONDS + 200)]
    assert watch.look(0, LIMIT_SECONDS - 20) == [], "nobody could see an epoch end while it was away"


def test_what_is_read_again_after_an_outage_is_no_progress() -> None:
    watch = Watch(limit_seconds=100.0)
    watch.look(0, 50)
    watch.look(0, 40, is_away=True)
    assert watch.look(0, 20) == [Stall(is_over=False, is_away=False, seconds=100.0)]


def test_command_that_was_frozen_has_not_watched() -> None:
    watch = Watch()
    watch.look(0, 10)
    watch.now += 10 * LIMIT_SECONDS
    assert watch.look(0, LIMIT_SECONDS - LOOK_LIMIT_SECONDS - 10) == []
