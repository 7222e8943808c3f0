"""Open the study that a command asks for: import its file, prepare its data, then create, join or extend it.

Runs in a process of its own, because it imports Keras and the study's own code.
"""

from collections.abc import Callable

from hpo import stored as studies
from hpo.address import parse_url
from hpo.agreement import check_same
from hpo.catalog import fingerprint, load_definition
from hpo.datasets import load
from hpo.definition import check_target
from hpo.errors import StudyMismatchError
from hpo.events import write_experiment
from hpo.folder import check_folder, mark_folder
from hpo.schema import create_tables
from hpo.settings import Wish
from hpo.space import rehearse
from hpo.storage import open_store, setup_lock
from hpo.stored import StoredStudy

DEFAULT_THREADS = 1  # two of them train 1.05 to 1.9 times the epochs of one with two: benchmarks/scaling.py


def open_study(wish: Wish, report: Callable[[str], None]) -> StoredStudy:
    """Create, join or extend the study; safe for any number of commands at once.

    Raises:
        HpoError: The file, the data or the database cannot be used, or the stored study is another one.
    """
    definition = load_definition(wish.file)
    check_target(wish.target, definition.metric)
    meaning = fingerprint(wish.file.path)
    space = rehearse(definition)
    store = open_store(wish.url, create=True)
    # Before the lock: a download may take minutes. The fingerprint is the same for any seed.
    data = load(
        definition.dataset,
        seed=definition.seed,
        data_dir=wish.data_dir,
        base_dir=wish.file.path.parent,
        report=report,
    ).fingerprint
    with setup_lock(parse_url(wish.url)):
        create_tables(store.engine)
        stored = studies.find(store, wish.file.name)
        if stored is not None and not wish.is_new_generation:
            check_same(stored, meaning, data, wish.seed)
            if wish.n_threads not in (None, stored.n_threads):
                raise StudyMismatchError(
                    f'The study "{stored.name}" trains with {stored.n_threads} threads per worker, and its results '
                    f"depend on it; {wish.n_threads} were asked for.",
                    "Leave --threads out, or open a new generation: --new-generation.",
                )
            check_folder(wish.runs_dir / stored.name, stored.key)
        else:
            name = wish.file.name if stored is None else studies.next_name(stored)
            check_folder(wish.runs_dir / name, None)
            seed = definition.seed if wish.seed is None else wish.seed
            facts = {"seed": seed, "n_threads": wish.n_threads or DEFAULT_THREADS, "meaning": meaning, "data": data}
            n_trials = wish.n_trials or definition.n_trials
            stored = studies.create(store, name, definition, facts=facts, n_trials=n_trials)
        mark_folder(wish.runs_dir / stored.name, stored.key)
        if wish.n_trials is not None:
            stored.tickets(store).grow(wish.n_trials)
    write_experiment(wish.runs_dir / stored.name, space=space, metric=stored.metric, on_loss=report)
    store.close()
    return stored
