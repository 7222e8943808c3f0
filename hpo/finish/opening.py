"""Open the study that finishes a search: make it from the search's best trials, or join the one there is.

Runs in a process of its own, because it imports the study's file and loads its data.
"""

from collections.abc import Callable
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import TypeVar

from hpo.command import typed_hpo
from hpo.data import Dataset, Split, arrays_of, split_of
from hpo.database import Store, insist, open_store, setup_lock
from hpo.definition import fingerprint, load_definition
from hpo.engine import dataset_of, load_trainer, preprocessed
from hpo.errors import StudyMismatchError, TrialsFailingError
from hpo.finish.note import note_of_finish
from hpo.finish.request import FinishRequest
from hpo.finish.retraining import change_model, check_retrainable, is_other_model
from hpo.metric import Metric
from hpo.names import file_of, finish_of
from hpo.race import (
    N_RACE_SEEDS,
    N_SEEDS,
    PLAN_ATTR,
    Plan,
    as_stored,
    choose,
    default_finalists,
    read_plan,
    schedule_of,
)
from hpo.run import begin, telling
from hpo.study import (
    OpenStudy,
    check_same,
    count_ended,
    find_finish,
    find_latest,
    folder_of,
    make,
    not_there,
    state_word,
    write_note,
)

T = TypeVar("T")


def open_in_process(request: FinishRequest, pipe: Connection) -> None:
    """Process target: open the finish; sends ("say", text) lines, then ("study", StudyFacts) or ("error", HpoError)."""
    begin(folder_of(request.options.runs_dir, request.search), "finish")

    def say(text: str) -> None:
        pipe.send(("say", text))

    def open_() -> None:
        study = patiently(lambda: open_finish(request, say), request, say)
        pipe.send(("study", study.facts))

    telling(pipe, open_)


def patiently(call: Callable[[], T], request: FinishRequest, say: Callable[[str], None]) -> T:
    """Make a call, which may be made again, and wait for a database that is away.

    Raises:
        DatabaseAwayError: It stayed away.
    """
    return insist(call, should_stop=lambda: False, patience_seconds=request.patience_seconds, say=say)


def open_finish(request: FinishRequest, say: Callable[[str], None]) -> OpenStudy:
    """Make or join the study that finishes a search; safe for any number of commands at once.

    Raises:
        StudyMismatchError: The study's file or its data have changed, or the stored finish is another one.
        StudyFileError: The study cannot be trained without validation rows, as is asked for.
        TrialsFailingError: No trial of the search was trained to its end.
    """
    options = request.options
    database = open_store(options.address, create=False)
    search, trainer = find_search(request, database), load_trainer(options.file.trainer)
    if request.is_retrained:
        trainer.set_up(n_threads=search.facts.n_threads, slot=0)
    definition = load_definition(options.file)
    dataset = dataset_of(definition, options.file, data_dir=options.data_dir, fingerprint=search.facts.data, report=say)
    check_unchanged(request, search, dataset.fingerprint)
    split = split_of(dataset, seed=search.facts.seed)
    step = step_of(search.metric, dataset, split)
    study = find_finish(search, options.runs_dir)
    plan = plan_of(search, request, step=step) if study is None else read_plan(study)
    if request.is_retrained and (study is None or is_other_model(plan, request)):
        rows = preprocessed(definition, options.file, dataset, split, data_dir=options.data_dir, report=say)
        check_retrainable(trainer, definition, rows, plan)
    with setup_lock(options.address):
        study = find_finish(search, options.runs_dir)
        if study is None:
            study = make_finish(search, request, plan)
            say_fewer(plan, request, say)
        else:
            check_asked(study, request)
            change_model(search, study, request, say)
        study.folder.check(study.facts.key)
        study.folder.mark(study.facts.key)
        write_note(study, note_of_finish(search.name))
    return study


def find_search(request: FinishRequest, database: Store) -> OpenStudy:
    """Find the search that is to be finished.

    Raises:
        HpoError: There is none of its name, or it cannot be used.
    """
    search = find_latest(database, request.options.runs_dir, request.search)
    if search is None:
        raise not_there(database, request.options.runs_dir, request.search)
    return search


def check_unchanged(request: FinishRequest, search: OpenStudy, data: str | None) -> None:
    """Refuse to train again what means something else by now.

    Raises:
        StudyMismatchError: The message names what differs.
    """
    try:
        check_same(search.facts, fingerprint(request.options.file.path, like=search.facts.meaning), data)
    except StudyMismatchError as error:
        raise StudyMismatchError(
            error.message, f'Undo the change: what "{search.name}" found can only be trained again as it was.'
        ) from error


def check_asked(study: OpenStudy, request: FinishRequest) -> None:
    """Refuse to go on with a finish as it was not begun; None leaves what is stored.

    Raises:
        StudyMismatchError: It has another number of finalists or seeds.
    """
    plan = read_plan(study)
    for option, asked, stored in (
        ("--finalists", request.n_finalists, plan.n_finalists),
        ("--seeds", request.n_seeds, plan.n_seeds),
    ):
        is_all_there_is = option == "--finalists" and (asked or 0) > stored == len(plan.settings)
        if asked not in (None, stored) and not is_all_there_is:
            raise StudyMismatchError(
                f'The finish of "{request.search}" was begun with {option} {stored}; {asked} was asked for.',
                f"Leave {option} out, or begin it anew: hpo study delete --study {study.name}",
            )


def plan_of(search: OpenStudy, request: FinishRequest, *, step: float) -> Plan:
    """Plan the finish of a search from the trials that have ended.

    Raises:
        TrialsFailingError: None was trained to its end.
    """
    tickets, trials = search.tickets.read(), search.own_trials()
    n_ended = count_ended(tickets)
    baseline = 0 if search.facts.baseline is not None else None
    n_finalists = request.n_finalists or default_finalists(n_ended)
    finalists, compared = choose(trials, search.metric, baseline=baseline, n_finalists=n_finalists)
    if not finalists:
        what = "has no trial that was trained to its end with a value" if n_ended else "has no trial that has ended"
        where = request.options.address.as_options(request.options.runs_dir)
        goes_on = f"{typed_hpo()} run --study {file_of(search.name)}{where}"
        raise TrialsFailingError(
            f'"{search.name}" {what}, so there is nothing to finish ({describe_ended(search)}).',
            f"Run it first: {goes_on}"
            if n_ended < len(tickets)
            else f"Mend the study, or let it try more: {goes_on} --trials {2 * len(tickets)}",
        )
    return Plan(
        settings=(*finalists, *([] if compared is None else [compared])),
        n_finalists=len(finalists),
        n_race_seeds=N_RACE_SEEDS,
        n_seeds=request.n_seeds or N_SEEDS,
        n_trials=n_ended,
        n_open=len(tickets) - n_ended,
        step=step,
        is_retrained=request.is_retrained is True,
    )


def say_fewer(plan: Plan, request: FinishRequest, say: Callable[[str], None]) -> None:
    """Say so where fewer finalists race than were asked for."""
    n_asked = request.n_finalists or 0
    if n_asked > plan.n_finalists:
        say(f"finalists: {plan.n_finalists}, not {n_asked}: so many parameters were trained to their end with a value")


def describe_ended(search: OpenStudy) -> str:
    """Say what became of a search's trials."""
    words = ["diverged" if row.is_diverged else state_word(row.state) for row in search.rows()]
    return ", ".join(f"{words.count(word)} {word}" for word in sorted(set(words))) or "none was begun"


def step_of(metric: Metric, dataset: Dataset, split: Split) -> float:
    """Return the smallest difference between two values of a metric: one row, where it is a share of rows; else 0."""
    is_share = metric.name.endswith(("accuracy", "_acc")) and dataset.sample_weight is None
    is_per_row = is_share and all(array.ndim == 1 for array in arrays_of(dataset.y))
    n_rows = len(split.val_rows) if dataset.stream is None else dataset.stream.n_val_rows
    return 1 / n_rows if is_per_row and n_rows else 0.0


def make_finish(search: OpenStudy, request: FinishRequest, plan: Plan) -> OpenStudy:
    """Store a finish with the tickets that it begins with. Call under storage.setup_lock."""
    name = finish_of(search.name)
    folder = folder_of(request.options.runs_dir, name)
    folder.check(None)
    of_search = {key: getattr(search.facts, key) for key in asdict(search.facts) if key not in ("study_id", "key")}
    facts = {**of_search, "name": name, "baseline": None, "finishes": search.facts.key}
    n_trials = len(schedule_of(plan, [], search.metric).repeats)
    return make(search.database, folder, facts=facts, n_trials=n_trials, attrs={PLAN_ATTR: as_stored(plan)})
