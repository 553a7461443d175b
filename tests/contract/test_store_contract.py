"""What must every store keep?  The promises of the five ports, asked through the ports alone.

The suite runs against each store in ``STORES`` (``tests.support.stores``).
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta

import pytest
from tests.support.stores import (
    ALIAS,
    LEASE,
    NOON,
    OTHER_ALIAS,
    REPORT,
    SPAM,
    HeldStore,
    a_mail,
    a_route,
    accepted,
    an_answer,
    an_envelope,
    opened_case,
    routed,
    targets,
)

from secbridge.errors import IllegalMove, PermanentFault, Refusal
from secbridge.model.case import Case, IssueRef, KeyBinding, MailClass
from secbridge.model.delivery import (
    Answered,
    Attempted,
    Commented,
    Deferred,
    Delivery,
    Filed,
    Finished,
    Held,
    Judged,
    Opened,
    OutgoingState,
    Quarantined,
    Released,
    Retried,
    Routed,
    SetAside,
    State,
    Withheld,
)
from secbridge.model.envelope import Target
from secbridge.model.issue import IssueChange
from secbridge.model.message import CertificateSource, Protection
from secbridge.model.reply import OutgoingMail, OwnMail
from secbridge.ports import (
    BoundKey,
    Cases,
    Deliveries,
    KeyChange,
    LocalAttachment,
    LocalIssue,
    LocalIssues,
    Outbox,
    Spool,
)


def test_one_store_is_five_ports(store: HeldStore) -> None:
    """The store can stand wherever one of its ports is asked for."""
    spool: Spool = store
    deliveries: Deliveries = store
    cases: Cases = store
    outbox: Outbox = store
    issues: LocalIssues = store
    assert [store] * 5 == [spool, deliveries, cases, outbox, issues]


# ── Spool ────────────────────────────────────────────────────────────────────────────────────────


async def test_an_accepted_mail_is_there_as_it_came(store: HeldStore) -> None:
    """After accept the delivery is received, with its envelope, and its bytes are the very same."""
    content = a_mail(body=bytes(range(256)) * 20)
    target = Target("security+sb-x@example.org", ALIAS, "a" * 26, 7)
    (delivery_id,) = await store.accept(an_envelope("x"), content, [target])
    delivery = await store.get(delivery_id)
    assert delivery is not None
    assert content == await store.content(delivery_id)
    assert (
        Delivery(
            id=delivery_id,
            mail_id=delivery.mail_id,
            alias=ALIAS,
            recipient="security+sb-x@example.org",
            token="a" * 26,
            outgoing=7,
            reverse_path="reporter@example.net",
            size=len(content),
            received_at=NOON,
            state=State.RECEIVED,
        )
        == delivery
    )


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20])
async def test_a_mail_of_any_size_comes_back_whole(store: HeldStore, size: int) -> None:
    """Nothing is lost where pieces meet, and an empty mail is a mail."""
    content = bytes(i % 251 for i in range(1000)) * (size // 1000 + 1)
    (delivery_id,) = await store.accept(an_envelope(), content[:size], targets())
    assert content[:size] == await store.content(delivery_id)


async def test_one_mail_to_two_aliases_is_two_deliveries_of_one_mail(store: HeldStore) -> None:
    """Each alias has its delivery, in order, and the content is there once."""
    ids = await store.accept(an_envelope(), a_mail(), targets(ALIAS, OTHER_ALIAS))
    first, second = [await store.get(delivery_id) for delivery_id in ids]
    assert first is not None
    assert second is not None
    assert [first.alias, second.alias] == [ALIAS, OTHER_ALIAS]
    assert first.mail_id == second.mail_id
    assert await store.content(ids[0]) == await store.content(ids[1])


async def test_a_second_hand_over_is_the_first_delivery(store: HeldStore) -> None:
    """After a lost 250 the same mail comes with other trace fields, and is known."""
    first = await store.accept(an_envelope(), a_mail(), targets())
    again = await store.accept(an_envelope(), a_mail(trace=b"Received: again\r\n"), targets())
    assert first == again
    assert len(await store.find()) == 1
    assert a_mail() == await store.content(first[0])


async def test_a_second_hand_over_knows_an_alias_with_another_tag(store: HeldStore) -> None:
    """The alias without its tag counts: the same mail to a case's address is no second delivery."""
    first = await store.accept(an_envelope(), a_mail(), targets())
    tagged = Target("security+sb-x@example.org", ALIAS, "a" * 26)
    assert first == await store.accept(an_envelope(), a_mail(), [tagged])


async def test_the_same_alias_twice_in_one_transaction_is_one_delivery(store: HeldStore) -> None:
    """Two recipients that stand for one alias share a delivery, and each is answered with it."""
    ids = await store.accept(an_envelope(), a_mail(), targets(ALIAS, ALIAS))
    assert ids[0] == ids[1]
    assert len(await store.find()) == 1


async def test_another_body_under_one_message_id_is_another_mail(store: HeldStore) -> None:
    """A Message-ID alone proves nothing."""
    first = await store.accept(an_envelope(), a_mail(body=b"one"), targets())
    second = await store.accept(an_envelope(), a_mail(body=b"two"), targets())
    assert first != second


async def test_the_second_alias_may_come_later(store: HeldStore) -> None:
    """A mail that was known for one alias is new for another, and its content stays one."""
    (first,) = await store.accept(an_envelope(), a_mail(), targets(ALIAS))
    (second,) = await store.accept(an_envelope(), a_mail(), targets(OTHER_ALIAS))
    deliveries = [await store.get(first), await store.get(second)]
    assert first != second
    assert len({delivery.mail_id for delivery in deliveries if delivery}) == 1


async def test_delivery_ids_are_short_and_sort_by_age(store: HeldStore) -> None:
    """An id can be told on the telephone, and a later one sorts later, in one millisecond too."""
    ids = [await accepted(store, str(number)) for number in range(20)]
    assert sorted(ids) == ids
    assert all(re.fullmatch(r"d-[0-9a-hj-km-np-tv-z]{9}-[0-9a-hj-km-np-tv-z]{5}", i) for i in ids)


async def test_a_token_is_known_under_its_alias_alone(store: HeldStore) -> None:
    """The address of a case is a recipient of its alias, and of no other."""
    case = await _case(store)
    assert await store.knows_token(ALIAS, case.token)
    assert not await store.knows_token(OTHER_ALIAS, case.token)
    assert not await store.knows_token(ALIAS, "a" * 26)


# ── Deliveries ───────────────────────────────────────────────────────────────────────────────────


async def test_what_is_claimed_is_not_claimed_again_until_its_lease_is_over(
    store: HeldStore,
) -> None:
    """Two workers never hold one delivery, and a dead worker's delivery comes back."""
    delivery_id = await accepted(store)
    assert [delivery_id] == await _claimed(store)
    assert await _claimed(store) == []
    store.clock.advance(minutes=5)
    assert [delivery_id] == await _claimed(store)


async def test_claims_come_oldest_first_and_no_more_than_asked(store: HeldStore) -> None:
    """A backlog is worked off in the order in which it came."""
    ids = []
    for number in range(5):
        ids.append(await accepted(store, str(number)))
        store.clock.advance(seconds=1)
    assert ids[:2] == await _claimed(store, limit=2)
    assert ids[2:] == await _claimed(store)


async def test_a_claim_counts_as_an_attempt(store: HeldStore) -> None:
    """A mail that kills us before we can record anything is counted all the same."""
    await accepted(store)
    for death in (1, 2, 3):
        (delivery,) = await store.claim(store.clock.now(), limit=9, lease=LEASE)
        assert death == delivery.attempts
        store.clock.advance(minutes=5)


async def test_leases_given_up_are_free_at_once(store: HeldStore) -> None:
    """After an orderly stop nothing waits, and what was not begun was not attempted."""
    delivery_id = await accepted(store)
    await _claimed(store)
    await store.release_leases()
    (delivery,) = await store.claim(store.clock.now(), limit=9, lease=LEASE)
    assert (delivery_id, 1) == (delivery.id, delivery.attempts)


async def test_an_attempt_that_was_begun_counts_after_an_orderly_stop(store: HeldStore) -> None:
    """An effect under way when we stopped may have happened, and stays counted."""
    delivery = await routed(store)
    await _claimed(store)
    await store.record(delivery.id, Attempted("file"))
    await store.release_leases()
    (again,) = await store.claim(store.clock.now(), limit=9, lease=LEASE)
    assert (again.attempts, again.attempted_at) == (2, NOON)


async def test_a_deferred_delivery_comes_back_when_its_wait_is_over(store: HeldStore) -> None:
    """It comes in the state that it left, and the count of its deferrals stays."""
    delivery = await routed(store)
    until = NOON + timedelta(minutes=10)
    await _claimed(store)
    waiting = await store.record(delivery.id, Deferred(until, "tracker-away"))
    assert (State.DEFERRED, State.ROUTED, "tracker-away", until, 1) == (
        waiting.state,
        waiting.resume,
        waiting.why,
        waiting.wait_until,
        waiting.deferrals,
    )
    assert until == await store.next_due()
    assert await _claimed(store) == []
    store.clock.advance(minutes=10)
    (back,) = await store.claim(store.clock.now(), limit=9, lease=LEASE)
    assert (
        back.state,
        back.resume,
        back.why,
        back.wait_until,
        back.deferrals,
    ) == (State.ROUTED, None, None, None, 1)


async def test_nothing_ended_or_in_human_hands_is_claimed(store: HeldStore) -> None:
    """Done, quarantined and set aside deliveries wait for a person, if for anybody."""
    done = await routed(store, "done")
    case = await _open(store, done.id)
    await store.record(done.id, _filed(case), Withheld("bounce"), Finished())
    aside = await routed(store, "aside", SPAM)
    await store.record(aside.id, SetAside("spam.mark"))
    quarantined = await routed(store, "quarantined")
    await store.record(quarantined.id, Quarantined("died-3-times"))
    store.clock.advance(days=365)
    assert await _claimed(store) == []
    assert None is await store.next_due()


@pytest.mark.parametrize("by", ["operator"])
async def test_an_operator_retries_what_waits(store: HeldStore, by: str) -> None:
    """A retry makes a deferred or quarantined delivery due now, with its deaths forgotten."""
    deferred, quarantined = await routed(store, "1"), await routed(store, "2")
    await store.record(deferred.id, Deferred(NOON + timedelta(days=1), "busy"))
    await store.record(quarantined.id, Quarantined("died-3-times"))
    for waiting in (deferred, quarantined):
        again = await store.record(waiting.id, Retried(by))
        assert (again.state, again.attempts, again.why) == (State.ROUTED, 0, None)
    assert [deferred.id, quarantined.id] == await _claimed(store)


async def test_a_release_makes_spam_an_ordinary_mail(store: HeldStore) -> None:
    """What an operator releases is filed as ``other``, and the verdict says why."""
    delivery = await routed(store, verdict=SPAM)
    await store.record(delivery.id, SetAside("spam.mark"))
    released = await store.record(delivery.id, Released("alice"))
    expected = replace(
        SPAM, mail_class=MailClass.OTHER, reasons=("spam.mark", "released-by-operator")
    )
    assert (State.ROUTED, expected, None) == (released.state, released.verdict, released.why)
    assert [delivery.id] == await _claimed(store)


async def test_moves_keep_their_facts(store: HeldStore) -> None:
    """What each room found out is there after a restart."""
    delivery_id = await accepted(store)
    moves = (Opened(Protection.ENCRYPTED_SIGNED), Judged(REPORT), Routed(a_route()))
    recorded = await store.record(delivery_id, *moves)
    read = await store.get(delivery_id)
    assert recorded == read
    assert (State.ROUTED, Protection.ENCRYPTED_SIGNED, REPORT, a_route()) == (
        recorded.state,
        recorded.protection,
        recorded.verdict,
        recorded.route,
    )


async def test_an_illegal_move_changes_nothing(store: HeldStore) -> None:
    """Of several moves in one record either all happen or none."""
    delivery_id = await accepted(store)
    with pytest.raises(IllegalMove):
        await store.record(delivery_id, Opened(Protection.NONE), Finished())
    delivery = await store.get(delivery_id)
    assert delivery is not None
    assert (delivery.state, delivery.protection) == (State.RECEIVED, None)
    assert [entry.event for entry in await store.journal(delivery_id)] == ["delivery.accepted"]


async def test_a_delivery_that_does_not_exist_cannot_move(store: HeldStore) -> None:
    """A mistyped id is told so."""
    with pytest.raises(IllegalMove, match="no such delivery"):
        await store.record("d-nobody", Finished())
    with pytest.raises(Refusal, match="no-such-delivery"):
        await store.content("d-nobody")
    assert None is await store.get("d-nobody")


async def test_a_delivery_cannot_join_a_case_that_does_not_exist(store: HeldStore) -> None:
    """A move that names a missing case is illegal, and nothing of it is kept."""
    delivery = await routed(store)
    for move in (Filed("SB-1999-0001", _ref("1")), Commented("SB-1999-0001", "1")):
        with pytest.raises(IllegalMove):
            await store.record(delivery.id, move)
    assert delivery == await store.get(delivery.id)


async def test_attempts_begin_once_and_end_with_an_outcome(store: HeldStore) -> None:
    """The time of the latest attempt without an outcome is kept until there is one.

    A request of the second attempt may still take effect long after one of the first cannot.
    """
    delivery = await routed(store)
    first = await store.record(delivery.id, Attempted("file"))
    assert (first.attempts, first.attempted_at) == (1, NOON)
    store.clock.advance(minutes=1)
    second = await store.record(delivery.id, Attempted("file"))
    assert (second.attempts, second.attempted_at) == (1, NOON + timedelta(minutes=1))
    case = await _open(store, delivery.id)
    filed = await store.record(delivery.id, _filed(case))
    assert (filed.attempts, filed.attempted_at) == (0, None)


async def test_an_unknown_outcome_outlives_a_wait(store: HeldStore) -> None:
    """Deferred says whether an effect may have happened, and a retry does not forget it."""
    delivery = await routed(store)
    await store.record(delivery.id, Attempted("file"))
    until = NOON + timedelta(minutes=1)
    await store.record(delivery.id, Deferred(until, "no-answer", attempted_at=NOON))
    store.clock.advance(minutes=1)
    (unknown,) = await store.claim(store.clock.now(), limit=9, lease=LEASE)
    assert (unknown.attempts, unknown.attempted_at) == (1, NOON)
    await store.record(delivery.id, Deferred(until, "refused-nothing-done"))
    (known,) = await store.claim(store.clock.now(), limit=9, lease=LEASE)
    assert None is known.attempted_at


async def test_deferrals_count_until_something_succeeds(store: HeldStore) -> None:
    """The backoff grows with deferrals in a row, and starts anew after a success."""
    delivery = await routed(store)
    for number in (1, 2, 3):
        waiting = await store.record(delivery.id, Deferred(NOON, "busy"))
        assert number == waiting.deferrals
        await store.record(delivery.id, Retried())
    case = await _open(store, delivery.id)
    assert (await store.record(delivery.id, _filed(case))).deferrals == 0


async def test_deliveries_are_found_by_state_newest_first_and_counted(store: HeldStore) -> None:
    """An operator sees how many are where, and lists any state."""
    ids = [await accepted(store, str(number)) for number in range(3)]
    await store.record(ids[1], Quarantined("x"))
    assert [ids[2], ids[1], ids[0]] == [delivery.id for delivery in await store.find()]
    assert [ids[2]] == [delivery.id for delivery in await store.find(limit=1)]
    received = await store.find(state=State.RECEIVED)
    assert [ids[2], ids[0]] == [delivery.id for delivery in received]
    counts = await store.counts()
    assert set(State) == set(counts)
    assert tuple(counts[state] for state in (State.RECEIVED, State.QUARANTINED, State.DONE)) == (
        2,
        1,
        0,
    )


async def test_a_worker_knows_when_to_come_again(store: HeldStore) -> None:
    """The next due time is that of the oldest mail, of the end of a lease, or of a wait."""
    assert None is await store.next_due()
    await accepted(store)
    assert await store.next_due() == NOON
    await _claimed(store)
    assert await store.next_due() == NOON + LEASE


async def test_a_commit_of_ours_wakes_the_worker(store: HeldStore) -> None:
    """What is accepted, or moved, after the worker looked, wakes it without a poll."""
    assert await _claimed(store) == []
    assert not await store.wait_for_work(0)
    delivery_id = await accepted(store)
    assert await store.wait_for_work(60)
    assert not await store.wait_for_work(0)
    await store.record(delivery_id, Opened(Protection.NONE))
    assert await store.wait_for_work(60)


async def test_raw_bytes_go_when_nobody_needs_them(store: HeldStore) -> None:
    """A mail is purged once all its deliveries were done before the time, and only then."""
    ids = await store.accept(an_envelope(), a_mail(), targets(ALIAS, OTHER_ALIAS))
    kept = await accepted(store, "kept")
    for number, delivery_id in enumerate(ids):
        store.clock.advance(days=1)
        assert await store.purge(store.clock.now()) == 0, f"{number} of 2 done"
        await _finish(store, delivery_id)
    assert await store.purge(store.clock.now()) == 0
    assert await store.purge(store.clock.advance(seconds=1)) == 1
    assert await store.purge(store.clock.now()) == 0
    for delivery_id in ids:
        with pytest.raises(Refusal, match="mail-purged"):
            await store.content(delivery_id)
    assert a_mail("kept") == await store.content(kept)


async def test_the_bytes_of_our_own_mails_go_as_well(store: HeldStore) -> None:
    """One that waits keeps its bytes however old it is; of the others the hashes are enough."""
    delivery = await routed(store)
    case = await opened_case(store, delivery.id, a_route(), reporter=None, must_encrypt=True)
    await store.post([an_answer(case.id, step=f"letter-{number}") for number in (2001, 2002)])
    first, second = await store.mails_of_case(case.id)
    await store.outgoing_sent(first.id, "250 2.0.0")
    await store.purge(store.clock.advance(days=1))
    kept = [row.mail.content for row in await store.mails_of_case(case.id)]
    assert [b"", second.mail.content] == kept
    own = await store.own_mail(first.mail.message_id)
    assert own is not None
    assert first.mail.body_hash == own.body_hash


async def test_a_late_duplicate_of_a_purged_mail_is_still_one(store: HeldStore) -> None:
    """The key outlives the content; a new alias for the old mail brings the content back."""
    delivery_id = await accepted(store)
    await _finish(store, delivery_id)
    await store.purge(store.clock.advance(seconds=1))
    assert [delivery_id] == await store.accept(an_envelope(), a_mail(), targets(ALIAS))
    (new,) = await store.accept(an_envelope(), a_mail(), targets(OTHER_ALIAS))
    assert a_mail() == await store.content(new)


# ── Held answers ─────────────────────────────────────────────────────────────────────────────────


async def test_a_held_answer_comes_back_when_its_wait_is_over(store: HeldStore) -> None:
    """It comes in the state that it left; its reason and its time can be read meanwhile."""
    case = await _case(store)
    delivery_id, until = await _delivery_of(store, case), NOON + timedelta(hours=6)
    await _claimed(store)
    held = await store.record(delivery_id, _filed(case), Held("no-key", until))
    assert (State.HELD, State.FILED, "no-key", until, 0) == (
        held.state,
        held.resume,
        held.why,
        held.wait_until,
        held.attempts,
    )
    assert until == await store.next_due()
    assert await _claimed(store) == []
    store.clock.advance(hours=6)
    (back,) = await store.claim(store.clock.now(), limit=9, lease=LEASE)
    assert (back.state, back.resume, back.why, back.wait_until) == (State.FILED, None, None, None)


async def test_the_notices_of_a_held_answer_are_queued_and_do_not_finish_it(
    store: HeldStore,
) -> None:
    """In the commit that holds it; when they are out it goes on waiting, until it is answered."""
    case = await _case(store)
    delivery_id = await _delivery_of(store, case)
    notice = an_answer(case.id, step="notice-send-key")
    held = Held("no-key", NOON + timedelta(hours=6), (notice,))
    await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    await store.record(delivery_id, _filed(case), held)
    assert await store.wait_for_outgoing(60)
    (row,) = await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    assert not await store.outgoing_sent(row.id, "250 2.0.0")
    assert State.HELD is await _state(store, delivery_id)
    assert await store.next_due() == NOON + timedelta(hours=6)
    await store.record(delivery_id, Retried(), Answered((an_answer(case.id),)))
    (row,) = await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    assert await store.outgoing_sent(row.id, "250 2.0.0")
    assert State.DONE is await _state(store, delivery_id)
    assert await store.answers_of(case.id) == {"notice-send-key", "ack"}
    assert await store.answers_of("SB-1999-0001") == set()


async def test_held_answers_are_woken_by_case_and_by_address(store: HeldStore) -> None:
    """Only those: what waits for something else goes on waiting."""
    cases = [await _held(store, str(number)) for number in range(2)]
    assert await store.wake_held() == 0
    assert await store.wake_held(case_id="SB-1999-0001", address="nobody@example.net") == 0
    assert await store.wake_held(case_id=cases[0].id) == 1
    assert [await _delivery_of(store, cases[0])] == await _claimed(store)
    assert await store.wake_held(address="REPORTER@example.net") == 1
    assert [await _delivery_of(store, cases[1])] == await _claimed(store)


async def test_a_wake_up_wakes_the_worker(store: HeldStore) -> None:
    """It sleeps until something is due, and is woken by the same commit."""
    case = await _held(store)
    assert await _claimed(store) == []
    assert not await store.wait_for_work(0)
    await store.wake_held(case_id=case.id)
    assert await store.wait_for_work(60)


async def test_a_case_knows_whether_another_mail_of_it_holds_the_answer(store: HeldStore) -> None:
    """So that a second mail does not hold it, too."""
    case = await _held(store)
    delivery_id = await _delivery_of(store, case)
    assert await store.is_answer_held(case.id, besides="d-another")
    assert not await store.is_answer_held(case.id, besides=delivery_id)
    assert not await store.is_answer_held("SB-1999-0001", besides=delivery_id)
    await store.record(delivery_id, Retried())
    assert not await store.is_answer_held(case.id, besides="d-another")


async def test_an_attempt_to_tell_of_an_answer_is_known_to_the_whole_case(
    store: HeldStore,
) -> None:
    """Whichever mail made it, until it has an outcome; filing a mail is another attempt."""
    delivery = await routed(store)
    case = await _open(store, delivery.id)
    await store.record(delivery.id, Attempted("file"))
    assert None is await store.telling_since(case.id)
    await store.record(delivery.id, _filed(case), Attempted("tell"))
    assert await store.telling_since(case.id) == NOON
    await store.record(delivery.id, Deferred(NOON, "busy", attempted_at=NOON))
    assert await store.telling_since(case.id) == NOON
    await store.record(delivery.id, Retried(), Held("no-key", NOON))
    assert None is await store.telling_since(case.id)


async def test_raw_bytes_of_a_held_answer_stay(store: HeldStore) -> None:
    """The mail is opened again when the key comes, however late."""
    case = await _held(store)
    assert await store.purge(store.clock.advance(days=1000)) == 0
    assert a_mail() == await store.content(await _delivery_of(store, case))


# ── Keys of reporters ────────────────────────────────────────────────────────────────────────────

OLD, NEW = "A" * 40, "B" * 40


async def test_a_binding_wakes_what_waited_for_it(store: HeldStore) -> None:
    """In its own commit: the case's own answers, and others to the same address."""
    case, neighbour = await _held(store, "1"), await _held(store, "2")
    await store.bind_key(case.id, _binding(OLD))
    woken = [await _delivery_of(store, each) for each in (case, neighbour)]
    assert woken == await _claimed(store)


async def test_a_proposal_is_news_once(store: HeldStore) -> None:
    """Until it was accepted and something else took its place again."""
    case = await _case(store)
    await store.bind_key(case.id, _binding(OLD))
    change = KeyChange(case.id, "reporter@example.net", NEW, CertificateSource.OUTSIDE, NOON)
    news = [await store.propose_key(change), await store.propose_key(change)]
    assert news == [True, False]
    assert await store.key_changes(case.id) == [change]
    await store.accept_key(case.id, NEW, by="alice")
    assert not await store.propose_key(change)
    back = replace(change, fingerprint=OLD)
    assert await store.propose_key(back)
    await store.accept_key(case.id, OLD, by="alice")
    assert await store.propose_key(change)
    assert [each.accepted_by for each in await store.key_changes(case.id)] == [None, "alice"]
    with pytest.raises(IllegalMove):
        await store.propose_key(replace(change, case_id="SB-1999-0001"))


async def test_what_was_proposed_is_accepted_once_and_wakes_the_reporters_cases(
    store: HeldStore,
) -> None:
    """One commit: the binding with who said so, the reporter's other cases, and what is held."""
    first, second = await _case(store, "1"), await _held(store, "2")
    await store.bind_key(first.id, _binding(OLD))
    await _claimed(store)
    change = KeyChange(second.id, "reporter@example.net", NEW, CertificateSource.INSIDE, NOON)
    assert await store.accept_key(second.id, NEW, by="alice") is None
    await store.propose_key(change)
    expected = replace(_binding(NEW), accepted_by="alice")
    assert await store.accept_key(second.id, NEW, by="alice") == expected
    store.clock.advance(minutes=1)
    assert await store.accept_key(second.id, NEW, by="bob") == expected
    assert [case.key for case in [await store.get_case(each.id) for each in (first, second)]
            if case] == [expected, expected]  # fmt: skip
    assert await store.key_for(ALIAS, "reporter@example.net") == expected
    (accepted_change,) = await store.key_changes(second.id)
    assert (accepted_change.accepted_by, accepted_change.accepted_at) == ("alice", NOON)
    events = [entry.event for entry in await store.journal(first.id)]
    assert events[-1] == "case.key-accepted"


async def test_bindings_are_listed_with_their_provenance_and_forgotten(store: HeldStore) -> None:
    """Newest first, by alias and address; forgetting says how many there were."""
    first, second = await _case(store, "1"), await _case(store, "2")
    await store.bind_key(first.id, _binding(OLD))
    elsewhere = replace(_binding(NEW), address="else@example.net")
    await store.bind_key(second.id, elsewhere)
    both = [BoundKey(second.id, ALIAS, elsewhere), BoundKey(first.id, ALIAS, _binding(OLD))]
    assert await store.bound_keys() == both
    assert await store.bound_keys(alias=OTHER_ALIAS) == []
    assert await store.bound_keys(alias=ALIAS, address="Else@example.net") == both[:1]
    assert [await store.forget_key(OLD, by="alice") for _ in range(2)] == [1, 0]
    assert await store.bound_keys() == both[:1]
    assert None is await store.key_for(ALIAS, "reporter@example.net")
    entry = (await store.journal(first.id))[-1]
    assert (entry.event, dict(entry.facts)) == (
        "case.key-forgotten",
        {"fingerprint": OLD, "by": "alice"},
    )


# ── Cases ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_case_is_opened_once_for_a_mail_and_a_route(store: HeldStore) -> None:
    """However often it is asked, and through whichever alias, there is one case."""
    ids = await store.accept(an_envelope(), a_mail(), targets(ALIAS, OTHER_ALIAS))
    first = await _open(store, ids[0])
    assert first == await _open(store, ids[0])
    shared = await opened_case(
        store, ids[1], a_route(OTHER_ALIAS), reporter="x@example.net", must_encrypt=False
    )
    assert first == shared
    second = await store.get(ids[1])
    assert second is not None
    assert first.id == second.case_id
    assert await store.knows_token(OTHER_ALIAS, first.token)


async def test_who_shares_a_case_learns_that_its_issue_may_be_on_its_way(store: HeldStore) -> None:
    """The second alias of a mail is told since when the first one tries, and creates no twin."""
    ids = await store.accept(an_envelope(), a_mail(), targets(ALIAS, OTHER_ALIAS))
    for delivery_id in ids:
        moves = (Opened(Protection.ENCRYPTED_SIGNED), Judged(REPORT), Routed(a_route()))
        await store.record(delivery_id, *moves, Attempted("file"))
    began = store.clock.now()
    first = await _open(store, ids[0])
    second = await _open(store, ids[1])
    assert (None, began) == (first.attempted_at, second.attempted_at)
    await store.record(ids[0], Filed(first.id, IssueRef("local", "security", "1", "1")))
    assert (await _open(store, ids[1])).attempted_at is None


async def test_cases_of_one_mail_know_each_other(store: HeldStore) -> None:
    """One mail to two projects is two cases, linked both ways."""
    ids = await store.accept(an_envelope(), a_mail(), targets(ALIAS, OTHER_ALIAS))
    first = await _open(store, ids[0])
    second = await opened_case(
        store, ids[1], a_route(OTHER_ALIAS, project="board"), reporter=None, must_encrypt=False
    )
    again = await store.get_case(first.id)
    assert again is not None
    assert ((), (first.id,), (second.id,)) == (first.linked, second.linked, again.linked)


async def test_case_ids_count_from_one_each_year(store: HeldStore) -> None:
    """People say SB-2026-0001; the next year begins again."""
    ids = [await accepted(store, str(number)) for number in range(3)]
    cases = [await _open(store, ids[0]), await _open(store, ids[1])]
    store.clock.advance(days=60)
    cases.append(await _open(store, ids[2]))
    assert [case.id for case in cases] == ["SB-2026-0001", "SB-2026-0002", "SB-2027-0001"]


async def test_tokens_and_markers_are_random_and_of_their_form(store: HeldStore) -> None:
    """A token is 128 random bits in [a-z2-7], a marker a random UUID."""
    cases = [await _open(store, await accepted(store, str(number))) for number in range(5)]
    uuid4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    assert 5 == len({case.token for case in cases}) == len({case.marker for case in cases})
    assert all(re.fullmatch(r"[a-z2-7]{26}", case.token) for case in cases)
    assert all(re.fullmatch(uuid4, case.marker) for case in cases)


async def test_a_case_is_found_by_its_token_and_by_what_we_sent(store: HeldStore) -> None:
    """A follow-up names the case's address or a Message-ID of ours, under the same alias."""
    case = await _case(store)
    answer = await _answered(store, case)
    assert case.id == _id(await store.case_by_token(ALIAS, case.token))
    assert None is await store.case_by_token(OTHER_ALIAS, case.token)
    for form in (answer.message_id, answer.message_id.strip("<>")):
        found = await store.case_by_message_ids(ALIAS, ["<x@example.net>", form])
        assert case.id == _id(found)
        assert None is await store.case_by_message_ids(OTHER_ALIAS, [form])
        own = await store.own_mail(form)
        assert OwnMail(case.id, "ack", "0123abcd", recipient="reporter@example.net") == own
    assert None is await store.own_mail("<x@example.net>")
    assert None is await store.case_by_message_ids(ALIAS, [])


async def test_encryption_is_never_taken_back(store: HeldStore) -> None:
    """A thread that was encrypted once stays so, whoever opens its case again."""
    delivery_id = await accepted(store)
    assert not (await _open(store, delivery_id)).must_encrypt
    encrypted = await opened_case(store, delivery_id, a_route(), reporter=None, must_encrypt=True)
    assert encrypted.must_encrypt
    assert (await _open(store, delivery_id)).must_encrypt


async def test_encryption_can_be_required_later(store: HeldStore) -> None:
    """A follow-up that is encrypted binds the thread."""
    case = await _case(store)
    await store.require_encryption(case.id)
    await store.require_encryption(case.id)
    assert replace(case, must_encrypt=True) == await store.get_case(case.id)


async def test_the_first_key_of_a_case_stays(store: HeldStore) -> None:
    """A key is bound once (trust on first use); the newest binding answers for the address.

    Capital letters make no other address of it, or they would be a way around the bound key.
    """
    one, two = await _case(store, "1"), await _case(store, "2")
    first = KeyBinding("reporter@example.net", "A" * 40, CertificateSource.INSIDE, NOON)
    other = replace(first, fingerprint="B" * 40, source=CertificateSource.AUTOCRYPT)
    await store.bind_key(one.id, replace(first, address="Reporter@example.net"))
    await store.bind_key(one.id, other)
    assert replace(one, key=first) == await store.get_case(one.id)
    assert first == await store.key_for(ALIAS, "Reporter@EXAMPLE.net")
    await store.bind_key(two.id, other)
    assert other == await store.key_for(ALIAS, "reportER@example.net")
    assert None is await store.key_for(OTHER_ALIAS, "reporter@example.net")


async def test_filing_gives_the_case_its_issue(store: HeldStore) -> None:
    """After ``Filed`` the case knows where its issue is."""
    delivery = await routed(store)
    case = await _open(store, delivery.id)
    assert None is case.issue
    filed = await store.record(delivery.id, _filed(case))
    again = await store.get_case(case.id)
    assert (State.FILED, case.id) == (filed.state, filed.case_id)
    assert replace(case, issue=_ref("1")) == again


async def test_the_journal_of_a_case_tells_its_story(store: HeldStore) -> None:
    """Notes of the case and the moves of its mails stand in one order; texts stay out."""
    delivery = await routed(store)
    case = await _open(store, delivery.id)
    await store.note(case.id, "case.checked", {"size": 12, "what": "a subject of a mail"})
    await store.record(delivery.id, _filed(case))
    events = {entry.event: dict(entry.facts) for entry in await store.journal(case.id)}
    assert list(events) == [
        "delivery.accepted",
        "delivery.opened",
        "delivery.judged",
        "delivery.routed",
        "case.opened",
        "case.checked",
        "delivery.filed",
    ]
    assert events["case.checked"] == {"size": 12, "what": "(19 characters)"}


# ── Outbox ───────────────────────────────────────────────────────────────────────────────────────


async def test_answers_are_queued_with_the_move(store: HeldStore) -> None:
    """One commit makes the delivery answered and its mails wait, and no worker finds it there."""
    case = await _case(store)
    answer = await _answered(store, case, "reporter@example.net", ALIAS)
    rows = await store.find_outgoing(await _delivery_of(store, case))
    assert [row.mail.recipient for row in rows] == ["reporter@example.net", ALIAS]
    assert answer == rows[0].mail
    assert {OutgoingState.QUEUED} == {row.state for row in rows}
    assert None is await store.next_due()
    assert await store.next_outgoing_due() == NOON


async def test_a_mail_is_queued_once_for_each_recipient(store: HeldStore) -> None:
    """The same Message-ID to the same recipient, from another delivery, is the same row."""
    ids = await store.accept(an_envelope(), a_mail(), targets(ALIAS, OTHER_ALIAS))
    for delivery_id in ids:
        await store.record(delivery_id, Opened(Protection.NONE), Judged(REPORT))
        await store.record(delivery_id, Routed(a_route()))
        case = await _open(store, delivery_id)
        last = await store.record(delivery_id, _filed(case), Answered((an_answer(case.id),)))
    assert len(await store.find_outgoing_by_state(OutgoingState.QUEUED)) == 1
    assert await store.find_outgoing(ids[1]) == []
    assert State.DONE is last.state, "it has no mail of its own to wait for"


async def test_a_claimed_mail_is_counted_and_not_claimed_twice(store: HeldStore) -> None:
    """Sending begins with the count of it, so that a mail which kills us cannot loop."""
    await _answered(store, await _case(store))
    (row,) = await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    assert row.attempts == 1
    assert tuple(await store.claim_outgoing(NOON, limit=9, lease=LEASE)) == ()
    (again,) = await store.claim_outgoing(NOON + LEASE, limit=9, lease=LEASE)
    assert (row.id, 2) == (again.id, again.attempts)


async def test_the_last_mail_that_leaves_finishes_the_delivery(store: HeldStore) -> None:
    """Sent and refused alike close a row; with the last one the delivery is done."""
    case = await _case(store)
    await _answered(store, case, "reporter@example.net", ALIAS)
    delivery_id = await _delivery_of(store, case)
    first, second = await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    assert not await store.outgoing_sent(first.id, "250 2.0.0")
    assert State.ANSWERED is await _state(store, delivery_id)
    assert await store.outgoing_refused(second.id, "550 5.1.1", quarantine=False)
    assert State.DONE is await _state(store, delivery_id)
    rows = await store.find_outgoing(delivery_id)
    assert [(row.state, row.last_status) for row in rows] == [
        (OutgoingState.SENT, "250 2.0.0"),
        (OutgoingState.REFUSED, "550 5.1.1"),
    ]
    assert None is await store.next_outgoing_due()


async def test_a_second_outcome_of_one_mail_changes_nothing(store: HeldStore) -> None:
    """When a lease ran out while the relay was slow, what was recorded first stands."""
    await _answered(store, await _case(store))
    (row,) = await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    await store.outgoing_sent(row.id, "250 2.0.0")
    assert await store.outgoing_refused(row.id, "550 5.1.1", quarantine=True)
    await store.outgoing_deferred(row.id, NOON, "busy")
    (kept,) = await store.find_outgoing_by_state(OutgoingState.SENT)
    assert kept.last_status == "250 2.0.0"


async def test_a_deferred_mail_waits_with_its_attempts_forgotten(store: HeldStore) -> None:
    """An outcome was heard, so it was no death; the deferrals count for the backoff."""
    await _answered(store, await _case(store))
    (row,) = await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    until = NOON + timedelta(hours=1)
    await store.outgoing_deferred(row.id, until, "450 4.2.1")
    (waiting,) = await store.find_outgoing_by_state(OutgoingState.QUEUED)
    assert (0, 1, until, "450 4.2.1") == (
        waiting.attempts,
        waiting.deferrals,
        waiting.wait_until,
        waiting.last_status,
    )
    assert until == await store.next_outgoing_due()
    assert tuple(await store.claim_outgoing(NOON, limit=9, lease=LEASE)) == ()
    assert len(await store.claim_outgoing(until, limit=9, lease=LEASE)) == 1


async def test_a_guarded_mail_is_listed_for_a_human(store: HeldStore) -> None:
    """What our own guard refuses is quarantined, and can be found there."""
    await _answered(store, await _case(store))
    (row,) = await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    await store.outgoing_refused(row.id, "not-encrypted", quarantine=True)
    (listed,) = await store.find_outgoing_by_state(OutgoingState.QUARANTINED)
    assert (row.id, "not-encrypted") == (listed.id, listed.last_status)


async def test_leases_on_mails_are_given_up_too(store: HeldStore) -> None:
    """An orderly stop takes back the count of a mail that was claimed and not sent."""
    await _answered(store, await _case(store))
    await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    await store.release_leases()
    (row,) = await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    assert row.attempts == 1


async def test_a_queued_answer_wakes_the_sender(store: HeldStore) -> None:
    """The sender sleeps until something is queued, and is woken by the same commit."""
    case = await _case(store)
    await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    assert not await store.wait_for_outgoing(0)
    await _answered(store, case)
    assert await store.wait_for_outgoing(60)


async def test_an_outcome_for_no_mail_is_told_so(store: HeldStore) -> None:
    """A number that names no row is a mistake, not a success."""
    with pytest.raises(IllegalMove):
        await store.outgoing_sent(99, "250")


# ── Local issues ─────────────────────────────────────────────────────────────────────────────────


async def test_an_issue_is_created_once_for_each_marker(store: HeldStore) -> None:
    """Creating again, after a crash, returns the first one as it is."""
    first = await _issue(store)
    assert (first.number, first.marker, first.confidential, first.open) == (1, "m1", True, True)
    again = await _issue(store, title="another title")
    assert first == again == await store.find_issue("m1") == await store.read_issue(1)
    assert None is await store.find_issue("m2")
    assert (await _issue(store, marker="m2")).number == 2


async def test_an_issue_is_told_with_its_files_in_one_commit(store: HeldStore) -> None:
    """Body and attachments are replaced together, and a second telling leaves no rest."""
    issue = await _issue(store)
    files = [_file("SB-1.bin", b"x" * (3 << 20)), _file("SB-2.bin", b"")]
    for body, told in ((b"sealed 1", files), (b"sealed 2", files[1:])):
        await store.tell_issue(issue.number, body, told, NOON + timedelta(minutes=1))
        kept = await store.attachments(issue.number)
        assert [(file.name, file.sealed) for file in told] == [(f.name, f.sealed) for f in kept]
    assert replace(
        issue, sealed_body=b"sealed 2", updated_at=NOON + timedelta(minutes=1)
    ) == await store.read_issue(issue.number)


async def test_an_issue_changes_as_asked_and_not_else(store: HeldStore) -> None:
    """Labels are added and taken away; None leaves people, date and state as they are."""
    issue = await _issue(store)
    labelled = await store.change_issue(
        issue.number, IssueChange(add_labels=("high", "high"), remove_labels=("Security",)), NOON
    )
    assert replace(issue, labels=("high",)) == labelled
    later = date(2027, 1, 1)
    changed = await store.change_issue(
        issue.number, IssueChange(assignees=("bob",), due=later, open=False), NOON
    )
    expected = replace(labelled, assignees=("bob",), due=later, open=False)
    assert expected == changed == await store.read_issue(issue.number)


async def test_comments_are_added_once_for_each_marker(store: HeldStore) -> None:
    """A comment is there once, in order, and touches its issue."""
    issue = await _issue(store)
    later = NOON + timedelta(hours=1)
    for marker in ("c1", "c2", "c1"):
        await store.add_comment(
            issue.number, marker=marker, author="alice", sealed_body=b"sealed", now=later
        )
    assert [comment.marker for comment in await store.comments(issue.number)] == ["c1", "c2"]
    touched = await store.read_issue(issue.number)
    assert touched is not None
    assert later == touched.updated_at


async def test_issues_are_listed_newest_first_by_project_and_state(store: HeldStore) -> None:
    """The list is what a person asks for."""
    for number, project in enumerate(("a", "b", "a"), 1):
        await _issue(store, marker=f"m{number}", project=project)
    await store.change_issue(3, IssueChange(open=False), NOON)
    assert [issue.number for issue in await store.list_issues()] == [3, 2, 1]
    assert [issue.number for issue in await store.list_issues(project="a")] == [3, 1]
    assert [issue.number for issue in await store.list_issues(project="a", open_only=True)] == [1]


async def test_an_issue_that_does_not_exist_cannot_be_told(store: HeldStore) -> None:
    """A wrong number is a PermanentFault with a code, for each way to change an issue."""
    with pytest.raises(PermanentFault, match="no-such-issue"):
        await store.tell_issue(9, b"", [], NOON)
    with pytest.raises(PermanentFault, match="no-such-issue"):
        await store.change_issue(9, IssueChange(open=False), NOON)
    with pytest.raises(PermanentFault, match="no-such-issue"):
        await store.add_comment(9, marker="c", author="a", sealed_body=b"", now=NOON)


# ── Helpers ──────────────────────────────────────────────────────────────────────────────────────


async def _claimed(store: HeldStore, limit: int = 99) -> list[str]:
    found = await store.claim(store.clock.now(), limit=limit, lease=LEASE)
    return [delivery.id for delivery in found]


async def _state(store: HeldStore, delivery_id: str) -> State | None:
    delivery = await store.get(delivery_id)
    return delivery.state if delivery else None


async def _open(store: HeldStore, delivery_id: str) -> Case:
    return await opened_case(
        store, delivery_id, a_route(), reporter="reporter@example.net", must_encrypt=False
    )


async def _case(store: HeldStore, name: str = "1") -> Case:
    """Return the case of a delivery that stands in ``routed``."""
    return await _open(store, (await routed(store, name)).id)


async def _held(store: HeldStore, name: str = "1") -> Case:
    """Return a case whose answer waits for a key."""
    case = await _case(store, name)
    held = Held("no-key", NOON + timedelta(hours=6))
    await store.record(await _delivery_of(store, case), _filed(case), held)
    return case


def _binding(fingerprint: str) -> KeyBinding:
    return KeyBinding("reporter@example.net", fingerprint, CertificateSource.INSIDE, NOON)


async def _delivery_of(store: HeldStore, case: Case) -> str:
    (delivery,) = [found for found in await store.find() if found.case_id == case.id]
    return delivery.id


async def _answered(store: HeldStore, case: Case, *recipients: str) -> OutgoingMail:
    """Answer the case's delivery, and return the first mail."""
    mails = tuple(
        an_answer(case.id, recipient) for recipient in recipients or ("reporter@example.net",)
    )
    await store.record(await _delivery_of(store, case), _filed(case), Answered(mails))
    return mails[0]


async def _finish(store: HeldStore, delivery_id: str) -> None:
    await store.record(delivery_id, Opened(Protection.NONE), Judged(REPORT), Routed(a_route()))
    case = await _open(store, delivery_id)
    await store.record(delivery_id, _filed(case), Withheld("bounce"), Finished())


def _ref(number: str) -> IssueRef:
    return IssueRef("local", "security", number, number, "")


def _filed(case: Case) -> Filed:
    return Filed(case.id, _ref("1"))


def _id(case: Case | None) -> str | None:
    return case.id if case else None


async def _issue(store: HeldStore, **given: str) -> LocalIssue:
    asked = {"project": "security", "marker": "m1", "title": "SB-2026-0001", **given}
    return await store.create_issue(
        project=asked["project"],
        marker=asked["marker"],
        title=asked["title"],
        sealed_body=b"sealed",
        labels=("Security",),
        assignees=("alice",),
        due=date(2026, 11, 27),
        now=NOON,
    )


def _file(name: str, sealed: bytes) -> LocalAttachment:
    return LocalAttachment(0, 0, name, "application/octet-stream", len(sealed), sealed)
