"""Can a mail's text act in a tracker?  Each payload stays one fence, for parser and regex."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from tests.support.fake_gitlab_text import alive, extract
from tests.support.payloads import MARKER, PAYLOADS

from secbridge.model.issue import CommentDraft, Facts, Heading, IssueDraft, Paragraph, Untrusted
from secbridge.rules.drafting import markdown
from secbridge.rules.drafting.untrusted import visible

LIMIT = 1_048_576


def draft(*report: Untrusted | Paragraph | Facts | Heading) -> IssueDraft:
    """Return a draft whose report is these blocks."""
    header = (Facts((("Case", "SB-2026-0001"),)),)
    return IssueDraft(
        "SB-2026-0001", "Security report SB-2026-0001", header, report, ("Security",), (),
        date(2026, 11, 27), raw_command="secbridge delivery raw D1",
    )  # fmt: skip


def told(*report: Untrusted | Paragraph | Facts | Heading, limit: int = LIMIT) -> str:
    """Return the Markdown of such a draft."""
    return markdown.told_issue(draft(*report), MARKER, limit=limit)


def fences(text: str) -> list[tuple[str, str]]:
    """Return (info string, content without our blanks) of every fence, as CommonMark parses it."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return [(token.info, unindented(token.content)) for token in tokens if token.type == "fence"]


def unindented(content: str) -> str:
    """Return what a fence holds without the blanks before its lines, of which each has as many."""
    lines = content.split("\n")[:-1]
    blanks = 4 if any("`" * 200 in line for line in lines) else 1
    assert [line for line in lines if not line.startswith(" " * blanks)] == []
    return "\n".join(line[blanks:] for line in lines)


# ── Nothing acts ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("folded", [False, True], ids=["open", "folded"])
@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_a_hostile_text_is_one_fence_and_nothing_in_it_acts(payload: str, folded: bool) -> None:
    """The whole payload stands in one fence, no line begins with a slash, and nothing is alive."""
    text = told(Untrusted(payload, label="Text", folded=folded))
    assert [("text", visible(payload))] == fences(text)
    assert [line for line in text.split("\n") if line.startswith("/")] == []
    assert (text, []) == extract(text)
    assert alive(text) == []


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_two_hostile_texts_are_two_fences(payload: str) -> None:
    """No part can swallow its neighbour or pose as it."""
    text = told(Untrusted(payload), Heading("Next"), Untrusted(payload, folded=True))
    assert [("text", visible(payload))] * 2 == fences(text)
    assert alive(text) == []


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_a_hostile_comment_is_one_fence(payload: str) -> None:
    """Comments follow the same rules as issues."""
    comment = CommentDraft("SB-2026-0001", (Untrusted(payload),))
    text = markdown.told_comment(comment, MARKER, limit=LIMIT)
    assert [("text", visible(payload))] == fences(text)
    assert (text, []) == extract(text)


@given(st.text())
def test_any_text_is_one_fence(payload: str) -> None:
    """For any text at all: one fence, the text in it whole, nothing alive."""
    text = told(Untrusted(payload))
    assert [("text", visible(payload))] == fences(text)
    assert (text, []) == extract(text)
    assert alive(text) == []


@given(st.text(alphabet="`~\n\r\t /<>-[]@#!|", max_size=60))
def test_any_mixture_of_markup_is_one_fence(payload: str) -> None:
    """The same for texts made of nothing but markup."""
    text = told(Untrusted(payload, folded=True))
    assert [("text", visible(payload))] == fences(text)
    assert (text, []) == extract(text)


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_value_of_a_fact_sleeps(name: str, value: str) -> None:
    """Facts are ours, and a value that came from a setting still wakes nothing."""
    text = told(Facts(((f"n{name}".replace("|", ""), value),)))
    assert (text, []) == extract(text)


@pytest.mark.parametrize("value", ["@all", "group/project#1", "a|b", "`x`", "<b>", "/close", "a@b"])
def test_the_value_of_a_fact_is_code_unless_it_is_plain_words(value: str) -> None:
    """References sleep in code; a value with a bar stays in its cell."""
    text = told(Facts((("Alias", value),)))
    assert alive(text) == []
    parsed = MarkdownIt("commonmark").enable("table").parse(text)
    cells = [t.content for t in parsed if t.type == "inline" and t.level == 4]
    assert value in cells[-1].replace("\\|", "|")
    assert len([cell for cell in cells if cell]) == 4


# ── Markers ──────────────────────────────────────────────────────────────────────────────────────


def test_the_marker_is_the_last_line() -> None:
    """An issue is found again by its last line, told or not."""
    marker = f"<!-- secbridge:report={MARKER} -->"
    assert marker == markdown.untold_issue(draft(), MARKER).split("\n")[-1]
    assert marker == told(Untrusted("x")).split("\n")[-1]


def test_a_mail_cannot_say_a_marker() -> None:
    """A marker counts as a line of its own at the margin, where no line of a mail stands."""
    marker = markdown.issue_marker("00000000-0000-0000-0000-000000000000")
    text = told(Untrusted(f"{marker}\n{markdown.TOLD}"))
    assert not markdown.says(text, marker)
    assert markdown.says(text, markdown.issue_marker(MARKER))


def test_an_untold_issue_says_that_it_is_untold() -> None:
    """Told and untold texts differ by a line that no mail can say."""
    assert not markdown.says(markdown.untold_issue(draft(), MARKER), markdown.TOLD)
    assert markdown.says(told(Untrusted("x")), markdown.TOLD)


def test_an_untold_issue_holds_nothing_of_the_report() -> None:
    """Header and marker only."""
    text = markdown.untold_issue(draft(Untrusted("xyzzy")), MARKER)
    assert "xyzzy" not in text
    assert "SB-2026-0001" in text


def test_a_placeholder_is_known_from_a_comment() -> None:
    """A comment that is not told yet is recognised as such."""
    comment = CommentDraft("SB-2026-0001", (Facts((("Delivery", "D2"),)), Untrusted("x")))
    assert markdown.is_untold_comment(markdown.untold_comment(MARKER))
    assert not markdown.is_untold_comment(markdown.told_comment(comment, MARKER, limit=LIMIT))


# ── Too long ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("letter", ["x", "ü", "€", "😀", "`", "\n", "\x00"])
def test_what_does_not_fit_is_cut_with_a_note_that_names_the_command(letter: str) -> None:
    """A long text is cut to the tracker's limit in octets; the note says how to get the rest."""
    text = told(Untrusted(letter * 50_000), limit=20_000)
    assert len(text.encode()) <= 20_000
    assert "more characters do not fit" in text
    assert "`secbridge delivery raw D1`" in text
    assert markdown.issue_marker(MARKER) == text.split("\n")[-1]
    assert len(fences(text)) == 1


def test_what_fits_is_not_cut() -> None:
    """A text of just under a megabyte is whole."""
    text = told(Untrusted("line of text\n" * 60_000))
    assert "do not fit" not in text


def test_the_longest_part_is_cut_and_a_short_one_stays_whole() -> None:
    """A subject survives a mail that is far too long."""
    text = told(Untrusted("the subject"), Untrusted("x" * 100_000), limit=10_000)
    assert fences(text)[0] == ("text", "the subject")
    assert text.count("do not fit") == 1


def test_a_cut_text_says_how_much_is_missing() -> None:
    """What is shown and what is counted as missing are the whole text."""
    text = told(Untrusted("x" * 100_000), limit=10_000)
    shown = len(fences(text)[0][1])
    assert f"{100_000 - shown} more characters" in text


# ── How it looks ─────────────────────────────────────────────────────────────────────────────────


def test_an_issue_looks_like_this() -> None:
    """Header, notes of the tracker, report, markers: in this order and form."""
    text = markdown.told_issue(
        draft(
            Facts((("Class", "report"), ("Signature", "good, by the sender"))),
            Untrusted("a@example.net", label="Reporter"),
            Heading("Mail"),
            Untrusted("Hello\n\n/close", label="Text"),
            Untrusted("> older", label="Quoted below it", folded=True),
        ),
        MARKER,
        limit=LIMIT,
        notes=(Paragraph("Files are elsewhere."),),
    )
    assert (
        f"""\
| | |
|---|---|
| **Case** | `SB-2026-0001` |

Files are elsewhere.

| | |
|---|---|
| **Class** | report |
| **Signature** | good, by the sender |

**Reporter**

```text
 a@example.net
```

### Mail

**Text**

```text
 Hello
{" "}
 /close
```

<details><summary>Quoted below it</summary>

```text
 > older
```

</details>

<!-- secbridge:told -->
<!-- secbridge:report={MARKER} -->"""
        == text
    )


def test_a_sentence_of_ours_cannot_be_a_command() -> None:
    """Even an operator's words at the start of a line are no quick action."""
    text = told(Paragraph("/close this"), Heading("/close"), Paragraph("a\n/close"))
    assert (text, []) == extract(text)
