"""A worker's process that dies: what of its output is kept."""

import sys
from queue import SimpleQueue

from pytest_gatherscatter.machine import Told
from pytest_gatherscatter.testfiles.child import ChildGone
from pytest_gatherscatter.testfiles.service.birth import spawned
from pytest_gatherscatter.testfiles.service.child import Child

NOISY = """
import os, sys
for number in range(20_000):
    print("line", number)
sys.stderr.write("it began so\\n" + "x" * 100_000 + "\\nand ended so\\n")
sys.stdout.flush()
os._exit(3)
"""


def test_the_output_of_who_died_is_bounded_and_says_what_it_lacks() -> None:
    """The last 70 lines of its output; of its errors the beginning and the end."""
    posted = SimpleQueue[Told]()
    child = Child("gw0", spawned([sys.executable, "-c", NOISY]), b"start\n", posted.put)
    gone = posted.get(timeout=60).request
    child.join(10)
    assert isinstance(gone, ChildGone)
    assert gone.died.how == "exit status 3"
    assert gone.died.stdout.splitlines() == [f"line {number}" for number in range(19_930, 20_000)]
    assert gone.died.stderr.startswith("it began so\n")
    assert gone.died.stderr.endswith("\nand ended so\n")
    assert "… 50874 bytes left out …" in gone.died.stderr
