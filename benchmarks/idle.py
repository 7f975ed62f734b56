"""An empty suite with the plugin installed and unused, against ``-p no:gatherscatter``.

    python benchmarks/idle.py [PAIRS]

Prints the median of the ratios of neighbouring runs: aim 1.02.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from brokers import row


def run(folder: str, *options: str) -> float:
    """Return the seconds that pytest takes over the suite in ``folder``."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure in pairs, so that a machine whose speed drifts does not tell tales."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pytest.ini").write_text("[pytest]\n")
        (Path(folder) / "test_empty.py").write_text("def test_empty():\n    pass\n")
        run(folder)
        run(folder, "-p", "no:gatherscatter")
        with_it, without = [], []
        for _ in range(pairs):
            with_it.append(run(folder))
            without.append(run(folder, "-p", "no:gatherscatter"))
    print(row("with the plugin, unused", with_it))
    print(row("-p no:gatherscatter", without))
    ratios = [one / other for one, other in zip(with_it, without, strict=True)]
    print(f"{'ratio, median of pairs':<34} {statistics.median(ratios):9.3f}   (aim 1.02)")


if __name__ == "__main__":
    main()
