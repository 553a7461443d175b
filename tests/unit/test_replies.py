"""What do we answer to a mail that became a case?  The choice of text and key."""

from __future__ import annotations

import pytest

from secbridge.model.message import CertificateSource, Protection
from secbridge.model.reply import ReplyKind
from secbridge.rules.replies import (
    KEY_PROBLEMS,
    Answer,
    KeyFound,
    KeyProblem,
    KeySearch,
    NoKey,
    choose_answer,
    needs_key,
)

FOUND = KeyFound("F" * 40, CertificateSource.INSIDE)


def test_a_clear_thread_is_acknowledged_in_clear() -> None:
    """Encryption is offered and never demanded."""
    assert Answer(ReplyKind.ACKNOWLEDGEMENT) == choose_answer(Protection.NONE, must_encrypt=False)


def test_an_encrypted_thread_is_acknowledged_to_the_key_that_was_found() -> None:
    """What came encrypted is answered encrypted."""
    answer = choose_answer(Protection.ENCRYPTED, must_encrypt=True, key=FOUND)
    assert Answer(ReplyKind.ACKNOWLEDGEMENT, encrypt_to="F" * 40) == answer


def test_without_a_key_the_reporter_is_asked_for_one() -> None:
    """By a fixed notice."""
    answer = choose_answer(Protection.ENCRYPTED_SIGNED, must_encrypt=True, key=NoKey())
    assert Answer(ReplyKind.NOTICE_SEND_KEY) == answer


@pytest.mark.parametrize("code", KEY_PROBLEMS)
def test_a_key_that_cannot_be_used_is_explained(code: str) -> None:
    """Each code has its own words."""
    problem = KeyProblem(code, "F" * 40)
    answer = choose_answer(Protection.ENCRYPTED, must_encrypt=True, key=problem)
    assert Answer(ReplyKind.NOTICE_KEY_UNUSABLE, code=code) == answer


def test_a_problem_that_its_owner_cannot_mend_is_a_missing_key() -> None:
    """That our ring lost a key is nothing that a reporter understands: ask for it."""
    problem = KeyProblem("unknown-key", "F" * 40)
    answer = choose_answer(Protection.ENCRYPTED, must_encrypt=True, key=problem)
    assert Answer(ReplyKind.NOTICE_SEND_KEY) == answer


@pytest.mark.parametrize("key", [FOUND, NoKey(), KeyProblem("expired", "F" * 40)])
def test_what_cannot_be_opened_is_answered_with_our_key(key: KeySearch) -> None:
    """Whatever else is known, the reporter has to encrypt again."""
    answer = choose_answer(Protection.UNDECRYPTABLE, must_encrypt=True, key=key)
    assert Answer(ReplyKind.NOTICE_USE_THIS_KEY) == answer


@pytest.mark.parametrize("protection", list(Protection))
@pytest.mark.parametrize("key", [FOUND, NoKey(), KeyProblem("weak", "F" * 40)])
def test_nothing_but_notices_and_ciphertext_leaves_an_encrypted_thread(
    protection: Protection, key: KeySearch
) -> None:
    """The rule of the thread holds for a clear mail in it, too."""
    answer = choose_answer(protection, must_encrypt=True, key=key)
    assert answer.encrypt_to is not None or answer.kind.is_fixed_notice


def test_nobodys_key_is_looked_for_without_need() -> None:
    """Neither for a clear thread nor for a mail that we could not open."""
    assert not needs_key(Protection.SIGNED, must_encrypt=False)
    assert not needs_key(Protection.UNDECRYPTABLE, must_encrypt=True)
    assert needs_key(Protection.NONE, must_encrypt=True)
