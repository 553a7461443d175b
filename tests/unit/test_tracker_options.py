"""Is every option of a tracker told?  In the example and in the docs, with its default."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from secbridge.settings.written import parse_duration
from secbridge.trackers import registry

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / "config" / "secbridge.toml").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()

KINDS = ("gitlab", "jira")


def options() -> list[tuple[str, str, FieldInfo]]:
    """Return (kind, name, field) of every option of the built-in trackers."""
    return [
        (kind, name, field)
        for kind in KINDS
        for name, field in registry.plugin(kind).settings_model.model_fields.items()
    ]


def block(kind: str) -> str:
    """Return what the example shows of one kind: up to the next table."""
    return re.split(r"\n(?:# )?\[", EXAMPLE.partition(f'# kind = "{kind}"')[2])[0]


def default_of(field: FieldInfo) -> str | None:
    """Return a default as it is written in TOML, or None where there is no fixed one."""
    if field.default in (None, PydanticUndefined):
        return None
    if isinstance(field.default, timedelta):
        return "a time"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    if isinstance(field.default, tuple):
        return json.dumps(field.default)
    value = field.default.value if isinstance(field.default, StrEnum) else field.default
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.mark.parametrize(("kind", "name", "field"), options())
def test_the_example_shows_every_option_with_its_default(
    kind: str, name: str, field: FieldInfo
) -> None:
    """Commented out, so that uncommenting changes nothing but what is meant."""
    shown = re.search(rf"^# {name} = (.+)$", block(kind), re.MULTILINE)
    assert shown is not None, f"{kind}: {name} is not in the example"
    match default_of(field):
        case None | '""':
            pass  # an example of a value, or of none
        case "a time":
            assert field.default == parse_duration(shown[1].strip('"'))
        case default:
            assert default == shown[1]


@pytest.mark.parametrize(("kind", "name", "field"), options())
def test_the_documentation_has_a_row_for_every_option(
    kind: str, name: str, field: FieldInfo
) -> None:
    """The sentence is the description that mends are made of."""
    assert field.description is not None
    section = CONFIGURATION.partition(f'#### kind = "{kind}"')[2].split("\n#### ")[0]
    row = re.search(
        rf"^\| `{name}` \| .* \| {re.escape(field.description)} \|$", section, re.MULTILINE
    )
    assert row is not None, f"{kind}: {name} has no row with {field.description!r}"
