"""Counts in how many seeds each bug of the list is found, and by which rules.

Run it from the project's folder; a name plays that bug only::

    PYTHONPATH=tests python -m simulation.planted.count --seeds 300
"""

from collections import Counter

import click
import pytest
from simulation.planted.planting import bugs, plant

from pytest_gatherscatter.simulation.scenario import play

SHOWN = 8
"""Seeds that are named."""


@click.command()
@click.option("--seeds", default=300, show_default=True)
@click.option("--first", default=0, show_default=True)
@click.argument("names", nargs=-1)
def main(seeds: int, first: int, names: tuple[str, ...]) -> None:
    """Plant each bug and play seeds."""
    for name in names or bugs():
        found: dict[int, str] = {}
        with pytest.MonkeyPatch.context() as patch:
            plant(name, patch)
            for seed in range(first, first + seeds):
                violated = play(seed).violated
                if violated is not None:
                    found[seed] = violated.rule
        rules = ", ".join(f"{rule} {count}" for rule, count in Counter(found.values()).items())
        which = " ".join(map(str, list(found)[:SHOWN]))
        click.echo(f"{name}: {len(found)} of {seeds}; {rules or 'not found'}; seeds {which}")


if __name__ == "__main__":
    main()
