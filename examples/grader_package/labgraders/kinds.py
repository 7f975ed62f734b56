"""A kind of grader that a package brings: is a signal within its bounds?"""

from collections.abc import Mapping
from typing import Any, Self

import pluggy

from pytest_gatherscatter import Grade, Grader, GraderRequest, SettingsInvalid

hookimpl = pluggy.HookimplMarker("gatherscatter")


class BoundsGrader(Grader):
    """Passes what has all its ``samples`` between ``low`` and ``high``; scores their share."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    @classmethod
    def from_config(cls, options: Mapping[str, Any]) -> Self:
        """Take ``low`` and ``high``; what it refuses ends the examiner before it serves."""
        for name in options:
            if name not in {"low", "high"}:
                raise SettingsInvalid(name, "there is no such option; allowed are low and high")
        return cls(float(options.get("low", 0.0)), float(options.get("high", 1.0)))

    def grade(self, request: GraderRequest) -> Grade:
        """Judge; a payload that is none raises, and is answered as failed with the text."""
        samples = request.payload["samples"]
        out = [value for value in samples if not self.low <= value <= self.high]
        return Grade(
            passed=not out,
            score=1 - len(out) / len(samples),
            message=f"{len(out)} of {len(samples)} samples out of {self.low:g} to {self.high:g}",
            details={"out": out[:10]},
        )


@hookimpl
def gatherscatter_graders() -> dict[str, type[Grader]]:
    """Bring the kind ``bounds``."""
    return {"bounds": BoundsGrader}
