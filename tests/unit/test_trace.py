"""When are two hand-overs the same mail?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secbridge.rules.trace import HEADER_LIMIT, content_key

MAIL = b"From: a@example.net\r\nMessage-ID: <1@example.net>\r\nSubject: x\r\n\r\nThe body.\r\n"

TRACE = [
    b"Return-Path: <a@example.net>\r\n",
    b"Received: from a by b;\r\n\tFri, 20 Nov 2026 12:00:00 +0000\r\n",
    b"Delivered-To: security@example.org\r\n",
    b"X-Original-To: security@example.org\r\n",
    b"Envelope-To: security@example.org\r\n",
    b"Authentication-Results: mx; dkim=pass\r\n spf=pass\r\n",
    b"Received-SPF: pass\r\n",
    b"ARC-Seal: i=1; a=rsa-sha256\r\n",
    b"ARC-Message-Signature: i=1;\r\n b=abc\r\n",
    b"ARC-Authentication-Results: i=1; mx\r\n",
]


@pytest.mark.parametrize("field", TRACE)
@pytest.mark.parametrize("place", [0, MAIL.index(b"Subject")])
def test_a_trace_field_does_not_make_another_mail(field: bytes, place: int) -> None:
    """What a server wrote, on top or between, is left out of the key."""
    traced = MAIL[:place] + field + MAIL[place:]
    assert content_key(MAIL) == content_key(traced)


def test_names_are_compared_without_case_and_before_a_blank() -> None:
    """A field name is the same in capitals, and with blanks before its colon."""
    assert content_key(MAIL) == content_key(b"RECEIVED \t: from a\r\n" + MAIL)


def test_bare_line_feeds_end_fields_too() -> None:
    """A mail with bare LF line ends has its trace fields left out as well."""
    plain = MAIL.replace(b"\r\n", b"\n")
    assert content_key(plain) == content_key(b"Received: a\n b\n" + plain)


@pytest.mark.parametrize(
    "other",
    [
        MAIL.replace(b"The body", b"A body"),
        MAIL.replace(b"<1@", b"<2@"),
        MAIL.replace(b"Subject: x", b"Subject: y"),
        b"X-Received: a\r\n" + MAIL,
        b"Arcade: a\r\n" + MAIL,
        b"DKIM-Signature: v=1\r\n" + MAIL,
        MAIL + b"Received: in the body\r\n",
        MAIL.replace(b"\r\n", b"\n"),
    ],
)
def test_anything_else_makes_another_mail(other: bytes) -> None:
    """Another body, Message-ID, field or line end under an equal rest is another mail."""
    assert content_key(MAIL) != content_key(other)


def test_a_body_that_looks_like_trace_counts() -> None:
    """Lines after the first blank line are never left out, whatever they say."""
    assert content_key(b"\r\nReceived: a\r\n") != content_key(b"\r\n")
    assert content_key(b"\nReceived: a\n") != content_key(b"\n")
    assert content_key(MAIL + b"Received: a\r\n\r\n") != content_key(MAIL + b"\r\n")


def test_a_field_is_left_out_to_its_very_end() -> None:
    """A trace field without a line end, or as the only field, leaves nothing behind."""
    assert content_key(b"") == content_key(b"Received: a\r\n b") == content_key(b"Received: a\r\n")


def test_an_endless_header_is_hashed_as_it_is() -> None:
    """Past the limit nothing is left out: a duplicate may look new, and no time is lost."""
    endless = b"X: y\r\n" * (HEADER_LIMIT // 6 + 1)
    assert content_key(endless) != content_key(b"Received: a\r\n" + endless)


@pytest.mark.parametrize(
    "hostile",
    [
        b"Received:" * 1_000_000,
        b"Received: a\r\n" * 1_000_000,
        b"Received" + b" " * 8_000_000,
        (b"Received" + b" " * 50_000 + b"\n") * 200,
        b"ARC-" + b"a" * 8_000_000,
        b"\n " * 4_000_000,
        b"Received: a" + b"\r\n\t" * 3_000_000,
        b"\r" * 8_000_000,
        b"Message-ID:" + b"\r\n <" * 2_000_000,
        b"\0" * 8_000_000,
    ],
    ids=range(10),
)
def test_hostile_headers_cost_no_more_than_their_length(hostile: bytes) -> None:
    """Eight megabytes of what regular expressions hate have a key before the test times out."""
    assert len(content_key(hostile)) == 32
    assert len(content_key(hostile[: HEADER_LIMIT - 4] + b"\n\n")) == 32


@given(st.binary(max_size=400))
def test_any_bytes_have_a_key(content: bytes) -> None:
    """Whatever comes in as content has a key of 32 octets, the same each time."""
    assert len(content_key(content)) == 32
    assert content_key(content) == content_key(bytes(content))


_lines = st.lists(st.text("abc:- \t<>@", max_size=12).map(str.encode), max_size=6)


@given(_lines, _lines, st.lists(st.sampled_from(TRACE), max_size=4))
def test_trace_on_top_never_counts(
    header: list[bytes], body: list[bytes], tops: list[bytes]
) -> None:
    """However odd a mail is, if its first line is a field, trace on top is left out."""
    content = b"X: y\r\n" + b"\r\n".join([*header, b"", *body])
    assert content_key(content) == content_key(b"".join(tops) + content)
