"""What do we answer to a mail that became a case?  The choice of text and key."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.messages import NOON, a_case, a_message

from secbridge.model.case import KeyBinding
from secbridge.model.message import (
    CertificateSource,
    Coverage,
    Protection,
    Signature,
    SignatureVerdict,
)
from secbridge.model.reply import ReplyKind
from secbridge.rules.replies import (
    ACKNOWLEDGEMENTS,
    BUILT_ANEW,
    KEY_PROBLEMS,
    NOTICES,
    STEP_NUMBERS,
    Answer,
    KeyChanged,
    KeyFound,
    KeyProblem,
    KeySearch,
    NoKey,
    Plan,
    choose_answer,
    endorsement,
    is_by_reporter,
    is_kind_of,
    kind_of,
    needs_key,
)

FOUND = KeyFound("F" * 40, CertificateSource.INSIDE)
CHANGED = KeyChanged("F" * 40, "E" * 40, CertificateSource.INSIDE)
KEYS: list[KeySearch] = [
    FOUND,
    NoKey(),
    KeyProblem("weak", "E" * 40),
    CHANGED,
    replace(CHANGED, bound=None),
]


def test_a_clear_thread_is_acknowledged_in_clear() -> None:
    """Encryption is offered and never demanded."""
    expected = Plan(Answer(ReplyKind.ACKNOWLEDGEMENT))
    assert expected == choose_answer(Protection.NONE, must_encrypt=False)


def test_an_encrypted_thread_is_acknowledged_to_the_key_that_was_found() -> None:
    """What came encrypted is answered encrypted; what its owner should mend is said there."""
    warned = replace(FOUND, warnings=("expires-soon",))
    for key in (FOUND, warned):
        plan = choose_answer(Protection.ENCRYPTED, must_encrypt=True, key=key)
        answer = Answer(ReplyKind.ACKNOWLEDGEMENT, "F" * 40, warnings=key.warnings)
        assert Plan(answer) == plan


def test_without_a_key_the_reporter_is_asked_for_one_and_the_acknowledgement_held() -> None:
    """By a fixed notice."""
    plan = choose_answer(Protection.ENCRYPTED_SIGNED, must_encrypt=True, key=NoKey())
    assert Plan(Answer(ReplyKind.NOTICE_SEND_KEY), "no-key") == plan


@pytest.mark.parametrize("code", KEY_PROBLEMS)
def test_a_key_that_cannot_be_used_is_explained_and_the_acknowledgement_held(code: str) -> None:
    """Each code has its own words, and its own reason to wait."""
    problem = KeyProblem(code, "F" * 40)
    plan = choose_answer(Protection.ENCRYPTED, must_encrypt=True, key=problem)
    notice = Answer(ReplyKind.NOTICE_KEY_UNUSABLE, code=code)
    assert Plan(notice, f"key-unusable-{code}") == plan


def test_a_problem_that_its_owner_cannot_mend_is_a_missing_key() -> None:
    """That our ring lost a key is nothing that a reporter understands: ask for it."""
    problem = KeyProblem("unknown-key", "F" * 40)
    plan = choose_answer(Protection.ENCRYPTED, must_encrypt=True, key=problem)
    assert Plan(Answer(ReplyKind.NOTICE_SEND_KEY), "no-key") == plan


def test_another_key_than_the_bound_one_is_answered_by_nothing() -> None:
    """Whoever sent it learns nothing; a notice goes out only where the bound key is unusable."""
    plan = choose_answer(Protection.ENCRYPTED, must_encrypt=True, key=CHANGED)
    assert Plan(None, "key-changed") == plan
    expired = replace(CHANGED, code="expired")
    plan = choose_answer(Protection.ENCRYPTED, must_encrypt=True, key=expired)
    assert Plan(Answer(ReplyKind.NOTICE_KEY_UNUSABLE, code="expired"), "key-changed") == plan


@pytest.mark.parametrize("key", KEYS)
def test_what_cannot_be_opened_is_answered_with_our_key(key: KeySearch) -> None:
    """Whatever else is known, the reporter has to encrypt again; that is no acknowledgement."""
    plan = choose_answer(Protection.UNDECRYPTABLE, must_encrypt=True, key=key)
    assert Plan(Answer(ReplyKind.NOTICE_USE_THIS_KEY)) == plan


@pytest.mark.parametrize("protection", list(Protection))
@pytest.mark.parametrize("key", KEYS)
def test_nothing_but_notices_and_ciphertext_leaves_an_encrypted_thread(
    protection: Protection, key: KeySearch
) -> None:
    """The rule of the thread holds for a clear mail in it, too, and for a proposed key."""
    plan = choose_answer(protection, must_encrypt=True, key=key)
    answer = plan.answer
    assert answer is None or answer.kind.is_fixed_notice or answer.encrypt_to == FOUND.fingerprint


def test_each_answer_has_a_step_and_a_number_of_its_own() -> None:
    """So that each leaves once in a case, and a bounce says which one it was.

    The numbers are in mails that are out: none of them may ever mean something else.
    """
    assert STEP_NUMBERS == {
        "ack": 1,
        "notice-send-key": 2,
        "notice-use-this-key": 3,
        "notice-key-unusable-expired": 4,
        "notice-key-unusable-revoked": 5,
        "notice-key-unusable-no-encryption-subkey": 6,
        "notice-key-unusable-weak": 7,
        "notice-key-unusable-sha1-bindings": 8,
        "notice-key-unusable-unsupported-version": 9,
        "notice-key-unusable-malformed": 10,
        "notice-key-unusable-too-large": 11,
        "notice-key-unusable-no-user-id": 12,
        **{f"ack-{turn}": 90 + turn for turn in range(2, 10)},
        "paused": 100,
        "notice-please-encrypt": 101,
        **{f"paused-{turn}": 100 + turn for turn in range(2, 10)},
    }
    assert len(set(STEP_NUMBERS.values())) == len(STEP_NUMBERS)
    assert all(NOTICES[step].step == step for step in NOTICES)
    assert Answer(ReplyKind.ACKNOWLEDGEMENT, "F" * 40).step == "ack"
    assert Answer(ReplyKind.ACKNOWLEDGEMENT, "F" * 40, turn=2).step == "ack-2"
    assert Answer(ReplyKind.INTAKE_PAUSED, "F" * 40).step == "paused"
    assert Answer(ReplyKind.INTAKE_PAUSED, turn=9).step == "paused-9"


def test_a_paused_intake_changes_the_text_and_no_rule() -> None:
    """Encrypted to the same key, in clear where that may be, held for the same reasons."""
    for protection in Protection:
        for must_encrypt in (True, False):
            for key in KEYS:
                plan = choose_answer(protection, must_encrypt=must_encrypt, key=key)
                paused = choose_answer(protection, must_encrypt=must_encrypt, key=key, paused=True)
                answer = plan.answer
                if answer is not None and answer.kind is ReplyKind.ACKNOWLEDGEMENT:
                    answer = replace(answer, kind=ReplyKind.INTAKE_PAUSED)
                assert Plan(answer, plan.held) == paused


def test_both_texts_that_acknowledge_count_as_the_answer_of_a_case() -> None:
    """One that is outdated is built anew, until its last turn."""
    assert {"ack", "ack-9", "paused", "paused-9"} < set(ACKNOWLEDGEMENTS)
    assert set(ACKNOWLEDGEMENTS) - BUILT_ANEW == {"ack-9", "paused-9"}


def test_a_step_has_one_kind_of_text_for_ever() -> None:
    """A letter's is the one that a person chose."""
    kinds = {step: kind_of(step) for step in STEP_NUMBERS}
    assert kinds["ack-3"] is ReplyKind.ACKNOWLEDGEMENT
    assert kinds["paused-3"] is ReplyKind.INTAKE_PAUSED
    assert kinds["notice-please-encrypt"] is ReplyKind.NOTICE_PLEASE_ENCRYPT
    assert kinds["notice-key-unusable-weak"] is ReplyKind.NOTICE_KEY_UNUSABLE
    assert kind_of("claim-1234") is ReplyKind.CLAIM
    assert kind_of("letter-1234") is None
    for step, kind in kinds.items():
        assert [one for one in ReplyKind if is_kind_of(step, one)] == [kind]
    letters = {one for one in ReplyKind if one.is_letter}
    assert {one for one in ReplyKind if is_kind_of("letter-1234", one)} == letters


@pytest.mark.parametrize(
    "step",
    ["", "ack-1", "ack-10", "letter-", "letter-x", "letter--1", "claim-1" + "0" * 13, "reply"],
)
def test_what_is_no_step_has_no_text(step: str) -> None:
    """The guard lets nothing out under such a name."""
    assert [] == [one for one in ReplyKind if is_kind_of(step, one)]
    with pytest.raises(KeyError):
        kind_of(step)


# ── Whose mail is it? ────────────────────────────────────────────────────────────────────────────


def signature(
    verdict: SignatureVerdict = SignatureVerdict.GOOD, covers: Coverage = Coverage.WHOLE
) -> Signature:
    """Return a signature by the bound key."""
    return Signature(verdict, "F" * 40, covers, signer_is_sender=False)


BOUND = KeyBinding("reporter@example.net", "F" * 40, CertificateSource.INSIDE, NOON)


def test_a_mail_from_the_reporters_address_is_the_reporters() -> None:
    """In whatever case it is written; what it brings is bound on first use only."""
    assert is_by_reporter(a_message(author="Reporter@Example.net"), a_case())
    assert not is_by_reporter(a_message(author="colleague@example.net"), a_case())
    assert not is_by_reporter(a_message(author=None), a_case())
    assert not is_by_reporter(a_message(), a_case(reporter=None))


def test_a_mail_signed_with_the_bound_key_is_the_reporters_from_any_address() -> None:
    """Only a good signature over the whole mail, by that key, says so."""
    case = a_case(key=BOUND)
    elsewhere = a_message(author="rita@home.example", signatures=(signature(),))
    assert is_by_reporter(elsewhere, case)
    assert not is_by_reporter(elsewhere, a_case())
    other = replace(case, key=replace(BOUND, fingerprint="E" * 40))
    assert not is_by_reporter(elsewhere, other)
    for one in (signature(covers=Coverage.PART), signature(SignatureVerdict.BAD)):
        assert not is_by_reporter(replace(elsewhere, signatures=(one,)), case)


def test_the_best_signature_of_the_bound_key_counts_as_its_word() -> None:
    """A second, broken one takes nothing from a good one; none is ABSENT."""
    bad = signature(SignatureVerdict.BAD)
    assert endorsement(a_message(), BOUND) is SignatureVerdict.ABSENT
    assert endorsement(a_message(signatures=(bad,)), BOUND) is SignatureVerdict.BAD
    assert endorsement(a_message(signatures=(bad, signature())), BOUND) is SignatureVerdict.GOOD


# ── Need ─────────────────────────────────────────────────────────────────────────────────────────


def test_nobodys_key_is_looked_for_without_need() -> None:
    """Neither for a clear thread nor for a mail that we could not open."""
    assert not needs_key(Protection.SIGNED, must_encrypt=False)
    assert not needs_key(Protection.UNDECRYPTABLE, must_encrypt=True)
    assert needs_key(Protection.NONE, must_encrypt=True)
