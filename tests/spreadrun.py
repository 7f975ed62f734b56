"""What tests of spread runs look at: outcomes, processes, and a suite that takes its time."""

import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

SLOW = """
@pytest.mark.parametrize("n", range(100))
def test_slow(n):
    with open("pids", "a") as file:
        file.write(f"{os.getpid()} ")
    time.sleep(0.1)
"""

GATED = f"""{SLOW.replace("range(100)", "range(12)")}
    while n == 2 and not os.path.exists("gate is open"):
        time.sleep(0.01)
"""
"""Twelve tests, of which the third waits at a gate: who runs it is known to be in a test."""


def until(found: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until ``found()`` is true."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.05)


def outcomes(file: Path) -> dict[str, str]:
    """Read each test's outcome out of a junitxml file: what is in its element, in order."""
    return {
        f"{case.get('classname')}::{case.get('name')}": " ".join(
            child.tag for child in case if child.tag != "properties"
        )
        for case in ET.parse(file).getroot().iter("testcase")  # noqa: S314 - pytest wrote it
    }


def pids(path: Path) -> list[int]:
    """Read which processes ran a suite that writes them."""
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def alive(pid: int) -> bool:
    """Say whether a process is there, and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
