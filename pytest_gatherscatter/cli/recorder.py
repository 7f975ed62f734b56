"""``gatherscatter recorder``: writes down what ended in a lab."""

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pytest_gatherscatter.cli import serving
from pytest_gatherscatter.cli.main import INTERRUPTED
from pytest_gatherscatter.cli.option import Asked, examples, lab_options
from pytest_gatherscatter.cli.output import complain
from pytest_gatherscatter.cli.stop import Stop
from pytest_gatherscatter.errors import DatabaseFailed, SettingsInvalid
from pytest_gatherscatter.recordsetting import RECORDER_READERS, RecorderSettings
from pytest_gatherscatter.settings import Settings
from pytest_gatherscatter.settingvalue import read

if TYPE_CHECKING:
    from pytest_gatherscatter.record.service.database import Database

log = logging.getLogger("gatherscatter.recorder")

VARIABLE = "GATHERSCATTER_DATABASE"
"""The environment's database: what stands on a command line can be read by everybody."""


def database_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--database``."""
    return click.option(
        "--database",
        metavar="URL",
        envvar=VARIABLE,
        help="The database, as SQLAlchemy writes it: sqlite:///lab.db, "
        f"postgresql+psycopg://HOST/NAME. One with a password is better kept in {VARIABLE}, or as "
        "database in the [recorder] table.",
    )(command)


def open_database(told: RecorderSettings, where: str) -> "Database":
    """Find the database that is meant; it is not connected to.

    Raises:
        SettingsInvalid: there is none, it cannot be one, or what speaks to it is not installed.
    """
    if not told.database:
        text = f"which database? --database sqlite:///lab.db, {VARIABLE}, or [recorder] database"
        raise SettingsInvalid("--database", text)
    try:
        from pytest_gatherscatter.record.service.database import Database  # noqa: PLC0415 - optional
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "sqlalchemy":
            raise
        text = "records need SQLAlchemy: pip install 'pytest-gatherscatter[record]'"
        raise SettingsInvalid(where, text) from None
    return Database(told.database, where)


def where_of(settings: Settings, given: str | None) -> str:
    """Say where the database was named: an option, the variable or a file."""
    if given is None:
        return f"{settings.file}: recorder.database" if settings.file else "--database"
    context = click.get_current_context()
    named = context.get_parameter_source("database") is ParameterSource.ENVIRONMENT
    return VARIABLE if named else "--database"


def told_of(settings: Settings, given: dict[str, object]) -> RecorderSettings:
    """Merge the command line with ``[recorder]``.

    Raises:
        SettingsInvalid: naming the option, and what is allowed.
    """
    database = given.get("database")
    where = where_of(settings, None if database is None else str(database))
    values = {
        key: read(where if key == "database" else "--" + key, key, value, RECORDER_READERS, Path())
        for key, value in given.items()
        if value is not None
    }
    return replace(settings.recorder, **values)


@click.command(
    epilog=examples(
        "gatherscatter recorder --database sqlite:///lab.db",
        f"{VARIABLE}=postgresql+psycopg://lab:secret@db/lab gatherscatter recorder",
        "gatherscatter recorder --name archive --database sqlite:////srv/archive.db",
    )
)
@database_option
@click.option(
    "--name",
    metavar="NAME",
    help="Whose queue it is; each name hears of everything (default: default).",
)
@click.option(
    "--patience",
    metavar="TIME",
    help="For how long the database may fail before this ends (default 5m).",
)
@click.option("--parent-pid", type=int, hidden=True, help="End when this process is gone.")
@lab_options
def recorder(asked: Asked, *, parent_pid: int | None, **given: object) -> int:
    """Write grades, sections, slips and jobs that ended in a database, each once.

    It hears of what ends from the first time it was started, also while it is away: its queue
    keeps up to 100,000 events (256 MiB), and itself for four weeks. Ctrl-C or SIGTERM end it.
    Exit status: 75 when the database failed for too long; all is in the broker still.
    """
    settings = asked.settings()
    told = told_of(settings, given)
    base = given["database"]
    where = where_of(settings, None if base is None else str(base))
    database = open_database(told, where)
    try:
        if where == "--database" and "***" in database.name:
            log.warning("the password on the command line is for all to see here: %s", VARIABLE)
        database.make()
        return _record(settings, told, database, Stop(parent_pid))
    finally:
        database.close()


def _record(settings: Settings, told: RecorderSettings, database: "Database", stop: Stop) -> int:
    from pytest_gatherscatter.record.service.recorder import RecorderService  # noqa: PLC0415 - optional

    def run(url: str, ended: Callable[[], bool]) -> None:
        service = RecorderService(settings.lab, url, told, database)
        failed: DatabaseFailed | None = None
        try:
            failure = service.run(ended)
            if failure:
                failed = DatabaseFailed(database.name, failure, "; the broker keeps the rest")
        finally:
            if service.stuck:
                # Nothing can end a thread that waits for its database; its messages are kept.
                complain("interrupted" if failed is None else str(failed))
                logging.shutdown()
                os._exit(INTERRUPTED if failed is None else DatabaseFailed.exit_code)
        if failed is not None:
            raise failed

    return serving.serve(settings, stop, run)
