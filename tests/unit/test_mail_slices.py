"""Parts are ranges of raw bytes: the signed octets are the sent octets."""

from __future__ import annotations

import pytest
from tests.support.mails import crlf, entity, mail, multipart, text

from secbridge.mail.slices import Budget, mended_octets, signed_octets, slice_entity
from secbridge.model.part import OpeningLimits, Part


def cut(raw: bytes, **bounds: int) -> Part:
    """Return the part tree of a mail."""
    return slice_entity(raw, Budget(OpeningLimits(**bounds)))  # type: ignore[arg-type]  # ints only


def slices(raw: bytes, part: Part) -> list[bytes]:
    """Return the raw octets of each child."""
    return [raw[child.start : child.end] for child in part.children]


def test_a_part_is_the_octets_between_its_boundaries() -> None:
    """The line end before a boundary belongs to the boundary (RFC 2046 section 5.1.1)."""
    first, second = text("one\n"), text("two")
    raw = mail(multipart("mixed", [first, second]))
    assert slices(raw, cut(raw)) == [first, second]


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Type: text/plain;  charset=utf-8",
        b"Content-Type: text/plain;\r\n\tcharset=utf-8",
        b"Content-Type: text/plain\r\nX-Long: " + b"word " * 40 + b"\r\n and more",
        b"Content-Type: text/plain\r\nX-Raw: \xe4\xf6\xfc",
        b"Content-Type: text/plain\r\nX-Feed: a\x0cb",
    ],
)
def test_no_octet_of_a_header_is_folded_anew(header: bytes) -> None:
    """Double blanks, long lines, raw 8-bit and form feeds stay what they were."""
    part = header + b"\r\n\r\nbody \r\n"
    raw = mail(multipart("signed", [part, text("x")]))
    tree = cut(raw)
    assert signed_octets(raw, tree.children[0]) == part


def test_a_mail_without_any_cr_gets_its_line_ends_back() -> None:
    """What was signed had CRLF (RFC 3156 section 5)."""
    part = text("one\ntwo\n")
    raw = mail(multipart("signed", [part])).replace(b"\r\n", b"\n")
    assert signed_octets(raw, cut(raw).children[0]) == part


def test_a_mail_with_a_single_cr_is_taken_as_it_is_and_can_be_mended() -> None:
    """Line ends mended only in part are taken raw first; the mended form is a second try."""
    part = text("one\ntwo\n")
    raw = mail(multipart("signed", [part.replace(b"\r\n", b"\n")]))
    child = cut(raw).children[0]
    assert signed_octets(raw, child) == part.replace(b"\r\n", b"\n")
    assert mended_octets(raw, child) == part


def test_nested_boundaries_that_are_prefixes_of_each_other_are_kept_apart() -> None:
    """``--a`` is no boundary line of ``ab``, nor the other way round."""
    inner = multipart("mixed", [text("one"), text("two")], boundary="a")
    raw = mail(multipart("mixed", [inner, text("three")], boundary="ab"))
    tree = cut(raw)
    assert [len(child.children) for child in tree.children] == [2, 0]


def test_a_multipart_that_is_never_closed_ends_with_the_mail() -> None:
    """The last part of an unclosed multipart reaches to the end."""
    raw = mail(crlf('Content-Type: multipart/mixed; boundary="b"\n\n--b\n\none\n--b\n\ntwo\n'))
    assert [raw[part.body : part.end] for part in cut(raw).children] == [b"one", b"two\r\n"]


@pytest.mark.parametrize("params", ["", "; boundary=", '; boundary="other"'])
def test_a_missing_boundary_is_guessed(params: str) -> None:
    """A multipart without its parameter is cut at the lines that look like its boundary."""
    raw = mail(crlf(f"Content-Type: multipart/mixed{params}\n\n--b1\n\none\n--b1\n\ntwo\n--b1--\n"))
    assert len(cut(raw).children) == 2


def test_a_multipart_without_any_boundary_is_formless() -> None:
    """Nothing of it is lost: it is read as a text."""
    tree = cut(mail(crlf("Content-Type: multipart/mixed; boundary=b\n\njust text\n")))
    assert (tree.formless, tree.is_multipart) == (True, False)


def test_a_part_with_two_types_keeps_its_preamble() -> None:
    """A reader that believes the other type would see what stands before the first boundary."""
    types = "Content-Type: multipart/mixed; boundary=b\nContent-Type: text/plain\n"
    inner = f"{types}\nseen\n--b\n\none\n--b--\n"
    raw = mail(crlf(inner))
    assert [raw[part.body : part.end] for part in cut(raw).children] == [b"seen\r\n", b"one"]


def test_a_thousand_nested_parts_stop_at_the_depth() -> None:
    """What lies deeper is marked as unread, in multiparts as in mails within mails."""
    multiparts = "".join(
        f"Content-Type: multipart/mixed; boundary=b{depth}\n\n--b{depth}\n" for depth in range(1000)
    )
    for raw in (multiparts.encode(), b"Content-Type: message/rfc822\n\n" * 1000):
        parts = list(cut(raw).walk())
        assert (len(parts), parts[-1].unread) == (21, True)


def test_a_hundred_thousand_parts_stop_at_the_number() -> None:
    """What comes after is marked as unread, on the multipart that holds it."""
    tree = cut(b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 100_000)
    assert (len(tree.children), tree.unread) == (500, True)


def test_children_of_a_digest_are_mails() -> None:
    """The default type of a part in multipart/digest is message/rfc822."""
    raw = mail(multipart("digest", [crlf("\nSubject: x\n\nbody")]))
    assert [child.is_message for child in cut(raw).children] == [True]


def test_file_names_lose_their_directories() -> None:
    """A name is a name and not a path."""
    raw = mail(entity('x/y; name="../../etc/passwd"', "x"))
    assert cut(raw).name == "passwd"
