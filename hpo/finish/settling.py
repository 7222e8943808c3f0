"""The last step of a finish: the winner's best model is written to be used, and measured on the test rows once.

Runs in a process of its own, because it imports the study's code and what trains it.
"""

import contextlib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.data import Dataset, load_dataset, load_test_rows, split_of
from hpo.database import open_store
from hpo.definition import StudyDefinition, build_model, digest_of, load_definition, predicts_classes
from hpo.engine import load_trainer, preprocessed
from hpo.errors import DatasetError, FolderError, StudyFileError, StudyMismatchError
from hpo.finish.answer import Answer, answer_of
from hpo.finish.folder import ALL, OWN_TEST_NOTE, Chosen, Measured, write_answer
from hpo.finish.found import Found, found_of
from hpo.finish.note import note_of_search
from hpo.finish.opened import Opening, close, identity, open_once, others_that_opened, read_opening
from hpo.finish.opening import find_search, patiently
from hpo.finish.request import FinishRequest
from hpo.finish.result import result_of
from hpo.finish.retraining import kept_of, row_of_model
from hpo.finish.sentences import measured, retrained_sentence, sentences
from hpo.finish.settled import Settled, is_unsettled, store_settled
from hpo.names import file_of, finish_of
from hpo.race import Repeats, parameters_of, read_plan, retraining_of
from hpo.run import begin, telling
from hpo.study import (
    OpenStudy,
    StudyFolder,
    TrialRow,
    attach,
    carry_answer,
    check_preprocessed,
    detach,
    drop_files,
    fetch_model,
    find_finish,
    folder_of,
    write_note,
)
from hpo.terminal import warn_once

if TYPE_CHECKING:
    from hpo.engine import Built

NO_ROWS = "The data bring no test rows (x_test, y_test), so the answer ends with the validation's."


def settle_in_process(request: FinishRequest, pipe: Connection) -> None:
    """Process target: settle a finish; sends ("say", text) lines, then ("settled", None) or ("error", HpoError)."""
    begin(folder_of(request.options.runs_dir, request.search), "finish")

    def say(text: str) -> None:
        pipe.send(("say", text))

    def settle_() -> None:
        with alone(folder_of(request.options.runs_dir, finish_of(request.search)), say):
            patiently(lambda: settle(request, say), request, say)
        pipe.send(("settled", None))

    telling(pipe, settle_)


@contextlib.contextmanager
def alone(folder: StudyFolder, say: Callable[[str], None]) -> Iterator[None]:
    """Let one command after the other settle a finish: all workers of a stack see its last training end."""
    has_said = False
    while True:
        with folder.held() as is_held:
            if is_held:
                yield
                return
        if not has_said:
            say("another command is writing the answer; this one waits")
            has_said = True


@dataclass(frozen=True, kw_only=True)
class _Case:
    """All that settling works with."""

    request: FinishRequest
    search: OpenStudy
    study: OpenStudy
    definition: StudyDefinition
    dataset: Dataset
    rows: Dataset  # as the models take them
    answer: Answer
    row: TrialRow
    say: Callable[[str], None]


def settle(request: FinishRequest, say: Callable[[str], None]) -> None:
    """Write the answer's folder, open the test rows once, and store what came of it.

    Raises:
        TrialsFailingError: No training of the winner succeeded, or not the one on all rows.
        FolderError: The disk is full, or the model is not in this runs folder.
        HpoError: The study's file, its data or its database cannot be used.
    """
    options = request.options
    database = open_store(options.address, create=False)
    search = find_search(request, database)
    study = find_finish(search, options.runs_dir)
    assert study is not None
    if not is_unsettled(search, study, read_plan(study)):  # another command has settled it meanwhile
        return
    search.folder.check(search.facts.key)
    search.folder.mark(search.facts.key)
    definition, rows, plan = load_definition(options.file), study.rows(), read_plan(study)
    answer = answer_of(plan, rows, study.metric, is_complete=True)
    row = row_of_model(search, plan, rows, answer.winner)
    trainer = load_trainer(options.file.trainer)
    trainer.set_up(n_threads=search.facts.n_threads, slot=0)
    dataset = load_dataset(**_source(definition, request), fingerprint=search.facts.data, report=say)
    rows_made = preprocessed(
        definition, options.file, dataset, split_of(dataset, seed=search.facts.seed), data_dir=options.data_dir
    )
    processor = trainer.ways().get("processor")
    check_preprocessed(search.facts, rows_made.preprocessed, processor=processor, say=say)
    case = _Case(
        request=request,
        search=search,
        study=study,
        definition=definition,
        dataset=dataset,
        rows=rows_made,
        answer=answer,
        row=row,
        say=say,
    )
    if not fetch_model(study, row.number):
        raise FolderError(
            f"The model of trial {row.number} of {study.name} is not in {study.folder}: it was trained elsewhere.",
            "Run the command where that runs folder is. The answer itself is stored, and shown everywhere.",
        )
    kept = study.folder.model(row.number)
    noted = [OWN_TEST_NOTE]

    def measure(path: Path) -> Measured:
        result, note = _measure(case, path)
        noted.append(note)
        return result, note

    chosen = _chosen(case, kept.path)
    exported = write_answer(chosen, search.folder.answer_dir, measure)
    settled = Settled(
        trial=row.number,
        n_weights={} if definition.train is not None else _weights(case),
        row_ms=exported.row_ms,
        batch_row_ms=exported.batch_row_ms,
        fault=exported.fault,
        test_note=noted[-1],
        model=identity(kept.path, read_opening(search)),
        n_epochs=None if chosen.retraining is None else chosen.retraining.n_epochs,
        best_epochs=() if chosen.retraining is None else chosen.retraining.best_epochs,
    )
    large = carry_answer(search, request.max_carried_bytes)
    if large and request.max_carried_bytes:
        say(f"{search.folder.answer_dir} is kept here only: of it, {', '.join(large)} is larger than --max-carried")
    publish(search, found_of(answer, settled, read_opening(search)))
    store_settled(study, settled)
    drop_files(study.folder, study.rows(), kept_of(plan, rows, answer.winner, search))


def publish(search: OpenStudy, found: Found) -> None:
    """Show the answer to all who look at the search's study: in its note, and in its artifacts. Cut short, do it again.

    Raises:
        FolderError: The artifacts cannot be written.
    """
    folder = search.folder.answer_dir
    names = [name for name in ALL if (folder / name).is_file()]
    attach(search, {name: folder / name for name in names})
    detach(search, [name for name in ALL if name not in names])  # of an earlier answer
    if not write_note(search, note_of_search(found, search.name)):
        warn_once(f'people have written the note of "{search.name}", so the answer is not in it')


def _source(definition: StudyDefinition, request: FinishRequest) -> dict[str, Any]:
    return {
        "source": definition.dataset,
        "data_dir": request.options.data_dir,
        "base_dir": request.options.file.path.parent,
        "is_classes": predicts_classes(definition),
    }


def _chosen(case: _Case, kept: Path) -> Chosen:
    facts, plan, winner = case.study.facts, case.answer.plan, case.answer.winner or 0
    trial = next(one for one in case.study.own_trials() if one.number == case.row.number)
    retraining = retraining_of(trial)
    found = [line for _, line in sentences(case.answer)]
    expected = measured(case.answer.confirmed[winner], case.study.metric)
    if retraining is not None:
        found.append(retrained_sentence(case.study.metric, retraining.n_epochs, retraining.best_epochs))
        expected.append("That is without the validation rows, on which this trains too.")
    return Chosen(
        study=case.search.name,
        file=case.request.options.file,
        definition=case.definition,
        parameters=parameters_of(case.definition, plan.settings[winner]),
        chosen=plan.settings[winner].params,
        dataset=case.dataset,
        rows=case.rows,
        split=split_of(case.dataset, seed=facts.seed),
        kept=kept,
        trial=plan.settings[winner].trial,
        seed=Repeats(facts=facts, plan=plan).seed(trial),
        split_seed=facts.seed,
        epoch=case.row.best_epoch,
        retraining=retraining,
        found=found,
        expected=" ".join(expected),
        command=_command(case),
        compiled=() if (made := _made(case)) is None else made.said_by_the_model,
    )


def _command(case: _Case) -> str:
    facts, plan, name, file = case.search.facts, case.answer.plan, case.search.name, case.request.options.file.path
    where = f" --studies-dir {shlex.quote(str(file.parent))}" if digest_of(file) else ""  # it was made in Python
    search = f"hpo run --study {file_of(name)} --trials {plan.n_trials + plan.n_open} --seed {facts.seed}"
    finish = f"hpo finish --study {name} --finalists {plan.n_finalists} --seeds {plan.n_seeds}"
    return f"{search}{where} && {finish}{' --retrain' if plan.is_retrained else ''}{where}"


def _weights(case: _Case) -> Mapping[int, int]:
    """Count the weights of each confirmed setting's model."""
    found = {}
    for setting in case.answer.confirmed:
        parameters = parameters_of(case.definition, case.answer.plan.settings[setting]).model
        model = build_model(case.definition, parameters, case.rows.input_shape, case.rows.n_classes)
        found[setting] = int(model.count_params())
    return found


def _made(case: _Case) -> "Built | None":
    """Build the winner's model, where it has to come compiled: nothing else has an optimizer for it."""
    definition = case.definition
    if definition.train is not None or definition.optimizer is not None:
        return None
    from hpo.engine import built_of  # imports Keras, which a training function may do without

    parameters = parameters_of(definition, case.answer.plan.settings[case.answer.winner or 0])
    return built_of(definition, parameters, case.rows) if parameters.training.optimizer is None else None


def _measure(case: _Case, path: Path) -> Measured:
    """Measure the model's file on the test rows, if they have not been opened for another model.

    Where the data bring none, or others than they did, that is what is said; the answer by validation stays.
    """
    from hpo.finish.testing import evaluate, load

    facts = case.search.facts
    kept = case.study.folder.model(case.row.number).path
    opening = read_opening(case.search)
    model = identity(kept, opening)
    if opening is not None and opening.result is not None and opening.model == model:
        return result_of(opening.result), _when(opening, others_that_opened(case.search, opening.rows))
    try:
        rows = load_test_rows(
            **_source(case.definition, case.request),
            fingerprints=(facts.data, facts.test_data),
            report=case.say,
        )
    except DatasetError as error:
        return None, f"{error.message} {error.hint}"
    if rows is None:
        return None, NO_ROWS
    try:
        load(path, case.definition)  # before the rows count as opened
        opening = open_once(case.search, model=model, trial=case.row.number, rows=rows.fingerprint)
    except (StudyMismatchError, StudyFileError) as error:
        return None, f"{error.message} {error.hint}"
    made = _made(case)
    result = evaluate(path, rows, case.definition, None if made is None else made.criterion)
    closed = close(case.search, opening, result)
    return result, _when(closed, others_that_opened(case.search, rows.fingerprint))


def _when(opening: Opening, others: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in others)
    warning = (
        f" The same rows were shown to the model of {shown} too: whoever chooses between these by them has no test "
        "rows any more."
        if others
        else ""
    )
    return f"They were opened once for this study, on {opening.began} (UTC), by hpo {opening.hpo}.{warning}"
