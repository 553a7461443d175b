"""What if a follow-up is taken in hand before its report has a case?  It waits for that, and joins.

The whole way with the real gpg, store, tracker, guard and relay (``tests.support.office``).  What
an earlier mail waits for is in the hand of the test, so nothing here depends on who is faster.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support import mails
from tests.support.keys import REPORTER, Keys, Ring
from tests.support.office import Office, an_office, letter

from secbridge.model.case import MailClass, Verdict
from secbridge.model.delivery import (
    Commented,
    Deferred,
    Judged,
    Move,
    Opened,
    Quarantined,
    Routed,
    SetAside,
    State,
)
from secbridge.model.message import Protection
from secbridge.pipeline.opening import InProcessOpener
from secbridge.ports import Ahead
from secbridge.rules.routing import route
from secbridge.store import Store

CANARY = "Zinnobergimpel"
STRANGER = "stranger@example.com"
A_MINUTE = timedelta(minutes=1)
LONG = timedelta(minutes=10)
"""More than a delivery waits for its next try here, and less than a lease lasts."""

SPAM = Verdict(MailClass.SPAM, ("spam.mark",), may_reply=False, reply_refused_because="set-aside")


@pytest.fixture
async def office(keys: Keys, role_ring: Ring, tmp_path: Path) -> AsyncIterator[Office]:
    """Return an office that knows no reporter."""
    async with an_office(keys, role_ring, tmp_path) as rooms:
        yield rooms


def mail(name: str, *named: str, author: str = REPORTER) -> bytes:
    """Return a mail in clear, whose Message-ID is made of ``name``, that goes on with others."""
    extra = "".join(f"In-Reply-To: <{other}@example.net>\n" for other in named)
    head = mails.header("", author=author, subject="Report", extra=extra)
    return head.replace(b"<one@example.net>", f"<{name}@example.net>".encode()) + mails.text(CANARY)


# ── A mail that is held up on its way ────────────────────────────────────────────────────────────


@dataclass
class Hold:
    """One call waits: that of a method for one delivery, and with one kind of move if given."""

    owner: type
    name: str
    move: type | None = None
    delivery_id: str = ""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    passed: asyncio.Event = field(default_factory=asyncio.Event)

    def on(self, patch: pytest.MonkeyPatch) -> Hold:
        """Let the call wait from now on."""
        method: Callable[..., Any] = getattr(self.owner, self.name)

        async def held(room: Any, *args: Any, **given: Any) -> Any:
            if not self._is_it(*args):
                return await method(room, *args, **given)
            self.reached.set()
            await self.let_go.wait()
            result = await method(room, *args, **given)
            self.passed.set()
            return result

        patch.setattr(self.owner, self.name, held)
        return self

    def _is_it(self, subject: Any, *rest: Any) -> bool:
        named = getattr(subject, "delivery_id", subject)
        wanted = self.move is None or any(isinstance(one, self.move) for one in rest)
        return bool(named == self.delivery_id) and wanted


async def take_up(office: Office, hold: Hold, raw: bytes) -> str:
    """Hand a mail in, and let a worker come with it as far as the hold."""
    hold.delivery_id = await office.accept(raw)
    await office.worker.work_once()
    await hold.reached.wait()
    return hold.delivery_id


async def come_back(office: Office) -> None:
    """Let a worker carry what is due, beside the mail that is held up, until it is done with it."""
    office.worker.idle.clear()
    assert await office.worker.work_once() == 1
    await office.worker.idle.wait()


async def go_on(office: Office, hold: Hold) -> None:
    """Let the mail go that was held up, and let all be done that follows."""
    hold.let_go.set()
    await office.worker.finish()
    await office.pass_time(LONG)


async def events(office: Office, delivery_id: str) -> list[str]:
    """Return what the journal says of a delivery, by name."""
    return [entry.event for entry in await office.store.journal(delivery_id)]


# ── What is at work is waited for ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("owner", "name"),
    [(InProcessOpener, "open"), (Store, "open_case")],
    ids=["not yet opened", "opened and not recorded"],
)
async def test_a_follow_up_joins_however_far_its_report_has_come(
    office: Office, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    """It waits, listed, for as long as a worker has the report; then it becomes a comment."""
    hold = Hold(owner, name).on(monkeypatch)
    first = await take_up(office, hold, mail("first"))
    second = await office.accept(mail("second", "first"))
    await come_back(office)
    waiting = await office.delivery(second)
    assert (waiting.state, waiting.why) == (State.DEFERRED, "other-mail-first")
    assert (waiting.resume, waiting.attempts) == (State.RECEIVED, 0)
    office.house.clock.time += 5 * A_MINUTE
    await come_back(office)
    assert (await office.delivery(second)).why == "other-mail-first"
    await go_on(office, hold)
    assert (await office.case(second)).id == (await office.case(first)).id
    assert len(await office.comments(first)) == 1
    assert len(await office.store.list_issues()) == 1
    assert len(office.sent()) == 1, "a follow-up is not acknowledged"


@pytest.mark.parametrize("first_asked", [True, False], ids=["after it asked", "before it asks"])
async def test_a_case_that_opens_meanwhile_is_not_missed(
    office: Office, monkeypatch: pytest.MonkeyPatch, first_asked: bool
) -> None:
    """Whenever the commit comes, the report is still on its way for its follow-up, or is found."""
    hold = Hold(Store, "open_case").on(monkeypatch)
    first = await take_up(office, hold, mail("first"))
    ask = Store.ahead_of

    async def asked(store: Store, delivery_id: str, *, patience: timedelta) -> Sequence[Ahead]:
        found = await ask(store, delivery_id, patience=patience)
        hold.let_go.set()
        await hold.passed.wait()
        return found if first_asked else await ask(store, delivery_id, patience=patience)

    monkeypatch.setattr(Store, "ahead_of", asked)
    second = await office.receive(mail("second", "first"))
    assert "other-mail-first" != (await office.delivery(second)).why
    await office.pass_time(LONG)  # its issue may not have been there yet
    assert (await office.case(second)).id == (await office.case(first)).id


async def test_a_report_and_its_follow_up_of_the_same_second_are_one_case(
    office: Office, keys: Keys
) -> None:
    """Encrypted, handed in one upon the other, and taken up at once."""
    first = await office.accept(letter(keys, CANARY, name="first", attach=[keys.reporter_cert]))
    named = "References: <first@example.net>\n"
    second = await office.accept(letter(keys, "More.", name="second", extra=named))
    await office.work()
    await office.pass_time(LONG)
    assert (await office.case(second)).id == (await office.case(first)).id
    assert len(await office.comments(first)) == 1


async def test_a_mail_that_goes_on_with_a_follow_up_waits_until_that_has_joined(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Message-ID of a follow-up is known with its comment, and not before."""
    first = await office.receive(mail("first"))
    hold = Hold(Store, "record", Commented).on(monkeypatch)
    await take_up(office, hold, mail("second", "first"))
    third = await office.accept(mail("third", "second"))
    await come_back(office)
    assert (await office.delivery(third)).why == "other-mail-first"
    await go_on(office, hold)
    assert (await office.case(third)).id == (await office.case(first)).id
    assert len(await office.comments(first)) == 2


async def test_an_old_queue_is_put_in_order(office: Office) -> None:
    """Four that lay here for a day, each naming the one before it alone, are one case."""
    names = ["first", "second", "third", "fourth"]
    pairs = zip(names, [(), *((name,) for name in names)], strict=False)
    ids = [await office.accept(mail(name, *before)) for name, before in pairs]
    office.house.clock.time += timedelta(days=1)
    await office.work()
    for _ in names:
        await office.pass_time(LONG)
    assert {(await office.case(one)).id for one in ids} == {(await office.case(ids[0])).id}
    assert len(await office.comments(ids[0])) == 3


async def test_a_follow_up_still_waits_after_a_restart(
    keys: Keys, role_ring: Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it waits for, and that it waits, is read from the store by the next process."""
    async with an_office(keys, role_ring, tmp_path) as before:
        with monkeypatch.context() as patch:
            hold = Hold(Store, "open_case").on(patch)
            first = await take_up(before, hold, mail("first"))
            second = await before.accept(mail("second", "first"))
            await come_back(before)
            await before.worker.drop()
    async with an_office(keys, role_ring, tmp_path) as after:
        await after.pass_time(LONG)
        await after.pass_time(LONG)
        assert (await after.case(second)).id == (await after.case(first)).id
        assert len(await after.store.list_issues()) == 1


# ── And nothing else is ──────────────────────────────────────────────────────────────────────────


async def test_a_report_that_was_put_off_is_waited_for_a_minute(office: Office) -> None:
    """A fault may be over at once, or last for hours; then the follow-up is filed by itself."""
    first = await office.accept(mail("first"))
    hours = office.house.clock.now() + timedelta(hours=3)
    await office.store.record(first, Deferred(hours, "gpg-timeout"))
    second = await office.receive(mail("second", "first"))
    assert (await office.delivery(second)).why == "other-mail-first"
    await office.pass_time(A_MINUTE)
    assert (await office.delivery(second)).state is State.DONE
    await office.pass_time(timedelta(hours=3))
    assert (await office.case(second)).id != (await office.case(first)).id


async def test_a_report_that_is_soon_tried_again_still_gets_its_follow_up(office: Office) -> None:
    """The first fault of the report costs its follow-up seconds, and not the thread."""
    first = await office.accept(mail("first"))
    seconds = office.house.clock.now() + timedelta(seconds=15)
    await office.store.record(first, Deferred(seconds, "gpg-timeout"))
    second = await office.receive(mail("second", "first"))
    await office.pass_time(timedelta(seconds=20))
    await office.pass_time(LONG)
    assert (await office.case(second)).id == (await office.case(first)).id


@pytest.mark.parametrize("how", [State.QUARANTINED, State.SET_ASIDE])
async def test_a_mail_that_waits_for_a_person_holds_up_nobody(office: Office, how: State) -> None:
    """Nobody knows when somebody looks at it, so what goes on with it is filed at once."""
    first = await office.accept(mail("first"))
    chosen = route(office.house.alias, SPAM, office.house.clock.now())
    aside = (Opened(Protection.NONE), Judged(SPAM), Routed(chosen), SetAside("spam.mark"))
    moves: tuple[Move, ...] = aside if how is State.SET_ASIDE else (Quarantined("died-3-times"),)
    assert (await office.store.record(first, *moves)).state is how
    second = await office.receive(mail("second", "first"))
    assert (await office.delivery(second)).state is State.DONE
    assert "delivery.deferred" not in await events(office, second)


@pytest.mark.parametrize("named", [(), ("unheard-of",)], ids=["nobody", "somebody else"])
async def test_a_mail_that_does_not_name_it_passes_by(
    office: Office, monkeypatch: pytest.MonkeyPatch, named: tuple[str, ...]
) -> None:
    """Only what goes on with a mail waits for it: a mail that hangs delays no other report."""
    hold = Hold(InProcessOpener, "open").on(monkeypatch)
    await take_up(office, hold, mail("first"))
    second = await office.accept(mail("second", *named))
    await come_back(office)
    await office.sender.work_once()
    await office.sender.finish()
    assert (await office.delivery(second)).state is State.DONE
    assert "delivery.deferred" not in await events(office, second)
    await go_on(office, hold)


async def test_a_follow_up_that_was_received_first_waits_for_its_report(office: Office) -> None:
    """A mail system may hand both over at once, and the shorter one is here first."""
    second = await office.accept(mail("second", "first"))
    first = await office.accept(mail("first"))
    await office.work()
    await office.pass_time(timedelta(seconds=20))
    await office.pass_time(LONG)
    assert (await office.case(second)).id == (await office.case(first)).id
    assert len(await office.comments(first)) == 1


async def test_of_two_that_name_each_other_the_earlier_waits_for_a_minute(office: Office) -> None:
    """Then it goes its way, so none waits for the other for ever."""
    first = await office.accept(mail("first", "second"))
    second = await office.accept(mail("second", "first"))
    await office.work()
    await office.pass_time(A_MINUTE)
    await office.pass_time(A_MINUTE)
    assert (await office.delivery(first)).state is State.DONE
    await office.pass_time(LONG)
    assert (await office.case(second)).id == (await office.case(first)).id


async def test_a_stranger_who_overtook_still_only_claims(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waited has the rights of who came later: none by a Message-ID that others may know."""
    hold = Hold(Store, "open_case").on(monkeypatch)
    first = await take_up(office, hold, mail("first"))
    second = await office.accept(mail("second", "first", author=STRANGER), sender=STRANGER)
    await come_back(office)
    assert (await office.delivery(second)).why == "other-mail-first"
    await go_on(office, hold)
    earlier = await office.case(first)
    assert f"This mail claims to continue {earlier.id}" in await office.report(second)
