"""A refusal as optuna-dashboard's own script expects it."""

import json
from typing import Any


def refuse(start_response: Any, status: str, reason: str) -> list[bytes]:
    """Answer with a reason, as JSON."""
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps({"reason": reason}).encode()]
