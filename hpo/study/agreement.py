"""What must agree between a stored study and whoever runs its trials."""

from collections.abc import Callable, Mapping

from hpo.errors import StudyMismatchError
from hpo.names import file_of
from hpo.study.facts import ENGINE, StudyFacts, libraries


def edited(facts: StudyFacts, meaning: Mapping[str, str]) -> list[str]:
    """Name the fields of STUDY that mean something else than in a stored study."""
    fields = dict.fromkeys([*facts.meaning, *meaning])  # one that only one side has differs, too
    return [field for field in fields if meaning.get(field) != facts.meaning.get(field)]


def differences(facts: StudyFacts, meaning: Mapping[str, str], data: str | None) -> list[str]:
    """Name what differs beside a study's file between the stored study and here; data None leaves the data out."""
    installed = libraries(meaning)
    stored_ones = {ENGINE: "1", **facts.libraries}  # hpo 0.1 wrote its own version in the engine's place
    found = [
        f"{name} ({here} here, {stored_ones.get(name, 'none')} there)"
        for name, here in installed.items()
        if stored_ones.get(name) != here
    ]
    if data is not None and data != facts.data:
        found.append(f"the data ({data[:12]} here, {facts.data[:12]} there)")
    return found


def check_meaning(facts: StudyFacts, meaning: Mapping[str, str]) -> None:
    """Refuse to train a stored trial again by a file that means something else.

    Raises:
        StudyMismatchError: The message names what was edited.
    """
    fields, file = edited(facts, meaning), file_of(facts.name)
    if fields:
        have = "has" if len(fields) == 1 else "have"
        raise StudyMismatchError(
            f'{", ".join(fields)} in {file}.py {have} changed since the study "{facts.name}" was made, so its trials '
            "cannot be trained again by it.",
            f"Undo the change, or name a folder that holds {file}.py as it was: --studies-dir DIR.",
        )


def check_same(facts: StudyFacts, meaning: Mapping[str, str], data: str | None) -> None:
    """Refuse to mix trials of different meaning.

    Raises:
        StudyMismatchError: Definition, libraries or data differ; the message names what.
    """
    fields, others = edited(facts, meaning), differences(facts, meaning, data)
    if fields or others:
        are_data_alone = data is not None and not fields and not differences(facts, meaning, None)
        random = (
            ""
            if not are_data_alone
            else (
                " If nothing was changed, and a function of the study's file makes the data, it returns others at each "
                "call: seed what it draws, np.random.default_rng(0) say."
            )
        )
        said = []
        if fields:
            have = "has" if len(fields) == 1 else "have"
            where = f"in {file_of(facts.name)}.py"
            said.append(f'{", ".join(fields)} {where} {have} changed since the study "{facts.name}" was made.')
        if others:
            said.append(f'The study "{facts.name}" was made with another version of {", ".join(others)}.')
        raise StudyMismatchError(
            " ".join(said),
            f"Undo the change, or begin a new generation of the study beside the old one: --new-generation.{random}",
        )


def check_preprocessed(
    facts: StudyFacts, made: str | None, *, processor: str | None, say: Callable[[str], None]
) -> None:
    """Refuse rows that the study's preprocess made otherwise than when the study was made.

    Another kind of processor adds up in another order, so there it is only said.

    Raises:
        StudyMismatchError: They differ on the same kind.
    """
    if facts.preprocessed in (None, made):
        return
    if facts.processor != processor:
        say(
            f"preprocess makes other rows here than where the study was begun, on {facts.processor}: their last "
            "digits, if it depends on the training rows alone."
        )
        return
    raise StudyMismatchError(
        f'preprocess makes other rows here ({(made or "none")[:12]}) than when the study "{facts.name}" was made '
        f"({facts.preprocessed[:12]}).",
        "It must depend on the training rows alone: seed what it draws, and read no other file. Undo what has changed, "
        "or begin a new generation of the study: --new-generation.",
    )


def check_asked(facts: StudyFacts, *, seed: int | None, n_threads: int | None) -> None:
    """Refuse to go on with a study as it was not made; None leaves what is stored.

    Raises:
        StudyMismatchError: It has another seed, or another number of threads.
    """
    if seed is not None and seed != facts.seed:
        raise StudyMismatchError(
            f'The study "{facts.name}" has the seed {facts.seed}; {seed} was asked for.',
            "Leave --seed out to go on with it, or begin a new generation: --new-generation.",
        )
    if n_threads not in (None, facts.n_threads):
        were = "was" if n_threads == 1 else "were"
        per_worker = "1 thread per worker" if facts.n_threads == 1 else f"{facts.n_threads} threads per worker"
        raise StudyMismatchError(
            f'The study "{facts.name}" trains with {per_worker}, and its results depend on it; {n_threads} {were} '
            "asked for.",
            "Leave --threads out, or begin a new generation: --new-generation.",
        )
