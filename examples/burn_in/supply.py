"""The power supply: ``supply.py on VOLTS``, ``supply.py off``."""

import sys

import bench

MOST_VOLTS = 5.5


def main(words: list[str]) -> int:
    """Switch, and say what the output is."""
    volts = float(words[1]) if words[0] == "on" else 0.0
    if volts > MOST_VOLTS:
        print(f"{volts} V would break the board: {MOST_VOLTS} V at most", file=sys.stderr)
        return 2
    bench.write(volts=volts)
    print(f"output: {volts} V")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
