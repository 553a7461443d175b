"""Can a mail's text act in a Jira of one's own?  Each payload sleeps between two ``{noformat}``.

There is no parser of Jira's wiki markup outside of Jira.  What is rendered here is read by a reader
of the macro grammar that shares nothing with what we write (``fake_jira_text``).
"""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.fake_jira_text import alive_in_wiki, asleep_in_wiki
from tests.support.payloads import LINES, PAYLOADS

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
from secbridge.rules.drafting import wiki
from secbridge.rules.drafting.fitting import utf16_units
from secbridge.rules.drafting.untrusted import visible

LIMIT = 32_767
WIDE = 1 << 24

MACROS = {
    "the end of noformat": "{noformat}\n[~alex] !https://evil.example/x.png!\n{noformat}",
    "in capitals": "{NoFormat} [~alex] {CODE}",
    "with arguments": "{noformat:title=x} [~alex] {code:java}x{code}",
    "with blanks": "{ noformat } {\tnoformat}",
    "nested": "{{noformat}} {{{noformat}}}",
    "escaped": "\\{noformat} \\\\{noformat}",
    "with unseen characters": "{\u200bnoformat} {no\u200bformat} {noformat\u200b}",
    "half": "{noformat\n{noformat",
    "everything else": "h1. x\nbq. x\n||a||\n----\n[^file] [a|https://x.example] (!) {color:red}",
    "end of a line": "x\\",
}

TEXTS = PAYLOADS | MACROS


def draft(*report: Block) -> IssueDraft:
    """Return a draft whose report is these blocks."""
    header = (Facts((("Case", "SB-2026-0001"), ("Alias", "security+sb-x@example.org"))),)
    return IssueDraft(
        "SB-2026-0001", "Security report SB-2026-0001", header, report, ("Security",), (),
        date(2026, 11, 27), raw_command="secbridge delivery raw D1",
    )  # fmt: skip


def told(*report: Block, limit: int = WIDE) -> str:
    """Return the text of such a draft."""
    return wiki.told_issue(draft(*report), limit=limit)


def fence(text: str) -> str:
    """Return what stands between two ``{noformat}``: each line behind a blank, none at its end."""
    lines = [f" {line}".rstrip(" \t") for line in visible(text).split("\n")]
    return "\n" + "\n".join(lines) + "\n"


# ── Nothing acts ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("payload", TEXTS.values(), ids=TEXTS.keys())
def test_a_hostile_text_sleeps_wherever_it_stands(payload: str) -> None:
    """Open, folded, in a comment: each is the body of a macro of its own, and nothing is alive."""
    report = (Untrusted(payload, label="Text"), Heading("x"), Untrusted(payload, folded=True))
    comment = CommentDraft("SB-2026-0001", (Untrusted(payload),))
    for text, times in ((told(*report), 2), (wiki.told_comment(comment, limit=WIDE), 1)):
        assert [fence(payload)] * times == asleep_in_wiki(text)
        assert alive_in_wiki(text) == []


@pytest.mark.parametrize("line", (LINES | MACROS).values(), ids=(LINES | MACROS).keys())
def test_what_stands_on_one_line_stays_on_it_and_sleeps(line: str) -> None:
    """Labels, headings, sentences, facts and names of files may be anything, and wake nothing."""
    blocks = (
        Paragraph(line),
        Heading(line),
        Facts(((line, line),)),
        FileLinks(((line, line),)),
        Untrusted("x", label=line),
    )
    text = told(*blocks)
    assert alive_in_wiki(text) == []
    assert asleep_in_wiki(text) == ["\n x\n"]


@given(st.text())
def test_any_text_sleeps(payload: str) -> None:
    """For any text at all: one macro, the text in it whole, nothing alive."""
    text = told(Untrusted(payload))
    assert [fence(payload)] == asleep_in_wiki(text)
    assert alive_in_wiki(text) == []


@given(
    st.lists(st.sampled_from(["{", "}", "noformat", "code", ":", "\\", "[~x]", "!a!", "\n", " "]))
)
def test_any_mixture_of_macros_sleeps(pieces: list[str]) -> None:
    """The same for texts made of nothing but pieces of macros."""
    text = told(Untrusted("".join(pieces)), Paragraph("".join(pieces)))
    assert [fence("".join(pieces))] == asleep_in_wiki(text)
    assert alive_in_wiki(text) == []


@pytest.mark.parametrize(
    "text", ["[~alex]", "!x.png!", "[^x]", "{html}x{html}", "h1. x", "https://x.example", "(!)"]
)
def test_the_reader_would_see_what_acts(text: str) -> None:
    """The reader that finds nothing in our texts does find what acts."""
    assert alive_in_wiki(f"{text}\n") != []


def test_the_reader_would_see_what_comes_alive_behind_the_end_of_a_macro() -> None:
    """A body that ends its own macro wakes what follows in it."""
    text = "{noformat}\nx {noformat} [~alex] !https://evil.example/x.png! {noformat}\n{noformat}"
    assert [one.split()[0] for one in alive_in_wiki(text)] == ["mention", "link", "image"]


def test_code_that_is_no_macro_is_not_touched() -> None:
    """What a reader copies out of a report is what the reporter wrote."""
    code = 'if (x) {y} else {"a": ${z}} {codes} {0}'
    assert f"\n {code}\n" in told(Untrusted(code))


def test_a_case_and_an_address_are_written_as_they_are() -> None:
    """Hyphens and underscores within a word mean nothing, so they need no backslash."""
    assert "||Case|SB-2026-0001|\n||Alias|security+sb-x@example.org|" in told()


# ── Told and untold ──────────────────────────────────────────────────────────────────────────────


def test_an_untold_issue_holds_nothing_of_the_report() -> None:
    """Header only."""
    text = wiki.untold_issue(draft(Untrusted("xyzzy")))
    assert "xyzzy" not in text
    assert "SB-2026-0001" in text


def test_a_told_issue_is_known_by_its_last_line() -> None:
    """Told and untold texts differ by a line, whatever the line ends and what is written below."""
    text = told(Untrusted("x"))
    assert wiki.is_told_issue(text)
    assert wiki.is_told_issue(f"{text}\nOur note.".replace("\n", "\r\n"))
    assert not wiki.is_told_issue(wiki.untold_issue(draft()))


def test_a_mail_cannot_say_that_an_issue_was_told() -> None:
    """A mail's lines stand behind a blank, so none is taken for ours."""
    comment = CommentDraft("SB-2026-0001", (Untrusted(f"{wiki.TOLD}\n{wiki.UNTOLD}"),))
    text = wiki.told_comment(comment, limit=LIMIT)
    assert not wiki.is_told_issue(text)
    assert not wiki.is_untold_comment(text)


def test_a_placeholder_is_known_from_a_comment() -> None:
    """A comment that is not told yet is recognised as such."""
    assert wiki.is_untold_comment(wiki.received(f"{wiki.untold_comment()}\r\n"))


def test_what_jira_changes_without_a_trace_makes_no_difference() -> None:
    """Line ends and blanks at the ends of lines; every other change does make one."""
    text = told(Untrusted("one  \n\ntwo"))
    assert text == wiki.received(text.replace("\n", " \r\n") + "\r\n\r\n")
    assert text != wiki.received(text.replace("one", "one x"))
    assert text != wiki.received(text.replace(" one", "one"))


# ── Too long ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("letter", ["x", "ü", "😀", "x\n", "a\x00", "{noformat}"])
def test_what_does_not_fit_is_cut_with_a_note_that_names_the_command(letter: str) -> None:
    """The text is counted in UTF-16 units, as Jira does."""
    text = told(Untrusted(f"{letter * 50_000}end"), limit=LIMIT)
    assert LIMIT - 200 < utf16_units(text) <= LIMIT
    assert "more characters do not fit" in text
    assert "secbridge delivery raw D1" in text
    assert wiki.is_told_issue(text)
    assert alive_in_wiki(text) == []


# ── How it looks ─────────────────────────────────────────────────────────────────────────────────


def test_an_issue_looks_like_this() -> None:
    """Header, notes of the tracker, report, last line: in this order and form."""
    text = wiki.told_issue(
        draft(
            Facts((("Class", "report"),)),
            Heading("Mail"),
            Untrusted("Hello\n\n{noformat}", label="Text"),
            Untrusted("> older", label="Quoted below it", folded=True),
        ),
        limit=LIMIT,
        notes=(Paragraph("Files are elsewhere."),),
    )
    assert (
        text
        == """\
||Case|SB-2026-0001|
||Alias|security+sb-x@example.org|

Files are elsewhere.

||Class|report|

h3. Mail

*Text*

{noformat}
 Hello

 {\u200bnoformat}
{noformat}

*Quoted below it*

{noformat}
 > older
{noformat}

Told by secbridge. Please leave this line."""
    )
