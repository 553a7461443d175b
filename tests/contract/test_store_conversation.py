"""What must every store keep of a conversation?  Letters, holds, threads, decisions, budgets."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support.stores import (
    ALIAS,
    LEASE,
    NOON,
    OTHER_ALIAS,
    REPORT,
    HeldStore,
    a_route,
    accepted,
    an_answer,
    opened_case,
    routed,
)

from secbridge.errors import IllegalMove
from secbridge.model.case import Case, CaseStatus, IssueRef, KeyBinding
from secbridge.model.delivery import (
    Answered,
    Commented,
    Filed,
    Held,
    Incoming,
    Judged,
    Opened,
    OutgoingState,
    Routed,
    State,
)
from secbridge.model.message import CertificateSource, Protection
from secbridge.model.reply import OutgoingMail, OwnMail, ReplyKind
from secbridge.ports import HeardState, KeyChange

REPORTER = "reporter@example.net"
PLACE = ("local", "security")
BEFORE = NOON - timedelta(days=1)

# ── Letters ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_letter_is_posted_once_and_leaves(store: HeldStore) -> None:
    """What a person had said waits for the relay like an answer; the same event posts it once."""
    case = await _filed(store)
    await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    assert await store.post(_letter(case))
    assert await store.wait_for_outgoing(60)
    assert not await store.post([replace(mail, content=b"other") for mail in _letter(case)])
    own, copy = await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    assert [(None, REPORTER), (None, ALIAS)] == [
        (row.delivery_id, row.mail.recipient) for row in (own, copy)
    ]
    assert b"Subject: Re" in own.mail.content
    assert not await store.outgoing_sent(own.id, "250 2.0.0")
    assert not await store.outgoing_refused(copy.id, "550 5.1.1", quarantine=False)
    expected = ["case.opened", "mail.posted", "mail.sent", "mail.refused"]
    assert expected == await _journaled(store, case)
    said = [entry.facts.get("status") for entry in await store.journal(case.id)]
    assert ["250/2.0.0", "550/5.1.1"] == said[-2:]


async def test_a_letter_is_found_by_its_step(store: HeldStore) -> None:
    """The reporter's copy is the letter, whichever was queued first; other steps are none of it."""
    case = await _filed(store)
    await store.post(_letter(case)[::-1])
    found = await store.posted(case.id, "letter-1000")
    assert found is not None
    assert REPORTER == found.mail.recipient
    assert not found.mail.automatic
    assert NOON == found.queued_at
    assert await store.posted(case.id, "letter-1001") is None
    assert await store.posted("SB-1999-0001", "letter-1000") is None
    assert [found.id - 1, found.id] == [row.id for row in await store.mails_of_case(case.id)]


async def test_a_letter_is_no_acknowledgement(store: HeldStore) -> None:
    """A report to which a member wrote first is still acknowledged."""
    case = await _filed(store)
    await store.post(_letter(case))
    assert frozenset() == await store.answers_of(case.id)
    assert not await store.is_answer_held(case.id, besides="")


async def test_a_letter_is_never_built_anew(store: HeldStore) -> None:
    """No delivery stands behind it that could be answered again: the guard's word is the last."""
    case = await _filed(store)
    await store.post(_letter(case))
    row, _ = await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    assert not await store.outgoing_outdated(row.id, "key-changed")
    await store.outgoing_deferred(row.id, NOON + LEASE, "450")
    (kept,) = [mail for mail in await store.mails_of_case(case.id) if mail.id == row.id]
    assert (OutgoingState.QUEUED, NOON + LEASE) == (kept.state, kept.wait_until)


async def test_a_reply_to_a_letter_finds_the_case(store: HeldStore) -> None:
    """A letter's Message-ID and its envelope sender lead back to it, with when it was sent."""
    case = await _filed(store)
    letter, copy = _letter(case)
    await store.post([copy, letter])
    found = await store.case_by_message_ids(ALIAS, [letter.message_id])
    assert case.id == (found and found.id)
    for row in await store.claim_outgoing(NOON, limit=9, lease=LEASE):
        await store.outgoing_sent(row.id, "250")
    own = OwnMail(case.id, "letter-1000", "0123abcd", ReplyKind.REPLY, REPORTER, NOON)
    assert own == await store.own_mail(letter.message_id)
    assert own == await store.mail_sent_as(case.id, "Security+SB@example.org")
    assert await store.mail_sent_as(case.id, "security+sb-2@example.org") is None
    assert await store.mail_sent_as("SB-1999-0001", letter.reverse_path) is None


# ── Holding mail back ────────────────────────────────────────────────────────────────────────────


async def test_nothing_of_a_case_on_hold_leaves(store: HeldStore) -> None:
    """What waits and what is queued later stays, other cases go on, and release lets all go."""
    case, other = await _filed(store), await _filed(store, "2")
    await store.post(_letter(case))
    assert 1 == await store.hold_mail(case.id, hold=True, by="alice")
    await store.post(_letter(case, 1001))
    await store.post(_letter(other))
    assert (await _known(store, case)).on_hold
    claimed = await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    assert {other.id} == {row.mail.case_id for row in claimed}
    for row in claimed:
        await store.outgoing_sent(row.id, "250")
    assert await store.next_outgoing_due() is None
    assert 2 == await store.hold_mail(case.id, hold=True, by="alice")  # once more
    later = store.clock.advance(days=9)
    assert () == tuple(await store.claim_outgoing(later, limit=9, lease=LEASE))
    assert 2 == await store.hold_mail(case.id, hold=False, by="bob")
    assert await store.wait_for_outgoing(60)
    assert later == await store.next_outgoing_due()
    assert 0 == await store.hold_mail(case.id, hold=False, by="bob")
    assert 4 == len(await store.claim_outgoing(later, limit=9, lease=LEASE))
    told = [entry for entry in await store.journal(case.id) if entry.event.startswith("case.mail")]
    assert [("case.mail-held", "alice", 1), ("case.mail-let-go", "bob", 2)] == [
        (entry.event, entry.facts["by"], entry.facts["mails"]) for entry in told
    ]


async def test_a_delivery_whose_answer_is_on_hold_is_not_done(store: HeldStore) -> None:
    """The acknowledgement is kept like a letter, and finishes its mail when it leaves at last."""
    case = await _filed(store)
    await store.hold_mail(case.id, hold=True, by="alice")
    (delivery,) = await store.find()
    await store.record(delivery.id, Answered((an_answer(case.id),)))
    assert () == tuple(await store.claim_outgoing(NOON, limit=9, lease=LEASE))
    assert State.ANSWERED is (await store.find())[0].state
    assert 1 == await store.hold_mail(case.id, hold=False, by="alice")
    (row,) = await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    assert await store.outgoing_sent(row.id, "250")


async def test_a_mail_under_way_when_the_hold_begins_may_leave(store: HeldStore) -> None:
    """It is not stopped at the relay; if it is put off, it waits like all others."""
    case = await _filed(store)
    await store.post(_letter(case))
    own, copy = await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    assert 0 == await store.hold_mail(case.id, hold=True, by="alice")
    await store.outgoing_sent(own.id, "250")
    await store.outgoing_deferred(copy.id, NOON + LEASE, "450")
    later = store.clock.advance(days=1)
    assert () == tuple(await store.claim_outgoing(later, limit=9, lease=LEASE))
    assert 1 == await store.hold_mail(case.id, hold=False, by="alice")
    (row,) = await store.claim_outgoing(later, limit=9, lease=LEASE)
    assert copy.id == row.id


async def test_a_release_while_a_mail_is_under_way_does_not_send_it_twice(
    store: HeldStore,
) -> None:
    """Its lease goes on as it was: only when that is over somebody else may try."""
    case = await _filed(store)
    await store.post(_letter(case))
    await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    await store.hold_mail(case.id, hold=True, by="alice")
    assert () == tuple(await store.claim_outgoing(NOON + 2 * LEASE, limit=9, lease=LEASE))
    await store.hold_mail(case.id, hold=False, by="alice")
    assert () == tuple(await store.claim_outgoing(NOON, limit=9, lease=LEASE))
    assert NOON + LEASE == await store.next_outgoing_due()
    assert 2 == len(await store.claim_outgoing(NOON + LEASE, limit=9, lease=LEASE))


async def test_a_mail_whose_sender_died_on_hold_goes_after_the_release(store: HeldStore) -> None:
    """A stop in the middle gives the lease back and not the mail; the release makes it due."""
    case = await _filed(store)
    await store.post(_letter(case)[:1])
    await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    await store.hold_mail(case.id, hold=True, by="alice")
    await store.release_leases()
    assert await store.next_outgoing_due() is None
    assert 1 == await store.hold_mail(case.id, hold=False, by="alice")
    assert 1 == len(await store.claim_outgoing(NOON, limit=9, lease=LEASE))


# ── Budgets, and what did not leave ──────────────────────────────────────────────────────────────


async def test_mails_by_machine_are_counted_without_their_copies(store: HeldStore) -> None:
    """By recipient, by case and in all, since a point in time; letters of people do not count."""
    first, second = await _filed(store), await _filed(store, "2")
    await _answer(store, first, an_answer(first.id), an_answer(first.id, ALIAS))
    await store.post(_letter(first))
    store.clock.advance(hours=1)
    await _answer(store, second, an_answer(second.id, "Other@Example.net"))
    later = store.clock.now()
    assert 2 == await store.automatic_since(BEFORE)
    assert 1 == await store.automatic_since(later)
    assert 1 == await store.automatic_since(BEFORE, recipient="REPORTER@example.net")
    assert 0 == await store.automatic_since(later, recipient=REPORTER)
    assert (1, 2) == await store.automatic_to("Reporter+tag@example.net", BEFORE)
    assert (0, 1) == await store.automatic_to(REPORTER, later)
    assert 1 == await store.automatic_since(BEFORE, case_id=second.id)
    assert 1 == await store.automatic_since(BEFORE, recipient=REPORTER, case_id=first.id)
    assert 0 == await store.automatic_since(BEFORE, recipient=REPORTER, case_id=second.id)


async def test_a_mail_that_is_built_anew_counts_once(store: HeldStore) -> None:
    """What the guard did not let out never left: the mail in its place is the one that counts."""
    case = await _filed(store)
    await _answer(store, case, an_answer(case.id))
    (row,) = await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    assert await store.outgoing_outdated(row.id, "key-changed")
    assert 0 == await store.automatic_since(BEFORE)
    assert () == tuple(await store.untold(limit=9))


async def test_what_will_not_leave_is_told_once(store: HeldStore) -> None:
    """Refused by the relay or kept by our guard: the issue hears of each, oldest first."""
    case = await _filed(store)
    await store.post([*_letter(case), *_letter(case, 1001)])
    refused, copy, kept, fine = await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    await store.outgoing_sent(fine.id, "250")
    await store.outgoing_refused(kept.id, "not-encrypted", quarantine=True)
    await store.outgoing_refused(copy.id, "550 5.1.1", quarantine=False)
    await store.outgoing_refused(refused.id, "550 5.1.1", quarantine=False)
    untold = [row.id for row in await store.untold(limit=9)]
    assert [refused.id, copy.id, kept.id] == untold
    assert [refused.id] == [row.id for row in await store.untold(limit=1)]
    for _ in range(2):
        await store.told(refused.id)
    assert [copy.id, kept.id] == [row.id for row in await store.untold(limit=9)]
    row = await store.get_outgoing(refused.id)
    assert NOON == (row and row.told_at)


async def test_a_case_without_an_issue_has_nobody_to_be_told(store: HeldStore) -> None:
    """Such mails are listed for the operator, and stand before nobody else's."""
    case = await _routed(store)
    await store.post(_letter(case))
    for row in await store.claim_outgoing(NOON, limit=9, lease=LEASE):
        await store.outgoing_refused(row.id, "550", quarantine=False)
    assert () == tuple(await store.untold(limit=9))
    assert 2 == len(await store.find_outgoing_by_state(OutgoingState.REFUSED))


# ── Mails that refer to others ───────────────────────────────────────────────────────────────────


async def test_a_case_is_found_by_what_came_in_with_it(store: HeldStore) -> None:
    """By the Message-ID of the report and of a follow-up, in any form, under the case's aliases."""
    case = await _filed(store, incoming=Incoming("<first@example.net>", by_reporter=True))
    await _joined(store, case, Incoming(" second@example.net "))
    for name in ("<first@example.net>", "second@example.net", "<second@example.net>"):
        found = await store.case_by_incoming_ids(ALIAS, ["<x@example.net>", name])
        assert case.id == (found and found.id)
        assert await store.case_by_incoming_ids(OTHER_ALIAS, [name]) is None
        assert await store.case_by_message_ids(ALIAS, [name]) is None
    assert await store.case_by_incoming_ids(ALIAS, []) is None
    assert ["<first@example.net>"] == list(await store.incoming_ids(case.id))


async def test_of_two_cases_with_one_mail_the_newer_counts(store: HeldStore) -> None:
    """One Message-ID may have come in twice; who refers to it means what is going on now."""
    mail = Incoming("<same@example.net>")
    await _filed(store, incoming=mail)
    store.clock.advance(hours=1)
    newer = await _filed(store, "2", incoming=mail)
    found = await store.case_by_incoming_ids(ALIAS, ["<same@example.net>"])
    assert newer.id == (found and found.id)


async def test_a_mail_of_the_reporter_stays_the_reporters(store: HeldStore) -> None:
    """Its Message-ID may come first from somebody else; no id and a monstrous one are passed by."""
    case = await _filed(store, incoming=Incoming("<m@example.net>"))
    assert [] == list(await store.incoming_ids(case.id))
    await _joined(store, case, Incoming("<m@example.net>", by_reporter=True))
    await _joined(store, case, Incoming("<m@example.net>"), name="again")
    assert ["<m@example.net>"] == list(await store.incoming_ids(case.id))
    for name in ("", "<>", f"<{'x' * 999}@example.net>"):
        await _joined(store, case, Incoming(name, by_reporter=True), name=name[:9] or "none")
    assert ["<m@example.net>"] == list(await store.incoming_ids(case.id))


async def test_an_answer_refers_to_the_newest_mails(store: HeldStore) -> None:
    """Ten at most, in the order in which they came."""
    case = await _filed(store)
    for number in range(12):
        store.clock.advance(minutes=1)
        mail = Incoming(f"<{number}@example.net>", by_reporter=True)
        await _joined(store, case, mail, name=f"f{number}")
    expected = [f"<{number}@example.net>" for number in range(2, 12)]
    assert expected == list(await store.incoming_ids(case.id))


# ── What the team decides ────────────────────────────────────────────────────────────────────────


async def test_a_decision_is_news_once(store: HeldStore) -> None:
    """Status, handler and first contact: doing it again says so, and leaves one journal entry."""
    case = await _filed(store)
    assert (CaseStatus.NEW, "", None, "") == _decided(case)
    for news in (True, False):
        assert news is await store.set_status(case.id, CaseStatus.ACCEPTED, by="alice")
        assert news is await store.take_case(case.id, "Alice Adams", by="alice")
        assert news is await store.record_contact(case.id, by="alice", at=NOON)
    assert not await store.record_contact(case.id, by="bob", at=NOON + LEASE)
    assert (CaseStatus.ACCEPTED, "Alice Adams", NOON, "alice") == _decided(
        await _known(store, case)
    )
    expected = ["case.opened", "case.status", "case.taken", "case.contacted"]
    assert expected == await _journaled(store, case)


async def test_decisions_are_about_cases_that_exist(store: HeldStore) -> None:
    """A wrong id is told, and nothing is journaled."""
    nobody = "SB-1999-0001"
    with pytest.raises(IllegalMove):
        await store.set_status(nobody, CaseStatus.SPAM, by="alice")
    with pytest.raises(IllegalMove):
        await store.hold_mail(nobody, hold=True, by="alice")
    with pytest.raises(IllegalMove):
        await store.attach_reporter(nobody, REPORTER, by="alice")
    assert [] == list(await store.journal(nobody))


async def test_another_reporter_does_not_inherit_a_key(store: HeldStore) -> None:
    """What was bound or proposed for the old address goes, and held answers are tried again."""
    case = await _filed(store)
    (delivery,) = await store.find()
    await store.record(delivery.id, Held("no-key", NOON + timedelta(hours=6)))
    binding = KeyBinding(REPORTER, "A" * 40, CertificateSource.INSIDE, NOON)
    await store.bind_key(case.id, binding)
    waiting = KeyChange(case.id, REPORTER, "B" * 40, CertificateSource.OUTSIDE, NOON)
    await store.propose_key(waiting)
    assert 1 == len(await store.claim(NOON, limit=9, lease=LEASE))  # the binding woke it
    await store.record(delivery.id, Held("no-key", NOON + timedelta(hours=6)))
    assert await store.attach_reporter(case.id, "New.One@Example.NET", by="alice")
    known = await _known(store, case)
    assert ("New.One@example.net", None) == (known.reporter, known.key)
    assert [] == list(await store.waiting_keys())
    assert 1 == len(await store.claim(NOON, limit=9, lease=LEASE))
    assert not await store.attach_reporter(case.id, "New.One@example.net", by="alice")
    told = [one for one in await store.journal(case.id) if one.event == "case.reporter-attached"]
    assert [{"by": "alice", "keys-unbound": 1}] == [dict(entry.facts) for entry in told]


async def test_the_same_address_in_other_letters_keeps_its_key(store: HeldStore) -> None:
    """A correction of its spelling is no other reporter."""
    case = await _filed(store)
    binding = KeyBinding(REPORTER, "A" * 40, CertificateSource.INSIDE, NOON)
    await store.bind_key(case.id, binding)
    assert await store.attach_reporter(case.id, "Reporter@example.net", by="alice")
    assert binding == (await _known(store, case)).key


async def test_a_case_keeps_the_language_that_it_was_opened_in(store: HeldStore) -> None:
    """Answers stay in the language of the first mail."""
    delivery = await routed(store)
    languages = [
        (
            await opened_case(
                store,
                delivery.id,
                a_route(),
                reporter=REPORTER,
                must_encrypt=False,
                language=spoken,
            )
        ).language
        for spoken in ("pt-br", "de")
    ]
    assert ["pt-br", "pt-br"] == languages


async def test_a_mail_is_known_before_it_is_filed(store: HeldStore) -> None:
    """A colleague may answer a report while its tracker is away."""
    delivery = await routed(store)
    mail = Incoming("<first@example.net>", by_reporter=True)
    case = await opened_case(
        store, delivery.id, a_route(), reporter=REPORTER, must_encrypt=False, incoming=mail
    )
    found = await store.case_by_incoming_ids(ALIAS, ["<first@example.net>"])
    assert case.id == (found and found.id)


async def test_an_issue_of_a_person_is_adopted_once(store: HeldStore) -> None:
    """However many commands come at the same time: one case, with address, marker and number."""
    issue = IssueRef(*PLACE, id="70", number="7", url="https://tracker.example/7")
    adopted = await asyncio.gather(
        *(store.adopt_case(a_route(), issue, by="alice") for _ in range(3))
    )
    (case,) = {one.id: one for one in adopted}.values()
    assert (True, issue, None) == (case.adopted, case.issue, case.reporter)
    assert ("SB-2026-0001", ALIAS) == (case.id, case.route.alias)
    assert case.id == await store.case_of_issue(*PLACE, "70")
    found = await store.case_by_token(ALIAS, case.token)
    assert case == found
    assert ["case.adopted"] == await _journaled(store, case)
    other = await store.adopt_case(a_route(), replace(issue, id="80", number="8"), by="alice")
    assert ("SB-2026-0002", ()) == (other.id, other.linked)


async def test_an_issue_that_we_opened_is_nobodys_to_adopt(store: HeldStore) -> None:
    """It has its case already."""
    case = await _filed(store)
    assert case.issue is not None
    found = await store.adopt_case(a_route(), case.issue, by="alice")
    assert (case.id, False) == (found.id, found.adopted)


# ── What is heard of issues ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("typed", ["#7", "7", " 7 "])
async def test_a_case_is_found_by_what_people_call_its_issue(store: HeldStore, typed: str) -> None:
    """With or without a hash, in its own project."""
    case = await _filed(store)
    assert case.id == await store.case_of_number(*PLACE, typed)
    assert await store.case_of_number("local", "board", typed) is None


async def test_a_jira_key_is_found_in_any_case_of_letters(store: HeldStore) -> None:
    """People type ``proj-12``; nothing, and half of a name, are no issue."""
    issue = IssueRef("jira", "PROJ", id="10012", number="PROJ-12")
    case = await store.adopt_case(a_route(tracker="jira", project="PROJ"), issue, by="alice")
    assert case.id == await store.case_of_number("jira", "PROJ", "proj-12")
    for typed in ("12", "#", "", "10012"):
        assert await store.case_of_number("jira", "PROJ", typed) is None


async def test_an_edited_command_is_known_as_such(store: HeldStore) -> None:
    """The digest of its first text stays, before and after it is done."""
    case = await _filed(store)
    heard = {"case_id": case.id, "command": "reply"}
    one, two = b"1" * 32, b"2" * 32
    changes = [
        (await store.hear(*PLACE, "comment:1", **heard, digest=digest)).changed
        for digest in (one, one, two, b"", one)
    ]
    assert [False, False, True, False, False] == changes
    await store.heard(*PLACE, "comment:1", case_id=case.id, by="alice", outcome="sent")
    done = await store.hear(*PLACE, "comment:1", **heard, digest=two)
    assert (True, True) == (done.done, done.changed)


async def test_what_an_issue_was_like_is_kept(store: HeldStore) -> None:
    """The last state stands; before the first there is none."""
    case = await _filed(store)
    assert await store.heard_state(case.id) is None
    for state in (
        HeardState(open=True, labels=("Security", "ä, b"), assignees=("alice",), turn=3),
        HeardState(open=False, labels=(), assignees=()),
    ):
        await store.keep_state(case.id, state)
        assert state == await store.heard_state(case.id)


# ── Helpers ──────────────────────────────────────────────────────────────────────────────────────


async def _routed(store: HeldStore, name: str = "1") -> Case:
    delivery = await routed(store, name)
    return await opened_case(store, delivery.id, a_route(), reporter=REPORTER, must_encrypt=False)


async def _filed(store: HeldStore, name: str = "1", *, incoming: Incoming | None = None) -> Case:
    """Return a case with issue 7 (8 for the second)."""
    number = str(6 + int(name))
    case = await _routed(store, name)
    (delivery,) = [found for found in await store.find() if found.case_id == case.id]
    issue = IssueRef(*PLACE, id=number, number=number)
    await store.record(delivery.id, Filed(case.id, issue, incoming))
    return await _known(store, case)


async def _joined(
    store: HeldStore, case: Case, incoming: Incoming, *, name: str = "follow-up"
) -> None:
    """Let another mail become a comment of a case."""
    delivery_id = await accepted(store, name)
    moves = (Opened(Protection.NONE), Judged(REPORT), Routed(a_route()))
    await store.record(delivery_id, *moves, Commented(case.id, "journal", incoming))


async def _answer(store: HeldStore, case: Case, *mails: OutgoingMail) -> None:
    (delivery,) = [found for found in await store.find() if found.case_id == case.id]
    await store.record(delivery.id, Answered(mails))


async def _known(store: HeldStore, case: Case) -> Case:
    found = await store.get_case(case.id)
    assert found is not None
    return found


async def _journaled(store: HeldStore, case: Case) -> list[str]:
    """Return what the journal tells of the case itself."""
    return [entry.event for entry in await store.journal(case.id) if entry.subject == case.id]


def _letter(case: Case, number: int = 1000) -> list[OutgoingMail]:
    """Return a letter to the reporter and the alias's copy of it."""
    mail = an_answer(case.id, REPORTER, step=f"letter-{number}")
    letter = replace(mail, kind=ReplyKind.REPLY, automatic=False)
    return [letter, replace(letter, recipient=ALIAS)]


def _decided(case: Case) -> tuple[object, ...]:
    return case.status, case.handler, case.contacted_at, case.contacted_by
