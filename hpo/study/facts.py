"""A study's facts, and the one door through which whatever is stored in their place comes in.

The facts are a study's attribute "hpo:study": what readers need, so that nobody has to import a study's file to show
results. Any client of the database can write it; another version of hpo may have.
"""

import math
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields
from typing import Any, get_args, get_origin, get_type_hints

from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy

from hpo import __version__
from hpo.errors import HpoError, StorageError, StudyMismatchError
from hpo.machine import installed_version
from hpo.metric import DIRECTIONS, Metric, metric_of
from hpo.names import file_of, generation, is_plain_name

KEY_ATTR, STUDY_ATTR = "hpo:key", "hpo:study"  # of a study
MAX_THREADS = 1024
FACTS_VERSION = 2  # 1, without a number: did not say which study they are of
METRIC = {"metric": str, "direction": str}  # what a field that is a Metric is stored as
MAKER = "hpo"  # the facts' own word of the version that wrote them

LIBRARIES = {"tensorflow": 2, "keras": 2, "optuna": 1}  # how many parts of the version must agree
OWN_LIBRARIES = {"optuna": 1}  # of a study that trains with a function of its own
# What hpo itself makes of the same parameters, seed and data. Raised when that changes a trial's meaning or its bits; a
# new version of hpo alone does not, and goes on with an older one's studies.
ENGINE, ENGINE_VERSION = "hpo's engine", 1


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """What a study was created as.

    Attributes:
        name: Optuna's name, with the generation.
        study_id: Optuna's id.
        key: Random, the tickets' own name of the study.
        metric: What it tunes for.
        seed: The one it was created with.
        n_threads: Threads of each worker; the bits of a result depend on it.
        baseline: Its values by parameter name, or None.
        meaning: Hashes of what changes a trial's meaning, by field; see hpo.definition.meaning.
        libraries: Versions, as far as they must agree.
        data: Fingerprint of the data.
        lease_seconds: How long a worker may stand still before others take its trial: one figure for all workers, as
            they would expire each other otherwise.
        finishes: The key of the search that this study finishes, see hpo.race; None for a search.
        test_data: Fingerprint of the test rows that come with the data; None where there are none, or an older hpo made
            the study.
        path: By which models are trained, see hpo.engine; None where an older hpo made the study, which is
            trained as that did, or where a function of its own trains it.
        processor: The kind that it was begun on: another one's results have other last bits.
        preprocessed: Fingerprint of the rows that the study's preprocess made of the data; None where it has none.
    """

    name: str
    study_id: int
    key: str
    metric: Metric
    seed: int
    n_threads: int
    baseline: dict[str, Any] | None
    meaning: dict[str, str]
    libraries: dict[str, str]
    data: str
    lease_seconds: float = 60.0
    finishes: str | None = None
    test_data: str | None = None
    path: str | None = None
    processor: str | None = None
    preprocessed: str | None = None

    def is_baseline(self, number: int) -> bool:
        """Whether that trial, or ticket, is the baseline's."""
        return number == 0 and self.baseline is not None

    @property
    def next_name(self) -> str:
        """The name of the generation after this one."""
        return f"{file_of(self.name)}@{generation(self.name) + 1}"


def direction_of(metric: Metric) -> StudyDirection:
    """Return a metric's direction as Optuna names it."""
    return StudyDirection[metric.direction.upper()]


def read_facts(study: FrozenStudy) -> StudyFacts:
    """Return the facts of a study that Optuna has read.

    Raises:
        HpoError: As parse does.
    """
    name = study.study_name
    if not is_plain_name(name):
        raise odd(str(name), "its name cannot be a folder's")
    facts = StudyFacts(**parse(StudyFacts, name, study._study_id, study.user_attrs[STUDY_ATTR]))
    if not re.fullmatch(r"[0-9a-f]{32}", facts.key):
        raise odd(name, "its key is none")
    if facts.metric.direction not in DIRECTIONS or study.directions != [direction_of(facts.metric)]:
        raise odd(name, f"its direction is {facts.metric.direction}, Optuna's is another")
    if not 1 <= facts.n_threads <= MAX_THREADS:
        raise odd(name, f"it trains with {facts.n_threads} threads")
    return facts


def parse(kind: type[Any], name: str, study_id: int, facts: object) -> dict[str, Any]:
    """Return the values of a dataclass's fields, name and study_id among them, from a study's facts.

    A field that facts of an older hpo lack is left to its default.

    Raises:
        StorageError: A newer hpo wrote them.
        StudyMismatchError: They are of another study, which this one is a copy of, or not what hpo writes.
    """
    if not isinstance(facts, dict):
        raise odd(name, f"its facts are of type {type(facts).__name__}")
    known = {**get_type_hints(kind), **METRIC}
    version, maker = facts.get("version", 1), facts.get(MAKER, "0.1.0")
    unknown = sorted(map(str, set(facts) - set(known) - {"version", MAKER}))
    if type(version) is not int or not isinstance(maker, str):
        raise odd(name, "its facts have no version")
    if version > FACTS_VERSION:
        raise StorageError(
            f'The study "{name}" was made by a newer hpo ({maker}); this is {__version__}.',
            "Install that hpo, or name another database with --storage.",
        )
    if unknown:
        raise StorageError(
            f'The study "{name}" was made by a newer hpo ({maker}; this is {__version__}) or changed by another '
            f"program: it holds {', '.join(unknown)}.",
            "Install that hpo, or name another database with --storage.",
        )
    of = {"name": name, "study_id": study_id}  # what older facts did not say
    values = {**of, **{key: value for key, value in facts.items() if key in known}}
    optional = {field.name for field in fields(kind) if not _is_required(field)}
    missing = [key for key in known if key not in values and key not in optional]
    if missing:
        raise odd(name, f"it lacks {', '.join(missing)}")
    wrong = [f"{key} is {values[key]!r}"[:80] for key in values if not _is_of(values[key], known[key])]
    if wrong:
        raise odd(name, ", ".join(wrong))
    if (values["name"], values["study_id"]) != (name, study_id):
        raise copied(name, values["name"])
    metric = metric_of(values["metric"], values.pop("direction"))
    return {**values, "metric": metric}


def stamp(facts: StudyFacts) -> dict[str, Any]:
    """Return facts as they are stored: with the version of their form and of hpo.

    What is not said of a study is left out, so that an older hpo reads all that it can work with.
    """
    metric = {"metric": facts.metric.name, "direction": facts.metric.direction}
    unsaid = {field.name for field in fields(facts) if field.default is None and getattr(facts, field.name) is None}
    said = {name: value for name, value in asdict(facts).items() if name not in unsaid}
    return {**said, **metric, "version": FACTS_VERSION, MAKER: __version__}


def libraries(meaning: Mapping[str, str]) -> dict[str, str]:
    """Return the installed versions, as far as they must agree between the workers of a study that means this."""
    asked = OWN_LIBRARIES if "train" in meaning else LIBRARIES
    versions = {name: str(installed_version(name)).split(".") for name in asked}
    found = {name: ".".join(versions[name][:n_parts]) for name, n_parts in asked.items()}
    return {**found, ENGINE: str(ENGINE_VERSION)}


def odd(name: str, reason: str) -> HpoError:
    """Return the error that a study is not as hpo writes it."""
    return StudyMismatchError(
        f'The study "{name}" is not as hpo writes studies: {reason}.', "Another program may have changed it."
    )


def copied(name: str, original: str) -> HpoError:
    """Return the error that a study is another one's copy."""
    return StudyMismatchError(
        f'The study "{name}" is a copy of "{original}" that another program made, or gave another name.',
        f'hpo neither runs nor deletes it. Optuna does: optuna delete-study --study-name "{name}" --storage URL',
    )


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _is_of(value: object, hint: Any) -> bool:
    """Whether a value out of JSON is of a field's type."""
    if isinstance(hint, types.UnionType):
        return any(_is_of(value, one) for one in get_args(hint))
    if get_origin(hint) is dict:
        keys, contents = get_args(hint)
        return isinstance(value, dict) and all(_is_of(k, keys) and _is_of(v, contents) for k, v in value.items())
    if hint is float:
        return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)
    return hint is Any or type(value) is hint  # True is no int
