"""What is wrong with a value, and how is it mended?  Said without ever showing the value."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from secbridge.errors import ConfigError
from secbridge.settings.root import ENV_PREFIX, MisplacedError, Settings

SEE_DOCS = "docs/configuration.md lists all options"

SECRET_PROBLEM = "is a secret, and secrets stand neither in this file nor in the environment"  # noqa: S105  # a sentence

Place = Sequence[str | int]
"""Names and positions from the top of the file to an option."""

_SECRET_WORDS = ("token", "password", "passphrase", "secret", "api_key", "private_key")

_PROBLEMS = {
    "missing": "is missing",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "too_short": "must have at least {min_length} entry",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "holds a character that cannot stand there",
    "string_type": "must be a text in quotes",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "path_type": "must be a path in quotes",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "dict_type": "must be a table",
}
"""Our words for what the library finds; nothing here can hold the value."""


@dataclass(frozen=True, slots=True)
class Table:
    """A class of options and where its table stands in the file."""

    model: type[BaseModel] = Settings
    prefix: tuple[str, ...] = ()


WHOLE_FILE = Table()


def explain(exc: ValidationError, path: Path, table: Table = WHOLE_FILE) -> ConfigError:
    """Return the first mistake as our error, with the others as its notes (PEP 678)."""
    first, *others = (_explain(error, path, table) for error in _worth_telling(exc))
    for other in others:
        first.add_note(str(other))
    return first


def _worth_telling(exc: ValidationError) -> list[ErrorDetails]:
    """Return the errors that are no mere consequence of another one."""
    errors = exc.errors(include_url=False, include_input=False)
    places = [error["loc"] for error in errors]

    def follows(error: ErrorDetails) -> bool:
        """Return whether a list is only too short because its entries were refused."""
        here = error["loc"]
        return error["type"] == "default_factory_not_called" or (
            error["type"] == "too_short"
            and any(len(other) > len(here) and other[: len(here)] == here for other in places)
        )

    return [error for error in errors if not follows(error)]


def _explain(error: ErrorDetails, path: Path, table: Table) -> ConfigError:
    """Return our error for one of the library's: place, problem, mend."""
    inner = error["loc"]
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, MisplacedError):
        inner = tuple(cause.setting.split("."))
    file, setting = _where((*table.prefix, *inner), path)
    if error["type"] != "extra_forbidden":
        verb = "add" if error["type"] == "missing" else "change"
        mend = cause.mend if isinstance(cause, MisplacedError) else ""
        mend = mend or _mend(verb, inner, table.model)
        return ConfigError(file, setting, _problem(error), mend)
    name = str(inner[-1])
    if looks_secret(name):
        return ConfigError(file, setting, SECRET_PROBLEM, secret_mend(name))
    return ConfigError(file, setting, "is not an option", nearest(inner, table.model) or SEE_DOCS)


def _where(place: Place, path: Path) -> tuple[str, str]:
    """Return (file, setting); a value that came from the environment is named by its variable."""
    dotted = ".".join(str(part) for part in place)
    variable = ENV_PREFIX + "__".join(str(part) for part in place).upper()
    if any(name.upper() == variable for name in os.environ):
        return "environment", variable
    return str(path), dotted


def _problem(error: ErrorDetails) -> str:
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, ValueError):
        return str(cause)
    if error["type"].startswith("int_"):
        return "must be a whole number"
    words = _PROBLEMS.get(error["type"], "cannot be used")
    return words.format(**error.get("ctx", {}))


def _mend(verb: str, place: Place, model: type[BaseModel]) -> str:
    """Say what the option is for, which is what one needs to write a better value."""
    if place and str(place[-1]).isdecimal():
        place = place[:-1]
    field = find_field(place, model)
    if field is None or not field.description:
        return SEE_DOCS
    return f"{verb} it; what it means: {field.description}"


def looks_secret(name: str) -> bool:
    """Return whether a name asks for a secret itself instead of saying where it lies."""
    lowered = name.lower()
    return lowered.endswith(_SECRET_WORDS)


def secret_mend(name: str) -> str:
    """Say where a secret belongs."""
    return (
        f'remove it here, put it into a systemd credential and write {name}_credential = "NAME", '
        f'or into a file of mode 0600 and write {name}_file = "/path"'
    )


def nearest(place: Place, model: type[BaseModel] = Settings) -> str:
    """Return a guess at which option was meant, or nothing."""
    if (table := _table_at(place[:-1], model)) is None:
        return ""
    close = difflib.get_close_matches(str(place[-1]), list(table.model_fields), n=1)
    return f"did you mean {close[0]}?" if close else ""


def find_field(place: Place, model: type[BaseModel] = Settings) -> FieldInfo | None:
    """Return the option at a place such as ("alias", 0, "role_keys"), or None."""
    if not place or (table := _table_at(place[:-1], model)) is None:
        return None
    return table.model_fields.get(str(place[-1]))


def _table_at(place: Place, table: type[BaseModel]) -> type[BaseModel] | None:
    """Return the class of the table at a place; positions in lists do not matter."""
    for name in (part for part in place if not str(part).isdecimal()):
        if (field := table.model_fields.get(str(name))) is None:
            return None
        inner = (field.annotation, *get_args(field.annotation))
        found = next((kind for kind in inner if _is_table(kind)), None)
        if found is None:
            return None
        table = found
    return table


def _is_table(kind: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
