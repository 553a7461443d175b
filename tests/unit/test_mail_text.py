"""Texts become words without loss, and a guess is called a guess."""

from __future__ import annotations

import pytest

from secbridge.mail.text import decode, html_to_text, is_blank_html, readable


@pytest.mark.parametrize(
    ("octets", "charset", "expected"),
    [
        (b"plain", None, ("plain", False)),
        ("grün".encode(), "utf-8", ("grün", False)),
        ("grün".encode("latin-1"), "iso-8859-1", ("grün", False)),
        ("grün".encode("latin-1"), "utf-8", ("grün", True)),
        ("grün".encode(), "us-ascii", ("grün", True)),
        ("grün".encode(), None, ("grün", True)),
        ("grün".encode(), "no-such-charset", ("grün", True)),
        ("日本".encode("iso-2022-jp"), "ISO-2022-JP", ("日本", False)),
        ("日本".encode("shift_jis"), "x-sjis", ("日本", False)),
        ("grün".encode("utf-16"), "utf-16", ("grün", False)),
        (b"odd", "utf-16", ("odd", True)),
    ],
)
def test_texts_are_decoded_as_declared_and_else_guessed(
    octets: bytes, charset: str | None, expected: tuple[str, bool]
) -> None:
    """The declared charset counts when it fits; else UTF-8, else ISO 8859-1, and it is said."""
    assert decode(octets, charset) == expected


@pytest.mark.parametrize(
    "charset",
    ["idna", "punycode", "utf-7", "unicode_escape", "raw_unicode_escape", "rot13", "base64", "hex",
     "zlib", "undefined", "mbcs", "../etc/passwd", "utf-8\0", "x" * 1000, ""],
)  # fmt: skip
def test_codecs_that_are_no_charsets_of_mail_are_refused(charset: str) -> None:
    """A name that a sender chooses never runs a codec that transforms, inflates or fails oddly."""
    text, _ = decode(b"a+AGE- \\x41 \xe4", charset)
    assert text == "a+AGE- \\x41 ä"


def test_line_ends_become_one_and_nul_becomes_visible() -> None:
    """What a reader sees has LF lines and no NUL."""
    assert readable("a\r\nb\rc\0d") == "a\nb\nc\ufffdd"


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("<p>one</p><p>two</p>", "one\n\ntwo\n"),
        ("one<br>two<br><br>three", "one\ntwo\n\nthree\n"),
        ('<a href="https://x.example/">here</a>', "here <https://x.example/>\n"),
        ('<a href="https://x.example/">https://x.example/</a>', "https://x.example/\n"),
        ('<a href="mailto:a@x.org">a@x.org</a>', "a@x.org\n"),
        ("<ul><li>a<li>b</ul><ol><li>c<li>d</ol>", "* a\n* b\n\n1. c\n2. d\n"),
        ("<blockquote>a<br>b</blockquote>c", "> a\n> b\n\nc\n"),
        ("<pre>  x = 1\n    y\n</pre>", "  x = 1\n    y\n"),
        ("<table><tr><td>a<td>b<tr><td>c</table>", "a\tb\nc\n"),
        ('<img src="https://evil.example/?x" alt="a picture">', "[a picture] <https://evil.example/?x>\n"),
        ("a<script>alert(1)</script><style>p{}</style>b", "ab\n"),
        ('<div style="display:none">hidden</div>seen', "hidden\nseen\n"),
        ("<template>kept</template>", "kept\n"),
        ("&lt;script&gt; &amp; &#65;&nbsp;B", "<script> & A B\n"),
        ("no markup at all", "no markup at all\n"),
        ("", ""),
    ],
)  # fmt: skip
def test_html_keeps_its_words_and_loses_its_markup(markup: str, expected: str) -> None:
    """Structure is told by signs of plain text; scripts and styles are gone, hidden text is not."""
    assert html_to_text(markup) == expected


@pytest.mark.parametrize(
    "unit",
    ["<div>", "<a><b>", "<ul><li>", "<a href=x>x", "<!--", "<a ", "<td>x", "<blockquote>", "&amp;",
     "<font><p>", "x<br>", "<svg><title>"],
)  # fmt: skip
def test_markup_made_to_hurt_is_still_read(unit: str) -> None:
    """Half a mebibyte of any unit comes back as text, by the parser or by stripping tags."""
    assert isinstance(html_to_text("word " + unit * (512 * 1024 // len(unit))), str)


def test_words_between_a_hundred_thousand_open_elements_are_kept() -> None:
    """Markup that the parser would choke on is stripped of its tags, and says what it says."""
    assert "the proof" in html_to_text("<div>" * 100_000 + "the proof" + "</div>" * 100_000)


@pytest.mark.parametrize(
    ("markup", "blank"),
    [
        ("<html><body><p>&nbsp;</p><br></body></html>", True),
        ("<!-- note --><meta charset=utf-8>", True),
        ('<img src="https://evil.example/', False),
        ('"><b></b>', False),
        ('<link href="https://evil.example/">', False),
    ],
)
def test_html_without_words_is_blank_only_when_it_can_do_nothing(markup: str, blank: bool) -> None:
    """A cut-off tag beside a ciphertext is an attack, not an empty part."""
    assert is_blank_html(markup) is blank
