"""Any bytes become a Message: hostile mail is bounded, and what was not read is never unsaid."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from tests.support.keys import Keys
from tests.support.mails import crlf, encrypted, file, header, mail, multipart, text
from tests.support.opening import Desk, told

from secbridge.model.message import OpenFailure, Protection


def nested(levels: int, innermost: bytes) -> bytes:
    """Return multiparts within each other."""
    head = "".join(
        f'Content-Type: multipart/mixed; boundary="b{level}"\n\n--b{level}\n'
        for level in range(levels)
    )
    return crlf(head) + innermost


def many(parts: int, last: bytes = b"") -> bytes:
    """Return a multipart with very many parts."""
    return b'Content-Type: multipart/mixed; boundary="b"\n\n' + b"--b\n\nx\n" * parts + last


HOSTILE: dict[str, tuple[Callable[[], bytes], str | None]] = {
    "nothing": (lambda: b"", "empty"),
    "blank lines": (lambda: b"\r\n \r\n\r\n", "empty"),
    "no header": (lambda: b"just words\nand more\n", "no-header"),
    "binary": (lambda: bytes(range(256)) * 100, "no-header"),
    "nul octets": (lambda: b"Subject: a\0b\n\nc\0d\n", None),
    "only nul": (lambda: b"\0" * 1000, "no-header"),
    "headers only": (lambda: b"Subject: x\nFrom: a@example.net\n", None),
    "headers only, unfinished": (lambda: b"Subject: x\nFrom", None),
    "cr line ends only": (lambda: b"Subject: x\r\rbody\r", None),
    "bad utf-8": (lambda: b"Subject: \xff\xfe\nFrom: \xff@example.net\n\n\xff\xfe\n", None),
    "unknown charset": (lambda: mail(text("x", charset="klingon-8")), None),
    "no boundary": (lambda: mail(crlf("Content-Type: multipart/mixed\n\nwords\n")), None),
    "open boundary": (lambda: b"Content-Type: multipart/mixed; boundary=b\n\n--b\n", None),
    "a thousand nested parts": (lambda: nested(1000, b"x"), "too-complex"),
    "a thousand nested mails": (lambda: b"Content-Type: message/rfc822\n\n" * 1000, "too-complex"),
    "a hundred thousand parts": (lambda: many(100_000), "too-complex"),
    "a line of 10 MB": (lambda: mail(crlf("\n") + b"x" * 10_000_000), None),
    "10 MB of line ends": (lambda: mail(b"\r\n" * 5_000_000), None),
    "10 MB of dashes": (
        lambda: b"Content-Type: multipart/mixed; boundary=-\n\n" + b"-" * 10_000_000, None,
    ),
    "10 MB of boundaries in one line": (
        lambda: b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b" * 3_000_000, None,
    ),
    "two million lines that look like boundaries": (
        lambda: b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n" + b"--bx\n" * 2_000_000,
        "too-complex",
    ),
    "fifty thousand recipients": (
        lambda: header(extra="To: " + "a@example.org,\n " * 50_000 + "b@example.org\n") + b"\nx",
        "too-complex",
    ),
    "fifty thousand encoded words": (
        lambda: header(extra="Subject: " + "=?utf-8?q?a?=\n " * 50_000 + "\n") + b"\nx",
        "too-complex",
    ),
    "ten thousand parameters": (
        lambda: b"Content-Type: text/plain" + b"; a=b" * 10_000 + b"\n\nx", None,
    ),
    "a header of 10 MB": (lambda: b"Subject: " + b"x" * 10_000_000 + b"\n\nbody\n", "too-complex"),
    "a hundred thousand header fields": (lambda: b"A: b\n" * 100_000 + b"\nbody\n", "too-complex"),
    "deep comments": (lambda: b"From: " + b"(" * 100_000 + b"\n\nx", None),
    "deep html": (
        lambda: mail(crlf("Content-Type: text/html\n\n") + b"<div>" * 100_000 + b"words"), None,
    ),
    "armor without end": (
        lambda: mail(text("-----BEGIN PGP MESSAGE-----\n" * 10_000)), "too-complex",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_any_bytes_become_a_message(stranger_desk: Desk, name: str) -> None:
    """Each has its code, and all the other fields that a Message has."""
    make, error = HOSTILE[name]
    raw = make()
    message = await stranger_desk.open(raw)
    assert (message.error, message.size) == (error, len(raw))
    assert isinstance(message.text, str)
    assert (len(message.layers) <= 65, len(message.attachments) <= 600) == (True, True)


@pytest.mark.parametrize(
    "raw",
    [
        nested(1000, b"Content-Transfer-Encoding: base64\r\n\r\nhQEMAwzOQ1qnzNo7AQf7BFYWaGiC"),
        many(1000, b"--b\n\n-----BEGIN PGP MESSAGE-----\n"),
    ],
)
async def test_a_ciphertext_beyond_the_bounds_is_not_lost(stranger_desk: Desk, raw: bytes) -> None:
    """Where a ciphertext could hide in what was not read, the mail counts as undecryptable."""
    message = await stranger_desk.open(raw)
    assert message.protection is Protection.UNDECRYPTABLE
    assert (message.decryption.ok, message.decryption.reason) == (False, OpenFailure.TOO_COMPLEX)


async def test_clear_parts_beyond_the_bounds_hide_no_ciphertext(stranger_desk: Desk) -> None:
    """A clear mail that is too complex is a clear mail."""
    message = await stranger_desk.open(many(1000))
    assert (message.protection, message.decryption.ok) == (Protection.NONE, None)


async def test_a_header_that_is_too_long_leaves_the_ciphertext_readable(
    stranger_desk: Desk, keys: Keys
) -> None:
    """What comes after a header that was cut is read all the same, and its author is nobody."""
    armored = keys.reporter.encrypt(text("Words.\n"), keys.role_fpr)
    raw = header(extra="X-Junk: " + "x" * 300_000 + "\n") + encrypted(armored)
    message = await stranger_desk.open(raw)
    assert (message.error, message.author) == ("too-complex", None)
    content = encrypted(armored).replace(
        b"\r\n\r\n", b"\r\nX-Junk: " + b"x" * 300_000 + b"\r\n\r\n", 1
    )
    message = await stranger_desk.open(header() + content)
    assert (message.error, message.text) == ("too-complex", "Words.\n")


async def test_a_huge_text_is_an_attachment_with_its_beginning_as_text(stranger_desk: Desk) -> None:
    """Nothing of it is lost, and a tracker need not hold ten megabytes."""
    raw = mail(crlf("Content-Type: text/plain\n\n") + b"x" * 3_000_000)
    message = await stranger_desk.open(raw)
    assert (len(message.text), [one.size for one in message.attachments]) == (1 << 20, [3_000_000])
    assert message.notes == ("text-cut",)


async def test_a_guessed_charset_is_said(stranger_desk: Desk) -> None:
    """Words in an undeclared charset are told, with a note."""
    message = await stranger_desk.open(b"Content-Type: text/plain\n\ngr\xfcn\n")
    assert (message.text, message.notes) == ("grün\n", ("charset-guessed",))


async def test_a_large_attachment_comes_out_whole(stranger_desk: Desk, keys: Keys) -> None:
    """Ten mebibytes, in base64 within a ciphertext, arrive octet by octet."""
    content = bytes(range(256)) * 40_960
    inner = multipart("mixed", [text("See.\n"), file(content, "dump.bin")])
    message = await stranger_desk.open(mail(encrypted(keys.reporter.encrypt(inner, keys.role_fpr))))
    assert told(message) == ["encrypted pgp-mime 0 ok"]
    assert message.attachments[0].content == content


async def test_alternatives_lose_no_words(stranger_desk: Desk) -> None:
    """Plain text is read; what only the HTML says is added, and HTML is never an attachment."""
    plain, html = text("one two\n"), crlf("Content-Type: text/html\n\n")
    same = await stranger_desk.open(
        mail(multipart("alternative", [plain, html + b"<p>one <b>two</b>"]))
    )
    assert (same.text, same.attachments) == ("one two\n", ())
    more = await stranger_desk.open(mail(multipart("alternative", [plain, html + b"<p>one three"])))
    assert (more.text, more.attachments) == ("one two\n\none three\n", ())
    blank = await stranger_desk.open(
        mail(multipart("alternative", [text("\n"), html + b"<p>four"]))
    )
    assert blank.text == "four\n"


async def test_base64_text_with_a_footer_is_told_whole(stranger_desk: Desk) -> None:
    """A list's footer behind a base64 body is part of the text."""
    body = base64.encodebytes(b"words\n") + b"____\nfooter.\n"
    raw = crlf("Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n") + body
    assert (await stranger_desk.open(raw)).text == "words\n\n____\nfooter.\n"
