"""What does a hostile reporter gain with keys?  Nothing of another's, and no say in who gets what.

Each test plays an attack the whole way, with the real gpg, store, tracker, guard and relay.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support import mails
from tests.support.answering import part_of
from tests.support.keys import REPORTER, Keys, Ring, fresh_ring
from tests.support.office import HELD, Office, an_office, letter, outer
from tests.support.stealing import SIGNS, keys_of, thief

from secbridge.errors import PermanentFault
from secbridge.model.case import CommentRef, IssueRef
from secbridge.model.delivery import State
from secbridge.model.issue import CommentDraft
from secbridge.model.message import CertificateSource
from secbridge.ports import EffectKey, KeyChange
from secbridge.trackers.local import LocalTracker, open_issue, write_comment

CANARY = "Zinnobergimpel"
A_MINUTE = timedelta(minutes=1)
MALLORY = "mallory@example.com"


@pytest.fixture
async def office(keys: Keys, role_ring: Ring, tmp_path: Path) -> AsyncIterator[Office]:
    """Return an office that knows no reporter."""
    async with an_office(keys, role_ring, tmp_path) as rooms:
        yield rooms


@pytest.fixture
def evil(keys: Keys) -> Iterator[tuple[Ring, str]]:
    """Return an attacker's ring, with a key of his own that names the reporter's address."""
    with fresh_ring() as ring:
        ring.take(keys.role_cert)
        yield ring, ring.make_key(f"Rita <{REPORTER}>")


async def known_reporter(office: Office, keys: Keys) -> str:
    """Let the reporter open a case with his key, and be acknowledged; return the delivery."""
    first = await office.receive(letter(keys, CANARY, attach=[keys.reporter_cert]))
    assert (await office.delivery(first)).state is State.DONE
    await office.pass_time(A_MINUTE)
    return first


# ── Names that are almost the reporter's ─────────────────────────────────────────────────────────


async def test_capital_letters_are_no_way_around_the_bound_key(
    office: Office, keys: Keys, evil: tuple[Ring, str]
) -> None:
    """An address in other letters is the same mailbox: another key for it is a question, too."""
    await known_reporter(office, keys)
    ring, forged = evil
    for number, author in enumerate(("Reporter@example.net", "reporter@EXAMPLE.net")):
        mail = letter(keys, CANARY, author=author, name=f"m{number}", attach=[ring.export(forged)])
        second = await office.receive(mail, sender=author)
        held = await office.delivery(second)
        assert (held.state, held.why) == (State.HELD, "key-changed")
    assert len(office.relay.taken) == 2


async def test_a_key_that_the_team_did_not_accept_is_never_found_in_our_ring(
    office: Office, keys: Keys, evil: tuple[Ring, str]
) -> None:
    """The question said that nothing is sent to it; that holds for the next case as well."""
    await known_reporter(office, keys)
    ring, forged = evil
    await office.receive(letter(keys, CANARY, name="two", attach=[ring.export(forged)]))
    await office.store.forget_key(keys.reporter_fpr, by="bob")
    await office.house.openpgp.forget_certificate(keys.reporter_fpr)
    await office.pass_time(A_MINUTE)
    third = await office.receive(letter(keys, CANARY, name="three"))
    assert (await office.delivery(third)).state is State.HELD
    bound = (await office.case(third)).key
    assert bound is None
    heard = [outer(taken.content).get_content_type() for taken in office.sent()]
    assert heard == ["multipart/encrypted", "multipart/signed"], "the second asks for a key"


# ── Somebody else's key in a certificate of one's own ────────────────────────────────────────────


@pytest.mark.parametrize("which", [0, 1], ids=["primary", "encryption"])
async def test_a_certificate_that_claims_our_own_key_stops_nothing(
    office: Office, keys: Keys, which: int
) -> None:
    """One such mail would make the role key ambiguous for gpg, and nobody would be answered."""
    stolen = thief(f"Mallory <{MALLORY}>", keys_of(keys.role_cert)[which])
    mail = letter(keys, CANARY, author=MALLORY, attach=[stolen])
    first = await office.receive(mail, sender=MALLORY)
    assert (await office.delivery(first)).why == "key-unusable-malformed"
    assert office.house.ring.fingerprints() == (keys.role_fpr,)
    second = await office.receive(letter(keys, CANARY, name="two", attach=[keys.reporter_cert]))
    assert (await office.delivery(second)).state is State.DONE


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_certificate_that_claims_a_reporters_key_harms_no_verdict_and_no_answer(
    office: Office, keys: Keys, when: str
) -> None:
    """A key is found wherever it is bound: the thief's copy goes when its owner's comes."""
    stolen = thief(f"Mallory <{MALLORY}>", keys_of(keys.reporter_cert)[0], flags=SIGNS)
    stealing = letter(keys, CANARY, author=MALLORY, name="theft", attach=[stolen])
    if when == "before":
        await office.receive(stealing, sender=MALLORY)
    mine = (keys.reporter, keys.reporter_fpr)
    first = await office.receive(letter(keys, CANARY, attach=[keys.reporter_cert], sign=mine))
    if when == "after":
        await office.receive(stealing, sender=MALLORY)
    second = await office.receive(letter(keys, CANARY, name="two", sign=mine))
    assert office.house.ring.fingerprints() == (keys.role_fpr, keys.reporter_fpr)
    for delivery in (first, second):
        assert "good, by the sender" in await office.report(delivery)
        assert (await office.delivery(delivery)).state is State.DONE
    assert len(office.sent()) == 2


# ── What is held, lost or looped ─────────────────────────────────────────────────────────────────


async def test_a_person_may_say_that_the_old_key_stays(
    office: Office, keys: Keys, evil: tuple[Ring, str]
) -> None:
    """Else a mail that brings a second key, whoever put it there, would be held for ever."""
    await known_reporter(office, keys)
    ring, forged = evil
    second = await office.receive(letter(keys, CANARY, name="two", attach=[ring.export(forged)]))
    case = await office.case(second)
    await office.pass_time(A_MINUTE)
    word = KeyChange(
        case.id, REPORTER, keys.reporter_fpr, CertificateSource.PERSON, office.house.clock.now()
    )
    await office.store.propose_key(word)
    await office.store.accept_key(case.id, keys.reporter_fpr, by="alice")
    await office.work()
    assert (await office.delivery(second)).state is State.DONE
    assert b"has arrived" in keys.reporter.decrypt(part_of(outer(office.sent()[-1].content), 1))


async def test_a_command_that_cannot_be_answered_holds_up_no_other(
    office: Office, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody locks an issue, or deletes it: the other cases are commanded all the same."""
    for name in ("one", "two"):
        await office.receive(letter(keys, CANARY, name=name, attach=[keys.reporter_cert]))
    place = ("local", "security")
    conversation = office.conversation()
    await conversation.listen(place)
    for number in (1, 2):
        await write_comment(
            office.store,
            office.sealer,
            number,
            author="a",
            text="sb: help",
            clock=office.house.clock,
        )
    telling = LocalTracker.ensure_comment

    async def locked(
        self: LocalTracker, ref: IssueRef, key: EffectKey, draft: CommentDraft
    ) -> CommentRef:
        if ref.number == "1":
            raise PermanentFault("issue-locked", "The issue takes no comment.")
        return await telling(self, ref, key, draft)

    monkeypatch.setattr(LocalTracker, "ensure_comment", locked)
    with pytest.raises(PermanentFault):
        await conversation.listen(place)
    monkeypatch.undo()
    issue = await open_issue(office.store, office.sealer, 2)
    assert issue is not None
    assert sum("What can be asked" in each.text for each in issue.comments) == 1
    await conversation.listen(place)
    issue = await open_issue(office.store, office.sealer, 1)
    assert issue is not None
    assert sum("What can be asked" in each.text for each in issue.comments) == 1


async def test_a_key_that_a_forged_mail_left_in_the_ring_never_ends_a_hold(
    office: Office, keys: Keys
) -> None:
    """Its signature is judged, so it is in the ring; but nobody of the house put it there."""
    held = await office.receive(letter(keys, CANARY))
    assert State.HELD is (await office.delivery(held)).state
    with fresh_ring() as ring:
        thief = ring.make_key(f"Rita <{REPORTER}>")
        signed = mails.multipart(
            "mixed",
            [
                mails.text("Hello"),
                mails.file(ring.export(thief), "key.asc", media_type="application/pgp-keys"),
            ],
            boundary="m",
        )
        head = mails.header("").replace(b"<one@example.net>", b"<forged@example.net>")
        await office.receive(head + mails.signed(signed, ring.sign_detached(signed, thief)))
        assert await office.house.openpgp.certificate(thief) is not None
    await office.pass_time(HELD)
    assert State.HELD is (await office.delivery(held)).state
    assert await office.house.openpgp.certificates_for(REPORTER) == ()


async def test_a_key_that_a_person_brought_ends_a_hold(office: Office, keys: Keys) -> None:
    """The same certificate counts as soon as somebody of the house imports it by hand."""
    held = await office.receive(letter(keys, CANARY))
    openpgp = office.house.openpgp
    await openpgp.import_certificate(keys.reporter_cert, address=REPORTER)
    await office.pass_time(HELD)
    assert State.HELD is (await office.delivery(held)).state
    await openpgp.import_certificate(keys.reporter_cert, address=REPORTER, by_person=True)
    await office.pass_time(HELD)
    assert State.DONE is (await office.delivery(held)).state
