"""Do the pictures of issues in the documents show what is filed today?"""

from __future__ import annotations

import html
import re

import pytest
from tests.support.renderings import DOCS, renderings


def words(svg: str) -> list[str]:
    """Return the lines of a drawing, so that a difference can be read."""
    shown = re.findall(r"<text [^>]*>(.*?)</text>", svg)
    return [html.unescape(line).replace("\xa0", " ") for line in shown]


@pytest.mark.parametrize("name", sorted(renderings()))
def test_the_picture_of_an_issue_is_drawn_from_the_drafts_of_today(name: str) -> None:
    """When the words of an issue change, `make docs` draws it again."""
    kept, drawn = (DOCS / name).read_text(encoding="utf-8"), renderings()[name]
    assert words(kept) == words(drawn)


def test_each_picture_shows_the_whole_report() -> None:
    """Who reads the documents sees all that the team sees."""
    for drawn in renderings().values():
        shown = "\n".join(words(drawn))
        for word in ("SB-2026-0001", "rita@example.net", "```@all /close", "SB-2026-0001-1.bin"):
            assert word in shown
