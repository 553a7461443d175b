"""Can a mail's text act in a Jira of the cloud?  Each payload stays one text in a code block.

The documents are held against a schema of the nodes that Jira knows, and read by a reader that is
not ours (``fake_jira_text``).
"""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.fake_jira_text import (
    alive_in_document,
    as_the_cloud_shows_it,
    asleep_in_document,
    nodes,
    problems_of_document,
)
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
from secbridge.rules.commands import parse
from secbridge.rules.drafting import adf
from secbridge.rules.drafting.fitting import utf16_units
from secbridge.rules.drafting.untrusted import visible

LIMIT = 32_767
WIDE = 1 << 24


def draft(*report: Block) -> IssueDraft:
    """Return a draft whose report is these blocks."""
    header = (Facts((("Case", "SB-2026-0001"),)),)
    return IssueDraft(
        "SB-2026-0001", "Security report SB-2026-0001", header, report, ("Security",), (),
        date(2026, 11, 27), raw_command="secbridge delivery raw D1",
    )  # fmt: skip


def told(*report: Block, limit: int = WIDE) -> Any:
    """Return the document of such a draft, which Jira takes and in which nothing acts."""
    document = adf.sent(adf.told_issue(draft(*report), limit=limit))
    assert problems_of_document(document) == []
    return document


def shown(text: str) -> str:
    """Return a text as it is shown: without blanks at line ends and lines at the end."""
    return "\n".join(line.rstrip(" \t") for line in visible(text).split("\n")).rstrip("\n")


# ── Nothing acts ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_a_hostile_text_is_one_literal_text_wherever_it_stands(payload: str) -> None:
    """Open, folded, in a comment: each is one code block that no neighbour is swallowed by."""
    report = (Untrusted(payload, label="Text"), Heading("x"), Untrusted(payload, folded=True))
    comment = CommentDraft("SB-2026-0001", (Untrusted(payload),))
    for document in (told(*report), adf.sent(adf.told_comment(comment, limit=WIDE))):
        assert problems_of_document(document) == []
        assert {shown(payload)} == set(asleep_in_document(document))
        assert alive_in_document(document) == []
    assert len(asleep_in_document(told(*report))) == 2


@pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
def test_what_stands_on_one_line_stays_on_it_and_sleeps(line: str) -> None:
    """Labels, headings, sentences, facts and names of files may be anything, and are one text."""
    blocks = (
        Paragraph(line),
        Heading(line),
        Facts(((line, line),)),
        FileLinks(((line, line),)),
        Untrusted("x", label=line),
        Untrusted("x", label=line, folded=True),
    )
    document = told(*blocks)
    assert alive_in_document(document) == []
    assert [node for node in nodes(document) if "\n" in node.get("text", "")] == []


@given(st.text())
def test_any_text_is_one_literal_text(payload: str) -> None:
    """For any text at all: one code block, the text in it whole."""
    document = told(Untrusted(payload, label=payload))
    assert [shown(payload)] == asleep_in_document(document)
    assert alive_in_document(document) == []


@pytest.mark.parametrize(
    "document",
    [
        {"type": "mention", "attrs": {"id": "alex"}},
        {"type": "inlineCard", "attrs": {"url": "https://evil.example"}},
        {"type": "text", "text": "x", "marks": [{"type": "link", "attrs": {"href": "https://x"}}]},
    ],
    ids=lambda node: node["type"],
)
def test_the_reader_would_see_what_acts(document: Any) -> None:
    """The reader that finds nothing in our documents does find nodes that act."""
    assert alive_in_document({"type": "doc", "content": [document]}) != []


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": ""}],
        [{"type": "extension"}],
        [{"type": "codeBlock", "content": [{"type": "mention", "attrs": {"id": "alex"}}]}],
    ],
    ids=["an empty text", "an extension", "a mention in code"],
)
def test_the_schema_would_refuse_what_jira_refuses(content: Any) -> None:
    """The schema that takes our documents refuses others."""
    assert problems_of_document({"type": "doc", "version": 1, "content": content}) != []


def test_a_file_is_a_link_only_to_an_address_of_the_plain_form() -> None:
    """What Jira gave as an address is used when it can be nothing but one."""
    plain, odd = "https://jira.example.org/x/1", "javascript:alert(1)"
    document = told(FileLinks((("SB-1.bin", plain), ("SB-2.bin", odd))))
    assert [node["text"] for node in nodes(document) if node.get("marks")] == ["SB-1.bin"]


# ── Told and untold ──────────────────────────────────────────────────────────────────────────────


def test_an_untold_issue_holds_nothing_of_the_report() -> None:
    """Header only."""
    text = adf.untold_issue(draft(Untrusted("xyzzy")))
    assert "xyzzy" not in text
    assert "SB-2026-0001" in text


def test_a_told_issue_is_known_by_its_last_paragraph() -> None:
    """Told and untold documents differ by a paragraph."""
    assert adf.is_told_issue(adf.told_issue(draft(Untrusted("x")), limit=LIMIT))
    assert not adf.is_told_issue(adf.untold_issue(draft()))


def test_a_mail_cannot_say_that_an_issue_was_told() -> None:
    """A mail's text is never a paragraph, so it cannot be taken for ours."""
    comment = CommentDraft("SB-2026-0001", (Untrusted(adf.TOLD), Untrusted(adf.UNTOLD)))
    text = adf.told_comment(comment, limit=LIMIT)
    assert not adf.is_told_issue(text)
    assert not adf.is_untold_comment(text)


def test_what_people_write_around_it_does_not_make_an_issue_untold() -> None:
    """A paragraph above and below leaves our own last paragraph where it is."""
    document: Any = adf.sent(adf.told_issue(draft(Untrusted("x")), limit=LIMIT))
    note = {"type": "paragraph", "content": [{"type": "text", "text": "Our note."}]}
    document["content"] = [note, *document["content"], note]
    assert adf.is_told_issue(adf.received(document))


def test_a_placeholder_is_known_from_a_comment() -> None:
    """A comment that is not told yet is recognised as such."""
    assert adf.is_untold_comment(adf.untold_comment())
    comment = CommentDraft("SB-2026-0001", (Untrusted("x"),))
    assert not adf.is_untold_comment(adf.told_comment(comment, limit=LIMIT))


@pytest.mark.parametrize("value", [None, "text", 7, [], {}])
def test_what_is_no_document_is_untold(value: object) -> None:
    """Jira may show anything: it counts as not told."""
    assert not adf.is_told_issue(adf.received(value))
    assert not adf.is_untold_comment(adf.received(value))


# ── What Jira may change ─────────────────────────────────────────────────────────────────────────


def test_what_jira_adds_makes_no_difference() -> None:
    """Ids of the editor and attributes with their default value are no interpretation."""
    text = adf.told_issue(
        draft(Facts((("a", "b"),)), Untrusted("x", "l"), Untrusted("y", "f", folded=True)),
        limit=LIMIT,
    )
    assert text == adf.received(as_the_cloud_shows_it(adf.sent(text)))


def test_texts_cut_into_nodes_and_line_ends_make_no_difference() -> None:
    """Jira may split a text, or end its lines with CR LF, or drop blanks at their ends."""
    text = adf.told_issue(draft(Untrusted("one  \ntwo\n\n")), limit=LIMIT)
    document: Any = adf.sent(text)
    code = next(node for node in nodes(document) if node["type"] == "codeBlock")
    code["content"] = [{"type": "text", "text": "one\r\n"}, {"type": "text", "text": "two"}]
    assert text == adf.received(document)


@pytest.mark.parametrize("change", ["text", "language", "node", "mark"])
def test_whatever_a_reader_sees_makes_a_difference(change: str) -> None:
    """Other words, a language, a lost node, a mark: then something was interpreted."""
    text = adf.told_issue(draft(Untrusted("one")), limit=LIMIT)
    document: Any = adf.sent(text)
    code = next(node for node in nodes(document) if node["type"] == "codeBlock")
    match change:
        case "text":
            code["content"][0]["text"] = "two"
        case "language":
            code["attrs"] = {"language": "mermaid"}
        case "node":
            document["content"].remove(code)
        case _:
            code["content"][0]["marks"] = [{"type": "strong"}]
    assert text != adf.received(document)


# ── Too long ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("letter", ["x", "ü", "😀", '"', "x\n", "a\x00", "\\"])
def test_what_does_not_fit_is_cut_with_a_note_that_names_the_command(letter: str) -> None:
    """The document's JSON is counted in UTF-16 units, which is never less than Jira counts."""
    text = adf.told_issue(draft(Untrusted(f"{letter * 50_000}end")), limit=LIMIT)
    assert LIMIT - 200 < utf16_units(text) <= LIMIT
    assert "more characters do not fit" in text
    assert "secbridge delivery raw D1" in text
    assert adf.is_told_issue(text)


def test_the_longest_part_is_cut_and_a_short_one_stays_whole() -> None:
    """A subject survives a mail that is far too long."""
    document = told(Untrusted("the subject"), Untrusted("x" * 100_000), limit=LIMIT)
    first, second = asleep_in_document(document)
    assert first == "the subject"
    said = json.dumps(document)
    assert f"Cut here: {100_000 - len(second)} more characters do not fit." in said


def test_more_of_our_own_than_fits_is_left_out_from_the_end() -> None:
    """Hundreds of tables about files leave room for the note that there are more."""
    text = adf.told_issue(draft(*[Facts((("Attachment", "SB-1.bin"),))] * 200), limit=LIMIT)
    assert utf16_units(text) <= LIMIT
    assert "more parts of the mail do not fit" in text
    assert adf.is_told_issue(text)


def test_what_fits_is_not_cut() -> None:
    """A text of a usual length is whole."""
    assert "do not fit" not in adf.told_issue(draft(Untrusted("line\n" * 3_000)), limit=LIMIT)


# ── What people write ────────────────────────────────────────────────────────────────────────────


def test_a_comment_is_read_in_lines() -> None:
    """Paragraphs, breaks, mentions, cards, code and lists become lines, as a command needs them."""
    document = {
        "type": "doc",
        "version": 1,
        "content": [
            {
                "type": "paragraph",
                "content": [
                    {"type": "text", "text": "sb: reply"},
                    {"type": "hardBreak"},
                    {"type": "text", "text": "Dear "},
                    {"type": "text", "text": "reporter", "marks": [{"type": "strong"}]},
                ],
            },
            {"type": "paragraph"},
            {
                "type": "paragraph",
                "content": [
                    {"type": "mention", "attrs": {"id": "1", "text": "@alex"}},
                    {"type": "text", "text": " see "},
                    {"type": "inlineCard", "attrs": {"url": "https://jira.example.org/x"}},
                ],
            },
            {
                "type": "bulletList",
                "content": [
                    {
                        "type": "listItem",
                        "content": [
                            {"type": "paragraph", "content": [{"type": "text", "text": word}]}
                        ],
                    }
                    for word in ("one", "two")
                ],
            },
            {"type": "codeBlock", "content": [{"type": "text", "text": "a\nb"}]},
        ],
    }
    assert (
        adf.words(document) == "sb: reply\nDear reporter\n\n@alex see https://jira.example.org/x\n"
        "- one\n- two\n```\na\nb\n```"
    )


def _typed(text: str, *marks: str) -> dict[str, object]:
    written = {"type": "text", "text": text, "marks": [{"type": mark} for mark in marks]}
    return {"type": "paragraph", "content": [written]}


def _in(content: object, *kinds: str) -> object:
    """Return a document with something inside nodes of these kinds, the outermost first."""
    for kind in (*reversed(kinds), "doc"):
        content = {"type": kind, "content": [content]}
    return content


@pytest.mark.parametrize(
    "document",
    [
        _in(_typed("sb: reply Hello."), "blockquote"),
        _in({"type": "text", "text": "sb: reply Hello."}, "codeBlock"),
        _in(_typed("sb: reply Hello."), "bulletList", "listItem"),
        _in(_typed("sb: reply Hello."), "table", "tableRow", "tableCell"),
        _in(_typed("sb: reply Hello.", "strike")),
    ],
    ids=["quotation", "code", "list", "table", "crossed out"],
)
def test_what_somebody_quotes_is_no_command_of_theirs(document: object) -> None:
    """The mark counts where it is typed, not where it is shown."""
    assert parse(adf.words(document)) is None


ANSWERS = st.recursive(
    st.none() | st.text(max_size=5) | st.sampled_from(["paragraph", "text", "mention", "doc"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "content", "text", "attrs", "marks"]), inner)
    ),
    max_leaves=8,
)


@given(ANSWERS)
def test_any_answer_is_read_without_a_failure(value: object) -> None:
    """Whatever Jira shows as a comment becomes some text."""
    assert isinstance(adf.words(value), str)
    assert isinstance(adf.received(value), str)
