"""Which mails are still on their way to a case?  What every store has to say of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from tests.support.stores import (
    ALIAS,
    LEASE,
    NOON,
    OTHER_ALIAS,
    HeldStore,
    a_mail,
    a_route,
    accepted,
    an_envelope,
    opened_case,
    routed,
    targets,
)

from secbridge.model.delivery import Commented, Deferred, Incoming, Quarantined, Retried
from secbridge.ports import Ahead

A_MINUTE = timedelta(minutes=1)
LATER = NOON + timedelta(hours=1)


async def ahead_of(store: HeldStore, delivery_id: str) -> list[str]:
    """Return the ids of what is ahead of a delivery, as for one that waits a minute."""
    return [one.delivery_id for one in await store.ahead_of(delivery_id, patience=A_MINUTE)]


async def test_what_came_before_is_ahead_the_nearest_first(store: HeldStore) -> None:
    """Accepted, leased or routed: all that has no case yet; for a while what came later, too."""
    first = await accepted(store, "1")
    await store.claim(NOON, limit=1, lease=LEASE)
    second = (await routed(store, "2")).id
    third = await accepted(store, "3")
    fourth, fifth = await accepted(store, "4"), await accepted(store, "5")
    assert [second, first, fourth, fifth] == await ahead_of(store, third)
    store.clock.advance(minutes=1)
    assert [second, first] == await ahead_of(store, third)
    assert [] == await ahead_of(store, first)
    assert [] == await ahead_of(store, "d-none")


async def test_it_is_told_by_how_its_mail_begins(store: HeldStore) -> None:
    """As many octets as a header needs; an empty mail begins with nothing."""
    content = a_mail("long", bytes(3 << 20))
    (long,) = await store.accept(an_envelope(), content, targets())
    (empty,) = await store.accept(an_envelope(), b"", targets())
    found = await store.ahead_of(await accepted(store, "2"), patience=A_MINUTE)
    assert [Ahead(empty, b""), Ahead(long, content[: 1 << 16])] == list(found)


async def test_each_alias_has_its_own(store: HeldStore) -> None:
    """Of one mail to two aliases each has its delivery; none waits for that of the other."""
    for_both = await store.accept(an_envelope(), a_mail("1"), targets(ALIAS, OTHER_ALIAS))
    assert [for_both[0]] == await ahead_of(store, await accepted(store, "2"))
    assert [for_both[1]] == await ahead_of(store, await accepted(store, "3", OTHER_ALIAS))


async def test_what_is_in_a_case_is_found_by_its_message_id_instead(store: HeldStore) -> None:
    """From the commit on that opens the case, filed or not, or joins it; never both, never none."""
    first, second = (await routed(store, "1")).id, (await routed(store, "2")).id
    last = await accepted(store, "3")
    assert [second, first] == await ahead_of(store, last)
    case = await opened_case(
        store,
        first,
        a_route(),
        reporter=None,
        must_encrypt=False,
        incoming=Incoming("<1@example.net>"),
    )
    assert [second] == await ahead_of(store, last)
    await store.record(second, Commented(case.id, "c", Incoming("<2@example.net>")))
    assert [] == await ahead_of(store, last)
    for name in ("<1@example.net>", "<2@example.net>"):
        found = await store.case_by_incoming_ids(ALIAS, [name])
        assert case.id == (found and found.id)


async def test_what_was_put_off_is_ahead_for_a_while(store: HeldStore) -> None:
    """Counted from when the later mail came; those at work come first, and count for ever."""
    put_off, at_work = await accepted(store, "1"), await accepted(store, "2")
    nearest = await accepted(store, "3")
    for one in (put_off, nearest):
        await store.record(one, Deferred(LATER, "gpg-timeout"))
    last = await accepted(store, "4")
    store.clock.advance(seconds=59)
    assert [at_work, nearest, put_off] == await ahead_of(store, last)
    store.clock.advance(seconds=1)
    assert [at_work] == await ahead_of(store, last)
    await store.record(put_off, Retried())
    assert [at_work, put_off] == await ahead_of(store, last)


async def test_what_waits_for_another_mail_is_no_less_ahead(store: HeldStore) -> None:
    """It is put off for nothing that may last, so three in a row come in order, however old."""
    waiting, last = await accepted(store, "1"), await accepted(store, "2")
    await store.record(waiting, Deferred(LATER, "other-mail-first"))
    store.clock.advance(hours=5)
    assert [waiting] == await ahead_of(store, last)


async def test_what_waits_for_a_person_is_not_ahead(store: HeldStore) -> None:
    """Until that person has decided."""
    first, last = await accepted(store, "1"), await accepted(store, "2")
    await store.record(first, Quarantined("died-3-times"))
    assert [] == await ahead_of(store, last)
    await store.record(first, Retried(by="kim"))
    assert [first] == await ahead_of(store, last)


@pytest.mark.parametrize("accepted_before", [49, 60])
async def test_a_long_queue_is_read_in_part(store: HeldStore, accepted_before: int) -> None:
    """Fifty at most, so that one mail costs no more in an outage than another."""
    before: Sequence[str] = [await accepted(store, f"m{n}") for n in range(accepted_before)]
    found = await ahead_of(store, await accepted(store, "last"))
    assert list(reversed(before))[:50] == found
