"""Suites of test files on workers of this machine, against plain pytest and pytest-xdist.

    python benchmarks/testfiles.py [SUITE ...] [--workers 2] [--rounds 3] [--keep DIRECTORY]

Suites: S0 one empty test; S1 200 files of 10 empty tests; K the same with a ``-k`` that matches
nothing; S2 40 files of 5 sleeping tests, the 14 long ones last in the alphabet; S2B one file of
five 2 s tests behind 39 short ones; S3 40 files of 5 tests that compute; S4 one file of 2,000
empty tests; S5 2,000 files of 25 empty tests.

The systems take turns, a round at a time, so that a machine whose speed drifts does not tell tales.
Each runs once before, which is not counted: it compiles the files, and leaves durations where they
are kept. Every run must end as plain pytest does. Prints medians in seconds and, for ours, the
ratio to xdist's best.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EMPTY = "def test_{n}():\n    pass\n\n\n"
SLEEP = "def test_{n}():\n    time.sleep({seconds})\n\n\n"
COMPUTE = "def test_{n}():\n    assert sum(i * i for i in range(600_000)) > 0\n\n\n"

SUITES = ("S0", "S1", "K", "S2", "S2B", "S3", "S4", "S5")
AIMS = {
    "S0": "0.6",
    "S1": "0.7",
    "K": "0.6",
    "S2": "0.8 on 8",
    "S2B": "0.8 on 8",
    "S3": "0.97",
    "S4": "0.9",
    "S5": "0.6",
}
SYSTEMS = {
    "pytest": [],
    "xdist load": ["-n{workers}"],
    "xdist loadfile": ["-n{workers}", "--dist=loadfile"],
    "xdist worksteal": ["-n{workers}", "--dist=worksteal"],
    "gatherscatter": ["--gs-spawn={workers}"],
}
OURS = "gatherscatter"
LONGEST = 600.0
"""Seconds for one run: the longest takes a minute."""


def write(folder: Path, suite: str, files: int | None = None) -> None:
    """Write the files of a suite."""
    folder.mkdir(parents=True)
    (folder / "pytest.ini").write_text("[pytest]\n")
    match suite:
        case "S0":
            bodies = [EMPTY.format(n=0)]
        case "S1" | "K":
            bodies = ["".join(EMPTY.format(n=n) for n in range(10))] * (files or 200)
        case "S2" | "S2B":
            waits = [0.02] * 26 + [0.4] * 14 if suite == "S2" else [0.1] * 39 + [2.0]
            bodies = [
                "import time\n\n\n" + "".join(SLEEP.format(n=n, seconds=wait) for n in range(5))
                for wait in waits
            ]
        case "S3":
            bodies = ["".join(COMPUTE.format(n=n) for n in range(5))] * (files or 40)
        case "S4":
            bodies = ["".join(EMPTY.format(n=n) for n in range(2000))]
        case "S5":
            bodies = ["".join(EMPTY.format(n=n) for n in range(25))] * (files or 2000)
        case _:
            sys.exit(f"no suite named {suite}: there are {', '.join(SUITES)}")
    for number, body in enumerate(bodies):
        (folder / f"test_{number:04d}.py").write_text(body)


def run(folder: Path, suite: str, system: str, workers: int) -> float:
    """Return the seconds that a run takes; ends the benchmark if it goes wrong."""
    words = [word.format(workers=workers) for word in SYSTEMS[system]]
    if suite == "K":
        words += ["-k", "nothing_has_this_name"]
    command = [sys.executable, "-m", "pytest", "-q", *words]
    # Who never writes bytecode would compile this project anew in each process of each run.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    began = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST,
    )
    seconds = time.perf_counter() - began
    if done.returncode != (5 if suite == "K" else 0):
        sys.exit(f"{suite} on {system} ends with {done.returncode}:\n{done.stdout}{done.stderr}")
    return seconds


def main() -> None:
    """Measure each suite on each system."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("suites", nargs="*", default=SUITES)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, help="how many files S1, K, S3, S5 have")
    parser.add_argument("--systems", nargs="*", default=list(SYSTEMS))
    asked = parser.parse_args()
    place = Path(tempfile.mkdtemp())
    print("\t".join(["suite", "workers", *asked.systems, "ratio", "aim"]), flush=True)
    try:
        for suite in asked.suites:
            measure(place, suite, asked)
    finally:
        shutil.rmtree(place)


def measure(place: Path, suite: str, asked: argparse.Namespace) -> None:
    """Measure one suite and print its line."""
    found: dict[str, list[float]] = {system: [] for system in asked.systems}
    for system in asked.systems:
        folder = place / suite / system
        write(folder, suite, asked.files)
        run(folder, suite, system, asked.workers)
    for _ in range(asked.rounds):
        for system in asked.systems:
            found[system].append(run(place / suite / system, suite, system, asked.workers))
    medians = {system: statistics.median(seconds) for system, seconds in found.items()}
    rivals = [seconds for system, seconds in medians.items() if system.startswith("xdist")]
    ratio = f"{medians[OURS] / min(rivals):.2f}" if rivals and OURS in medians else ""
    figures = [f"{medians[system]:.2f}" for system in asked.systems]
    print("\t".join([suite, str(asked.workers), *figures, ratio, AIMS[suite]]), flush=True)


if __name__ == "__main__":
    main()
