"""Whose key is it?  The first one is bound, another one is a question, and nothing is sent to it.

The whole way with the real gpg, store, tracker, guard and relay (``tests.support.office``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support import mails
from tests.support.answering import parsed, part_of, text_of
from tests.support.keys import REPORTER, GpgError, Keys, Ring, fresh_ring
from tests.support.office import Office, an_office, letter

from secbridge.model.case import KeyBinding
from secbridge.model.delivery import State
from secbridge.model.message import CertificateSource, FoundCertificate
from secbridge.pipeline.keychanges import Accepted, Refused

CANARY = "Zinnobergimpel"
RITA = f"Rita <{REPORTER}>"
COLLEAGUE = "colleague@example.net"
A_MINUTE = timedelta(minutes=1)


@pytest.fixture
async def office(keys: Keys, role_ring: Ring, tmp_path: Path) -> AsyncIterator[Office]:
    """Return an office that knows no reporter."""
    async with an_office(keys, role_ring, tmp_path) as rooms:
        yield rooms


@pytest.fixture
def other(keys: Keys) -> Iterator[tuple[Ring, str]]:
    """Return a ring with another key for the reporter's address, and its fingerprint."""
    with fresh_ring() as ring:
        ring.take(keys.role_cert)
        yield ring, ring.make_key(RITA)


async def known_reporter(office: Office, keys: Keys) -> str:
    """Let the reporter open a case with his key, and be acknowledged; return the delivery."""
    first = await office.receive(letter(keys, CANARY, attach=[keys.reporter_cert]))
    assert (await office.delivery(first)).state is State.DONE
    assert len(office.sent()) == 1
    await office.pass_time(A_MINUTE)
    return first


def opens(ring: Ring, content: bytes) -> bool:
    """Return whether a ring can open an acknowledgement that left."""
    try:
        inside = ring.gpg("--decrypt", stdin=part_of(parsed(content), 1))
    except GpgError:
        return False
    return "has arrived" in text_of(parsed(inside))


def questions(comments: Sequence[str]) -> list[str]:
    """Return the comments that ask the team whether another key is the reporter's."""
    return [comment for comment in comments if "Another key came" in comment]


# ── Another key ──────────────────────────────────────────────────────────────────────────────────


async def test_a_stranger_with_a_forged_from_and_a_key_of_his_own_gets_nothing(
    office: Office, keys: Keys, other: tuple[Ring, str]
) -> None:
    """The answer waits without any mail; the issue has both keys, the source and what to type."""
    await known_reporter(office, keys)
    ring, forged = other
    second = await office.receive(letter(keys, CANARY, name="two", attach=[ring.export(forged)]))
    held = await office.delivery(second)
    assert (held.state, held.why) == (State.HELD, "key-changed")
    assert len(office.sent()) == 1
    (asked,) = await office.comments(second)
    case = await office.case(second)
    for said in (
        keys.reporter_fpr,
        forged,
        "attached, inside the encryption",
        f"sb: key accept {forged}",
        f"secbridge key accept {forged} --case {case.id}",
        "held until then",
    ):
        assert said in asked
    assert "Signed with the key until now  NO" in asked
    assert REPORTER not in asked
    assert CANARY not in asked
    await office.pass_time(timedelta(days=2))
    assert len(office.sent()) == 1
    assert len(await office.comments(second)) == 1
    assert (await office.delivery(second)).state is State.HELD


async def test_accepting_binds_the_key_and_the_answer_goes_out_by_itself(
    office: Office, keys: Keys, other: tuple[Ring, str]
) -> None:
    """To the new key alone; it takes the old one's place in the reporter's other case as well."""
    first = await known_reporter(office, keys)
    ring, new = other
    second = await office.receive(letter(keys, CANARY, name="two", attach=[ring.export(new)]))
    await office.pass_time(A_MINUTE)
    spelled = " ".join([new[:20].lower(), new[20:]])
    accepted = await office.changes.accept((await office.case(second)).id, spelled, by="alice")
    assert isinstance(accepted, Accepted)
    await office.work()
    assert (await office.delivery(second)).state is State.DONE
    (_, answer) = office.sent()
    assert opens(ring, answer.content)
    assert not opens(keys.reporter, answer.content)
    expected = KeyBinding(
        REPORTER, new, CertificateSource.INSIDE, office.house.clock.now(), accepted_by="alice"
    )
    assert [(await office.case(each)).key for each in (first, second)] == [expected, expected]
    released = (await office.comments(second))[-1]
    assert "goes out now" in released
    assert new in released


async def test_a_new_key_in_a_mail_signed_with_the_old_one_says_so(
    office: Office, keys: Keys, other: tuple[Ring, str]
) -> None:
    """The team is asked all the same; accepted, the mail itself asks no second time."""
    await known_reporter(office, keys)
    ring, new = other
    mail = letter(
        keys, CANARY, name="two", attach=[ring.export(new)],
        sign=(keys.reporter, keys.reporter_fpr),
    )  # fmt: skip
    second = await office.receive(mail)
    (asked,) = await office.comments(second)
    assert "yes, a good signature covers the new key" in asked
    await office.changes.accept((await office.case(second)).id, new, by="alice")
    await office.work()
    assert opens(ring, office.sent()[-1].content)
    assert len(questions(await office.comments(second))) == 1


async def test_an_autocrypt_header_alone_changes_nothing_whoever_signed(
    office: Office, keys: Keys, other: tuple[Ring, str]
) -> None:
    """A signature covers no outer header: an old signed mail may come again with another one."""
    await known_reporter(office, keys)
    ring, new = other
    mail = letter(
        keys, CANARY, name="two", sign=(keys.reporter, keys.reporter_fpr),
        autocrypt=ring.export(new),
    )  # fmt: skip
    second = await office.receive(mail)
    held = await office.delivery(second)
    assert (held.state, held.why) == (State.HELD, "key-changed")
    (asked,) = await office.comments(second)
    assert "in the Autocrypt header" in asked
    assert "Signed with the key until now  NO" in asked


async def test_a_mail_signed_with_another_key_challenges_the_binding(
    office: Office, keys: Keys, other: tuple[Ring, str]
) -> None:
    """Even a good signature of somebody who claims the address is only a question."""
    await known_reporter(office, keys)
    ring, new = other
    mail = letter(keys, CANARY, name="two", attach=[ring.export(new)], sign=other)
    second = await office.receive(mail)
    assert (await office.delivery(second)).why == "key-changed"
    assert len(questions(await office.comments(second))) == 1


async def test_the_bound_key_with_a_new_subkey_is_taken_as_it_is_now(
    office: Office, keys: Keys
) -> None:
    """A refresh is no change: nothing waits, and the newest subkey is used."""
    with fresh_ring() as ring:
        ring.take(keys.role_cert)
        key = ring.make_key(RITA, at="20250101T000000")  # gpg counts in whole seconds
        await office.receive(letter(keys, CANARY, attach=[ring.export(key)]))
        (old,) = ring.subkeys(key)
        ring.gpg("--yes", "--quick-add-key", key, "cv25519", "encr", "1y")
        (new,) = set(ring.subkeys(key)) - {old}
        second = await office.receive(letter(keys, CANARY, name="two", attach=[ring.export(key)]))
        assert (await office.delivery(second)).state is State.DONE
        packets = ring.gpg(
            "--list-packets", stdin=part_of(parsed(office.sent()[-1].content), 1), ok=(0, 2)
        )
    assert f"keyid {new[-16:]}".encode() in packets
    assert f"keyid {old[-16:]}".encode() not in packets
    assert await office.comments(second) == []


async def test_a_bound_key_that_expired_is_explained_while_the_team_is_asked(
    office: Office, keys: Keys, other: tuple[Ring, str]
) -> None:
    """The notice says what is wrong with the old one; nothing goes to the new one."""
    with fresh_ring() as expiring:
        old = expiring.make_key(RITA, expire="1y", at="20200101T000000")
        office.house.ring.take(expiring.export(old))
    first = await office.receive(letter(keys, CANARY))
    binding = KeyBinding(REPORTER, old, CertificateSource.INSIDE, office.house.clock.now())
    await office.store.bind_key((await office.case(first)).id, binding)
    await office.pass_time(A_MINUTE)
    ring, new = other
    second = await office.receive(letter(keys, CANARY, name="two", attach=[ring.export(new)]))
    assert (await office.delivery(second)).why == "key-changed"
    (notice,) = await office.outbox(second)
    assert notice.step == "notice-key-unusable-expired"
    (asked,) = await office.comments(second)
    assert "it has expired" in asked
    assert "what is wrong with the key" in asked
    await office.changes.accept((await office.case(second)).id, new, by="alice")
    await office.work()
    assert opens(ring, office.sent()[-1].content)


async def test_an_unusable_key_challenges_nothing(office: Office, keys: Keys) -> None:
    """Nobody could accept it; the bound one answers as ever."""
    await known_reporter(office, keys)
    with fresh_ring() as ring:
        bad = ring.export(ring.make_key(RITA, encrypts=False))
    second = await office.receive(letter(keys, CANARY, name="two", attach=[bad]))
    assert (await office.delivery(second)).state is State.DONE
    assert opens(keys.reporter, office.sent()[-1].content)


async def test_nobody_outside_is_asked_about_a_bound_key(
    keys: Keys, role_ring: Ring, tmp_path: Path, other: tuple[Ring, str]
) -> None:
    """A look-up never challenges a binding, whatever it would have found."""
    ring, new = other

    class Directory:
        asked = 0

        async def find(
            self, source: CertificateSource, address: str, *, fingerprints: Sequence[str] = ()
        ) -> Sequence[FoundCertificate]:
            del address, fingerprints
            self.asked += 1
            return [FoundCertificate(source, ring.export(new))]

    directory = Directory()
    async with an_office(keys, role_ring, tmp_path, finder=directory) as office:
        await known_reporter(office, keys)
        await office.receive(letter(keys, CANARY, name="two"))
        assert opens(keys.reporter, office.sent()[-1].content)
    assert directory.asked == 0


# ── Follow-ups ───────────────────────────────────────────────────────────────────────────────────


async def test_a_follow_up_with_another_key_is_filed_and_asked_about_once(
    office: Office, keys: Keys, other: tuple[Ring, str]
) -> None:
    """The mail joins as ever; a second one with the same key says nothing new."""
    first = await known_reporter(office, keys)
    ring, new = other
    token = (await office.case(first)).token
    for name in ("two", "three"):
        mail = letter(keys, f"{CANARY} {name}", name=name, attach=[ring.export(new)])
        joined = await office.receive(mail, token=token)
        assert (await office.delivery(joined)).state is State.DONE
    comments = await office.comments(first)
    assert [f"{CANARY} {name}" in "".join(comments) for name in ("two", "three")] == [True, True]
    (asked,) = questions(comments)
    assert "went out before" in asked
    assert len(office.sent()) == 1


async def test_a_key_that_somebody_else_on_the_thread_brings_is_not_the_reporters(
    office: Office, keys: Keys, other: tuple[Ring, str]
) -> None:
    """A colleague on copy has the address of the case, and no say about the reporter's key."""
    ring, new = other
    first = await office.receive(letter(keys, CANARY))
    case = await office.case(first)
    mail = letter(keys, CANARY, name="two", author=COLLEAGUE, attach=[ring.export(new)])
    joined = await office.receive(mail, token=case.token, sender=COLLEAGUE)
    assert (await office.delivery(joined)).why == "not-a-new-case"
    assert (await office.case(first)).key is None
    assert await office.store.key_changes(case.id) == []
    assert (await office.delivery(first)).state is State.HELD
    assert [taken.recipients for taken in office.relay.taken].count((COLLEAGUE,)) == 0


async def test_the_reporter_may_write_from_elsewhere_with_his_own_signature(
    office: Office, keys: Keys, other: tuple[Ring, str]
) -> None:
    """Signed with the bound key, a mail from another address speaks for the reporter's key."""
    first = await known_reporter(office, keys)
    ring, new = other
    mail = letter(
        keys, CANARY, name="two", author=COLLEAGUE, attach=[ring.export(new)],
        sign=(keys.reporter, keys.reporter_fpr),
    )  # fmt: skip
    await office.receive(mail, token=(await office.case(first)).token, sender=COLLEAGUE)
    (asked,) = questions(await office.comments(first))
    assert "yes, a good signature covers the new key" in asked
    assert len(office.sent()) == 1


async def test_the_first_key_in_a_follow_up_is_bound_though_nothing_is_answered(
    office: Office, keys: Keys
) -> None:
    """The case was acknowledged in clear; from now on it is an encrypted one with a key."""
    first = await office.receive(mail_in_clear())
    assert len(office.sent()) == 1
    case = await office.case(first)
    second = letter(keys, CANARY, name="two", attach=[keys.reporter_cert])
    joined = await office.receive(second, token=case.token)
    assert (await office.delivery(joined)).why == "not-a-new-case"
    after = await office.case(first)
    assert after.must_encrypt
    assert after.key is not None
    assert after.key.fingerprint == keys.reporter_fpr
    assert len(office.sent()) == 1


def mail_in_clear() -> bytes:
    """Return a report that nobody encrypted."""
    return mails.mail(mails.text("A vulnerability in 1.2.3, see CVE-2026-0001.\n"), subject="Hi")


# ── Across cases ─────────────────────────────────────────────────────────────────────────────────


async def test_a_later_case_says_nothing_about_who_wrote_an_earlier_one(
    office: Office, keys: Keys, other: tuple[Ring, str]
) -> None:
    """A stranger opens a case under the address of somebody whose answer is held for want of a key.

    The stranger's own case is answered, as on any first use; the earlier one asks its team.
    """
    first = await office.receive(letter(keys, CANARY))
    await office.pass_time(A_MINUTE)
    ring, strangers = other
    await office.receive(letter(keys, "x", name="two", attach=[ring.export(strangers)]))
    held = await office.delivery(first)
    assert (held.state, held.why) == (State.HELD, "key-changed")
    (asked,) = questions(await office.comments(first))
    assert "none; this one came with another mail under that address" in asked
    opened = [taken for taken in office.sent() if b"multipart/encrypted" in taken.content]
    assert len(opened) == 1, "only the stranger's own case is answered"
    await office.changes.accept((await office.case(first)).id, strangers, by="alice")
    await office.work()
    assert (await office.delivery(first)).state is State.DONE


async def test_accepting_once_wakes_all_that_waits_for_the_same_address(
    office: Office, keys: Keys, other: tuple[Ring, str]
) -> None:
    """Two cases with the new key: one word of the team is enough."""
    await known_reporter(office, keys)
    ring, new = other
    held = [
        await office.receive(letter(keys, CANARY, name=name, attach=[ring.export(new)]))
        for name in ("two", "three")
    ]
    await office.pass_time(A_MINUTE)
    await office.changes.accept((await office.case(held[0])).id, new, by="alice")
    await office.work()
    assert [(await office.delivery(each)).state for each in held] == [State.DONE, State.DONE]
    assert [opens(ring, taken.content) for taken in office.sent()] == [False, True, True]


async def test_a_key_that_was_proposed_is_no_first_key_when_the_bound_one_is_forgotten(
    office: Office, keys: Keys, other: tuple[Ring, str]
) -> None:
    """The team was asked and did not agree; that somebody tidied up does not change it."""
    await known_reporter(office, keys)
    ring, new = other
    second = await office.receive(letter(keys, CANARY, name="two", attach=[ring.export(new)]))
    assert await office.store.forget_key(keys.reporter_fpr, by="bob") == 1
    await office.store.wake_held(address=REPORTER)
    await office.work()
    assert (await office.delivery(second)).state is State.HELD
    assert len(office.sent()) == 1


# ── Accepting ────────────────────────────────────────────────────────────────────────────────────


async def test_what_cannot_be_accepted_is_refused_with_a_code(
    office: Office, keys: Keys, other: tuple[Ring, str]
) -> None:
    """A short id, a stranger's key, a case that is not there, and a key that is unusable by now."""
    await known_reporter(office, keys)
    ring, new = other
    second = await office.receive(letter(keys, CANARY, name="two", attach=[ring.export(new)]))
    case = (await office.case(second)).id
    accept = office.changes.accept
    assert await accept(case, new[-16:], by="a") == Refused("not-a-fingerprint")
    assert await accept(case, keys.stranger_fpr, by="a") == Refused("not-proposed")
    assert await accept("SB-1999-0001", new, by="a") == Refused("no-such-case")
    office.house.ring.take(ring.revoke(new))
    assert await accept(case, new, by="a") == Refused("revoked")
    office.house.ring.gpg("--yes", "--delete-keys", new)
    assert await accept(case, new, by="a") == Refused("unknown-key")
    assert (await office.delivery(second)).state is State.HELD
    journal = [entry.event for entry in await office.store.journal(case)]
    assert "case.key-proposed" in journal
    assert "case.key-accepted" not in journal


async def test_the_journal_tells_of_keys_by_fingerprints_alone(
    office: Office, keys: Keys, other: tuple[Ring, str]
) -> None:
    """Bound, proposed, accepted by whom; no address stands in it."""
    first = await known_reporter(office, keys)
    ring, new = other
    second = await office.receive(letter(keys, CANARY, name="two", attach=[ring.export(new)]))
    case = await office.case(second)
    await office.changes.accept(case.id, new, by="alice")
    entries = await office.store.journal(case.id)
    facts = {each.event: dict(each.facts) for each in entries if each.event.startswith("case.key")}
    assert facts == {
        "case.key-proposed": {"fingerprint": new, "source": "attached-inside"},
        "case.key-accepted": {
            "fingerprint": new,
            "source": "attached-inside",
            "replaced": keys.reporter_fpr,
            "by": "alice",
        },
    }
    entries = await office.store.journal((await office.case(first)).id)
    assert [e.event for e in entries if "key" in e.event] == ["case.key-bound", "case.key-accepted"]
    assert REPORTER not in repr(entries)
