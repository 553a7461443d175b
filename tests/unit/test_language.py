"""Which language does a reporter read?  Told by two header fields, and never guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.messages import a_message

from secbridge.mail.headers import header_facts, split_header
from secbridge.rules import loops
from secbridge.rules.language import LONGEST, language_of, normal_tag, ways_to_say


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ""),
        ({"Content-Language": "de"}, "de"),
        ({"Content-Language": "de-AT"}, "de-at"),
        ({"Content-Language": "PT-br (as spoken there), en"}, "pt-br"),
        ({"Content-Language": "zh-Hant-TW"}, "zh-tw"),
        ({"Content-Language": "sl-rozaj-biske-1994"}, "sl"),
        ({"Content-Language": "mul, fr"}, "fr"),
        ({"Content-Language": "x-klingon"}, ""),
        ({"Content-Language": "../../etc/passwd"}, ""),
        ({"Content-Language": "de", "Accept-Language": "fr"}, "de"),
        ({"Accept-Language": "fr"}, "fr"),
        ({"Accept-Language": "en-US, de-DE"}, "en-us"),
        ({"Accept-Language": "en;q=0.5, de;q=0.8, fr;q=0.8"}, "de"),
        ({"Accept-Language": "*, es;q=0.9"}, "es"),
        ({"Accept-Language": "it;q=0, nl;q=0.001"}, "nl"),
        ({"Accept-Language": "it;q=2, nl;quality=1"}, ""),
        ({"Accept-Language": "da; q = 0.7"}, "da"),
    ],
)
def test_the_language_is_what_the_header_says(fields: dict[str, str], expected: str) -> None:
    """Written in counts before likes to read; the most wanted one, and none that is not wanted."""
    assert expected == language_of(a_message(fields=fields))


def test_the_fields_are_among_those_that_are_kept() -> None:
    """Of a real header, which keeps nothing that no rule names."""
    header = b"Subject: x\r\nCONTENT-LANGUAGE: de-CH,\r\n fr\r\n\r\n"
    facts = header_facts(
        split_header(header, 0, len(header), most=100), more_fields=loops.HEADER_FIELDS
    )
    assert facts.first("content-language") == "de-CH, fr"


def test_a_text_is_looked_for_in_the_region_then_in_the_language() -> None:
    """Nothing is looked for where no language is known."""
    assert ways_to_say("pt-br") == ("pt-br", "pt")
    assert ways_to_say("de") == ("de",)
    assert ways_to_say("") == ()


@given(st.text(), st.text(alphabet="abcdexyz-,;=q0.1 *()", max_size=80))
def test_whatever_stands_there_a_tag_is_short_and_plain(written: str, wanted: str) -> None:
    """It becomes part of a file's name, and of the store."""
    fields = {"Content-Language": written, "Accept-Language": wanted}
    found = language_of(a_message(fields=fields))
    assert len(found) <= LONGEST
    assert found == normal_tag(found)
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
