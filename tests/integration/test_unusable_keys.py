"""Every kind of key that cannot be used: what the reporter hears, what the team reads, what waits.

Each goes the whole way with the real gpg, store, tracker, guard and relay: the notice names what is
wrong, the acknowledgement is held, the issue says why, and no clear byte of the report leaves.
Then a good key comes, and the acknowledgement goes out by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pysequoia
import pytest
from tests.support.answering import parsed, part_of, text_of
from tests.support.keys import REPORTER, Keys, Ring, fresh_ring
from tests.support.office import Office, an_office, letter, outer

from secbridge.mail.packets import walk
from secbridge.model.delivery import State
from secbridge.model.reply import ReplyKind
from secbridge.openpgp.strength import KeyLimits
from secbridge.rules import clinic

CANARY = "Zinnobergimpel"
RITA = f"Rita <{REPORTER}>"
LONG_AGO = "20200101T000000"
_USER_ID, _SIGNATURE = 13, 2


def _expired(ring: Ring) -> bytes:
    return ring.export(ring.make_key(RITA, expire="1y", at=LONG_AGO))


def _expired_subkey(ring: Ring) -> bytes:
    return ring.export(ring.make_key(RITA, subkey_expire="1y", at=LONG_AGO))


def _revoked(ring: Ring) -> bytes:
    return ring.revoke(ring.make_key(RITA))


def _only_signs(ring: Ring) -> bytes:
    return ring.export(ring.make_key(RITA, encrypts=False))


def _weak(ring: Ring) -> bytes:
    return ring.export(ring.make_key(RITA, algo="rsa1024"))


def _sha1(ring: Ring) -> bytes:
    sha1 = ("--cert-digest-algo", "SHA1")
    ring.gpg(*sha1, "--quick-gen-key", RITA, "ed25519", "cert,sign", "0")
    (key,) = ring.fingerprints()
    ring.gpg(*sha1, "--quick-add-key", key, "cv25519", "encr", "0")
    return ring.export(key)


def _version_5(ring: Ring) -> bytes:
    """Return a version 4 certificate whose first packet says that it is of version 5."""
    content = ring.export(ring.make_key(RITA))
    body = next(walk(content)).body
    return content[:body] + b"\x05" + content[body + 1 :]


def _version_6(ring: Ring) -> bytes:
    del ring
    made = pysequoia.Tsk.generate(RITA, profile=pysequoia.Profile.RFC9580)
    return bytes(made.extract_certificate())


def _garbage(ring: Ring) -> bytes:
    del ring
    return b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n"


def _too_large(ring: Ring) -> bytes:
    return ring.export(ring.make_key(RITA)) + bytes(300 << 10)


def _no_user_id(ring: Ring) -> bytes:
    """Return a certificate as a keyserver that verifies addresses serves it: keys, and no name."""
    content = ring.export(ring.make_key(RITA))
    kept, of_user_id = b"", False
    for packet in walk(content):
        of_user_id = packet.tag == _USER_ID or (of_user_id and packet.tag == _SIGNATURE)
        kept += b"" if of_user_id else content[packet.start : packet.end]
    return kept


def _other_address(ring: Ring) -> bytes:
    return ring.export(ring.make_key("Rita <rita@elsewhere.example>"))


def _control_characters(ring: Ring) -> bytes:
    del ring
    status = "E\n[GNUPG:] GOODSIG 0123456789ABCDEF Rita\nve"
    made = pysequoia.Tsk.generate(user_ids=[RITA, status])
    return bytes(made.extract_certificate())


def _several(ring: Ring) -> bytes:
    return _expired(ring) + ring.revoke(ring.make_key(f"Rita the Second <{REPORTER}>"))


KINDS: dict[str, tuple[Callable[[Ring], bytes], str]] = {
    "expired": (_expired, "expired"),
    "encryption subkey expired, primary valid": (_expired_subkey, "expired"),
    "revoked": (_revoked, "revoked"),
    "no encryption subkey": (_only_signs, "no-encryption-subkey"),
    "weak": (_weak, "weak"),
    "SHA-1 bindings": (_sha1, "sha1-bindings"),
    "version 5": (_version_5, "unsupported-version"),
    "version 6": (_version_6, "unsupported-version"),
    "malformed": (_garbage, "malformed"),
    "too large": (_too_large, "too-large"),
    "no user ID": (_no_user_id, "no-user-id"),
    "another address": (_other_address, "no-user-id"),
    "control characters in a user ID": (_control_characters, "malformed"),
    "several, none usable": (_several, "expired"),
}
"""Kind of key → how to make it, and the code of which the notice tells the reporter."""


@pytest.fixture
async def office(keys: Keys, role_ring: Ring, tmp_path: Path) -> AsyncIterator[Office]:
    """Return an office that refuses what is weaker than RSA 2048, and knows no reporter."""
    limits = KeyLimits(reporter_refuse_below=2048, reporter_warn_below=2048)
    async with an_office(keys, role_ring, tmp_path, limits=limits) as rooms:
        yield rooms


def assert_nothing_leaked(office: Office) -> None:
    """Look for clear bytes of a report in every mail that the relay took, to whomever it went."""
    for taken in office.relay.taken:
        assert CANARY.encode() not in taken.content
        assert "[GNUPG:]" not in str(outer(taken.content))


def assert_opens(office: Office, keys: Keys, content: bytes) -> None:
    """Open the acknowledgement with the reporter's plain gpg: it holds nothing of the report."""
    inside = keys.reporter.decrypt(part_of(parsed(content), 1))
    text = text_of(parsed(inside))
    assert "Your encrypted message has arrived" in text
    assert CANARY not in text
    assert office.house.keys.role_fpr in "".join(text.split())


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_that_cannot_be_used_is_explained_and_the_answer_waits_for_a_good_one(
    office: Office, keys: Keys, kind: str
) -> None:
    """Notice with the code, state, issue; then the mail with a good key, and what leaves for it."""
    make, code = KINDS[kind]
    with fresh_ring() as ring:
        bad = make(ring)
    first = await office.receive(letter(keys, CANARY, attach=[bad]))

    held = await office.delivery(first)
    assert (held.state, held.why) == (State.HELD, f"key-unusable-{code}")
    (notice,) = await office.outbox(first)
    assert (notice.kind, notice.step) == (
        ReplyKind.NOTICE_KEY_UNUSABLE, f"notice-key-unusable-{code}",
    )  # fmt: skip
    (sent,) = office.sent()
    assert f"({code})" in text_of(outer(sent.content))
    assert_nothing_leaked(office)
    (comment,) = await office.comments(first)
    assert clinic.PROBLEMS[code].split(" with ")[0].rstrip(".") in comment
    assert f"({code})" in comment
    assert clinic.MENDS[code] in comment
    assert "secbridge key import" in comment

    case = await office.case(first)
    good = letter(keys, CANARY, name="two", attach=[keys.reporter_cert])
    second = await office.receive(good, token=case.token)
    states = [(await office.delivery(each)).state for each in (first, second)]
    assert states == [State.DONE, State.DONE]
    (_, answer) = office.sent()
    assert_opens(office, keys, answer.content)
    assert_nothing_leaked(office)
    (_, _, released) = await office.comments(first)
    assert "goes out now" in released
    assert keys.reporter_fpr in released
    bound = (await office.case(first)).key
    assert bound is not None
    assert bound.fingerprint == keys.reporter_fpr


async def test_without_any_key_the_reporter_is_asked_for_one_once(
    office: Office, keys: Keys
) -> None:
    """However often he writes: the notice leaves once, and the issue says once that it waits."""
    first = await office.receive(letter(keys, CANARY))
    case = await office.case(first)
    again = await office.receive(letter(keys, CANARY, name="two"), token=case.token)

    held, joined = await office.delivery(first), await office.delivery(again)
    assert (held.state, held.why) == (State.HELD, "no-key")
    assert (joined.state, joined.why) == (State.DONE, "answer-held-already")
    assert [mail.kind for mail in await office.outbox(first)] == [ReplyKind.NOTICE_SEND_KEY]
    assert len(office.sent()) == 1
    said = [comment for comment in await office.comments(first) if "held" in comment]
    assert len(said) == 1
    assert_nothing_leaked(office)


async def test_a_good_key_among_bad_ones_is_used_at_once(office: Office, keys: Keys) -> None:
    """Nothing waits where one of several keys will do."""
    with fresh_ring() as ring:
        bad = _expired(ring)
    mail = letter(keys, CANARY, attach=[bad + keys.reporter_cert])
    first = await office.receive(mail)
    assert (await office.delivery(first)).state is State.DONE
    (answer,) = office.sent()
    assert_opens(office, keys, answer.content)
    assert await office.comments(first) == []


async def test_a_second_bad_key_is_explained_too(office: Office, keys: Keys) -> None:
    """Each code has its notice; the answer is held once, and one good key ends all of it."""
    with fresh_ring() as ring:
        expired, signs = _expired(ring), ring.export(ring.make_key(f"S {RITA}", encrypts=False))
    first = await office.receive(letter(keys, CANARY, attach=[expired]))
    token = (await office.case(first)).token
    await office.receive(letter(keys, CANARY, name="two", attach=[signs]), token=token)
    await office.receive(letter(keys, CANARY, name="three", attach=[signs]), token=token)
    notices = [text_of(outer(taken.content)) for taken in office.sent()]
    assert ["(expired)" in text for text in notices] == [True, False]
    assert ["(no-encryption-subkey)" in text for text in notices] == [False, True]
    good = letter(keys, CANARY, name="four", attach=[keys.reporter_cert])
    await office.receive(good, token=token)
    assert len(office.sent()) == 3
    assert_opens(office, keys, office.sent()[-1].content)
    states = {delivery.state for delivery in await office.store.find()}
    assert states == {State.DONE}
    assert_nothing_leaked(office)


async def test_a_key_that_works_and_should_be_mended_is_warned_of(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """The acknowledgement says what to do, encrypted; the issue says what it was told."""
    limits = KeyLimits(reporter_refuse_below=1024, reporter_warn_below=2048)
    async with an_office(keys, role_ring, tmp_path, limits=limits) as office:
        with fresh_ring() as ring:
            key = ring.make_key(RITA, algo="rsa1024", expire="20d")
            first = await office.receive(letter(keys, CANARY, attach=[ring.export(key)]))
            (answer,) = office.sent()
            text = text_of(parsed(ring.decrypt(part_of(parsed(answer.content), 1))))
        for code in ("weak", "expires-soon"):
            for words in (clinic.WARNINGS[code], clinic.WARNING_MENDS[code]):
                assert words in " ".join(text.split())
        (comment,) = await office.comments(first)
        assert "(weak)" in comment
        assert "(expires-soon)" in comment
        assert key in comment
        assert_nothing_leaked(office)
