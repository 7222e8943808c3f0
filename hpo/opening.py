"""Open the study that a command asks for: import its file, prepare its data, then create, join or extend it.

Runs in a process of its own, because it imports Keras and the study's own code.
"""

from collections.abc import Callable
from functools import partial

from hpo import stored as studies
from hpo.address import parse_url
from hpo.agreement import check_same
from hpo.catalog import load_definition
from hpo.datasets import describe_majority, load
from hpo.definition import check_target
from hpo.errors import StudyMismatchError
from hpo.events import write_experiment
from hpo.fingerprint import fingerprint
from hpo.folder import check_folder, mark_folder
from hpo.outage import explained, insist
from hpo.schema import create_tables
from hpo.settings import Wish
from hpo.space import rehearse
from hpo.storage import open_store, setup_lock
from hpo.stored import StoredStudy

DEFAULT_THREADS = 1  # two of them train 1.05 to 1.9 times the epochs of one with two: benchmarks/scaling.py


def open_study(wish: Wish, report: Callable[[str], None], *, patience_seconds: float = 0.0) -> StoredStudy:
    """Create, join or extend the study; safe for any number of commands at once.

    Args:
        wish: What is asked of the study.
        report: Takes a line for people.
        patience_seconds: How long a database that is away is waited for.

    Raises:
        HpoError: The file, the data or the database cannot be used, or the stored study is another one.
    """
    definition = load_definition(wish.file)
    check_target(wish.target, definition.metric)
    meaning = fingerprint(wish.file.path)
    space = rehearse(definition)
    patiently = partial(insist, should_stop=lambda: False, patience_seconds=patience_seconds, say=report)
    store = patiently(lambda: open_store(wish.url, create=True))
    # Before the lock: a download may take minutes. The fingerprint is the same for any seed.
    dataset = load(
        definition.dataset,
        seed=definition.seed,
        data_dir=wish.data_dir,
        base_dir=wish.file.path.parent,
        report=report,
    )
    data = dataset.fingerprint
    if definition.metric == "val_accuracy" and (line := describe_majority(dataset)):
        report(line)
    found_first: list[str | None] = []

    def join_or_create() -> StoredStudy:
        with explained(parse_url(wish.url)), setup_lock(parse_url(wish.url)):
            create_tables(store.engine)
            stored = studies.find(store, wish.file.name)
            found_first.append(None if stored is None else stored.name)
            # A new generation that a later try finds is the one asked for: the answer to its last COMMIT got lost.
            is_made = stored is not None and (not wish.is_new_generation or stored.name != found_first[0])
            if stored is not None and is_made:
                check_joined(stored, wish, data)
            else:
                name = wish.file.name if stored is None else studies.next_name(stored)
                check_folder(wish.runs_dir / name, None)
                seed = definition.seed if wish.seed is None else wish.seed
                n_threads, n_trials = wish.n_threads or DEFAULT_THREADS, wish.n_trials or definition.n_trials
                facts = {"seed": seed, "n_threads": n_threads, "meaning": meaning, "data": data}
                facts |= {} if wish.lease_seconds is None else {"lease_seconds": wish.lease_seconds}
                stored = studies.create(store, name, definition, facts=facts, n_trials=n_trials)
            if wish.n_trials is not None:
                stored.tickets(store).grow(wish.n_trials)
            mark_folder(wish.runs_dir / stored.name, stored.key)
        return stored

    stored = patiently(join_or_create)
    if wish.lease_seconds not in (None, stored.lease_seconds):
        kept, asked = stored.lease_seconds, wish.lease_seconds
        report(f"The study was made with --lease {kept:g}s, which all its workers keep to; {asked:g}s is not used.")
    write_experiment(wish.runs_dir / stored.name, space=space, metric=stored.metric, on_loss=report)
    store.close()
    return stored


def check_joined(stored: StoredStudy, wish: Wish, data: str) -> None:
    """Refuse to join a study that means something else.

    Raises:
        StudyMismatchError: It does; the message names what differs.
    """
    check_same(stored, fingerprint(wish.file.path, like=stored.meaning), data, wish.seed)
    if wish.n_threads not in (None, stored.n_threads):
        raise StudyMismatchError(
            f'The study "{stored.name}" trains with {stored.n_threads} threads per worker, and its results '
            f"depend on it; {wish.n_threads} were asked for.",
            "Leave --threads out, or open a new generation: --new-generation.",
        )
    check_folder(wish.runs_dir / stored.name, stored.key)
