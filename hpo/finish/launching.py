"""A finish from its command to its answer: workers train what the race asks for, then the answer is settled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hpo.database import explained, open_store, wait_shortly
from hpo.errors import HpoError, NotOpenedError, StudyMismatchError
from hpo.finish.found import Found, found_in, is_trained, n_wanted
from hpo.finish.opened import read_opening
from hpo.finish.opening import check_asked, check_unchanged, find_search, open_in_process, patiently
from hpo.finish.request import FinishRequest
from hpo.finish.retraining import is_other_model
from hpo.finish.settled import is_unsettled
from hpo.finish.settling import settle_in_process
from hpo.race import read_plan
from hpo.run import Ending, Errand, Launcher, RunSettings, Signals, View, call_in_child, start_forkserver
from hpo.study import OpenStudy, StudyFacts, Ticket, count_ended, find_finish, folder_of, open_runs_dir


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a command that finishes a search ended.

    Attributes:
        ending: Why.
        search: The search.
        study: Its finish.
        found: What it has found.
        n_since: How many trials of the search have ended since the finish was begun.
        tickets: Those of the finish.
        fault: Why the model could not be written; None where nothing is wrong.
    """

    ending: Ending
    search: OpenStudy
    study: OpenStudy
    found: Found
    n_since: int
    tickets: Sequence[Ticket]
    fault: HpoError | None = None


def finish_search(request: FinishRequest, settings: RunSettings, view: View, signals: Signals) -> Finished:
    """Finish a search, or go on with that, or show what was found before.

    Raises:
        HpoError: It cannot be; running trainings have been handed back.
        NotOpenedError: It was asked to stop before there was a finish.
    """
    open_runs_dir(request.options.runs_dir, view.say)
    search, study = wait_shortly(lambda: _find(request), request.options.address)
    context, ending = None, Ending.FINISHED
    if study is None or not patiently(partial(is_as_asked, study, request), request, view.say):
        context, study = _open(request, search, view, signals)
        if not patiently(partial(is_trained, study), request, view.say):
            ending = _train(partial(Launcher, settings, view, signals, context=context), request, study, view)
    fault = None
    if ending == Ending.FINISHED and patiently(partial(is_last_step_left, search, study), request, view.say):
        try:
            view.say(patiently(partial(describe_last_step, search), request, view.say))
            ending = _settle(request, context, view, signals)
        except HpoError as error:  # the answer is there all the same
            fault = error
    return patiently(partial(_ended, ending, search, study, fault), request, view.say)


def is_last_step_left(search: OpenStudy, study: OpenStudy) -> bool:
    """Whether only the last step is to be done of a finish."""
    return is_trained(study) and is_unsettled(search, study, read_plan(study))


def is_as_asked(study: OpenStudy, request: FinishRequest) -> bool:
    """Whether all trainings of a finish have ended, and it ends with the model that is asked for."""
    return is_trained(study) and not is_other_model(read_plan(study), request)


def describe_last_step(search: OpenStudy) -> str:
    """Say what the last step does; rows that were opened before are opened for nothing else."""
    is_opened = read_opening(search) is not None
    return "writing the winner's model" + ("" if is_opened else ", and measuring it on the test rows if there are any")


class _Unhurried:
    """What asks to stop, but not the deadline: what is left takes seconds, and is what all the rest was for."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    @property
    def ending(self) -> Ending | None:
        """What is asked for."""
        ending = self._signals.ending
        return None if ending == Ending.TIMEOUT else ending


def _settle(request: FinishRequest, context: Any, view: View, signals: Signals) -> Ending:
    folder = folder_of(request.options.runs_dir, request.search)
    context = context or start_forkserver(folder, request.options.file.trainer)
    errand = Errand(what="writes the answer", target=settle_in_process, arguments=(request,))
    unhurried = _Unhurried(signals)
    call_in_child(context, errand, view.say, unhurried, folder=folder)
    return unhurried.ending or Ending.FINISHED


def _find(request: FinishRequest) -> tuple[OpenStudy, OpenStudy | None]:
    with explained(request.options.address):
        database = open_store(request.options.address, create=False)
        search = find_search(request, database)
        study = find_finish(search, request.options.runs_dir)
        if study is not None:
            check_asked(study, request)
            if is_as_asked(study, request):
                return search, study
        check_unchanged(request, search, None)
        return search, study


def _open(request: FinishRequest, search: OpenStudy, view: View, signals: Signals) -> tuple[Any, OpenStudy]:
    view.say(f"starting: {'TensorFlow' if request.options.file.trainer == 'keras' else 'the study'} is being loaded")
    folder = folder_of(request.options.runs_dir, search.name)
    with folder.being_opened():
        context = start_forkserver(folder, request.options.file.trainer)
        errand = Errand(what="opens the finish", target=open_in_process, arguments=(request,))
        facts: StudyFacts | None = call_in_child(context, errand, view.say, signals, folder=folder)
    if facts is None:
        raise NotOpenedError(signals.ending or Ending.TERMINATED)
    database = patiently(lambda: open_store(request.options.address, create=False), request, view.say)
    study_folder = folder_of(request.options.runs_dir, facts.name)
    return context, OpenStudy(facts=facts, database=database, folder=study_folder)


def _train(launcher: Callable[..., Launcher], request: FinishRequest, study: OpenStudy, view: View) -> Ending:
    """Keep workers at a finish until all of its trainings have ended, or something says stop.

    Workers add the trainings that follow before they end one; another program that ends a trial does not.
    """
    patiently(partial(grow, study, 0), request, view.say)
    while True:
        outcome = launcher(study=study).run()
        has_more = patiently(partial(grow, study, len(outcome.tickets)), request, view.say)
        if outcome.ending != Ending.FINISHED or not has_more:
            return outcome.ending


def grow(study: OpenStudy, n_trainings: int) -> bool:
    """Add the trainings that a finish asks for beyond those that it has; returns whether there are any."""
    n_asked = n_wanted(study)
    study.tickets.grow(n_asked)
    return n_asked > n_trainings


def _ended(ending: Ending, search: OpenStudy, study: OpenStudy, fault: HpoError | None) -> Finished:
    plan = read_plan(study)
    if ending == Ending.FINISHED and not is_trained(study):
        raise StudyMismatchError(
            f'Trainings of "{study.name}" cannot be read any more, or were changed by another program.',
            f"hpo study delete --study {study.name} lets the finish begin anew.",
        )
    return Finished(
        ending=ending,
        search=search,
        study=study,
        found=found_in(search, study),
        n_since=count_ended(search.tickets.read()) - plan.n_trials,
        tickets=study.tickets.read(),
        fault=fault,
    )
