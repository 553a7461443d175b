"""Opened mails, cases and aliases for tests of rooms behind the parser, with harmless defaults."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from secbridge.model.alias import Alias
from secbridge.model.message import (
    Coverage,
    Decryption,
    Message,
    OpenFailure,
    Protection,
    Signature,
    SignatureVerdict,
)
from secbridge.testing.drafts import NOON, a_case, a_delivery, a_message

__all__ = [
    "NOON",
    "a_case",
    "a_delivery",
    "a_message",
    "an_alias",
    "encrypted",
    "signed",
    "undecryptable",
]


def encrypted(**given: Any) -> Message:
    """Return a mail that was encrypted to us and opened."""
    return a_message(protection=Protection.ENCRYPTED, decryption=Decryption(ok=True), **given)


def undecryptable(**given: Any) -> Message:
    """Return a mail that is encrypted to somebody else."""
    return a_message(
        protection=Protection.UNDECRYPTABLE,
        decryption=Decryption(ok=False, reason=OpenFailure.NO_SECRET_KEY),
        **given,
    )


def signed(verdict: SignatureVerdict = SignatureVerdict.GOOD, **given: Any) -> Message:
    """Return a signed mail in clear."""
    signature = Signature(verdict, "F" * 40, Coverage.WHOLE, signer_is_sender=True)
    return a_message(protection=Protection.SIGNED, signatures=(signature,), **given)


def an_alias(role_key: str = "A" * 40, **given: Any) -> Alias:
    """Return the alias of the tests."""
    plain = Alias(
        "security@example.org",
        (role_key,),
        tracker="local",
        project="security",
        assignees=("alice",),
        name="Example Security",
    )
    return replace(plain, **given)
