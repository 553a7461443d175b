"""How do we know our own mail again?  By HMACs that nobody else can make."""

from __future__ import annotations

import re

import pytest

from secbridge.rules.identity import ORIGIN_HEADER, message_id, origin, verify_origin

SECRET = b"s" * 32
OTHER = b"t" * 32
DOMAIN = "example.org"


def test_the_same_case_and_step_always_have_the_same_message_id() -> None:
    """So a mail that is built twice is one mail."""
    one = message_id(SECRET, "SB-1", "ack", DOMAIN)
    assert one == message_id(SECRET, "SB-1", "ack", DOMAIN)
    assert re.fullmatch(r"<sb\.[a-z2-7]{26}@example\.org>", one)


def test_everything_that_goes_in_changes_the_message_id() -> None:
    """Another case, step, domain or installation is another mail."""
    ids = {
        message_id(SECRET, "SB-1", "ack", DOMAIN),
        message_id(SECRET, "SB-2", "ack", DOMAIN),
        message_id(SECRET, "SB-1", "reply-1", DOMAIN),
        message_id(SECRET, "SB-1", "ack", "example.net"),
        message_id(OTHER, "SB-1", "ack", DOMAIN),
        message_id(SECRET, "SB-1a", "ck", DOMAIN),
    }
    assert len(ids) == 6


def test_the_message_id_says_nothing_of_the_case() -> None:
    """Who reads the outer header of an encrypted mail learns no case id."""
    assert "2026" not in message_id(SECRET, "SB-2026-0001", "ack", DOMAIN)


def test_our_origin_header_is_recognised() -> None:
    """With the same case, step and Message-ID, also with blanks that a relay added."""
    value = origin(SECRET, case_id="SB-1", step="ack", message_id="<x@y>")
    assert verify_origin(SECRET, value, case_id="SB-1", step="ack", message_id="<x@y>")
    assert verify_origin(SECRET, f" {value} ", case_id="SB-1", step="ack", message_id="<x@y>")
    assert ORIGIN_HEADER == "X-Secbridge-Origin"


@pytest.mark.parametrize(
    ("secret", "case_id", "step", "mail"),
    [
        (OTHER, "SB-1", "ack", "<x@y>"),
        (SECRET, "SB-2", "ack", "<x@y>"),
        (SECRET, "SB-1", "reply-1", "<x@y>"),
        (SECRET, "SB-1", "ack", "<z@y>"),
    ],
)
def test_an_origin_header_of_another_mail_is_not(
    secret: bytes, case_id: str, step: str, mail: str
) -> None:
    """It cannot be carried from one of our mails to another."""
    value = origin(SECRET, case_id="SB-1", step="ack", message_id="<x@y>")
    assert not verify_origin(secret, value, case_id=case_id, step=step, message_id=mail)


@pytest.mark.parametrize("value", ["", "v1=", "v1=ä\udcff", "x" * 10000])
def test_garbage_is_no_origin_header(value: str) -> None:
    """A stranger's header of any kind is only a wrong one."""
    assert not verify_origin(SECRET, value, case_id="SB-1", step="ack", message_id="<x@y>")


def test_a_short_secret_is_refused() -> None:
    """Under a guessable secret, anybody could make mails of ours."""
    with pytest.raises(ValueError, match="too short"):
        message_id(b"short", "SB-1", "ack", DOMAIN)
