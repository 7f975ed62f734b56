"""The total-queue check: whatever is confirmed is acked by somebody, whoever is killed."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import totalplay

SECONDS = float(os.environ.get("GS_TOTAL_SECONDS", "5"))
"""``GS_TOTAL_SECONDS`` is for a minute and more; each broker in turn has so much."""


def lines(path: Path) -> Counter[bytes]:
    """The whole lines of a file; a process that was killed has written all of a line or none."""
    return Counter(path.read_bytes().split(b"\n")[:-1])


@pytest.mark.timeout(SECONDS * 2 + 60)
def test_nothing_confirmed_is_lost(broker_url: str, tmp_path: Path) -> None:
    """Three producers and three consumers, some ten of them killed each second."""
    done = subprocess.run(
        [sys.executable, totalplay.__file__, str(tmp_path), str(SECONDS), "1"],
        input=broker_url + "\n",
        capture_output=True,
        text=True,
        timeout=SECONDS * 2 + 50,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    confirmed, acked = lines(tmp_path / "confirmed"), lines(tmp_path / "acked")
    assert set(confirmed) - set(acked) == set()
    assert told["killed"] > 2 * totalplay.WORKERS
    assert len(confirmed) > 5 * SECONDS
    print(told, len(confirmed), "confirmed", acked.total() - len(acked), "twice")  # noqa: T201
