"""A trial's training at an epoch's end, in one piece: state, best weights and the history of metrics."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

import numpy as np

from hpo.engine.state import packed, unpacked

Arrays = list[np.ndarray[Any, Any]]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything from which training goes on, bit for bit.

    Attributes:
        state: What hpo.engine.model.state returned.
        best_weights: The model's weights at the best epoch, in Keras's order; empty before there is one.
        history: The logs of each epoch so far.
        callbacks: What the study's own callbacks have counted; see hpo.engine.callback_state.carried.
        is_over: Whether training has ended by itself at this epoch: nothing is to be trained further.
    """

    state: Arrays = field(default_factory=list)
    best_weights: Arrays = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    is_over: bool = False


class Kept(Protocol):
    """Where a trial's checkpoint is kept; for people it is its str."""

    def save(self, write: Callable[[BinaryIO], object]) -> None:
        """Take what write writes, whole or not at all. Raises OSError."""

    def load(self) -> BinaryIO:
        """Give back what was saved last. Raises OSError."""


def save(kept: Kept, checkpoint: Checkpoint) -> None:
    """Write a checkpoint.

    Raises:
        OSError: It cannot be written; the old one is as it was.
    """
    arrays = {f"state_{i}": array for i, array in enumerate(checkpoint.state)}
    arrays |= {f"best_{i}": array for i, array in enumerate(checkpoint.best_weights)}
    counts = [len(checkpoint.state), len(checkpoint.best_weights)]
    callbacks = [packed(state, arrays) for state in checkpoint.callbacks]
    told = json.dumps(
        {
            "counts": counts,
            "history": checkpoint.history,
            "callbacks": callbacks,
            "is_over": checkpoint.is_over,
        }
    )

    def write(file: BinaryIO) -> None:
        np.savez(file, told=np.array(told), **arrays)  # type: ignore[arg-type]

    kept.save(write)


def count_epochs(open_: Callable[[], BinaryIO]) -> int:
    """Return after how many epochs a checkpoint was taken, without reading its weights; 0 where there is none."""
    try:
        with open_() as file, np.load(file, allow_pickle=False) as arrays:
            return len(json.loads(str(arrays["told"]))["history"])
    except Exception:  # as in load
        return 0


def load(kept: Kept) -> Checkpoint | None:
    """Read a checkpoint; None where there is none or it is damaged, so that the trial starts over."""
    try:
        with kept.load() as file, np.load(file, allow_pickle=False) as arrays:  # NumPy leaves a damaged one open
            told = json.loads(str(arrays["told"]))
            n_states, n_best = told["counts"]
            return Checkpoint(
                state=[arrays[f"state_{i}"] for i in range(n_states)],
                best_weights=[arrays[f"best_{i}"] for i in range(n_best)],
                history=told["history"],
                callbacks=[unpacked(state, arrays) for state in told["callbacks"]],
                is_over=told.get("is_over", False),
            )
    except Exception:  # a damaged zip file raises nearly anything: NotImplementedError, RuntimeError, zlib.error ...
        return None
