"""Open the study that a command asks for: import its file, prepare its data, then create, join or extend it.

Runs in a process of its own, because it imports the study's own code and what trains it.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hpo.data import (
    Dataset,
    describe_batch,
    describe_classes,
    describe_majority,
    describe_numbering,
    describe_unseen,
    split_of,
)
from hpo.database import Store, explained, insist, open_store, setup_lock
from hpo.definition import StudyDefinition, fingerprint, load_definition, place, predicts_classes, rehearse
from hpo.engine import dataset_of, load_trainer, preprocessed
from hpo.errors import ParameterError, StudyFileError, StudyMismatchError, TicketlessError
from hpo.events import write_experiment
from hpo.metric import metric_of
from hpo.parameters import Parameters
from hpo.study.agreement import check_asked, check_preprocessed, check_same
from hpo.study.creation import create, withdraw
from hpo.study.facts import StudyFacts
from hpo.study.folder import folder_of
from hpo.study.handle import OpenStudy, find_latest
from hpo.study.request import StudyOptions
from hpo.study.schema import create_tables
from hpo.study.source import keep_source

DEFAULT_THREADS = 1  # two of them train 1.05 to 1.9 times the epochs of one with two: benchmarks/scaling.py


def open_study(options: StudyOptions, report: Callable[[str], None], *, patience_seconds: float = 0.0) -> OpenStudy:
    """Create, join or extend the study; safe for any number of commands at once.

    Args:
        options: What is asked of the study.
        report: Takes a line for people.
        patience_seconds: How long a database that is away is waited for.

    Raises:
        HpoError: The file, the data or the database cannot be used, or the stored study is another one.
    """
    definition = load_definition(options.file)
    metric_of(definition.metric, definition.direction).check_target(options.target)
    meaning = fingerprint(options.file.path)
    space = rehearse(definition)
    patiently = partial(insist, should_stop=lambda: False, patience_seconds=patience_seconds, say=report)
    database = patiently(lambda: open_store(options.address, create=True))
    dataset = prepare(definition, space, options, report)  # before the lock: a download may take minutes
    data = dataset.fingerprint
    latest = patiently(partial(find_joined, database, options))
    rows, seed = rows_of(latest, options, definition, dataset, report)
    rehearse_new(latest, options, definition, rows)
    ways = load_trainer(options.file.trainer).ways()
    found_first: list[str | None] = []
    plans: list[NewStudy] = []  # of a study that takes another one's place

    def is_asked_for(latest: OpenStudy) -> bool:
        # A later try may find what an earlier one made: the answer to its last COMMIT got lost.
        if plans:
            return latest.name == plans[-1].name
        return not options.is_new_generation or latest.name != found_first[0]

    def join_or_create() -> OpenStudy:
        with explained(options.address), setup_lock(options.address):
            create_tables(database.engine)
            taken_back = None if options.is_new_generation else take_back(database, options, data, report)
            if taken_back is not None and not plans:
                plans.append(plan_anew(*taken_back, options, definition))
            study = find_latest(database, options.runs_dir, options.file.name)
            found_first.append(None if study is None else study.name)
            if study is None or not is_asked_for(study):
                plan = plans[-1] if plans else plan_first(study, options, definition)
                folder_of(options.runs_dir, plan.name).check(plan.folder_key)
                facts: dict[str, Any] = {"seed": plan.seed, "n_threads": plan.n_threads, "meaning": meaning}
                facts |= {"data": data, "test_data": dataset.test_fingerprint or None}
                facts |= {"lease_seconds": plan.lease_seconds, **ways, "preprocessed": rows.preprocessed}
                study = create(
                    database, plan.name, definition, runs_dir=options.runs_dir, facts=facts, n_trials=plan.n_trials
                )
            else:
                check_joined(study, options, data)
                check_rows(study.facts, rows, seed, ways, report)
            if options.n_trials is not None:
                study.grow(options.n_trials)
            keep_source(study, options.file.path)
            study.folder.mark(study.facts.key)
        return study

    study = patiently(join_or_create)
    kept, asked = study.facts.lease_seconds, options.lease_seconds
    if asked not in (None, kept):
        report(f"The study was made with --lease {kept:g}s, which all its workers keep to; {asked:g}s is not used.")
    tell_processor(study.facts, ways, report)
    write_experiment(study.folder.path, space=space, metric=study.metric.name, on_loss=report)
    database.close()
    return study


def tell_processor(facts: StudyFacts, ways: Mapping[str, str], report: Callable[[str], None]) -> None:
    """Say where the study was begun on another kind of processor than this machine's."""
    there, here = facts.processor, ways.get("processor")
    if there not in (None, here):
        report(f"The study was begun on {there}; this machine has {here}: its results differ in their last digits.")


def prepare(
    definition: StudyDefinition,
    space: Mapping[str, Sequence[object]],
    options: StudyOptions,
    report: Callable[[str], None],
) -> Dataset:
    """Prepare the study's data, and say what is odd about them.

    Raises:
        DatasetError: They cannot be used.
    """
    dataset = dataset_of(definition, options.file, data_dir=options.data_dir, report=report)
    if definition.dataset is None or dataset.stream is not None:
        return dataset
    split = split_of(dataset, seed=definition.seed if options.seed is None else options.seed)
    lines = [describe_classes(dataset.classes), describe_batch(largest_batch(definition, space), split)]
    if predicts_classes(definition):
        lines += [describe_numbering(dataset), describe_unseen(dataset, split)]
    if definition.metric == "val_accuracy":
        lines.append(describe_majority(dataset, split))
    for line in filter(None, lines):
        report(line)
    return dataset


def largest_batch(definition: StudyDefinition, space: Mapping[str, Sequence[object]]) -> int:
    """Return the largest batch size seen: the baseline's, the space's by that name, or one that search_space fixes."""
    if definition.train is not None:  # what its function makes of a batch size is its own
        return 0
    points: list[object] = [definition.baseline]
    with contextlib.suppress(ParameterError, StudyFileError):  # refused, say: then only what has a name is seen
        points.append(place(definition, {name: ends[-1] for name, ends in space.items()}).parameters)
    sizes = [size for size in space.get("batch_size", ()) if isinstance(size, int)]
    return max([*sizes, *(one.training.batch_size for one in points if isinstance(one, Parameters))], default=0)


def rows_of(
    study: OpenStudy | None,
    options: StudyOptions,
    definition: StudyDefinition,
    dataset: Dataset,
    report: Callable[[str], None],
) -> tuple[Dataset, int]:
    """Return the data as the study's models take them, and the seed that they were split by.

    Raises:
        StudyFileError: The study's preprocess cannot be used.
    """
    seed = options.seed
    if seed is None:
        seed = definition.seed if study is None else study.facts.seed
    split = split_of(dataset, seed=seed)
    return preprocessed(definition, options.file, dataset, split, data_dir=options.data_dir, report=report), seed


def rehearse_new(study: OpenStudy | None, options: StudyOptions, definition: StudyDefinition, rows: Dataset) -> None:
    """Look at the model and callbacks of a study that is to be made; one that is joined has been looked at.

    Raises:
        StudyFileError: It cannot be trained.
    """
    if study is None or mismatch(study.facts, options, rows.fingerprint) is not None:
        load_trainer(options.file.trainer).rehearse(definition, rows)


def find_joined(database: Store, options: StudyOptions) -> OpenStudy | None:
    """Return the study that may be joined; one that is half deleted may be made anew."""
    with contextlib.suppress(TicketlessError):
        return None if options.is_new_generation else find_latest(database, options.runs_dir, options.file.name)
    return None


def check_joined(study: OpenStudy, options: StudyOptions, data: str) -> None:
    """Refuse to join a study that means something else, or whose folder is another one's.

    Raises:
        StudyMismatchError: The message names what differs.
    """
    reason = mismatch(study.facts, options, data)
    if reason is not None:
        raise reason
    study.folder.check(study.facts.key)


def check_rows(
    facts: StudyFacts, rows: Dataset, seed: int, ways: Mapping[str, str], report: Callable[[str], None]
) -> None:
    """Refuse rows that the study's preprocess made otherwise than when the study was made, of the same split.

    Raises:
        StudyMismatchError: They differ.
    """
    if facts.seed == seed:
        check_preprocessed(facts, rows.preprocessed, processor=ways.get("processor"), say=report)


def mismatch(facts: StudyFacts, options: StudyOptions, data: str) -> StudyMismatchError | None:
    """Return why a study cannot be joined; None where it means the same."""
    try:
        check_same(facts, fingerprint(options.file.path, like=facts.meaning), data)
        check_asked(facts, seed=options.seed, n_threads=options.n_threads)
    except StudyMismatchError as error:
        return error
    return None


@dataclass(frozen=True, kw_only=True)
class NewStudy:
    """A study that is to be made.

    Attributes:
        name: Optuna's name, with the generation.
        folder_key: Whose files its folder may hold: those of the study whose place it takes.
        seed: Of the study.
        n_threads: Of each worker.
        lease_seconds: After which silence a worker is taken for dead.
        n_trials: The budget.
    """

    name: str
    folder_key: str | None = None
    seed: int
    n_threads: int
    lease_seconds: float
    n_trials: int


def plan_first(latest: OpenStudy | None, options: StudyOptions, definition: StudyDefinition) -> NewStudy:
    """Plan the first study of a file, or the generation after the latest."""
    return NewStudy(
        name=options.file.name if latest is None else latest.facts.next_name,
        seed=definition.seed if options.seed is None else options.seed,
        n_threads=options.n_threads or DEFAULT_THREADS,
        lease_seconds=options.lease_seconds or StudyFacts.lease_seconds,
        n_trials=options.n_trials or definition.n_trials,
    )


def plan_anew(former: StudyFacts, n_trials: int, options: StudyOptions, definition: StudyDefinition) -> NewStudy:
    """Plan what takes the place of a study that had a budget; what it was asked to be is kept."""
    return NewStudy(
        name=former.name,
        folder_key=former.key,
        seed=former.seed if options.seed is None else options.seed,
        n_threads=options.n_threads or former.n_threads,
        lease_seconds=options.lease_seconds or former.lease_seconds,
        n_trials=options.n_trials or n_trials or definition.n_trials,
    )


def take_back(
    database: Store, options: StudyOptions, data: str, report: Callable[[str], None]
) -> tuple[StudyFacts, int] | None:
    """Delete the latest study if it is not what the file says now and nothing of it was trained: a typo costs nothing.

    Returns it and its budget; None where it is right, or none is there.

    Raises:
        StudyMismatchError: It is another study, and was trained.
    """
    reason: StudyMismatchError | None
    try:
        former = find_latest(database, options.runs_dir, options.file.name)
        reason = None if former is None else mismatch(former.facts, options, data)
    except TicketlessError as error:  # taking it back was cut short
        folder = folder_of(options.runs_dir, error.stored.name)
        former, reason = OpenStudy(facts=error.stored, database=database, folder=folder), error
    if former is None or reason is None:
        return None
    tickets = former.tickets.read()
    if not withdraw(former):
        raise reason
    n_failed = sum(ticket.outcome == "FAIL" for ticket in tickets)
    dropped = f", without its {n_failed} failed trials" if n_failed else ""
    report(f"{reason.message} Nothing of it was trained, so it is made anew{dropped}.")
    return former.facts, len(tickets)
