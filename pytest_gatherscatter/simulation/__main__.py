"""Play many seeds, or tell the story of one."""

import sys
import time
from collections.abc import Callable
from functools import partial

import click

from pytest_gatherscatter.simulation.batch import play_many, processors
from pytest_gatherscatter.simulation.explore import Exploration, explore
from pytest_gatherscatter.simulation.outcome import Total
from pytest_gatherscatter.simulation.scenario import play
from pytest_gatherscatter.simulation.smalllab import SmallLab
from pytest_gatherscatter.simulation.story import tell

EVERY = 10
"""Depths between two words about an exploration."""

SHOWN = 20
"""Violations that are shown: who has more of them looks at the first."""


@click.command()
@click.option("--seeds", type=click.IntRange(1), default=1000, help="How many seeds to play.")
@click.option("--first", type=click.IntRange(0), default=0, help="The first of them.")
@click.option("--jobs", type=click.IntRange(1), help="In how many processes; one a processor.")
@click.option("--seed", type=click.IntRange(0), help="Play this one only.")
@click.option("--story", is_flag=True, help="Tell what happened, with --seed.")
@click.option("--whole", is_flag=True, help="With keepalives and clock probes, with --story.")
@click.option("--explore", "exploring", is_flag=True, help="Look at all states of a small lab.")
@click.option("--workloads", type=click.IntRange(1, 2), default=2, help="Of it.")
@click.option("--monitors", type=click.IntRange(0, 2), default=2, help="Of it.")
@click.option("--deaths", type=click.IntRange(0), default=5, help="How many may die, once each.")
@click.option("--mortal", multiple=True, metavar="NAME", help="Who may, instead of all; repeated.")
@click.option("--stalls", type=click.IntRange(0), default=0, help="How often all may dawdle.")
@click.option("--most", type=click.IntRange(1), default=100_000, help="States to look at.")
def main(  # noqa: PLR0913, PLR0917 - as many options
    seeds: int,
    first: int,
    jobs: int | None,
    seed: int | None,
    workloads: int,
    monitors: int,
    deaths: int,
    mortal: tuple[str, ...],
    stalls: int,
    most: int,
    *,
    story: bool,
    whole: bool,
    exploring: bool,
) -> None:
    """Play whole labs in virtual time, and say which seeds break a rule."""
    if exploring:
        lab = partial(
            SmallLab,
            workloads=workloads,
            monitors=monitors,
            deaths=deaths,
            mortal=mortal,
            stalls=stalls,
        )
        _explore(lab, most)
        return
    if seed is None:
        _many(first, seeds, jobs or processors())
        return
    outcome = play(seed, story=story or whole)
    for line in tell(outcome.history, whole=whole):
        click.echo(line)
    click.echo(outcome.line)
    sys.exit(1 if outcome.violated else 0)


def _many(first: int, seeds: int, jobs: int) -> None:
    shown = 0

    def told(part: Total) -> None:
        nonlocal shown
        for line in part.bad.values():
            shown += 1
            if shown <= SHOWN:
                click.echo(line)

    began = time.perf_counter()
    total = play_many(first, seeds, jobs=jobs, told=told)
    seconds = time.perf_counter() - began
    click.echo(
        f"{seeds} seeds in {seconds:.1f} s ({seeds / seconds:.0f} a second), "
        f"{total.virtual / 3600:.1f} virtual hours, {total.steps} steps; "
        f"{len(total.bad)} broke a rule"
    )
    for what, counted in (("sections", total.visits), ("faults", total.faults)):
        click.echo(f"{what}: " + ", ".join(f"{word} {n}" for word, n in counted.most_common()))
    if total.bad:
        again = "python -m pytest_gatherscatter.simulation --story --seed"
        click.echo(f"to see one: {again} {min(total.bad)}")
    sys.exit(1 if total.bad else 0)


def _explore(make: Callable[[], SmallLab], most: int) -> None:
    try:
        make()
    except ValueError as error:  # nobody of that name
        raise click.UsageError(str(error)) from None
    began = time.perf_counter()

    def told(found: Exploration) -> None:
        if found.depth % EVERY == 0:
            seconds = time.perf_counter() - began
            click.echo(f"depth {found.depth}: {found.states} states in {seconds:.0f} s")

    found = explore(make, most=most, told=told)
    if found.violated:
        click.echo("the way there: " + ", ".join(map(str, found.way)))
    click.echo(found.line)
    sys.exit(1 if found.violated else 0)


if __name__ == "__main__":
    main()
