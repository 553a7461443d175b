"""How are files beside an issue shown?  As links that are ours, or as names that link nowhere."""

from __future__ import annotations

from datetime import date

import pytest
from markdown_it import MarkdownIt
from tests.support.fake_gitlab_text import alive, extract

from secbridge.model.issue import CommentDraft, Facts, FileLinks, IssueDraft, Untrusted
from secbridge.rules.drafting import markdown, plain

NAME = "SB-2026-0001-1.bin.pgp"
UPLOAD = f"/uploads/{'0' * 32}/{NAME}"


def links(text: str) -> list[tuple[str, str]]:
    """Return (text, address) of each link, as CommonMark parses them."""
    inline = [token for token in MarkdownIt("commonmark").parse(text) if token.children]
    return [
        (token.children[number + 1].content, str(child.attrGet("href")))
        for token in inline
        if token.children
        for number, child in enumerate(token.children)
        if child.type == "link_open"
    ]


@pytest.mark.parametrize(
    "address",
    [
        UPLOAD,
        f"https://gitlab.example.org/-/project/7{UPLOAD}",
        f"https://github.example.org:8443/o/r/blob/main/secbridge/SB-2026-0001/{NAME}",
        f"http://[::1]:8080/a_b~c%20d/{NAME}",
    ],
)
def test_a_file_is_a_link_with_its_neutral_name(address: str) -> None:
    """A person clicks and has the file."""
    text = markdown.render(FileLinks(((NAME, address),)))
    assert [(NAME, address)] == links(text)
    assert [f"link {address}"] == alive(text)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "javascript:alert(1)",
        "//evil.example/x",
        "https://evil.example/x)![y](https://evil.example/y.png",
        "https://example.org/x?private_token=1",
        "https://user@example.org/x",
        "https://example.org/x y",
        "https://example.org/x\n/close",
        "/uploads/<img src=x>",
        "ftp://example.org/x",
    ],
)
def test_an_address_of_another_form_links_nowhere(address: str) -> None:
    """The tracker's answer is a stranger's word, too; the name alone is shown."""
    text = markdown.render(FileLinks(((NAME, address),)))
    assert text == f"- `{NAME}`"


@pytest.mark.parametrize(
    "name", ["a](https://evil.example)", "/close", "x\n/close", "@all", "![x](y)", "", "<b>"]
)
def test_a_name_of_another_form_stays_text(name: str) -> None:
    """Names are ours, and yet nothing is taken on trust."""
    text = markdown.render(FileLinks(((name, UPLOAD),)))
    assert links(text) == []
    assert [] == alive(text)
    assert ([], "\n" in text) == (extract(text)[1], False)


def test_plain_text_names_the_files() -> None:
    """In a text for a terminal there is nothing to click."""
    assert NAME == plain.render(FileLinks(((NAME, UPLOAD),)))


# ── What fits ────────────────────────────────────────────────────────────────────────────────────


def draft(length: int) -> IssueDraft:
    """Return a draft with so many characters of a stranger's."""
    header = (Facts((("Case", "SB-2026-0001"),)),)
    report = (Untrusted("x" * length),)
    return IssueDraft("SB-2026-0001", "t", header, report, (), (), date(2026, 11, 27))


@pytest.mark.parametrize("length", [1, 10_000, 79_000])
def test_what_fits_is_not_cut(length: int) -> None:
    """When the answer is yes, the whole text is there, notes and marker included."""
    assert markdown.fits(draft(length), limit=100_000)
    assert "Cut here" not in markdown.told_issue(draft(length), "m" * 36, limit=100_000)


@pytest.mark.parametrize("length", [100_000, 99_950, 10_000_000])
def test_what_is_cut_did_not_fit(length: int) -> None:
    """When something is cut, the answer was no, so that the whole is a file."""
    assert not markdown.fits(draft(length), limit=100_000)
    assert "Cut here" in markdown.told_issue(draft(length), "m" * 36, limit=100_000)


def test_a_comment_is_asked_the_same() -> None:
    """Unseen characters are written out, and take more room than they did."""
    assert markdown.fits(CommentDraft("c", (Untrusted("x" * 5000),)), limit=30_000)
    assert not markdown.fits(CommentDraft("c", (Untrusted("\u202e\u202d" * 2500),)), limit=30_000)
