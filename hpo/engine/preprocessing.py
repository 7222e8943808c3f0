"""The rows that a study's models take, where its preprocess makes them: from training rows only, once per machine."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from hpo.data import Dataset, Rows, Split, check_no_words, derived, load_dataset
from hpo.definition import StudyDefinition, StudyFile, predicts_classes
from hpo.definition import fingerprint as fingerprint_of
from hpo.machine import installed_version


def dataset_of(
    definition: StudyDefinition,
    file: StudyFile,
    *,
    data_dir: Path | None = None,
    fingerprint: str | None = None,
    report: Callable[[str], None] | None = None,
) -> Dataset:
    """Return a study's data as they come; what its models take of them is made by preprocessed.

    Args:
        definition: The study's.
        file: Its file: paths are relative to it.
        data_dir: As load_dataset takes it, like the next two.
        fingerprint: Of the data, where it is known.
        report: Takes what there is to say.

    Raises:
        DatasetError: They cannot be used.
    """
    return load_dataset(
        definition.dataset,
        data_dir=data_dir,
        base_dir=file.path.parent,
        fingerprint=fingerprint,
        report=report,
        is_classes=predicts_classes(definition),
    )


def preprocessed(
    definition: StudyDefinition,
    file: StudyFile,
    dataset: Dataset,
    split: Split,
    *,
    data_dir: Path | None = None,
    report: Callable[[str], None] | None = None,
) -> Dataset:
    """Return the data set as the study's models take it; the same one where the study has no preprocess.

    Args:
        definition: The study's.
        file: Its file, whose source tells whether preprocess has changed.
        dataset: The data.
        split: Of their rows.
        data_dir: As load_dataset takes it.
        report: As load_dataset takes it.

    Raises:
        StudyFileError: preprocess raises, or returns what cannot be applied to rows or kept with a model.
        DatasetError: The rows that it makes cannot be trained on, or not be kept; or there is none, and the data hold
            words.
    """
    if definition.preprocess is None:
        check_no_words(dataset.name, dataset.x)
        return dataset

    def make() -> Rows:
        from hpo.engine.learnt import learn

        return learn(definition, dataset, split).rows(dataset.x)

    return derived(dataset, _key(definition, file, split), make, data_dir=data_dir, report=report)


def _key(definition: StudyDefinition, file: StudyFile, split: Split) -> str:
    from hpo.engine.processor import processor  # TensorFlow's

    rows = hashlib.sha256(split.train_rows.tobytes()).hexdigest()
    versions = (installed_version(name) or "unknown" for name in ("keras", "tensorflow"))
    return " ".join((fingerprint_of(file.path)["preprocess"], str(definition.seed), rows, *versions, processor()))
