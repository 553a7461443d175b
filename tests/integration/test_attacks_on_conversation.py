"""What can somebody do from outside who can send mail, and knows more of a case than he should?

Each test is an attack that once worked.  The whole way with the real gpg, store, tracker, guard and
relay (``tests.support.office``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest
from tests.support import mails
from tests.support.keys import REPORTER, Keys, Ring, fresh_ring
from tests.support.messages import an_alias
from tests.support.office import Office, an_office, letter

from secbridge.errors import PermanentFault
from secbridge.model.alias import Member
from secbridge.model.case import Case
from secbridge.model.delivery import State
from secbridge.model.issue import IssueChange
from secbridge.pipeline.examining import recipients_of
from secbridge.pipeline.opening import InProcessOpener, OpeningLimits
from secbridge.rules.budgets import Budgets
from secbridge.rules.replies import LEEWAY
from secbridge.rules.triage import TriagePolicy
from secbridge.trackers.local import LocalTracker

ALIAS = "security@example.org"
ALICE = "alice@example.org"
COLLEAGUE = "colleague@example.net"
FIRST = "<first@example.net>"
"""The Message-ID of the reporter's first mail, which everybody on copy has seen."""

FAILS = "Authentication-Results: mx.example.org; dmarc=fail header.from=example.net\n"
POLICY = TriagePolicy(frozenset({ALIAS}), (), "mx.example.org")


@pytest.fixture(scope="module")
def alice(keys: Keys) -> Iterator[tuple[Ring, str]]:
    """Return a member's ring and the fingerprint of her key in it."""
    with fresh_ring() as ring:
        ring.take(keys.role_cert)
        yield ring, ring.make_key(f"Alice <{ALICE}>")


@pytest.fixture
async def office(
    keys: Keys, role_ring: Ring, tmp_path: Path, alice: tuple[Ring, str]
) -> AsyncIterator[Office]:
    """Return an office with Alice in its roster, behind a relay that checks DMARC."""
    ring, fingerprint = alice
    role_ring.take(ring.export(fingerprint))
    alias = an_alias(members=(Member(ALICE, "alice", fingerprint, "Alice Liddell"),))
    async with an_office(keys, role_ring, tmp_path, alias=alias, policy=POLICY) as rooms:
        yield rooms


def clear(text: str, name: str, *, author: str = REPORTER, extra: str = "") -> bytes:
    """Return a mail in clear under a Message-ID of its own."""
    head = mails.header("", author=author, subject="Re", extra=extra)
    return head.replace(b"<one@example.net>", f"<{name}@example.net>".encode()) + mails.text(text)


async def opened(office: Office, keys: Keys) -> tuple[str, Case]:
    """Let the reporter open an encrypted case with his key, later than all that was signed."""
    office.house.clock.time = datetime.now(UTC) + timedelta(hours=1) + LEEWAY
    raw = letter(keys, "Zinnobergimpel", name="first", attach=[keys.reporter_cert])
    first = await office.receive(raw)
    return first, await office.case(first)


async def close(office: Office, case: Case) -> None:
    """Close the issue of a case, as a person does."""
    assert case.issue is not None
    change, now = IssueChange(open=False), office.house.clock.now()
    await office.store.change_issue(int(case.issue.id), change, now, by="kim")


async def is_open(office: Office, case: Case) -> bool:
    """Return whether the issue of a case is open."""
    assert case.issue is not None
    row = await office.store.read_issue(int(case.issue.id))
    assert row is not None
    return row.open


# ── Somebody else's signature ────────────────────────────────────────────────────────────────────


async def test_a_signed_mail_of_before_the_case_is_nobodys_word_in_it(
    office: Office, keys: Keys, alice: tuple[Ring, str]
) -> None:
    """Sent again it would stop the team's deadlines, speak for the reporter, and open the issue."""
    inner = mails.text("We are on it, thank you.\n")
    ring, fingerprint = alice
    old = mails.signed(inner, ring.sign_detached(inner, fingerprint))
    of_reporter = mails.signed(inner, keys.reporter.sign_detached(inner, keys.reporter_fpr))
    first, case = await opened(office, keys)
    await close(office, case)
    to_reporter = f"Cc: {REPORTER}\nIn-Reply-To: {FIRST}\n"
    forged = mails.header("", author=ALICE, extra=to_reporter).replace(b"<one@", b"<f1@") + old
    await office.receive(forged, sender=ALICE, token=case.token)
    replayed = mails.header("", author=COLLEAGUE).replace(b"<one@", b"<f2@") + of_reporter
    await office.receive(replayed, sender=COLLEAGUE, token=case.token)
    as_alice, as_reporter = await office.comments(first)
    assert "it claims to be by Alice Liddell" in as_alice
    assert "its signature is older than this case" in as_reporter
    assert (await office.case(first)).contacted_by == ""
    assert not await is_open(office, case)


async def test_a_forged_reporter_is_told_as_one_where_the_relay_knows(
    office: Office, keys: Keys
) -> None:
    """He joins by what only insiders know, marked, and opens nothing; by less he only claims.

    That he wants no automatic replies does not help him.
    """
    first, case = await opened(office, keys)
    await close(office, case)
    quiet = f"{FAILS}X-Auto-Response-Suppress: All\n"
    await office.receive(clear("Please publish.", "f1", extra=quiet), token=case.token)
    (told,) = await office.comments(first)
    assert "which may be forged: your relay says that it fails DMARC" in told
    assert not await is_open(office, case)
    claims = await office.receive(
        clear("Please publish.", "f2", extra=f"{quiet}In-Reply-To: {FIRST}\n")
    )
    assert (await office.case(claims)).id != case.id
    signed = letter(
        keys, "It is me.", name="f3", sign=(keys.reporter, keys.reporter_fpr), extra=FAILS
    )
    assert "new participant" in await _told(office, first, signed, case), "an old signature"
    assert len(office.sent()) == 1


async def _told(office: Office, first: str, raw: bytes, case: Case) -> str:
    await office.receive(raw, token=case.token)
    return (await office.comments(first))[-1]


# ── Threads ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_case_under_a_copied_message_id_draws_no_mail_of_the_reporter(
    office: Office, keys: Keys
) -> None:
    """What the reporter writes next would go to the forger's case, and not to the own one."""
    _, case = await opened(office, keys)
    await office.pass_time(timedelta(hours=1))
    trap = await office.receive(clear("exploit", "first", author=COLLEAGUE), sender=COLLEAGUE)
    assert (await office.case(trap)).id != case.id
    more = letter(keys, "More.", name="two", extra=f"In-Reply-To: {FIRST}\n")
    assert (await office.case(await office.receive(more))).id == case.id


async def test_a_claim_on_a_case_whose_issue_is_gone_holds_up_no_answer(
    office: Office, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever names such a case would never hear that the new mail has arrived."""
    _, case = await opened(office, keys)

    async def gone(*_: object) -> NoReturn:
        raise PermanentFault("tracker-not-found", "There is no such issue.")

    monkeypatch.setattr(LocalTracker, "ensure_comment", gone)
    raw = clear("exploit", "two", author=COLLEAGUE).replace(b"Re\r", f"{case.id}\r".encode())
    later = await office.receive(raw, sender=COLLEAGUE)
    assert (await office.delivery(later)).state is State.DONE
    assert f"claims to continue {case.id}" in await office.report(later)
    assert len(office.sent(COLLEAGUE)) == 1


@pytest.mark.parametrize("machine", ["null-sender", "auto-submitted", "bulk"])
async def test_a_machine_of_the_reporters_opens_no_issue_again(
    keys: Keys, role_ring: Ring, tmp_path: Path, machine: str
) -> None:
    """It answers the letter that told of the end, and bears no mark of an automatic reply."""
    marks = {"auto-submitted": "Auto-Submitted: auto-generated\n", "bulk": "Precedence: bulk\n"}
    async with an_office(keys, role_ring, tmp_path) as office:
        first = await office.receive(clear("exploit", "first"))
        case = await office.case(first)
        await close(office, case)
        answer = clear("I am away.", "away", extra=marks.get(machine, ""))
        sender = "" if machine == "null-sender" else REPORTER
        await office.receive(answer, sender=sender, token=case.token)
        assert len(await office.comments(first)) == 1
        assert not await is_open(office, case)
        await office.receive(clear("I am back.", "back"), token=case.token)
        assert await is_open(office, case)


# ── Mails that would be lost ─────────────────────────────────────────────────────────────────────


async def test_a_person_who_sends_a_bounce_on_is_heard(office: Office, keys: Keys) -> None:
    """Of a bounce that says "delayed" the team hears nothing; of this mail every word and file."""
    first, case = await opened(office, keys)
    status = mails.entity(
        "message/delivery-status",
        f"Reporting-MTA: dns; mx.example.net\n\nFinal-Recipient: rfc822; {ALIAS}\n"
        "Action: delayed\nStatus: 4.4.1\n",
    )
    report = mails.multipart("report", [mails.text("Delayed.\n"), status], boundary="r")
    sent_on = mails.entity("message/rfc822", mails.header("", author="MAILER-DAEMON@mx") + report)
    body = mails.multipart("mixed", [mails.text("See below; new: Kranich.\n"), sent_on])
    head = mails.header("").replace(b"<one@", b"<two@")
    await office.receive(head + body, token=case.token)
    (told,) = await office.comments(first)
    assert "new: Kranich." in told


async def test_what_the_reporter_encrypts_is_told_whatever_header_it_bears(
    office: Office, keys: Keys
) -> None:
    """Ticket systems mark people's mails as automatic; nothing of it may be noted away."""
    first, case = await opened(office, keys)
    raw = letter(keys, "Kranich.", name="two", extra="Auto-Submitted: auto-replied\n")
    await office.receive(raw, token=case.token)
    (told,) = await office.comments(first)
    assert "Kranich." in told


async def test_a_header_made_to_be_slow_holds_up_nobody(office: Office) -> None:
    """Quotation marks that stay open were looked for from each of them: minutes in our loop."""
    slow = '"' + '\\"' * 16_000
    fields = "".join(f"{name}: {slow}\n" for name in ("Cc", "To") for _ in range(16))
    raw = clear("exploit", "slow", extra=f"{fields}Authentication-Results: {slow}\n")
    delivery = await office.receive(raw)
    assert (await office.delivery(delivery)).state is State.DONE
    message = await InProcessOpener(office.house.openpgp, OpeningLimits()).open(raw)
    assert ALIAS in recipients_of(message)


# ── Budgets ──────────────────────────────────────────────────────────────────────────────────────


async def test_tags_make_no_new_mailbox_to_fill(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """Forged reports of name+1@, name+2@ … would send all our answers to one person."""
    async with an_office(keys, role_ring, tmp_path, budgets=Budgets(per_sender=2)) as office:
        for number, author in enumerate(
            ("vic_tim+1@example.com", "VIC_TIM@example.com", "vic_tim+2@example.com")
        ):
            await office.receive(clear("exploit", f"n{number}", author=author), sender=author)
        assert len(office.relay.taken) == 2 * 2, "each with its copy"
        for other in ("vicxtim+1@example.com", "tim@example.com"):
            await office.receive(clear("exploit", other, author=other), sender=other)
        assert len(office.relay.taken) == 2 * 4


async def test_who_is_not_answered_for_others_floods_can_still_be_written_to(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """The key that came with the report is bound all the same: the team's letters need it."""
    async with an_office(keys, role_ring, tmp_path, budgets=Budgets(total=1)) as office:
        await office.receive(clear("exploit", "flood", author=COLLEAGUE), sender=COLLEAGUE)
        first = await office.receive(letter(keys, "It.", name="x", attach=[keys.reporter_cert]))
        assert (await office.delivery(first)).why == "over-budget-total"
        assert "nobody" in (await office.comments(first))[-1].lower()
        key = (await office.case(first)).key
        assert key is not None
        assert key.fingerprint == keys.reporter_fpr
