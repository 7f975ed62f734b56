"""The board under test: ``board.py flash IMAGE``, ``board.py selftest MOST_AMPERES``.

An image is lines of text. A line that begins with ``draws`` says how much current the firmware
makes the board draw, in amperes.
"""

import sys
import time
from pathlib import Path

import bench

LEAST_VOLTS = 4.5
BLOCK_SECONDS = 0.05
"""What writing a line takes."""


def flash(image: str) -> int:
    """Write an image, line by line; the lines beginning with ``::progress`` move the bar."""
    lines = Path(__file__).with_name(image).read_text().splitlines()
    for number, line in enumerate(lines, 1):
        time.sleep(BLOCK_SECONDS)
        print(f"::progress {number / len(lines):.2f} {line.split()[0]}", flush=True)
    bench.write(firmware="\n".join(lines))
    print(f"{len(lines)} lines written")
    return 0


def selftest(most_amperes: str) -> int:
    """Measure the current that the board draws."""
    lines = bench.read()["firmware"].splitlines()
    amperes = next((float(one.split()[1]) for one in lines if one.startswith("draws")), 0.0)
    print(f"current: {amperes} A")
    if amperes > float(most_amperes):
        print(f"{amperes} A is above {most_amperes} A", file=sys.stderr)
        return 3
    return 0


def main(words: list[str]) -> int:
    """Do what the first word says, if there is power."""
    if bench.read()["volts"] < LEAST_VOLTS:
        print("the board does not answer: has it power?", file=sys.stderr)
        return 1
    return {"flash": flash, "selftest": selftest}[words[0]](words[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
