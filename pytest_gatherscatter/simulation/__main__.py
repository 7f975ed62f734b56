"""Play many seeds, or tell the story of one."""

import sys
import time
from collections import Counter

import click

from pytest_gatherscatter.simulation.scenario import Outcome, play
from pytest_gatherscatter.simulation.story import tell

SHOWN = 20
"""Violations that are shown: who has more of them looks at the first."""


@click.command()
@click.option("--seeds", type=click.IntRange(1), default=1000, help="How many seeds to play.")
@click.option("--first", type=click.IntRange(0), default=0, help="The first of them.")
@click.option("--seed", type=click.IntRange(0), help="Play this one only.")
@click.option("--story", is_flag=True, help="Tell what happened, with --seed.")
@click.option("--whole", is_flag=True, help="With keepalives and clock probes, with --story.")
def main(seeds: int, first: int, seed: int | None, *, story: bool, whole: bool) -> None:
    """Play whole labs in virtual time, and say which seeds break a rule."""
    if seed is not None:
        outcome = play(seed)
        if story or whole:
            for line in tell(outcome.history, whole=whole):
                click.echo(line)
        click.echo(_summary(outcome))
        sys.exit(1 if outcome.violated else 0)
    began = time.perf_counter()
    bad: list[Outcome] = []
    visits: Counter[str] = Counter()
    virtual, steps = 0.0, 0
    for number in range(first, first + seeds):
        outcome = play(number)
        visits.update(outcome.visits)
        virtual += outcome.virtual
        steps += outcome.steps
        if outcome.violated:
            bad.append(outcome)
            if len(bad) <= SHOWN:
                click.echo(_summary(outcome))
    seconds = time.perf_counter() - began
    ends = ", ".join(f"{word} {count}" for word, count in visits.most_common())
    click.echo(
        f"{seeds} seeds in {seconds:.1f} s ({seeds / seconds:.0f} a second), "
        f"{virtual / 3600:.1f} virtual hours, {steps} steps; {len(bad)} broke a rule"
    )
    click.echo(f"sections: {ends}")
    if bad:
        again = "python -m pytest_gatherscatter.simulation --story --seed"
        click.echo(f"to see one: {again} {bad[0].seed}")
    sys.exit(1 if bad else 0)


def _summary(outcome: Outcome) -> str:
    faults = ", ".join(outcome.faults) or "no fault"
    verdict = f"BROKEN {outcome.violated}" if outcome.violated else "holds"
    return f"seed {outcome.seed} ({faults}): {verdict}"


if __name__ == "__main__":
    main()
