"""The model's card: what it is, how good and how sure, how it was made and how to use it, in Markdown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpo.finish.exported import LAMBDA
from hpo.terminal import plain, plain_markdown
from hpo.words import number

if TYPE_CHECKING:
    from hpo.finish.exported import Exported
    from hpo.finish.result import Measure, TestResult

N_SHOWN_CLASSES = 30  # whose confusion is shown


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card tells.

    Attributes:
        study: The search's name.
        question: The first line of its file.
        trial: The search's trial whose setting the model has.
        seed: What the model was trained with.
        epoch: The best one, whose weights it has; None where nobody knows.
        n_epochs: How many it was trained on the validation rows too; None of one that was validated.
        parameters: By name.
        metric: What the study tunes for.
        found: What the finish says, in sentences.
        data: Name and fingerprint of the data.
        n_rows: To train and to validate on.
        classes: Names of the classes; empty where they have none.
        exported: What was written of the model.
        test: On the test rows; None where they were not looked at.
        test_note: When that was, or why it was not.
        script: How the script is to be run, or why there is none; then what it still needs.
        versions: Of what trained and measured it.
        command: What makes all this again.
    """

    study: str
    question: str
    trial: int
    seed: int
    epoch: int | None
    n_epochs: int | None
    parameters: Mapping[str, Any]
    metric: str
    found: Sequence[str]
    data: tuple[str, str]
    n_rows: tuple[int, int]
    classes: Sequence[str]
    exported: "Exported"
    test: "TestResult | None"
    test_note: str
    script: Sequence[str]
    versions: Mapping[str, str]
    command: str


def card_text(card: Card) -> str:
    """Return the card."""
    parts = [
        f"# The model of {_safe(card.study)}",
        _safe(card.question),
        "## Use it",
        *(_use_state(card) if card.exported.n_weights is None else _use_model(card)),
        "## How good it is",
        "\n".join(f"- {_safe(line)}" for line in card.found),
        *_tested(card),
        "## How it was made",
        _table(("", ""), _made(card)),
        "Its parameters:",
        _table(("parameter", "value"), [(name, _shown(value)) for name, value in card.parameters.items()]),
        "\n".join(f"- {_safe(line)}" for line in card.script),
        "Such a search and its finish are begun by:",
        f"```sh\n{_safe(card.command, is_code=True)}\n```",
        "A search by several workers draws other trials each time, as they end in another order. This one's trainings "
        "can be repeated all the same: `hpo reproduce` trains any trial again and compares it epoch by epoch.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _use_model(card: Card) -> list[str]:
    exported = card.exported
    lines = ["import json", ""] if card.classes else []
    lines += ["import keras", ""]
    custom, module = "", card.study.partition("@")[0]
    if exported.fault == LAMBDA:
        custom = ", safe_mode=False"
    elif exported.fault:
        lines += [f"import {module}  # the study's file, which needs hpo", ""]
        custom = f", custom_objects=vars({module})"
    lines += [f'model = keras.models.load_model("model.keras"{custom})', "answers = model.predict(rows)"]
    if card.classes:
        lines += [
            'names = json.load(open("classes.json"))',
            "words = [names[number] for number in answers.argmax(axis=1)]",
        ]
    facts = [
        f"- The rows: {_safe(exported.rows)}",
        f"- The answers: {_safe(exported.answers)}",
        f"- {_needs(exported)}",
        f"- {_safe(exported.onnx)}" if exported.onnx else "",
        f"- {_size(exported.n_bytes)}, {exported.n_weights:,} weights. One row alone takes {_ms(exported.row_ms)}, "
        f"each of {exported.n_batch_rows} at once {_ms(exported.batch_row_ms)}, on the machine that wrote this.",
    ]
    return ["```python\n" + "\n".join(lines) + "\n```", "\n".join(filter(None, facts))]


def _needs(exported: "Exported") -> str:
    if not exported.fault:
        return "Keras alone loads it: neither hpo nor the study's file is needed."
    if exported.fault == LAMBDA:
        return f"Keras loads it with safe_mode=False only: {LAMBDA}. Do so with files that you trust."
    classes = _safe(", ".join(exported.own_classes) or "none")
    fault = f"Keras alone does not load it ({_safe(exported.fault)}): it needs code of the study's file, as above."
    return f"{fault} Classes of that file in it: {classes}."


def _use_state(card: Card) -> list[str]:
    return [
        '```python\nfrom hpo import load_state\n\nstate = load_state("model.npz")\n```',
        "The study trains with a function of its own, so there is no Keras model. `model.npz` is the state that the "
        f"function reported ({_size(card.exported.n_bytes)}), and what it means is the function's affair.",
    ]


def _tested(card: Card) -> list[str]:
    if card.test is None:
        return [f"**Not measured on test rows.** {_safe(card.test_note)}"]
    test = card.test
    parts = [
        f"On {test.n_rows:,} test rows that no training and no choice has seen, this file reaches "
        f"**{_safe(test.metric.name)} {_interval(test.metric)}**. {_safe(card.test_note)}",
        _table(
            ("on the test rows", "value", "95 % interval", "how"),
            [(one.name, number(one.value), _ends(one), one.interval) for one in (test.metric, *test.others)],
        ),
    ]
    if test.classes:
        rows = [(one.name, f"{one.n_rows:,}", _share(one.recall), _share(one.precision)) for one in test.classes]
        parts.append(_table(("class", "test rows", "found (recall)", "right when answered (precision)"), rows))
    if test.confusion and len(test.confusion) <= N_SHOWN_CLASSES:
        names = [one.name for one in test.classes]
        lines = [(name, *map(str, line)) for name, line in zip(names, test.confusion, strict=True)]
        parts += ["Which class (a line) is taken for which (a column):", _table(("", *names), lines)]
    return parts


def _made(card: Card) -> list[tuple[str, str]]:
    name, fingerprint = card.data
    n_train, n_val = card.n_rows
    epoch = "" if card.epoch is None else f"; the weights of epoch {card.epoch}, its best"
    rows = f"{n_train:,} rows to train on, {n_val:,} to validate on"
    if card.n_epochs is not None:
        epoch = f"; the weights of epoch {card.n_epochs}, its last"
        rows = (
            f"{n_train + n_val:,} rows to train on, which are the training and the validation rows; none to validate on"
        )
    tested = [] if card.test is None else [("test rows", f"{card.test.n_rows:,}, SHA-256 {card.test.fingerprint[:16]}")]
    return [
        ("setting", f"that of trial {card.trial} of the search"),
        ("trained with", f"seed {card.seed}{epoch}"),
        ("tuned for", card.metric),
        ("data", f"{name}, SHA-256 {fingerprint[:16]}: {rows}"),
        *tested,
        *card.versions.items(),
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_safe(cell) for cell in line) + " |" for line in lines)


def _safe(text: str, *, is_code: bool = False) -> str:
    """Return text that is a line of Markdown and no more, whoever wrote it."""
    return plain(text).replace("`", "'") if is_code else plain_markdown(text)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=repr)


def _interval(one: "Measure") -> str:
    return f"{number(one.value)} ({one.interval})" if one.low is None else f"{number(one.value)} {_ends(one)}"


def _ends(one: "Measure") -> str:
    return "none" if one.low is None else f"[{number(one.low)}, {number(one.high)}]"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:,.0f} kB"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} ms"
