"""One stored trial, trained again in a process of its own, with its seed, split and threads; nothing is stored."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from hpo.check import answer, callbacks_of, load_data, load_study
from hpo.data import split_of
from hpo.database import DatabaseAddress, open_store
from hpo.definition import RunningTrial, StudyDefinition, StudyFile, place
from hpo.engine import Task, is_finite
from hpo.errors import ParameterError, StorageError, StudyMismatchError, TrialError
from hpo.metric import Metric
from hpo.run import agenda_of, log
from hpo.study import OpenStudy, StudyFolder, TrialFile, all_studies, check_preprocessed, origin_here

SAY_SECONDS = 2.0  # between two epochs that people are told of


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be trained again; it crosses a pipe.

    Attributes:
        address: The database's.
        runs_dir: The studies' folders.
        study: The study's name, with the generation.
        number: The trial's.
        file: The study's file.
        data_dir: Where data are looked for.
        n_threads: To train with.
        last_epoch: The last one that is recorded.
        is_cut: Whether to stop there, as the trial did not by itself.
    """

    address: DatabaseAddress
    runs_dir: Path
    study: str
    number: int
    file: StudyFile
    data_dir: Path | None
    n_threads: int
    last_epoch: int
    is_cut: bool


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """What came of it.

    Attributes:
        values: Of the study's metric after each epoch; None where the epoch diverged.
        seed: What it was trained with.
        n_threads: So was this.
        trained_by: What trained it, for people.
        origin: This machine and its software.
    """

    values: list[float | None]
    seed: int
    n_threads: int
    trained_by: str
    origin: dict[str, str]


def retrain_in_process(request: Request, folder: StudyFolder, pipe: Connection) -> None:
    """Process target: train it, with files in a temporary folder; sends ("done", Retrained), or ("failed", why)."""

    def retrain() -> tuple[str, Retrained | str]:
        trainer, definition = load_study(request.file, n_threads=request.n_threads)
        study = _find(request)
        facts = study.facts
        data = load_data(definition, request.file, request.data_dir, seed=facts.seed, fingerprint=facts.data)
        if data.fingerprint != facts.data:
            raise StudyMismatchError(
                f'The data are not those that the study "{facts.name}" was made with ({data.fingerprint[:12]} here, '
                f"{facts.data[:12]} there).",
                "Bring them back as they were. If a function makes them, it must return the same at each call: seed "
                "what it draws, np.random.default_rng(0) say.",
            )
        processor = trainer.ways().get("processor")
        check_preprocessed(facts, data.preprocessed, processor=processor, say=log.warning)
        trainer.load(definition, data, path=facts.path)
        values: list[float | None] = []
        try:
            parameters, seed = _what_to_train(study, definition, request.number)
            files = folder.path / "files"
            task = Task(
                parameters=parameters,
                seed=seed,
                split=split_of(data, seed=facts.seed),
                metric=facts.metric,
                checkpoint=TrialFile(folder.path / "checkpoint.npz"),
                resumed=lambda history: True,
                after_epoch=_listener(request, facts.metric, values, lambda text: pipe.send(("say", text))),
                should_stop=lambda: False,
                on_loss=log.warning,
                callbacks=callbacks_of(
                    definition, parameters, RunningTrial(number=request.number, folder=files, seed=seed)
                ),
                folder=files,
            )
            result = trainer.train(task)
        except TrialError as error:
            return "failed", str(error)
        return "done", Retrained(
            values=values,
            seed=seed,
            n_threads=request.n_threads,
            trained_by=result.trained_by,
            origin=origin_here(),
        )

    answer(pipe, retrain, folder=folder, name="reproduce")


def _find(request: Request) -> OpenStudy:
    studies = all_studies(open_store(request.address, create=False), request.runs_dir)
    study = next((one for one in studies if one.name == request.study), None)
    if study is None:
        raise StorageError(f'The study "{request.study}" is gone from the database.', "Was it deleted?")
    return study


def _what_to_train(study: OpenStudy, definition: StudyDefinition, number: int) -> tuple[object, int]:
    """Return a trial's parameters and its seed."""
    trial = next(one for one in study.own_trials() if one.number == number)
    agenda = agenda_of(study, definition)
    seed = agenda.seed(trial)
    if agenda.is_baseline(trial):
        return definition.baseline, seed
    try:
        return place(definition, trial.params).parameters, seed
    except ParameterError as error:
        raise StudyMismatchError(
            f"The stored parameters of trial {number} are no point of the search space: {error}",
            "Did another program change them?",
        ) from error


def _listener(
    request: Request, metric: Metric, values: list[float | None], say: Callable[[str], None]
) -> Callable[[int, dict[str, float]], bool]:
    said_seconds = 0.0

    def after_epoch(epoch: int, logs: dict[str, float]) -> bool:
        nonlocal said_seconds
        values.append(float(logs[metric.name]) if is_finite(logs, metric) else None)
        if time.monotonic() - said_seconds > SAY_SECONDS:
            said_seconds = time.monotonic()
            say(f"epoch {epoch} of {request.last_epoch}: {metric.name} {logs[metric.name]:.6g}")
        # One that ended by itself may go on here, which is a difference: an epoch more shows it.
        return epoch < request.last_epoch or (not request.is_cut and epoch == request.last_epoch)

    return after_epoch
