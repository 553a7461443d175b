"""Can a mail's text act on GitHub?  Read by GitHub's own parser, each payload is one code block."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.fake_github_text import alive, texts_in_code
from tests.support.payloads import LINES, MARKER, PAYLOADS

from secbridge.model.issue import (
    Block,
    CommentDraft,
    Facts,
    FileLinks,
    Heading,
    IssueDraft,
    Paragraph,
    Untrusted,
)
from secbridge.rules.drafting import markdown
from secbridge.rules.drafting.untrusted import single_line, visible

LIMIT = 65_536


def told(*report: Block, limit: int = LIMIT) -> str:
    """Return the Markdown of a told issue whose report is these blocks."""
    header = (Facts((("Case", "SB-2026-0001"),)),)
    draft = IssueDraft(
        "SB-2026-0001", "Security report SB-2026-0001", header, report, ("Security",), (),
        date(2026, 11, 27), raw_command="secbridge delivery raw D1",
    )  # fmt: skip
    return markdown.told_issue(draft, MARKER, limit=limit)


def shown(text: str) -> list[str]:
    """Return what stands in each code block, without our blanks; of each line has as many."""
    found = []
    for block in texts_in_code(text):
        lines = block.split("\n")[:-1]
        blanks = 4 if any("`" * 200 in line for line in lines) else 1
        assert [line for line in lines if not line.startswith(" " * blanks)] == []
        found.append("\n".join(line[blanks:] for line in lines))
    return found


@pytest.mark.parametrize("folded", [False, True], ids=["open", "folded"])
@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_a_hostile_text_is_one_code_block_in_which_nothing_acts(payload: str, folded: bool) -> None:
    """The whole payload is shown as it is, and nobody is told, nothing loaded, nothing drawn."""
    text = told(Untrusted(payload, label="Text", folded=folded), limit=1 << 20)
    assert [visible(payload)] == shown(text)
    assert alive(text) == []


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_a_hostile_comment_is_one_code_block(payload: str) -> None:
    """Comments follow the same rules, and so do two parts beside each other."""
    blocks = (Untrusted(payload), Heading("Next"), Untrusted(payload, folded=True))
    comment = CommentDraft("SB-2026-0001", blocks)
    text = markdown.told_comment(comment, MARKER, limit=1 << 20)
    assert [visible(payload)] * 2 == shown(text)
    assert alive(text) == []


@pytest.mark.parametrize("payload", LINES.values(), ids=LINES.keys())
def test_a_hostile_line_sleeps_where_one_line_stands(payload: str) -> None:
    """Subjects and names given by a sender, cut to one line."""
    text = told(Untrusted(single_line(payload), label="Subject"))
    assert alive(text) == []


WRITABLE = {name: text for name, text in LINES.items() if name != "lone surrogates"}
"""What can stand in a configuration file: UTF-8."""


@pytest.mark.parametrize("payload", WRITABLE.values(), ids=WRITABLE.keys())
def test_a_value_that_came_from_a_setting_sleeps_in_a_table(payload: str) -> None:
    """Labels and addresses are the operator's own words; they wake nothing either."""
    assert alive(told(Facts((("Alias", payload),)))) == []


@pytest.mark.parametrize("run", [1, 3, 199, 200, 254, 255, 256, 5_000])
def test_no_run_of_backticks_closes_a_fence(run: int) -> None:
    """GitHub's parser counts a fence up to 255 only: a longer run in a text must not close it."""
    payload = f"{'`' * run}\n@alex\n\n{'`' * run}text"
    text = told(Untrusted(payload))
    assert [payload] == shown(text)
    assert alive(text) == []


@given(st.text())
def test_any_text_is_one_code_block(payload: str) -> None:
    """For any text at all."""
    text = told(Untrusted(payload))
    assert [visible(payload)] == shown(text)
    assert alive(text) == []


@given(st.text(alphabet="`~\n\r\t /<>-[]@#!|:$&a1", max_size=80))
def test_any_mixture_of_markup_is_one_code_block(payload: str) -> None:
    """For texts that are made of nothing but markup, folded away."""
    text = told(Untrusted(payload, folded=True))
    assert [visible(payload)] == shown(text)
    assert alive(text) == []


def test_a_cut_text_is_closed_all_the_same() -> None:
    """At the limit the fence still ends, and the note stands outside it."""
    text = told(Untrusted("@alex " * 30_000), limit=LIMIT)
    assert len(text.encode()) <= LIMIT
    assert alive(text) == []
    assert "more characters do not fit" in text.rpartition("```")[2]


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "https://x/a b",
        "https://x/)![y](https://z)",
        "//x/y",
        "https://x/?q=1",
    ],
)
def test_an_address_of_another_form_is_no_link(address: str) -> None:
    """A file is linked where the tracker's answer is a plain address, and only named elsewhere."""
    assert alive(told(FileLinks((("SB-2026-0001-1.bin.pgp", address),)))) == []


def test_a_file_is_a_link_of_ours() -> None:
    """The one link that a text of ours has."""
    text = told(FileLinks((("a.pgp", "https://github.com/o/r/blob/main/a.pgp"),)))
    assert alive(text) == ["a https://github.com/o/r/blob/main/a.pgp"]
    assert alive(text, ours="https://github.com/") == []


def test_what_the_parser_would_find_without_a_fence() -> None:
    """The reader of these tests sees what acts: without a fence each of these does."""
    for payload in ("mentions", "an image", "a diagram", "closing words", "lists and tasks"):
        assert alive(told(Paragraph("x"))) == []
        assert alive(PAYLOADS[payload]) != []
