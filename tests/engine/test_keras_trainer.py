"""What the trainer of Keras models settles in a process before its first task."""

from typing import Any

import pytest
import tensorflow as tf

from hpo.engine import Trainer, keras_trainer, load_trainer
from hpo.engine.keras_trainer import choose_gpu


@pytest.mark.parametrize(
    ("n_gpus", "chosen"), [(0, [None] * 5), (1, ["gpu0"] * 5), (2, ["gpu0", "gpu1", "gpu0", "gpu1", "gpu0"])]
)
def test_workers_are_spread_over_gpus_by_their_seats(
    n_gpus: int, chosen: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {"device": None}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"gpu{n}" for n in range(n_gpus)])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda device, kind: seen.update(device=device))
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda device, enable: seen.update(grows=(device, enable))
    )
    found = []
    for slot in range(5):
        choose_gpu(slot)
        found.append(seen["device"])
    assert found == chosen
    assert seen.get("grows") == (None if n_gpus == 0 else (chosen[-1], True))


def test_it_is_a_trainer_and_loaded_by_its_name() -> None:
    trainer: Trainer = keras_trainer.Trainer()  # mypy holds it to the protocol
    assert type(load_trainer("keras")) is type(trainer)
