"""Does every option act?  Each one of the tables must be read by the house, not only accepted."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel

import secbridge
from secbridge.settings.root import Settings

SOURCE = Path(secbridge.__file__).parent
SECRET = re.compile(r"(?P<stem>.+)_(?:credential|file)")


@cache
def _text_of_the_house() -> str:
    """Return the source of everything that may act on an option: all but its declaration."""
    files = sorted(SOURCE.rglob("*.py"))
    kept = [file for file in files if file.name not in {"tables.py", "explaining.py"}]
    return "\n".join(file.read_text("utf-8") for file in kept)


def _options() -> list[tuple[str, str]]:
    named = [(name, field.default_factory) for name, field in Settings.model_fields.items()]
    return [
        (table, option)
        for table, kind in named
        if isinstance(kind, type) and issubclass(kind, BaseModel)
        for option in kind.model_fields
    ]


def _is_read(table: str, option: str) -> bool:
    secret = SECRET.fullmatch(option)
    if secret and re.search(rf'"{table}\.{secret["stem"]}"', _text_of_the_house()):
        return True
    if table == "opening":
        return re.search(rf"limits\.{option}\b", _text_of_the_house()) is not None
    return re.search(rf"\.{option}\b", _text_of_the_house()) is not None


@pytest.mark.parametrize(("table", "option"), _options())
def test_an_option_of_a_table_is_read_by_a_room(table: str, option: str) -> None:
    """What an operator may set is read somewhere outside its own declaration."""
    assert _is_read(table, option), f"{table}.{option} is accepted, and nobody reads it"
