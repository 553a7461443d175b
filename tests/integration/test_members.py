"""What becomes of mail of the team?  It is told with its author's name, where that is proven.

Whoever answers the reporter directly, with the alias on copy, has answered; a forged address of a
member is a new participant like any other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support import mails
from tests.support.keys import REPORTER, Keys, Ring, fresh_ring
from tests.support.messages import an_alias
from tests.support.office import Office, an_office, letter

from secbridge.model.alias import Member
from secbridge.model.case import Case
from secbridge.model.delivery import State
from secbridge.model.issue import IssueChange

CANARY = "Zinnobergimpel"
ALICE = "alice@example.org"
FIRST = "<first@example.net>"
TO_REPORTER = f"Cc: Rita <{REPORTER}>\nIn-Reply-To: {FIRST}\n"
"""Alice answers the reporter's first mail, with the alias in To."""


@dataclass(frozen=True)
class Hand:
    """The member's key ring, with the certificates that she writes to."""

    ring: Ring
    fingerprint: str

    @property
    def signs(self) -> tuple[Ring, str]:
        """Return who signs, as ``letter`` takes it."""
        return self.ring, self.fingerprint


@pytest.fixture(scope="module")
def alice(keys: Keys) -> Iterator[Hand]:
    """Return Alice's keys."""
    with fresh_ring() as ring:
        ring.take(keys.role_cert)
        ring.take(keys.reporter_cert)
        yield Hand(ring, ring.make_key(f"Alice <{ALICE}>"))


@pytest.fixture
async def office(keys: Keys, role_ring: Ring, tmp_path: Path, alice: Hand) -> AsyncIterator[Office]:
    """Return an office whose roster has Alice with her key, which is in the ring."""
    role_ring.take(alice.ring.export(alice.fingerprint))
    member = Member(ALICE, account="alice", fingerprint=alice.fingerprint, name="Alice Liddell")
    async with an_office(keys, role_ring, tmp_path, alias=an_alias(members=(member,))) as rooms:
        yield rooms


async def opened(office: Office, keys: Keys) -> tuple[str, Case]:
    """Let the reporter open an encrypted case with his key; return its delivery and the case."""
    raw = letter(keys, CANARY, name="first", attach=[keys.reporter_cert])
    first = await office.receive(raw)
    await office.pass_time(timedelta(minutes=1))
    return first, await office.case(first)


async def reasons(office: Office, delivery_id: str) -> tuple[str, ...]:
    """Return the rules that spoke about a mail."""
    verdict = (await office.delivery(delivery_id)).verdict
    assert verdict is not None
    return verdict.reasons


async def test_an_answer_of_a_member_is_told_by_name_and_counts_as_contact(
    office: Office, keys: Keys, alice: Hand
) -> None:
    """So nobody answers twice; it reopens nothing, brings no key, and is not answered."""
    first, case = await opened(office, keys)
    assert case.issue is not None
    now = office.house.clock.now()
    await office.store.change_issue(int(case.issue.id), IssueChange(open=False), now, by="kim")
    cert = alice.ring.export(alice.fingerprint)
    answer = letter(
        keys, "We are on it.", author=ALICE, name="a1", sign=alice.signs, extra=TO_REPORTER,
        attach=[cert],
    )  # fmt: skip
    told_by = await office.receive(answer, sender=ALICE)
    assert await reasons(office, told_by) == ("thread.came-in", "thread.member", "encrypted.to-us")
    (told,) = await office.comments(first)
    assert told.startswith("Answered by  Alice Liddell, directly by mail\n")
    assert "| We are on it." in told
    after = await office.case(first)
    assert (after.contacted_by, after.contacted_at) == ("Alice Liddell", now)
    assert (after.reporter, after.key) == (REPORTER, case.key)
    assert office.sent(ALICE) == []
    assert (await office.delivery(told_by)).state is State.DONE
    row = await office.store.read_issue(int(case.issue.id))
    assert row is not None
    assert not row.open
    assert await office.store.key_changes(case.id) == []


async def test_a_note_of_a_member_to_the_alias_is_no_contact(
    office: Office, keys: Keys, alice: Hand
) -> None:
    """The reporter has heard nothing of it; in clear it is marked as anybody's would be."""
    first, case = await opened(office, keys)
    inner = mails.text("For the record.")
    head = mails.header("", author=ALICE, extra=f"References: {FIRST}\n")
    head = head.replace(b"<one@", b"<a1@")
    signature = alice.ring.sign_detached(inner, alice.fingerprint)
    await office.receive(head + mails.signed(inner, signature), sender=ALICE)
    (told,) = await office.comments(first)
    assert told.startswith("Written by  Alice Liddell, a member of the team\n")
    assert "ATTENTION: this mail came in clear" in told
    assert (await office.case(first)).contacted_by == ""
    assert (await office.case(first)).id == case.id


async def test_a_forged_member_is_a_new_participant_who_claims_to_be_one(
    office: Office, keys: Keys, alice: Hand
) -> None:
    """Without a signature, and with one that is only on a forwarded mail: neither is proof."""
    first, case = await opened(office, keys)
    bare = letter(keys, "Trust me.", author=ALICE, name="f1", extra=TO_REPORTER)
    inner = mails.text("An old mail of Alice's.")
    old = mails.signed(inner, alice.ring.sign_detached(inner, alice.fingerprint))
    forwarded = mails.entity("message/rfc822", mails.header("", author=ALICE) + old)
    mixed = mails.multipart("mixed", [mails.text("Trust me."), forwarded], boundary="m")
    head = mails.header("", author=ALICE, extra=TO_REPORTER).replace(b"<one@", b"<f2@")
    for raw in (bare, head + mixed):
        later = await office.receive(raw, sender=ALICE, token=case.token)
        assert {"thread.participant-new", "thread.member-unproven"} <= set(
            await reasons(office, later)
        )
        told = (await office.comments(first))[-1]
        assert "is not signed with Alice Liddell's key" in told
    assert (await office.case(first)).contacted_by == ""
    without = letter(keys, "Trust me.", author=ALICE, name="f3", extra=TO_REPORTER)
    claimed = await office.receive(without, sender=ALICE)
    assert (await office.case(claimed)).id != case.id


async def test_a_mail_of_a_member_that_we_cannot_open_is_told_as_a_claim(
    office: Office, keys: Keys, alice: Hand
) -> None:
    """Encrypted to the reporter alone, it joins by what we issued, and nobody has to resend it."""
    first, case = await opened(office, keys)
    answer = letter(
        keys, "For you alone.", author=ALICE, name="a1", sign=alice.signs,
        to=keys.reporter_fpr, extra=TO_REPORTER,
    )  # fmt: skip
    later = await office.receive(answer, sender=ALICE, token=case.token)
    (told,) = await office.comments(first)
    assert "it claims to be by Alice Liddell, and we cannot open it" in told
    assert (await office.delivery(later)).state is State.DONE
    assert office.sent(ALICE) == []
    assert (await office.case(first)).contacted_by == ""
