"""One model and its callbacks built before anything is stored: what hpo does not do is said before the first trial."""

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import optuna

from hpo.data import Dataset
from hpo.definition import N_REFUSALS, RunningTrial, StudyDefinition, build_callbacks, draw, seed_of
from hpo.engine.costs import forward_graph
from hpo.engine.refusals import check_callbacks, check_calls, check_model
from hpo.errors import InfeasibleError, StudyFileError, TrialError
from hpo.tracebacks import field_hint, told

FAULTS = (NameError, AttributeError, TypeError, ImportError)  # of the file: a trial would meet them at any point


def rehearse_training(definition: StudyDefinition, dataset: Dataset) -> None:
    """Build the baseline's model and callbacks, or those of a point drawn at random, and look at what they ask for.

    Another exception of the study's own code than FAULTS may be this point's alone, so the trial tells it.

    Raises:
        StudyFileError: They ask for what hpo does not do, or cannot be built.
    """
    parameters: Any = definition.baseline or _drawn(definition)
    if parameters is None:
        return
    try:
        keras.utils.set_random_seed(definition.seed)
        build: Any = definition.model
        inner = build(parameters.model, dataset.input_shape, dataset.n_classes)
        check_model(inner, dataset.input_shape, dataset.n_classes)
        check_calls(forward_graph(inner, dataset.input_shape), inner, is_bytes=dataset.x.dtype == np.uint8)
        check_callbacks(_callbacks(definition, parameters))
    except TrialError as error:
        raise StudyFileError(f"The study cannot be trained: {error}.", "Mend its file and try again.") from error
    except FAULTS as error:
        point = "a point drawn at random" if definition.baseline is None else "its baseline"
        message = f"The study cannot be trained: its code raised, for {point}, {told(error)}"
        raise StudyFileError(message, f"{field_hint(error)} Mend its file and try again.".strip()) from error
    except Exception:
        return


def _callbacks(definition: StudyDefinition, parameters: Any) -> Any:
    if definition.callbacks is None:
        return ()
    with tempfile.TemporaryDirectory() as folder:  # as the first trial's, whose own is not made yet
        first = RunningTrial(number=0, folder=Path(folder), seed=seed_of(definition.seed, 0, "training"))
        return build_callbacks(definition.callbacks, parameters, first)


def _drawn(definition: StudyDefinition) -> Any:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(N_REFUSALS):
        try:
            return draw(definition, study.ask()).parameters
        except InfeasibleError:
            continue
    return None
