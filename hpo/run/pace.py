"""How often one process among many looks at the database: all of a study together so often, however many there are."""

PER_SECOND = 25  # at twice a second each, 256 workers that wait would be 512: more than the server's two cores bear


def rest_seconds(n_workers: int, *, least: float) -> float:
    """Return how long to wait between two looks.

    Args:
        n_workers: The most that were seen to train at once: at a study's end, those that have nothing left still look.
        least: Seconds, however few they are.
    """
    return max(least, n_workers / PER_SECOND)
