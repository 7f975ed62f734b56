"""A worker's process that dies: what of its output is kept."""

import sys
from pathlib import Path
from queue import SimpleQueue

from pytest_gatherscatter.machine import Told
from pytest_gatherscatter.testfiles.child import ChildGone, ChildSaid
from pytest_gatherscatter.testfiles.service.birth import spawned
from pytest_gatherscatter.testfiles.service.child import Child
from pytest_gatherscatter.testfiles.service.pipe import line
from pytest_gatherscatter.wire.event import FileBegun, WorkerPrinted
from pytest_gatherscatter.wire.testfiles import RunFile

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


TALKS = """
import os, sys
print("one", flush=True)
os.write(int(sys.argv[2]), b'{"what":"FileBegun","lease":1}\\n')
print("two", end="", flush=True)
os._exit(70)
"""


def test_lines_are_told_before_the_event_that_follows_them() -> None:
    """Whole ones as they come, the last one at the end; and a closed pipe is named."""
    posted = SimpleQueue[Told]()
    child = Child("gw0", spawned([sys.executable, "-c", TALKS]), b"", posted.put, live=True)
    told = [posted.get(timeout=60).request for _ in range(4)]
    child.join(10)
    said = [one.event for one in told if isinstance(one, ChildSaid)]
    assert "".join(one.text for one in said if isinstance(one, WorkerPrinted)) == "one\ntwo\n"
    assert said.index(FileBegun(lease=1)) >= 1
    assert isinstance(told[3], ChildGone)
    assert told[3].died.how.startswith("exit status 70, since its pipe to us was closed")


LATE = """
import os, sys, time
while not os.path.exists(sys.argv[1]): time.sleep(0.01)
said = b""
while said.count(b"\\n") < 3:
    said += os.read(int(sys.argv[2]), 65_536)
sys.stdout.write(str(len(said)))
sys.stdout.flush()
os._exit(0)
"""


def test_a_command_that_no_pipe_holds_is_told_as_it_is_read(tmp_path: Path) -> None:
    """Who tells it does not wait for the test that runs."""
    posted = SimpleQueue[Told]()
    go = tmp_path / "go"
    child = Child("gw0", spawned([sys.executable, "-c", LATE, str(go)]), b"start\n", posted.put)
    tests = tuple(range(50_000))
    run = RunFile(job="0b" * 8, worker="gw0", lease=1, file="test_a.py", tests=tests)
    child.tell(run)
    child.tell(run)
    go.touch()  # nobody has read so far
    gone = posted.get(timeout=60).request
    child.join(10)
    assert isinstance(gone, ChildGone)
    assert int(gone.died.stdout) == len(b"start\n") + 2 * len(line(run))
