"""What hpo finish has found, as Python has it: sentences, the table behind them, and the model to use."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.engine import load_state
from hpo.errors import HpoError
from hpo.finish import Found
from hpo.report import paragraphs, table

MODEL, STATE = "model.keras", "model.npz"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a search's finish has found so far. A notebook shows it where it stands last in a cell.

    Attributes:
        lead: The answer in one sentence; empty while the finish has not ended.
        sentences: All of it, each with what it is about before it.
        headings: Of the table.
        rows: The settings that were trained again, each with what it reached over seeds that chose nothing.
        written_dir: Where the model that it ends with was written, and its card, be they there or not; None before.
    """

    lead: str
    sentences: tuple[str, ...]
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    written_dir: Path | None

    @property
    def folder(self) -> Path | None:
        """Where the model is that it ends with, and its card; None while there is none, or it is not here any more."""
        return self.written_dir if self.written_dir is not None and self.written_dir.is_dir() else None

    @property
    def is_complete(self) -> bool:
        """Whether the finish has ended."""
        return bool(self.rows)

    def model(self) -> Any:
        """Load the model to use: it takes rows as the data bring them. Of a training function it is what it reported.

        Raises:
            HpoError: There is none, or Keras does not load it.
        """
        if self.written_dir is None:
            raise HpoError("The model of the answer is not there yet: its finish has not ended.", "finish() goes on.")
        path, state = self.written_dir / MODEL, self.written_dir / STATE
        if state.is_file():
            return load_state(state)
        if not path.is_file():
            raise HpoError(
                f"The model of the answer is not in {self.written_dir}: it was deleted, or written on another machine.",
                "finish() writes it again where the models of its trainings are; elsewhere hpo study fetch brings it.",
            )
        from hpo.api.models import load_plain

        return load_plain(path, advice=f"{self.written_dir / 'card.md'} says how.")

    def __repr__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        behind = table("What hpo finish found", self.headings, self.rows) if self.rows else ""
        return paragraphs(self.sentences) + behind


def no_answer_yet(why: str) -> Answer:
    """Return the answer of a finish that was stopped before it had begun."""
    return Answer(lead="", sentences=(why,), headings=(), rows=(), written_dir=None)


def answer_of(found: Found, folder: Path) -> Answer:
    """Return what was found as an answer; its model, if there is one, is in the folder."""
    headings, rows = found.table() if found.answer.is_complete else ((), ())
    return Answer(
        lead=found.lead(),
        sentences=tuple(f"{label}: {line}" for label, line in found.lines),
        headings=tuple(headings),
        rows=tuple(map(tuple, rows)),
        written_dir=None if found.settled is None else folder,
    )
