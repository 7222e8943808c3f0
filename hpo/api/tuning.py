"""Tune from Python: hpo.tune."""

from dataclasses import replace
from pathlib import Path

from hpo.api.carrying import carry_out, seconds_as_typed
from hpo.api.given import check
from hpo.api.place import Place, place_of
from hpo.api.stored import StoredStudy, load_from
from hpo.api.wording import in_python
from hpo.definition import StudyDefinition, ship
from hpo.errors import HpoError, OptionError
from hpo.names import exactly, is_file_name


def tune(
    study: str | StudyDefinition,
    *,
    name: str | None = None,
    n_trials: int | None = None,
    timeout: float | str | None = None,
    target: float | None = None,
    workers: int | None = None,
    seed: int | None = None,
    storage: str | None = None,
    runs_dir: str | Path | None = None,
    studies_dir: str | Path | None = None,
    data_dir: str | Path | None = None,
    new_generation: bool = False,
    progress: bool = True,
) -> StoredStudy:
    """Run a study's trials until its budget is spent, as hpo run does; the same call again goes on with it.

    Args:
        study: The name of a file in the studies folder; or a StudyDefinition, of a notebook's cells or a script.
        name: What a StudyDefinition is stored as. The same name with another definition is refused, as it is where a
            file was changed.
        n_trials: The study's total, over all calls and workers. More than stored extends it.
        timeout: Stop after so many seconds, or "10m"; the same call goes on later.
        target: Stop when the metric has reached this.
        workers: Worker processes; by default what this machine bears.
        seed: A new study's; by default its definition's.
        storage: The database's URL; by default HPO_STORAGE, or a SQLite file in the runs folder.
        runs_dir: Logs, checkpoints and models; by default HPO_RUNS_DIR, or runs.
        studies_dir: The study files; by default HPO_STUDIES_DIR, or studies.
        data_dir: Where data sets are, or are downloaded to; by default HPO_DATA_DIR, or hpo's own folder.
        new_generation: Begin anew beside the stored study.
        progress: Whether to show how far it is.

    Raises:
        HpoError: As the command does, with its message and exit code.
        KeyboardInterrupt: The cell or script was interrupted; running trials were saved, and the same call goes on.
    """
    check(name=name, n_trials=n_trials, timeout=timeout, target=target, workers=workers, seed=seed)
    check("new_generation", "progress", new_generation=new_generation, progress=progress)
    place = place_of(storage, runs_dir, studies_dir, data_dir)
    study, place = _settle(study, name, place)
    asked = {"--trials": n_trials, "--target": target, "--workers": workers, "--seed": seed}
    arguments = ["--study", study]
    arguments += [word for name, value in asked.items() if value is not None for word in (name, str(value))]
    arguments += [] if timeout is None else ["--timeout", seconds_as_typed(timeout)]
    arguments += ["--new-generation"] if new_generation else []
    told = carry_out("hpo.run", study, arguments, place, is_new=new_generation, is_shown=progress)
    if "n_trials" not in told:  # it was stopped before there was a study
        stopped = HpoError(in_python(told["message"]), "hpo.tune with a longer timeout, or none, makes it.")
        stopped.exit_code = 0  # of the command, which has nothing to return
        raise stopped
    return load_from(place, exactly(told["study"]))


def _settle(study: str | StudyDefinition, name: str | None, place: Place) -> tuple[str, Place]:
    """Return the study's name, and the place with its file; a definition is written there.

    Raises:
        HpoError: The definition cannot be run elsewhere, or has no name.
    """
    if isinstance(study, str):
        if name not in (None, study):
            raise OptionError(f'study is "{study}" and name is "{name}".', "A name is given to a StudyDefinition only.")
        return study, place.of(study)
    if not isinstance(study, StudyDefinition):
        kind = type(study).__name__
        raise OptionError(f"study is of type {kind}.", "Give the name of a file, or a StudyDefinition and its name.")
    if name is None or not is_file_name(name):
        what = "no name" if name is None else f"the name {name!r}, which a study cannot have"
        raise OptionError(f"The StudyDefinition has {what}.", 'Give one: hpo.tune(STUDY, name="my_study").')
    path = ship(study, name, place.shipped_dir)
    return name, replace(place, studies_dir=path.parent)
