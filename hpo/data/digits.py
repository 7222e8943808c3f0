"""scikit-learn's digits as hpo brings them, with the rows that are set aside for testing."""

import numpy as np

from hpo.data.arrays import Arrays, split

TEST_SHARE = 0.2


def read_digits() -> Arrays:
    """scikit-learn's digits: (n, 8, 8, 1) uint8, scaled from its 0 to 16; a fifth is set aside for testing."""
    # A second to import, so only when it is asked for.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = np.rint(bunch.images[..., np.newaxis] * (255 / 16)).astype(np.uint8)
    y = bunch.target.astype(np.int32)
    rows, test_rows = split(y, TEST_SHARE, seed=0)  # the same test rows for every study
    return Arrays(x=x[rows], y=y[rows], test=Arrays(x=x[test_rows], y=y[test_rows]))
