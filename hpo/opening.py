"""Open the study that a command asks for: import its file, prepare its data, then create, join or extend it.

Runs in a process of its own, because it imports Keras and the study's own code.
"""

from collections.abc import Callable

from hpo import stored as studies
from hpo.catalog import fingerprint, load_definition
from hpo.datasets import load
from hpo.events import write_experiment
from hpo.settings import Wish
from hpo.storage import open_store, parse_url, setup_lock
from hpo.stored import StoredStudy


def open_study(wish: Wish, report: Callable[[str], None]) -> StoredStudy:
    """Create, join or extend the study; safe for any number of commands at once.

    Raises:
        HpoError: The file, the data or the database cannot be used, or the stored study is another one.
    """
    definition = load_definition(wish.file)
    meaning = fingerprint(wish.file.path)
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
        stored = studies.find(store, wish.file.name)
        if stored is not None and not wish.is_new_generation:
            studies.check_same(stored, meaning, data, wish.seed)
        else:
            name = wish.file.name if stored is None else studies.next_name(stored)
            seed = definition.seed if wish.seed is None else wish.seed
            facts = {"seed": seed, "n_threads": wish.n_threads, "meaning": meaning, "data": data}
            n_trials = wish.n_trials or definition.n_trials
            stored = studies.create(store, name, definition, facts=facts, n_trials=n_trials)
        if wish.n_trials is not None:
            stored.tickets(store).grow(wish.n_trials)
    write_experiment(
        wish.runs_dir / stored.name, space=studies.space_of(definition), metric=stored.metric, on_loss=report
    )
    store.close()
    return stored
