"""What a worker process settles before its first trial."""

from typing import Any

import pytest
import tensorflow as tf

from hpo.run.worker import choose_gpu


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
