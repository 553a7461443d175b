"""Does each command do what it says: the right mail to the right person, and the case changed?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.keys import REPORTER, Keys, Ring
from tests.support.messages import an_alias
from tests.support.talking import TEAM, Talk, a_talk

from secbridge.model.case import CaseStatus

OTHER = "SB-2026-0002"

LETTERS = [
    ("sb: reply Thank you, we can reproduce it.", CaseStatus.NEW, "we can reproduce it"),
    ("sb: accept\nWe begin on Monday.", CaseStatus.ACCEPTED, "We begin on Monday."),
    ("sb: need-info Which version?", CaseStatus.NEEDS_INFO, "Which version?"),
    ("sb: fixed 2.4.1", CaseStatus.FIXED, "2.4.1"),
    ("sb: disclosed https://example.org/a/1", CaseStatus.DISCLOSED, "https://example.org/a/1"),
    ("sb: normal-bug", CaseStatus.NORMAL_BUG, "bug"),
    ("sb: duplicate-of #2", CaseStatus.DUPLICATE, "reported to us before"),
    ("sb: reject out-of-scope Not ours.\nSorry.", CaseStatus.REJECTED, "Not ours.\nSorry."),
]
"""What is typed, where the case stands then, and what the reporter reads."""


@pytest.fixture
async def talk(keys: Keys, role_ring: Ring, tmp_path: Path) -> AsyncIterator[Talk]:
    """Return an office that began to listen before anything was said."""
    async with a_talk(keys, role_ring, tmp_path) as talk:
        yield talk


async def test_each_letter_leaves_encrypted_once_and_is_shown_in_the_issue(
    talk: Talk, keys: Keys
) -> None:
    """The reporter reads the text, the team reads what left, and the case is where it says."""
    case = await talk.report()
    await talk.report("two")
    for typed, status, text in LETTERS:
        before = len(talk.letters())
        said = await talk.say(typed)
        (letter,) = talk.letters()[before:]
        assert text in letter, typed
        assert status is (await talk.case(case)).status
        assert "This goes to the reporter now." in said
        assert keys.reporter_fpr in said
        assert letter.strip().splitlines()[0] in said
    stands = await talk.case(case)
    assert ("Alice Example", False) == (stands.contacted_by, (await talk.issue()).open)
    assert "SB-2026-0001 was found to be a duplicate of this case." in (await talk.comments(2))[-1]
    assert OTHER not in "".join(talk.letters()[2:])
    assert 2 + len(LETTERS) == len(talk.office.sent()) == len(talk.letters())


async def test_a_preview_shows_the_mail_and_sends_nothing(talk: Talk, keys: Keys) -> None:
    """What is left out, to whom it is encrypted, the subject: all is seen before it leaves."""
    case = await talk.report()
    mails = len(talk.office.relay.taken)
    said = await talk.say("sb: preview accept\nAsk @bob. <!-- secbridge --> We begin on Monday.")
    assert "This is what would leave. Nothing was sent." in said
    assert f"[{case.id}]" in said
    assert "We begin on Monday." in said
    assert "Left out" in said
    assert keys.reporter_fpr in said
    assert mails == len(talk.office.relay.taken)
    assert CaseStatus.NEW is (await talk.case(case)).status


async def test_a_letter_that_cannot_be_sent_changes_nothing_and_says_what_to_do(
    talk: Talk, keys: Keys
) -> None:
    """No key in an encrypted thread, no such case: the issue stays open, and nothing leaves."""
    case = await talk.report()
    await talk.office.store.forget_key(keys.reporter_fpr, by="alice")
    refused = {
        "sb: reject out-of-scope Not ours.": "no key of the reporter is known",
        "sb: duplicate-of SB-2026-0001": "that is this case itself",
        "sb: duplicate-of #77": "no case with this id or issue number is known",
    }
    mails = len(talk.office.relay.taken)
    for typed, why in refused.items():
        said = await talk.say(typed)
        assert why in said, typed
    assert "secbridge key import FILE" in (await talk.comments())[1]
    assert mails == len(talk.office.relay.taken)
    assert CaseStatus.NEW is (await talk.case(case)).status
    assert (await talk.issue()).open


async def test_mail_on_hold_waits_for_its_release(talk: Talk) -> None:
    """Whatever is written meanwhile is kept back, says so, and goes out when somebody lets it."""
    case = await talk.report()
    before = len(talk.letters())
    assert "kept back until sb: release" in await talk.say("sb: hold")
    assert "This waits, since all mail of the case is on hold" in await talk.say("sb: reply Hello.")
    assert before == len(talk.letters())
    assert (await talk.case(case)).contacted_at is None
    assert "on hold" in await talk.say("sb: status")
    assert "not kept back any more" in await talk.say("sb: release", by="bob")
    (letter,) = talk.letters()[before:]
    assert "Hello." in letter
    assert "Bob Example" == (await talk.case(case)).contacted_by


async def test_spam_is_closed_and_nobody_is_written_to(talk: Talk) -> None:
    """The sender learns nothing."""
    case = await talk.report()
    mails = len(talk.office.relay.taken)
    assert "marked as spam" in await talk.say("sb: spam")
    assert mails == len(talk.office.relay.taken)
    assert (CaseStatus.SPAM, False) == ((await talk.case(case)).status, (await talk.issue()).open)


async def test_who_takes_a_case_is_known_to_everybody(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """The issue is assigned, the others get a mail without details, the status shows who has it."""
    alias = an_alias(members=TEAM, assignees=())
    async with a_talk(keys, role_ring, tmp_path, alias=alias) as talk:
        case = await talk.report(clear=True)
        said = await talk.say("sb: take")
        assert "Alice Example" in said
        assert ("alice",) == (await talk.issue()).assignees
        assert [] == talk.office.sent("alice@example.org")
        (mail,) = talk.office.sent("bob@example.org")
        assert case.id.encode() in mail.content
        assert b"It breaks" not in mail.content
        await talk.listen()
        assert said == (await talk.comments())[-1]
        status = await talk.say("sb: status")
        for fact in ("Alice Example", "new", "the acknowledgement", "sent 20", "may be clear"):
            assert fact in status
        assert REPORTER not in status


async def test_another_address_of_the_reporter_needs_a_key_of_its_own(talk: Talk) -> None:
    """The key of the old one is left behind, and the thread stays an encrypted one."""
    case = await talk.report()
    assert "Mail of this case goes" in await talk.say("sb: reporter rita@elsewhere.example.com")
    now = await talk.case(case)
    assert ("rita@elsewhere.example.com", None, True) == (now.reporter, now.key, now.must_encrypt)
    assert "Nothing was sent" in await talk.say("sb: reply Can you confirm the fix?")
    assert [] == talk.office.sent("rita@elsewhere.example.com")
