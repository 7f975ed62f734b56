"""The command of a companion's play: many seeds, or one with its story."""

import logging
import sys
from collections import Counter
from collections.abc import Callable

import click

from pytest_gatherscatter.simulation.outcome import Outcome
from pytest_gatherscatter.simulation.story import tell


def command(play: Callable[..., Outcome], who: str) -> click.Command:
    """Make the command of ``play(seed, *, story)``; ``who`` is in its labs, for the help."""

    @click.command(help=f"Play labs of {who} in virtual time, and say which seeds break a rule.")
    @click.option("--seeds", type=click.IntRange(1), default=300, help="How many seeds to play.")
    @click.option("--first", type=click.IntRange(0), default=0, help="The first of them.")
    @click.option("--seed", type=click.IntRange(0), help="Play this one only, and tell it.")
    def main(seeds: int, first: int, seed: int | None) -> None:
        # What a simulated process logs is said to nobody; what it does, the story tells.
        logging.getLogger("pytest_gatherscatter").addHandler(logging.NullHandler())
        if seed is None:
            _many(play, range(first, first + seeds))
            return
        outcome = play(seed, story=True)
        for line in tell(outcome.history):
            click.echo(line)
        click.echo(outcome.line)
        sys.exit(1 if outcome.violated else 0)

    return main


def _many(play: Callable[..., Outcome], seeds: range) -> None:
    bad, counts, faults = 0, Counter[str](), Counter[str]()
    for seed in seeds:
        outcome = play(seed)
        counts.update(outcome.counts)
        faults.update(outcome.faults)
        if outcome.violated:
            bad += 1
            click.echo(outcome.line)
    click.echo(f"{len(seeds)} seeds; {bad} broke a rule")
    for what, counted in (("seen", counts), ("faults", faults)):
        click.echo(f"{what}: " + ", ".join(f"{word} {n}" for word, n in counted.most_common()))
    sys.exit(1 if bad else 0)
