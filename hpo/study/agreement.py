"""What must agree between a stored study and whoever runs its trials."""

from collections.abc import Mapping

from hpo.errors import StudyMismatchError
from hpo.study.facts import ENGINE, StudyFacts, libraries


def differences(facts: StudyFacts, meaning: Mapping[str, str], data: str | None) -> list[str]:
    """Name what differs between a stored study and what a worker would run; data None leaves the data out."""
    fields = dict.fromkeys([*facts.meaning, *meaning])  # one that only one side has differs, too
    found = [f"its {field}" for field in fields if meaning.get(field) != facts.meaning.get(field)]
    installed = libraries(meaning)
    stored_ones = {ENGINE: "1", **facts.libraries}  # hpo 0.1 wrote its own version in the engine's place
    found += [
        f"{name} ({here} here, {stored_ones.get(name, 'none')} there)"
        for name, here in installed.items()
        if stored_ones.get(name) != here
    ]
    if data is not None and data != facts.data:
        found.append(f"the data ({data[:12]} here, {facts.data[:12]} there)")
    return found


def check_same(facts: StudyFacts, meaning: Mapping[str, str], data: str | None, seed: int | None) -> None:
    """Refuse to mix trials of different meaning.

    Raises:
        StudyMismatchError: Definition, libraries, data or an asked-for seed differ; the message names what.
    """
    found = differences(facts, meaning, data)
    if found:
        are_data_alone = data is not None and not differences(facts, meaning, None)
        random = (
            ""
            if not are_data_alone
            else (
                " If nothing was changed, and a function of the study's file makes the data, it returns others at each "
                "call: seed what it draws, np.random.default_rng(0) say."
            )
        )
        raise StudyMismatchError(
            f'The study "{facts.name}" in the database was made with another version of {", ".join(found)}.',
            f"Undo the change, or open a new generation of the study beside the old one: --new-generation.{random}",
        )
    if seed is not None and seed != facts.seed:
        raise StudyMismatchError(
            f'The study "{facts.name}" has the seed {facts.seed}; {seed} was asked for.',
            "Leave --seed out to go on with it, or open a new generation: --new-generation.",
        )
