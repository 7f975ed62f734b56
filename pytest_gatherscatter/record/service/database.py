"""The database of a recorder; the only place that knows SQLAlchemy, and no SQL of one product.

What is on record is told by a look before the write, in one transaction: "insert, or ignore what is
there" is said otherwise by each product. Two who write at once are told apart by the keys of the
tables: the second one's transaction fails, and the next look finds what the first one wrote.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from pytest_gatherscatter.errors import DatabaseFailed, SettingsInvalid
from pytest_gatherscatter.record.order import NotWritten, Written
from pytest_gatherscatter.record.row import KINDS, SLIPS, STEPS, VERSION, Entry, Table

T = TypeVar("T")

_FORMS: dict[str, type[sa.types.TypeEngine[Any]]] = {
    "text": sa.Text,
    "whole": sa.BigInteger,
    "real": sa.Double,
    "truth": sa.Boolean,
}

LABEL = 512
"""Characters of what is a key or has an index: some products index no text without a bound."""

MOST_AT_ONCE = 200
"""Values that one question lists: some products take no thousand."""

_metadata = sa.MetaData()
_version = sa.Table(
    "gatherscatter",
    _metadata,
    sa.Column("product", sa.String(LABEL), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)


def _made(table: Table) -> sa.Table:
    columns: list[sa.Column[Any]] = []
    for name, form in table.columns.items():
        short = form == "text" and name in {*table.key, "message_id"}
        kind = sa.String(LABEL) if short else _FORMS[form]()
        columns.append(
            sa.Column(
                name,
                kind,
                primary_key=name in table.key,
                autoincrement=False,
                unique=name == "message_id" or None,
                index=name == "at" or None,
            )
        )
    return sa.Table(table.name, _metadata, *columns)


_tables = {table.name: _made(table) for table in (*KINDS.values(), STEPS)}
_PRODUCT = "recorder"

_DATA = (exc.DataError, OverflowError, UnicodeError)
"""What a database, or its driver, says of a value that it cannot keep: it would say so again."""


class Database:
    """A database on which a recorder writes. One thread at a time.

    Args:
        url: SQLAlchemy's; a password in it is told to nobody.
        where: what named it, for errors.

    Raises:
        SettingsInvalid: it is no URL of a database, or there is no driver for it.
    """

    def __init__(self, url: str, where: str) -> None:
        try:
            self._url = sa.make_url(url)
        except exc.ArgumentError:
            text = "is no URL of a database; sqlite:///lab.db or postgresql+psycopg://HOST/NAME are"
            raise SettingsInvalid(where, text) from None
        self.name = self._url.render_as_string(hide_password=True)
        self._where = where
        self._file = self._url.database or "" if self._url.get_backend_name() == "sqlite" else None
        if self._file in {"", ":memory:"}:
            text = (
                f"{self.name} is in memory and ends with this process; sqlite:///lab.db is a file"
            )
            raise SettingsInvalid(where, text)
        try:
            # Its text may hold what is to be written: nothing of that goes into a log.
            self._engine = sa.create_engine(self._url, hide_parameters=True, pool_pre_ping=True)
        except (exc.ArgumentError, ImportError) as error:
            text = f"there is no driver for {self.name}: {self._words(error)}"
            raise SettingsInvalid(where, text) from None

    def close(self) -> None:
        """Let go of it."""
        self._engine.dispose()

    # ── the schema ─────────────────────────────────────────────────────────────────────

    def make(self) -> None:
        """Make the tables where there are none yet.

        Raises:
            DatabaseFailed: it cannot be reached or written.
            SettingsInvalid: it is somebody else's, or of another version.
        """
        self._asked(self._make)

    def _make(self) -> None:
        with self._engine.begin() as connection:
            if not self._look(connection):
                _metadata.create_all(connection)
                connection.execute(_version.insert().values(product=_PRODUCT, version=VERSION))

    def find(self) -> None:
        """See that it is one that a recorder has made.

        Raises:
            DatabaseFailed: it cannot be reached.
            SettingsInvalid: it is not there, somebody else's, or of another version.
        """
        if self._file and not self._file.startswith("file:") and not Path(self._file).exists():
            # To look into it would make it.
            raise SettingsInvalid(self._where, f"there is no {self._file}: nothing was recorded")
        self._asked(self._find)

    def _find(self) -> None:
        with self._engine.connect() as connection:
            if not self._look(connection):
                text = f"{self.name} is empty: nothing was recorded in it"
                raise SettingsInvalid(self._where, text)

    def _look(self, connection: sa.Connection) -> bool:
        """Say whether the tables are there.

        Raises:
            SettingsInvalid: they are others.
        """
        there = set(sa.inspect(connection).get_table_names())
        if _version.name in there:
            asked = sa.select(_version.c.version).where(_version.c.product == _PRODUCT)
            found = connection.execute(asked).scalar_one_or_none()
            if found is not None:
                self._compare(found)
                return True
        if strange := sorted(there - {*_tables, _version.name}):
            named = f"{strange[0]}, {len(strange)} in all" if strange[1:] else strange[0]
            text = f"{self.name} has tables of somebody else ({named}): take another database"
            raise SettingsInvalid(self._where, text)
        return False

    def _compare(self, found: int) -> None:
        if found != VERSION:
            which = "a newer" if found > VERSION else "an older"
            text = (
                f"{self.name} is of {which} recorder (tables of version {found}, "
                f"here {VERSION}): take that one, or a new database"
            )
            raise SettingsInvalid(self._where, text)

    # ── writing ────────────────────────────────────────────────────────────────────────

    def write(self, entries: Sequence[Entry]) -> Written | NotWritten:
        """Put entries on record, each once, in one transaction; committed when this returns.

        If a value of them is refused, each has a transaction of its own.
        """
        try:
            try:
                return Written(self._write_new(entries), {})
            except (*_DATA, exc.IntegrityError):
                return self._one_by_one(entries)
        except exc.SQLAlchemyError as error:
            return NotWritten(self._words(error))

    def _one_by_one(self, entries: Sequence[Entry]) -> Written:
        fresh, refused = 0, dict[str, str]()
        for entry in entries:
            try:
                fresh += self._write_new([entry])
            except (*_DATA, exc.IntegrityError) as error:
                refused[entry.id] = self._words(error)
        return Written(fresh, refused)

    def _write_new(self, entries: Sequence[Entry]) -> int:
        """Write what is not on record, and say how many that were."""
        fresh = 0
        with self._engine.begin() as connection:
            for table in KINDS.values():
                mine = [entry for entry in entries if entry.table is table]
                new = [*_first(mine, *_known(connection, table, mine))]
                if new:
                    rows = [entry.values for entry in new]
                    connection.execute(_tables[table.name].insert(), rows)
                steps = [values for entry in new for values in entry.steps]
                if steps:
                    connection.execute(_tables[STEPS.name].insert(), steps)
                fresh += len(new)
        return fresh

    # ── reading ────────────────────────────────────────────────────────────────────────

    def read(
        self, kind: str, since: float | None, limit: int, lab: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the latest rows of a kind, the oldest first; slips with their ``steps``.

        Raises:
            DatabaseFailed: it cannot be read.
        """
        return self._asked(lambda: self._read(KINDS[kind], since, limit, lab))

    def _read(
        self, table: Table, since: float | None, limit: int, lab: str | None
    ) -> list[dict[str, Any]]:
        mine = _tables[table.name]
        asked = sa.select(mine).order_by(mine.c.at.desc(), mine.c.heard.desc()).limit(limit)
        if since is not None:
            asked = asked.where(mine.c.at >= since)
        if lab is not None:
            asked = asked.where(mine.c.lab == lab)
        with self._engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(asked).mappings()]
            if table is SLIPS:
                _add_steps(connection, rows)
        rows.reverse()
        return rows

    # ── what goes wrong ────────────────────────────────────────────────────────────────

    def _asked(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except exc.SQLAlchemyError as error:
            raise DatabaseFailed(self.name, self._words(error)) from None

    def _words(self, error: BaseException) -> str:
        """Say in a line what a driver says, without the password."""
        said = error.orig if isinstance(error, exc.DBAPIError) and error.orig else error
        text = re.sub(r"\s+", " ", str(said)).strip() or type(said).__name__
        if self._url.password:
            text = text.replace(str(self._url.password), "***")
        return text[:300]


def _known(
    connection: sa.Connection, table: Table, entries: Sequence[Entry]
) -> tuple[set[str], set[str]]:
    """Say of which entries the ids, and the keys, are on record."""
    mine = _tables[table.name]
    ids, keys = set[str](), set[str]()
    for some in _portions(entries):
        asked = sa.select(mine.c.message_id, mine.c[table.key[0]]).where(
            mine.c.message_id.in_([entry.id for entry in some])
            | mine.c[table.key[0]].in_([entry.key for entry in some])
        )
        for id_, key in connection.execute(asked):
            ids.add(id_)
            keys.add(key)
    return ids, keys


def _first(entries: Iterable[Entry], ids: set[str], keys: set[str]) -> Iterable[Entry]:
    """Leave out what is known by id or key, or stands here twice."""
    for entry in entries:
        if entry.id not in ids and entry.key not in keys:
            ids.add(entry.id)
            keys.add(entry.key)
            yield entry


def _add_steps(connection: sa.Connection, slips: Sequence[dict[str, Any]]) -> None:
    """Put in the place of each slip's number of steps the attempts at them, in their order."""
    steps = _tables[STEPS.name]
    found: dict[str, list[dict[str, Any]]] = {slip["slip"]: [] for slip in slips}
    for some in _portions(list(found)):
        asked = sa.select(steps).where(steps.c.slip.in_(some)).order_by(steps.c.place)
        for row in connection.execute(asked).mappings():
            found[row["slip"]].append(dict(row))
    for slip in slips:
        slip["steps"] = found[slip["slip"]]


def _portions(items: Sequence[T]) -> Iterable[Sequence[T]]:
    for start in range(0, len(items), MOST_AT_ONCE):
        yield items[start : start + MOST_AT_ONCE]
