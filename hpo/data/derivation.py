"""Other rows made of a data set's, by what a study says: made once per machine, and kept beside the data."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hpo.data.arrays import Arrays, Report
from hpo.data.cache import home_dirs
from hpo.data.datasets import Dataset, dataset_in
from hpo.data.rows import Rows
from hpo.data.sources import Source, prepare, remembered
from hpo.errors import DatasetError


def derived(
    dataset: Dataset,
    key: str,
    make: Callable[[], Rows],
    *,
    data_dir: Path | None = None,
    report: Report | None = None,
) -> Dataset:
    """Return a data set with other x, mapped, and the fingerprint of all as preprocessed.

    Args:
        dataset: What they are made of.
        key: All else that they depend on.
        make: Returns them, checked; called only where they are not kept.
        data_dir: As load_dataset takes it.
        report: As load_dataset takes it.

    Raises:
        DatasetError: They cannot be kept.
    """
    report = report or (lambda line: None)
    dirs, name = home_dirs(data_dir), f"preprocessed-{dataset.name}"

    def read(_download_dir: Path) -> Arrays:
        return Arrays(
            x=make(),
            y=dataset.y,
            sample_weight=dataset.sample_weight,
            groups=dataset.groups,
            order=dataset.order,
            n_given_val=dataset.n_given_val,
            classes=dataset.classes,
        )

    source = Source(name=name, key=f"{dataset.fingerprint} {key}", stamp=[["made of", key]], read=read)
    for _attempt in range(2):  # between finding and mapping them, another process may delete them
        made = remembered(source, dirs) or prepare(lambda: source, dirs, report)
        with contextlib.suppress(OSError, ValueError):
            found = dataset_in(made.folder, name)
            return replace(dataset, x=found.x, preprocessed=found.fingerprint)
    raise DatasetError(f"The prepared data in {made.folder} cannot be read.", "Delete that folder and try again.")
