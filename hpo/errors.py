"""Every error hpo raises on purpose, each with what happened, the next step, and an exit code.

    HpoError                      stops the command, without a traceback
    |- OptionError           2    an option's value does not fit the study, or one is missing
    |- StudyFileError        3    the study's file is missing, broken or asks for what hpo does not do
    |  |- SamplerError       3    its sampler cannot draw, or is one that hpo refuses
    |- DatasetError          4    the data are missing, damaged, or not what hpo can train on
    |- StorageError          5    the database cannot be reached, or belongs to another program or version
    |- StudyMismatchError    6    the stored study and this command disagree (seed, definition, data)
    |  |- TicketlessError    6    the stored study is a copy, or half deleted
    |- TrialsFailingError    7    the first trials all failed: the study's own code is broken
    |- WorkersFailingError   8    worker processes die before they get anything done
    |- PasswordError         9    a password is missing where there must be one, or its file cannot be read
    |- AddressError         10    the address to serve a page at cannot be had
    |- DatabaseAwayError    11    a StorageError: the database is away, locked or starting, and stayed so
    |- FolderError          12    a folder that hpo keeps its files in cannot be made or written
    |- InexactError         13    a trial that is interrupted would not go on with the same numbers
    |- NotReproducedError   14    a trial that is trained again comes to other numbers
    |- ClusterError         15    an engine that is to start workers is not there, or refuses

    TrialError                    ends one trial as FAIL; the worker takes the next
    LeaseLostError                the trial belongs to another worker now; nothing more is written to it
    OvertakenError                a trial born since this one was drawn has the same point
    SpaceExhaustedError           every configuration has been tried; the study ends before its budget
    NotOpenedError                a command was stopped before there was a study
    ParameterError                a value of a trial's is out of its range, or two do not fit together
    |- InfeasibleError            search_space or feasible refuses a point: another one is drawn
    RefusedPickleError            a file of data asks for more than data

Exit codes 0, 1, 2, 130 keep their usual meanings: done, unexpected error, wrong arguments, Ctrl-C; 99 is a slot's
that is to be filled again (hpo.run.ending).
"""

from enum import Enum
from typing import Any


class HpoError(Exception):
    """Something a user can understand and mend.

    Attributes:
        message: What happened and why, one or two sentences, without a password in it.
        hint: What to do next; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(hint)  # a notebook, and any traceback, shows it below the message

    def __reduce__(self) -> tuple[type["HpoError"], tuple[Any, ...]]:
        """Keep the hint when the error crosses from a worker to its launcher."""
        return type(self), (self.message, self.hint)


class OptionError(HpoError):
    """An option's value does not fit the study, or one is missing."""

    exit_code = 2


class StudyFileError(HpoError):
    """The study's file cannot be used."""

    exit_code = 3


class SamplerError(StudyFileError):
    """The study's sampler cannot be used."""


class DatasetError(HpoError):
    """The data cannot be used."""

    exit_code = 4


class StorageError(HpoError):
    """The database cannot be used."""

    exit_code = 5


class DatabaseAwayError(StorageError):
    """The database stayed away for too long, or the command was told to stop meanwhile."""

    exit_code = 11


class StudyMismatchError(HpoError):
    """What is stored and what was asked for differ; hpo never mixes the two."""

    exit_code = 6


class TicketlessError(StudyMismatchError):
    """A study without tickets: copied from another database, or its deletion was cut short.

    Attributes:
        stored: The study, as it is read from the database.
    """

    def __init__(self, stored: Any) -> None:
        super().__init__(
            f'The study "{stored.name}" has no tickets: it was copied by another program, or half deleted.',
            f"Delete what is left of it: hpo study delete --study {stored.name}",
        )
        self.stored = stored

    def __reduce__(self) -> tuple[type["TicketlessError"], tuple[Any, ...]]:
        """Keep the study when the error crosses from a worker to its launcher."""
        return type(self), (self.stored,)


class TrialsFailingError(HpoError):
    """The first trials of a run all failed, so the budget is kept for when the cause is mended."""

    exit_code = 7


class WorkersFailingError(HpoError):
    """Worker processes die again and again without finishing anything."""

    exit_code = 8


class PasswordError(HpoError):
    """A password is missing, or its file cannot be used."""

    exit_code = 9


class AddressError(HpoError):
    """A page cannot be served at this address."""

    exit_code = 10


class OvertakenError(Exception):
    """A trial that was born since this one was drawn has the same point; nothing was stored.

    Attributes:
        n_trials: How many there are now.
    """

    def __init__(self, n_trials: int) -> None:
        super().__init__(n_trials)
        self.n_trials = n_trials


class FolderError(HpoError):
    """A folder cannot be made or written."""

    exit_code = 12


class InexactError(HpoError):
    """A trial that is interrupted would not go on with the same numbers."""

    exit_code = 13


class NotReproducedError(HpoError):
    """A trial that is trained again comes to other numbers."""

    exit_code = 14


class ClusterError(HpoError):
    """An engine that is to start workers is not there, or refuses."""

    exit_code = 15


class TrialError(Exception):
    """This trial cannot be trained; the message is stored as its reason and it ends as FAIL."""


class LeaseLostError(Exception):
    """Another worker holds this trial's ticket; whatever was about to be written has been rolled back."""


class SpaceExhaustedError(Exception):
    """Every configuration of the search space has been tried."""


class NotOpenedError(Exception):
    """A command was stopped before there was a study.

    Attributes:
        ending: Why, as one of hpo.run's endings.
    """

    def __init__(self, ending: Enum) -> None:
        super().__init__(ending)
        self.ending = ending


class ParameterError(ValueError):
    """A value is out of its range, or two values do not fit together."""


class InfeasibleError(ParameterError):
    """A point that the study itself refuses.

    Attributes:
        refuser: Which function of the study's file does: "search_space" or "feasible".
    """

    def __init__(self, refuser: str) -> None:
        super().__init__(refuser)
        self.refuser = refuser

    def __str__(self) -> str:
        return f"{self.refuser} refuses this configuration"


class RefusedPickleError(Exception):
    """A pickle asks for something else than arrays, bytes, strings, numbers, lists and dicts."""
