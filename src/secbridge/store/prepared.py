"""What does a statement cost when it is run a thousand times a second?

Core compiles a statement once, and still spends 50 to 70 µs on each execution (contexts, events,
results) where SQLite itself needs 20.  A mail is accepted with four statements, while its client
waits.  So those few are compiled here, once, and handed to the driver as text and values; all
others go through Core.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.sql.expression import ClauseElement
from sqlalchemy.types import TypeEngine

_DIALECT = dialect(paramstyle="named")

Row = Mapping[str, Any]


class Prepared:
    """A statement with named values; an insert names its columns."""

    def __init__(self, statement: ClauseElement, *columns: str) -> None:
        compiled = statement.compile(dialect=_DIALECT, column_keys=list(columns) or None)
        self._sql = str(compiled)
        params = getattr(compiled, "params", {})
        self._fixed = {name: value for name, value in params.items() if value is not None}
        self._convert = [
            (name, convert)
            for name, value in getattr(compiled, "binds", {}).items()
            if (convert := _converter(value.type)) is not None
        ]

    def run(self, driver: sqlite3.Connection, row: Row) -> sqlite3.Cursor:
        """Execute with these values, which Core's types convert as ever.  Raises sqlite3.Error."""
        values = {**self._fixed, **row}
        for name, convert in self._convert:
            values[name] = convert(values[name])
        return driver.execute(self._sql, values)


def _converter(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    return kind.dialect_impl(_DIALECT).bind_processor(_DIALECT)
