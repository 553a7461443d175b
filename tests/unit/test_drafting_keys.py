"""What is the team told of a reporter's key?  Each code in words, each way out with its command."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.messages import NOON

from secbridge.model.issue import CommentDraft
from secbridge.model.message import CertificateSource, SignatureVerdict
from secbridge.model.reply import ReplyKind
from secbridge.openpgp.strength import warnings as codes_of_warnings
from secbridge.rules import clinic
from secbridge.rules.drafting import keys, markdown, plain, words
from secbridge.rules.loops import REFUSALS
from secbridge.rules.replies import (
    KEY_PROBLEMS,
    NOTICES,
    Answer,
    KeyChanged,
    KeyFound,
    KeyProblem,
    NoKey,
)

CASE, OLD, NEW = "SB-2026-0001", "A1" * 20, "B2" * 20
CHANGED = KeyChanged(OLD, NEW, CertificateSource.INSIDE)
SEND_KEY = Answer(ReplyKind.NOTICE_SEND_KEY)


def shown(draft: CommentDraft) -> str:
    """Return a comment as plain text, its columns closed up."""
    assert draft.internal
    assert draft.case_id == CASE
    return " ".join(plain.comment_text(draft).split())


def test_every_code_has_words_for_its_owner_and_for_the_team() -> None:
    """What is wrong, and what to do; for warnings as well."""
    all_warnings = codes_of_warnings(weak=True, expires=NOON, now=NOON)
    assert set(KEY_PROBLEMS) == set(clinic.PROBLEMS) == set(clinic.MENDS)
    assert set(all_warnings) == set(clinic.WARNINGS) == set(clinic.WARNING_MENDS)
    assert "you" not in words.key_problem("no-user-id").split()


@pytest.mark.parametrize("code", KEY_PROBLEMS)
def test_a_key_that_cannot_be_used_is_named_with_its_mend(code: str) -> None:
    """The team reads what the reporter was told, and how to go on."""
    notice = Answer(ReplyKind.NOTICE_KEY_UNUSABLE, code=code)
    problem = KeyProblem(code, OLD)
    text = shown(keys.draft_held(CASE, f"key-unusable-{code}", problem, notice))
    for said in (f"({code})", OLD, clinic.MENDS[code], words.key_problem(code)):
        assert said in text
    assert "a fixed notice in clear: what is wrong with the key" in text
    assert f"secbridge key import FILE --case {CASE}" in text


def test_a_missing_key_is_told_without_one() -> None:
    """Why it waits, what was sent, and what ends the wait."""
    text = shown(keys.draft_held(CASE, "no-key", NoKey(), SEND_KEY))
    assert "no key of the reporter is known" in text
    assert "please send us your public key" in text
    assert "The reporter answers with the key attached" in text


def test_a_question_about_a_key_holds_both_and_what_to_type() -> None:
    """With the mark that the operator chose."""
    text = shown(keys.draft_key_change(CASE, CHANGED, None, held=True, mark="bot:"))
    for said in (OLD, NEW, f"bot: key accept {NEW}", f"secbridge key accept {NEW} --case {CASE}"):
        assert said in text
    assert "Sent meanwhile nothing" in text
    assert "Acknowledgement held until then" in text


def test_a_question_says_what_is_wrong_with_the_bound_key() -> None:
    """And what its owner was told of it."""
    notice = Answer(ReplyKind.NOTICE_KEY_UNUSABLE, code="expired")
    change = replace(CHANGED, code="expired", endorsement=SignatureVerdict.EXPIRED_KEY)
    text = shown(keys.draft_key_change(CASE, change, notice, held=False, mark="sb:"))
    assert "it has expired (expired)" in text
    assert "yes, but by a key that has expired" in text
    assert "went out before" in text


def test_a_question_about_another_cases_key_says_so() -> None:
    """Then the case has no key of its own to compare with."""
    text = shown(
        keys.draft_key_change(CASE, replace(CHANGED, bound=None), None, held=True, mark="sb:")
    )
    assert "none; this one came with another mail under that address" in text


def test_an_acknowledgement_that_leaves_late_says_to_which_key() -> None:
    """In a line; in a clear thread to none."""
    key = KeyFound(NEW, CertificateSource.WKD)
    text = shown(keys.draft_answered(CASE, key, late=True))
    assert "goes out now" in text
    assert NEW in text
    assert "key directory" in text
    assert "no mail of this thread was encrypted" in shown(
        keys.draft_answered(CASE, NoKey(), late=True)
    )


def test_a_key_that_should_be_mended_says_what_its_owner_is_told() -> None:
    """Though the acknowledgement goes out at once."""
    key = KeyFound(NEW, CertificateSource.INSIDE, warnings=("weak", "expires-soon"))
    text = shown(keys.draft_answered(CASE, key, late=False))
    for code in key.warnings:
        assert f"({code})" in text
        assert clinic.WARNING_MENDS[code] in text


def test_commands_and_fingerprints_stand_in_code_in_markdown() -> None:
    """There they are neither commands nor references of the tracker."""
    draft = keys.draft_key_change(CASE, CHANGED, None, held=True, mark="sb:")
    text = markdown.told_comment(draft, "m", limit=1 << 20)
    assert f"`sb: key accept {NEW}`" in text
    assert f"`{NEW}`" in text
    assert not text.startswith("sb:")


@pytest.mark.parametrize("source", CertificateSource)
def test_every_source_has_words(source: CertificateSource) -> None:
    """Where a key came from is part of the question whether it counts."""
    assert words.source(source)


@pytest.mark.parametrize("verdict", SignatureVerdict)
def test_only_a_signature_of_the_old_key_speaks_for_the_new_one(verdict: SignatureVerdict) -> None:
    """Everything else is a no in capitals."""
    said = words.endorsement(verdict)
    vouches = {SignatureVerdict.GOOD, SignatureVerdict.EXPIRED_KEY}
    assert said.startswith("yes") == (verdict in vouches)
    assert said.startswith("NO") == (verdict not in vouches)


@pytest.mark.parametrize("code", [*KEY_PROBLEMS, "no-such-case", "not-a-fingerprint",
                                  "not-proposed", "unknown-key"])  # fmt: skip
def test_every_refusal_to_accept_a_key_has_words(code: str) -> None:
    """As the end of "Nothing was done: …"."""
    said = words.key_refusal(code)
    assert said != f"the key cannot be used: {code}"
    assert not said.endswith(".")


def test_every_reason_to_answer_nobody_has_words() -> None:
    """Those of the table, and a code that is new."""
    assert [words.refusal(code) for code in REFUSALS] == list(REFUSALS.values())
    assert words.refusal("something-new") == "The reason is something-new."


@pytest.mark.parametrize("why", ["no-key", "key-changed", "key-unusable-expired"])
def test_an_operator_is_told_what_ends_the_wait(why: str) -> None:
    """By the command for it."""
    assert words.held(why)
    assert f"secbridge key {'accept' if why == 'key-changed' else 'import'}" in (
        words.unblocks(why, CASE)
    )


def test_every_notice_has_words_for_the_team() -> None:
    """What the reporter was told, without its text."""
    assert all("fixed notice" in words.notice(notice.kind) for notice in NOTICES.values())
    assert words.notice(ReplyKind.ACKNOWLEDGEMENT) == "the acknowledgement"
