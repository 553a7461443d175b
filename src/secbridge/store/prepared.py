"""What does a statement cost when it is run a thousand times a second?

Core compiles a statement once, and still spends 50 to 70 µs on each execution (contexts, events,
results) where SQLite itself needs 20.  A mail is accepted with four statements, while its client
waits, and needs sixty more on its way.  So those are compiled here, once, and handed to the driver
as text and values; what is asked seldom goes through Core.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.sql.expression import ClauseElement
from sqlalchemy.types import TypeEngine

_DIALECT = dialect(paramstyle="qmark")

Row = Mapping[str, Any]


class Prepared:
    """A statement with named values; an insert names its columns.

    Values go in and out through Core's types as ever.  All methods raise sqlite3.Error.
    """

    def __init__(self, statement: ClauseElement, *columns: str) -> None:
        compiled = statement.compile(dialect=_DIALECT, column_keys=list(columns) or None)
        self._sql = str(compiled)
        binds = getattr(compiled, "bind_names", {}).items()
        self._fixed = {name: bind.value for bind, name in binds if not bind.required}
        converters = {name: _converter(bind.type) for bind, name in binds}
        places = getattr(compiled, "positiontup", None) or ()
        self._binds = [(name, converters[name]) for name in places]
        given = _columns_of(statement)
        names = [name for name, _ in given]
        row: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc] # noqa: PYI024 - the statement names its columns
        self._make: Callable[[Iterable[Any]], Any] = row._make
        self._results = [
            (place, convert)
            for place, (_, kind) in enumerate(given)
            if (convert := _reader(kind)) is not None
        ]

    def run(self, driver: sqlite3.Connection, row: Row) -> sqlite3.Cursor:
        """Execute with these values; what comes back is as SQLite keeps it."""
        given = {**self._fixed, **row} if self._fixed else row
        values = [
            given[name] if convert is None else convert(given[name])
            for name, convert in self._binds
        ]
        return driver.execute(self._sql, values)

    def all(self, driver: sqlite3.Connection, row: Row) -> list[Any]:
        """Execute and return every row, a named tuple each."""
        return [self._made(found) for found in self.run(driver, row)]

    def one(self, driver: sqlite3.Connection, row: Row) -> Any | None:
        """Execute and return the one row, or None."""
        found = self.all(driver, row)
        return found[0] if found else None

    def scalar(self, driver: sqlite3.Connection, row: Row) -> Any | None:
        """Execute and return the first value of the one row, or None."""
        found = self.one(driver, row)
        return None if found is None else found[0]

    def _made(self, found: tuple[Any, ...]) -> Any:
        if not self._results:
            return self._make(found)
        values = list(found)
        for place, convert in self._results:
            values[place] = convert(values[place])
        return self._make(values)


def driver_of(connection: Connection) -> sqlite3.Connection:
    """Return the driver's connection beneath one of Core."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):  # pragma: no cover - there is one driver
        raise TypeError("the store speaks to sqlite3 alone")
    return driver


def _columns_of(statement: ClauseElement) -> list[tuple[str, TypeEngine[Any]]]:
    """Return the names and types of what a statement returns."""
    described: Iterable[Any] = (
        *getattr(statement, "column_descriptions", ()),
        *getattr(statement, "returning_column_descriptions", ()),
    )
    return [(column["name"], column["type"]) for column in described]


def _converter(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    return kind.dialect_impl(_DIALECT).bind_processor(_DIALECT)


def _reader(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    return kind.dialect_impl(_DIALECT).result_processor(_DIALECT, None)
