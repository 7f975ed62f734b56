"""What every command can be told: which broker, which lab, how much of the log.

A command gets an :class:`Asked` as its first argument, and reads its settings through it, so
that command line, environment and file are merged in one way for all of them.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TypeVar

import click

from pytest_gatherscatter.broker import provider
from pytest_gatherscatter.cli.output import LEVELS, log_to_stderr
from pytest_gatherscatter.errors import NoGatherer, SettingsInvalid
from pytest_gatherscatter.quantity import seconds
from pytest_gatherscatter.settings import Settings, load
from pytest_gatherscatter.wire.names import check_name

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line said of the broker and the lab; ``None`` where it said nothing."""

    broker: str | None
    lab: str | None

    def settings(self, file: Path | None = None, /, **more: object) -> Settings:
        """Merge all sources; ``more`` are values of the command line by key, ``None`` if not given.

        ``file`` is read instead of the one that would be found.
        A key with a dot (``gatherer.agents``) is written with two underscores.

        Raises:
            SettingsInvalid: naming the source and the key, and what is allowed.
        """
        given = {key.replace("__", "."): value for key, value in more.items()}
        return load(
            command_line={"broker": self.broker, "lab": self.lab, **given},
            environ=os.environ,
            ini={},
            directory=Path.cwd(),
            file=None if file is None else file.absolute(),
        )


def find(settings: Settings) -> provider.Found:
    """Find the broker that ``settings`` mean; its ``url`` is ``None`` if there is none.

    Raises:
        SettingsInvalid: the URL cannot be one.
    """
    try:
        return provider.resolve(settings.broker, env=os.environ)
    except SettingsInvalid as error:
        where = settings.origin("broker") if error.where == "broker" else error.where
        raise SettingsInvalid(where, error.problem) from None


def need_url(settings: Settings) -> str:
    """Return the broker's URL.

    Raises:
        NoGatherer: there is no broker at all, hence nobody to ask.
        SettingsInvalid: it would have to be started first, which is not for everybody to do.
    """
    found = find(settings)
    if found.kind == "docker":
        raise SettingsInvalid(
            settings.origin("broker"),
            "only 'gatherscatter gatherer' and pytest start a container; "
            "everybody else needs its URL: amqp://…",
        )
    if found.url is None:
        raise NoGatherer(f"{found.why}; start 'gatherscatter gatherer', or give --broker amqp://…")
    return found.url


def lab_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command ``--broker``, ``--lab`` and ``--log-level``, and an ``Asked`` first."""

    @click.option(
        "--broker",
        metavar="URL",
        help="amqp:// or amqps:// URL, local, docker or none (default auto: "
        "GATHERSCATTER_BROKER, else the local broker). A password is better kept in "
        "GATHERSCATTER_PASSWORD.",
    )
    @click.option("--lab", metavar="NAME", help="The lab's name on the broker (default: default).")
    @click.option(
        "--log-level",
        type=click.Choice(LEVELS, case_sensitive=False),
        default="info",
        show_default=True,
        help="How much to log on stderr.",
    )
    @wraps(command)
    def wrapped(*, broker: str | None, lab: str | None, log_level: str, **given: object) -> R:
        log_to_stderr(log_level)
        return command(Asked(broker, lab), **given)

    return wrapped


def examples(*lines: str) -> str:
    """Write a command's examples for the end of its help, as they stand."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def time_of(option: str, text: str) -> float:
    """Read what an option says of a time, in seconds.

    Raises:
        SettingsInvalid: naming the option, and what is allowed.
    """
    try:
        return seconds(text)
    except ValueError as error:
        raise SettingsInvalid(option, str(error)) from None


def names(what: str, given: tuple[str, ...] | str | None) -> tuple[str, ...]:
    """Read names that may be repeated options, or one text with commas; each once, in order.

    Raises:
        SettingsInvalid: one of them is no name.
    """
    texts = (given,) if isinstance(given, str) else given or ()
    words = [word.strip() for text in texts for word in text.split(",")]
    return tuple(dict.fromkeys(check_name(what, word) for word in words if word))
