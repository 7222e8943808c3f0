"""A study as it is stored: what hpo.load and hpo.tune return."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.api.answer import Answer, answer_of, no_answer_yet
from hpo.api.best import best_of, find_best
from hpo.api.carrying import carry_out, seconds_as_typed
from hpo.api.given import check
from hpo.api.place import Place, place_of
from hpo.api.wording import in_python, worded
from hpo.database import open_store, wait_shortly
from hpo.errors import StudyMismatchError
from hpo.finish import find_found
from hpo.names import exactly, finish_of, search_of
from hpo.report import Figure, Findings, Record, draw, find, paragraphs, read_record, table
from hpo.study import open_stored
from hpo.words import describe_params, number

if TYPE_CHECKING:
    import optuna
    import pandas as pd


@dataclass(frozen=True, kw_only=True, eq=False)
class Figures:
    """The report's figures of a study, each drawn when it is asked for.

    Attributes:
        record: The study.
    """

    record: Record

    @cached_property
    def _findings(self) -> Findings:
        return find(self.record)

    @property
    def optimizers(self) -> Figure:
        """The optimizers compared, or the choices of a study without any."""
        return draw("optimizers", self.record, self._findings)

    @property
    def scale(self) -> Figure:
        """The values over the learning rate, or whatever other range a study has, by optimizer."""
        return draw("scale", self.record, self._findings)

    @property
    def parameters(self) -> Figure:
        """Which parameters mattered."""
        return draw("parameters", self.record, self._findings)

    @property
    def curves(self) -> Figure:
        """All learning curves."""
        return draw("curves", self.record, self._findings)

    @property
    def progress(self) -> Figure:
        """The best value so far, over epochs and over time."""
        return draw("progress", self.record, self._findings)

    @property
    def time(self) -> Figure:
        """Where the time went."""
        return draw("time", self.record, self._findings)

    def __repr__(self) -> str:
        return "figures: optimizers, scale, parameters, curves, progress, time"


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredStudy:
    """A study as it was stored when it was loaded; hpo.load again shows what has come since.

    A notebook shows it where it stands last in a cell.

    Attributes:
        place: Where it is.
        record: What is stored of it.
        answer: What hpo finish has found; None where it has not been run.
    """

    place: Place
    record: Record
    answer: Answer | None

    @property
    def name(self) -> str:
        """Its name, with the generation."""
        return self.record.name

    @property
    def best_parameters(self) -> dict[str, Any]:
        """What the best trial's parameters are, by name.

        Raises:
            HpoError: No trial has a finite value.
        """
        return dict(best_of(self.record).row.params)

    @property
    def best_value(self) -> float:
        """What the best trial reached: the search's own record, which finish measures anew.

        Raises:
            HpoError: No trial has a finite value.
        """
        return best_of(self.record).value

    @property
    def best_trial(self) -> int:
        """The best trial's number.

        Raises:
            HpoError: No trial has a finite value.
        """
        return best_of(self.record).number

    @cached_property
    def trials(self) -> "pd.DataFrame":
        """All trials by number: state, value, best epoch, seconds, whether it diverged, why it failed, parameters."""
        from hpo.api.tables import trials_table

        return trials_table(self.record)

    def history(self, trial: int) -> "pd.DataFrame":
        """Return what a trial's metric was after each epoch; TensorBoard shows its other scalars.

        Raises:
            HpoError: There is no such trial.
        """
        from hpo.api.tables import history_table

        check("trial", trial=trial)
        return history_table(self.record, trial)

    @cached_property
    def figures(self) -> Figures:
        """The report's figures."""
        return Figures(record=self.record)

    def best_model(self) -> Any:
        """Load the best trial's model, as it was after its best epoch: an uncompiled Keras model.

        It takes rows as it was trained on them; validation_rows returns such. Of a study with its own training
        function it is the state that this reported.

        Raises:
            HpoError: There is none, or it cannot be loaded.
        """
        from hpo.api.models import load_best

        with worded():
            return load_best(self.record, self.place)

    def finish(
        self,
        *,
        finalists: int | None = None,
        seeds: int | None = None,
        retrain: bool | None = None,
        timeout: float | str | None = None,
        workers: int | None = None,
    ) -> Answer:
        """Do what hpo finish does: train the best settings again, name a winner and say how sure that is.

        Called again, it goes on where it was stopped, or returns what it has found. Where its time was up, the answer's
        is_complete is False.

        Args:
            finalists: How many of the best trials race; by default 5, and 3 after 20 trials or fewer.
            seeds: With how many seeds that choose nothing the winner is measured; by default 6.
            retrain: Whether the winner is trained once more, on the validation rows too, to be the model to use. None
                leaves it as the finish was begun, which is without.
            timeout: Stop after so many seconds, or "20m".
            workers: Worker processes; by default what this machine bears.

        Raises:
            HpoError: As the command does.
            KeyboardInterrupt: It was interrupted; what was trained so far is kept.
        """
        check(finalists=finalists, seeds=seeds, retrain=retrain, timeout=timeout, workers=workers)
        arguments = ["--study", exactly(self.name)]
        arguments += [] if retrain is None else ["--retrain" if retrain else "--no-retrain"]
        arguments += [] if timeout is None else ["--timeout", seconds_as_typed(timeout)]
        asked = {"--finalists": finalists, "--seeds": seeds, "--workers": workers}
        arguments += [word for name, value in asked.items() if value is not None for word in (name, str(value))]
        told = carry_out("hpo.finish", finish_of(self.name), arguments, self.place)
        answer = load_from(self.place, exactly(self.name)).answer
        return answer or no_answer_yet(in_python(told["message"]))

    @property
    def optuna_study(self) -> "optuna.Study":
        """Optuna's own handle of it, for Optuna's plots and analyses; hpo alone adds trials and ends them."""
        import optuna

        store = open_store(self.place.address, create=False)
        return optuna.load_study(study_name=self.name, storage=store.optuna)

    def __repr__(self) -> str:
        return "\n".join(f"{label}: {words}" for label, words in self._lines())

    def _repr_html_(self) -> str:
        said = "" if self.answer is None else paragraphs([self.answer.lead] if self.answer.lead else [])
        return table(f"The study {self.name}", ["", ""], self._lines()) + said

    def _lines(self) -> list[tuple[str, str]]:
        record = self.record
        lines = [("study", f"{self.name}: {record.n_ended} of {len(record.tickets)} trials have ended")]
        for label, one in (("best", find_best(record)), ("baseline", record.baseline)):
            if one is not None and one.row.best_epoch is not None:
                reached = f"{record.metric.name} {number(one.value)}, trial {one.number}"
                lines.append((label, f"{reached}: {describe_params(one.row.params)}"))
        return lines


def load(
    name: str,
    *,
    storage: str | None = None,
    runs_dir: str | Path | None = None,
    studies_dir: str | Path | None = None,
    data_dir: str | Path | None = None,
) -> StoredStudy:
    """Load a stored study.

    Args:
        name: NAME for its latest generation; NAME@1, NAME@2 for each.
        storage: The database's URL; by default HPO_STORAGE, or the SQLite file in the runs folder.
        runs_dir: Where its files are; by default HPO_RUNS_DIR, or runs.
        studies_dir: Where study files are; by default HPO_STUDIES_DIR, or studies. Only finish needs it, and a model
            with layers of the study's own.
        data_dir: Where data sets are; by default HPO_DATA_DIR, or hpo's own folder. Only finish needs it.

    Raises:
        HpoError: There is no such database or study, or the database is away.
    """
    check("name", name=name)
    return load_from(place_of(storage, runs_dir, studies_dir, data_dir).of(name), name)


def load_from(place: Place, name: str) -> StoredStudy:
    """Load a stored study from a place.

    Raises:
        HpoError: As load does.
    """
    address = place.address

    def read() -> StoredStudy:
        study = open_stored(address, place.runs_dir, name)
        try:
            if study.facts.finishes is not None:
                search = search_of(study.name)
                raise StudyMismatchError(f'What "{study.name}" found belongs to "{search}".', f'hpo.load("{search}")')
            found = find_found(study, place.runs_dir)
            answer = None if found is None else answer_of(found, study.folder.answer_dir)
            return StoredStudy(place=place, record=read_record(study), answer=answer)
        finally:
            study.database.close()

    with worded():
        return wait_shortly(read, address)
