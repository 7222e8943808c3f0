"""The notes by which optuna-dashboard shows a search's answer, and what its finish is, in Markdown."""

from urllib.parse import quote

from hpo.finish.found import Found
from hpo.names import exactly
from hpo.terminal import plain_markdown


def note_of_search(found: Found, search: str) -> str:
    """Return the note of a search that has an answer."""
    lines = [f"- {plain_markdown(label)}: {plain_markdown(line)}" for label, line in found.lines]
    parts = [
        "### The answer",
        plain_markdown(found.lead()),
        "\n".join(lines),
        "The model to use, its card, its parameters and a script that trains it are among the artifacts of this study. "
        f"`hpo dashboard` shows [the report](/report?study={quote(exactly(search), safe='')}) too.",
    ]
    return "\n\n".join(part for part in parts if part)


def note_of_finish(search: str) -> str:
    """Return the note of the study that finishes a search."""
    return (
        f'These trainings finish the study "{plain_markdown(search)}": its best settings, trained again with new '
        "seeds. Once they have ended, the note of that study has the answer, and its artifacts are the model to use."
    )
