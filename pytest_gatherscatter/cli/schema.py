"""``gatherscatter schema``: what parties in other languages need to take part."""

import click

from pytest_gatherscatter.cli.option import examples
from pytest_gatherscatter.cli.output import say_json
from pytest_gatherscatter.wire import codec


@click.command(epilog=examples("gatherscatter schema > gatherscatter.schema.json"))
def schema() -> None:
    """Print the JSON Schema (2020-12) of every message that crosses the broker."""
    say_json(codec.schema())
