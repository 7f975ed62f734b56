"""Play slips in virtual time, many seeds or one with its story."""

import sys
from collections import Counter

import click

from pytest_gatherscatter.simulation.slips.play import play
from pytest_gatherscatter.simulation.story import tell


@click.command()
@click.option("--seeds", type=click.IntRange(1), default=300, help="How many seeds to play.")
@click.option("--first", type=click.IntRange(0), default=0, help="The first of them.")
@click.option("--seed", type=click.IntRange(0), help="Play this one only, and tell it.")
def main(seeds: int, first: int, seed: int | None) -> None:
    """Play labs of processors, and say which seeds break a rule."""
    if seed is not None:
        outcome = play(seed, story=True)
        for line in tell(outcome.history):
            click.echo(line)
        click.echo(outcome.line)
        sys.exit(1 if outcome.violated else 0)
    bad, begun, let_pass, faults = 0, 0, 0, Counter[str]()
    for number in range(first, first + seeds):
        outcome = play(number)
        begun += outcome.begun
        let_pass += outcome.let_pass > 0
        faults.update(outcome.faults)
        if outcome.violated:
            bad += 1
            click.echo(outcome.line)
    click.echo(f"{seeds} seeds, {begun} commands; {bad} broke a rule, {let_pass} were let pass")
    click.echo("faults: " + ", ".join(f"{word} {n}" for word, n in faults.most_common()))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
