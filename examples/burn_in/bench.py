"""The simulated bench: what the supply gives and what the board holds, in a file they share."""

import json
from pathlib import Path
from typing import Any

STATE = Path(__file__).with_name("gs-artifacts") / "bench.json"
OFF = {"volts": 0.0, "firmware": ""}


def read() -> dict[str, Any]:
    """Look at the bench."""
    try:
        found: dict[str, Any] = json.loads(STATE.read_text())
    except FileNotFoundError:
        return dict(OFF)
    return found


def write(**changed: object) -> None:
    """Change something on it."""
    STATE.parent.mkdir(exist_ok=True)
    STATE.write_text(json.dumps({**read(), **changed}))
