"""What becomes of ciphertexts and signatures, with real gpg on both sides."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import AsyncIterator

import pysequoia
import pytest
from tests.support.keys import Keys, Ring, copied_ring, fresh_ring

from secbridge.mail.armor import dearmor
from secbridge.model.message import OpenFailure, SignatureVerdict
from secbridge.openpgp import GnuPG
from secbridge.ports import CannotOpen, Decrypted, Verified

TEXT = b"There is a hole in the fence.\r\n" * 100
LIMIT = 1 << 20


@pytest.fixture
async def gnupg(role_ring: Ring, keys: Keys) -> AsyncIterator[GnuPG]:
    """Return the port on a ring that holds the role key and the reporter's certificate."""
    role_ring.take(keys.reporter_cert)
    port = GnuPG(role_ring.home, role_keys=[keys.role_fpr])
    yield port
    await port.aclose()


async def opened(gnupg: GnuPG, message: bytes) -> Decrypted:
    """Return what a message says, which must open."""
    found = await gnupg.decrypt(message, limit=LIMIT)
    assert isinstance(found, Decrypted)
    return found


async def reason(gnupg: GnuPG, message: bytes, limit: int = LIMIT) -> OpenFailure:
    """Return why a message does not open."""
    found = await gnupg.decrypt(message, limit=limit)
    assert isinstance(found, CannotOpen)
    return found.reason


def flipped(content: bytes, at: int) -> bytes:
    """Return content with one bit changed."""
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


class TestDecrypting:
    """A message that is whole and meant for us gives its text and its verdicts."""

    @pytest.mark.parametrize("armor", [True, False])
    @pytest.mark.parametrize("compress", [True, False])
    async def test_a_signed_message_opens(
        self, gnupg: GnuPG, keys: Keys, armor: bool, compress: bool
    ) -> None:
        """Text, signer, the signer's address and our key come out, whatever the form."""
        message = keys.reporter.encrypt(
            TEXT, keys.role_fpr, sign=keys.reporter_fpr, armor=armor, compress=compress
        )
        found = await opened(gnupg, message)
        (signature,) = found.signatures
        expected = (SignatureVerdict.GOOD, keys.reporter_fpr, ("reporter@example.net",))
        assert expected == (signature.verdict, signature.fingerprint, signature.addresses)
        assert (TEXT, keys.role_fpr) == (found.plaintext.content, found.opened_by)

    async def test_an_unsigned_message_has_no_signatures(self, gnupg: GnuPG, keys: Keys) -> None:
        """Absence of a signature is an empty tuple, not a verdict."""
        found = await opened(gnupg, keys.reporter.encrypt(TEXT, keys.role_fpr))
        assert (found.plaintext.content, found.signatures) == (TEXT, ())

    async def test_a_hidden_recipient_is_tried_with_our_keys(
        self, gnupg: GnuPG, keys: Keys
    ) -> None:
        """A message that names no recipient opens when it is for us."""
        message = keys.reporter.encrypt(TEXT, keys.role_fpr, hidden=True)
        found = await opened(gnupg, message)
        assert (TEXT, keys.role_fpr) == (found.plaintext.content, found.opened_by)

    async def test_an_empty_text_is_a_text(self, gnupg: GnuPG, keys: Keys) -> None:
        """A message may say nothing."""
        found = await opened(gnupg, keys.reporter.encrypt(b"", keys.role_fpr))
        assert found.plaintext.content == b""

    async def test_large_messages_pass_without_a_deadlock(self, gnupg: GnuPG, keys: Keys) -> None:
        """Megabytes go in and come out at the same time."""
        text = bytes(range(256)) * 20_000
        message = keys.reporter.encrypt(text, keys.role_fpr, armor=False)
        found = await gnupg.decrypt(message, limit=len(text))
        assert isinstance(found, Decrypted)
        assert found.plaintext.content == text

    async def test_a_text_that_compresses_well_is_whole(self, gnupg: GnuPG, keys: Keys) -> None:
        """What looks like a bomb on its way, and keeps within the limit, comes out as it was."""
        noise = random.Random(3).randbytes(1 << 20)  # noqa: S311 - filler, no secret
        text = bytes(3 << 20) + noise + b"\r\n" * (2 << 20)
        message = keys.reporter.encrypt(text, keys.role_fpr, compress=True)
        found = await gnupg.decrypt(message, limit=len(text))
        assert isinstance(found, Decrypted)
        assert found.plaintext.content == text

    async def test_text_around_the_armor_does_not_matter(self, gnupg: GnuPG, keys: Keys) -> None:
        """A list's footer below the armor leaves the message as it is."""
        message = keys.reporter.encrypt(TEXT, keys.role_fpr)
        found = await opened(gnupg, b"Hi,\n\n" + message + b"\n-- \nlist footer\n")
        assert found.plaintext.content == TEXT

    async def test_an_unknown_signer_is_named(self, gnupg: GnuPG, keys: Keys) -> None:
        """A signature by a key that we do not have yet keeps the fingerprint that it names."""
        stranger = keys.stranger
        message = stranger.encrypt(TEXT, keys.role_fpr, sign=keys.stranger_fpr)
        (signature,) = (await opened(gnupg, message)).signatures
        expected = (SignatureVerdict.UNKNOWN_KEY, keys.stranger_fpr, ())
        assert expected == (signature.verdict, signature.fingerprint, signature.addresses)

    async def test_several_signatures_are_kept_apart(self, gnupg: GnuPG, keys: Keys) -> None:
        """A known and an unknown signer of one message each have a verdict of their own."""
        with copied_ring(keys.stranger) as ring:
            ring.take(keys.reporter.export_secret(keys.reporter_fpr))
            message = ring.encrypt(
                TEXT, keys.role_fpr, sign=keys.stranger_fpr, extra=["-u", keys.reporter_fpr]
            )
        found = {it.fingerprint: it.verdict for it in (await opened(gnupg, message)).signatures}
        expected = {
            keys.reporter_fpr: SignatureVerdict.GOOD,
            keys.stranger_fpr: SignatureVerdict.UNKNOWN_KEY,
        }
        assert expected == found

    async def test_a_bad_signature_in_a_sound_ciphertext_spoils_only_itself(
        self, gnupg: GnuPG, keys: Keys
    ) -> None:
        """The text is integrity-protected by the encryption: it is shown, with its bad verdict."""
        signed = keys.reporter.gpg(
            "--compress-algo", "none", "-u", keys.reporter_fpr, "--sign", stdin=b"y" * 200
        )
        forged = signed.replace(b"yyyy", b"zzzz", 1)
        message = keys.reporter.encrypt(forged, keys.role_fpr, extra=["--no-literal"])
        found = await opened(gnupg, message)
        (signature,) = found.signatures
        expected = (SignatureVerdict.BAD, keys.reporter_fpr, ())
        assert expected == (signature.verdict, signature.fingerprint, signature.addresses)
        assert found.plaintext.content.startswith(b"zzzzyyyy")

    async def test_without_named_role_keys_any_secret_key_opens(
        self, role_ring: Ring, keys: Keys
    ) -> None:
        """A ring whose role keys nobody named serves with all its secret keys."""
        port = GnuPG(role_ring.home)
        found = await opened(port, keys.reporter.encrypt(TEXT, keys.role_fpr))
        other = await reason(port, keys.stranger.encrypt(TEXT, keys.stranger_fpr))
        await port.aclose()
        assert (keys.role_fpr, OpenFailure.NO_SECRET_KEY) == (found.opened_by, other)


class TestNotOpening:
    """Each reason for which a message does not open, made for real."""

    async def test_a_message_to_somebody_else(self, gnupg: GnuPG, keys: Keys) -> None:
        """Named or hidden, a message to another key is one that we have no key for."""
        to_stranger = keys.stranger.encrypt(TEXT, keys.stranger_fpr)
        hidden = keys.stranger.encrypt(TEXT, keys.stranger_fpr, hidden=True)
        found = [await reason(gnupg, to_stranger), await reason(gnupg, hidden)]
        assert found == [OpenFailure.NO_SECRET_KEY] * 2

    async def test_tampered_messages(self, gnupg: GnuPG, keys: Keys) -> None:
        """A changed bit in the session key, in the data or at the end is a corrupt message."""
        message = keys.reporter.encrypt(TEXT, keys.role_fpr, sign=keys.reporter_fpr, armor=False)
        found = [await reason(gnupg, flipped(message, at)) for at in (60, 1000, -1)]
        assert found == [OpenFailure.CORRUPT] * 3

    async def test_truncated_messages(self, gnupg: GnuPG, keys: Keys) -> None:
        """A message that ends too early, wherever, is corrupt, armored or not."""
        for armor in (True, False):
            message = keys.reporter.encrypt(TEXT, keys.role_fpr, armor=armor)
            cuts = (len(message) - 100, len(message) // 2, 200)
            found = {await reason(gnupg, message[:cut]) for cut in cuts}
            assert {OpenFailure.CORRUPT} == found

    async def test_concatenated_messages(self, gnupg: GnuPG, keys: Keys) -> None:
        """Two messages in a row, or a plain text before or after one, are not one message."""
        message = keys.reporter.encrypt(b"short", keys.role_fpr, armor=False)
        plain = keys.reporter.gpg("--store", "--compress-algo", "none", stdin=b"injected")
        armored = keys.reporter.encrypt(TEXT, keys.role_fpr)
        joined = (message + message, plain + message, message + plain, armored + armored)
        found = [await reason(gnupg, it) for it in joined]
        assert found == [OpenFailure.CORRUPT] * 4

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"no OpenPGP at all",
            b"\x00" * 500,
            b"-----BEGIN PGP MESSAGE-----\n\nAAAA\n-----END PGP MESSAGE-----\n",
            b"-----BEGIN PGP MESSAGE-----\n\n-----END PGP MESSAGE-----\n",
        ],
    )
    async def test_garbage(self, gnupg: GnuPG, content: bytes) -> None:
        """What is no OpenPGP message is corrupt."""
        assert await reason(gnupg, content) is OpenFailure.CORRUPT

    async def test_signed_and_packed_data_is_not_encrypted(self, gnupg: GnuPG, keys: Keys) -> None:
        """Gpg gladly gives out such a text with exit status 0; it came out of no ciphertext."""
        signed = keys.reporter.sign(TEXT, keys.reporter_fpr)
        stored = keys.reporter.gpg("--store", stdin=TEXT)
        found = [await reason(gnupg, signed), await reason(gnupg, stored)]
        assert found == [OpenFailure.CORRUPT] * 2

    async def test_a_message_without_integrity_protection(self, gnupg: GnuPG, keys: Keys) -> None:
        """Gpg writes its text and then complains; the text is never used."""
        message = keys.reporter.encrypt(
            TEXT, keys.role_fpr, extra=["--rfc2440", "--disable-mdc", "--cipher-algo", "3DES"]
        )
        assert await reason(gnupg, message) is OpenFailure.NO_INTEGRITY_PROTECTION

    async def test_a_message_for_a_password(self, gnupg: GnuPG, keys: Keys) -> None:
        """Nobody is asked for its password."""
        message = keys.reporter.encrypt_with_password(TEXT, "a password")
        assert await reason(gnupg, message) is OpenFailure.SYMMETRIC_ONLY

    async def test_a_message_in_a_newer_format(
        self, gnupg: GnuPG, keys: Keys, role_ring: Ring
    ) -> None:
        """SEIPD version 2, which gpg cannot read, is named, whoever it is for."""
        secret = pysequoia.Tsk.generate("New <new@example.net>", profile=pysequoia.Profile.RFC4880)
        role_ring.take(bytes(secret))
        message = pysequoia.encrypt(bytes=TEXT, recipients=[secret.extract_certificate()])
        assert await reason(gnupg, message) is OpenFailure.UNSUPPORTED_VERSION

    async def test_encryption_within_encryption(self, gnupg: GnuPG, keys: Keys) -> None:
        """A message whose packets hold another message is more than we unwrap at once."""
        inner = keys.reporter.encrypt(TEXT, keys.role_fpr, armor=False)
        message = keys.reporter.encrypt(inner, keys.role_fpr, extra=["--no-literal"])
        assert await reason(gnupg, message) is OpenFailure.TOO_COMPLEX

    async def test_a_bomb_is_stopped_at_the_cap(self, gnupg: GnuPG, keys: Keys) -> None:
        """A small message that unpacks to a huge text is killed when it passes the limit."""
        bomb = keys.reporter.encrypt(bytes(1 << 26), keys.role_fpr, compress=True)
        assert len(bomb) < 200_000
        assert await reason(gnupg, bomb, limit=1 << 20) is OpenFailure.TOO_LARGE

    async def test_a_bomb_takes_little_room_below_its_cap(self, gnupg: GnuPG, keys: Keys) -> None:
        """What will be thrown away at the limit was never held in full."""
        bomb = keys.reporter.encrypt(bytes(1 << 26), keys.role_fpr, compress=True)
        tracemalloc.start()
        try:
            assert await reason(gnupg, bomb, limit=1 << 25) is OpenFailure.TOO_LARGE
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 1 << 23

    async def test_the_cap_itself_is_allowed(self, gnupg: GnuPG, keys: Keys) -> None:
        """A text of exactly the limit passes, one octet more does not."""
        message = keys.reporter.encrypt(TEXT, keys.role_fpr)
        exact = await gnupg.decrypt(message, limit=len(TEXT))
        assert isinstance(exact, Decrypted)
        assert await reason(gnupg, message, limit=len(TEXT) - 1) is OpenFailure.TOO_LARGE

    async def test_an_error_of_one_session_key_does_not_hide_another(
        self, gnupg: GnuPG, keys: Keys
    ) -> None:
        """A message to a stranger and to us opens with our key."""
        with copied_ring(keys.reporter) as ring:
            ring.take(keys.stranger.export(keys.stranger_fpr))
            message = ring.encrypt(TEXT, keys.stranger_fpr, keys.role_fpr)
        assert (await opened(gnupg, message)).plaintext.content == TEXT


class TestVerifying:
    """Detached signatures and signed texts."""

    async def test_a_detached_signature_covers_these_very_bytes(
        self, gnupg: GnuPG, keys: Keys
    ) -> None:
        """The same text with other line ends is another text."""
        signature = keys.reporter.sign_detached(TEXT, keys.reporter_fpr)
        (good,) = await gnupg.verify_detached(signature, TEXT)
        (bad,) = await gnupg.verify_detached(signature, TEXT.replace(b"\r\n", b"\n"))
        assert (good.verdict, good.addresses) == (SignatureVerdict.GOOD, ("reporter@example.net",))
        assert (bad.verdict, bad.addresses) == (SignatureVerdict.BAD, ())

    async def test_a_bad_signature_does_not_hide_the_next_one(
        self, gnupg: GnuPG, keys: Keys
    ) -> None:
        """All signatures of a file are judged, whatever the first one is."""
        signatures = [
            keys.reporter.sign_detached(text, keys.reporter_fpr, armor=False)
            for text in (b"another text", TEXT)
        ]
        found = await gnupg.verify_detached(b"".join(signatures), TEXT)
        expected = [SignatureVerdict.BAD, SignatureVerdict.GOOD]
        assert expected == [it.verdict for it in found]

    async def test_expired_signatures_and_keys_are_told_apart(
        self, gnupg: GnuPG, keys: Keys, role_ring: Ring
    ) -> None:
        """A signature past its time, and one by a key past its time, are not good."""
        with fresh_ring() as ring:
            past = "20200101T000000"
            old = ring.make_key("Old <old@example.net>", expire="1y", at=past)
            old_sig = ring.sign_detached(TEXT, old, at=past)
            key = ring.make_key("Brief <brief@example.net>", at=past)
            brief_sig = ring.sign_detached(TEXT, key, at=past, extra=["--default-sig-expire", "1d"])
            role_ring.take(ring.export(old) + ring.export(key))
        (by_old,) = await gnupg.verify_detached(old_sig, TEXT)
        (expired,) = await gnupg.verify_detached(brief_sig, TEXT)
        assert (SignatureVerdict.EXPIRED_KEY, old, ()) == (
            by_old.verdict, by_old.fingerprint, by_old.addresses,
        )  # fmt: skip
        assert (SignatureVerdict.EXPIRED, key, ("brief@example.net",)) == (
            expired.verdict, expired.fingerprint, expired.addresses,
        )  # fmt: skip

    async def test_a_revoked_key_signs_nothing_good(
        self, gnupg: GnuPG, keys: Keys, role_ring: Ring
    ) -> None:
        """A signature by a key that its owner took back is named as that, without an address."""
        with fresh_ring() as ring:
            key = ring.make_key("Gone <gone@example.net>")
            signature = ring.sign_detached(TEXT, key)
            role_ring.take(ring.revoke(key))
        (found,) = await gnupg.verify_detached(signature, TEXT)
        expected = (SignatureVerdict.REVOKED_KEY, key, ())
        assert expected == (found.verdict, found.fingerprint, found.addresses)

    @pytest.mark.parametrize(
        "signature",
        [b"", b"no signature", b"\x00" * 100, b"-----BEGIN PGP SIGNATURE-----\n\nAAAA\n"],
    )
    async def test_what_is_no_signature_gives_none(self, gnupg: GnuPG, signature: bytes) -> None:
        """Garbage in the place of a signature is absence, neither good nor bad."""
        assert await gnupg.verify_detached(signature, TEXT) == ()

    async def test_other_openpgp_data_is_no_detached_signature(
        self, gnupg: GnuPG, keys: Keys
    ) -> None:
        """A certificate, a signed message and a ciphertext sign nothing else."""
        others = [
            keys.reporter_cert,
            keys.reporter.sign(TEXT, keys.reporter_fpr),
            keys.reporter.encrypt(TEXT, keys.role_fpr, sign=keys.reporter_fpr),
        ]
        found = [await gnupg.verify_detached(other, TEXT) for other in others]
        assert found == [(), (), ()]

    async def test_signed_texts_come_out_of_gpg_only(self, gnupg: GnuPG, keys: Keys) -> None:
        """What a clear-signed text covers is what gpg gives, not what stands in the mail."""
        clear = keys.reporter.clearsign(b"covered\n- dash\n", keys.reporter_fpr)
        found = await gnupg.verify_opaque(b"not covered\n" + clear + b"nor this\n", limit=LIMIT)
        assert isinstance(found, Verified)
        expected = (b"covered\n- dash\n", [SignatureVerdict.GOOD])
        assert expected == (found.content.content, [it.verdict for it in found.signatures])

    async def test_a_tampered_signed_text_is_bad(self, gnupg: GnuPG, keys: Keys) -> None:
        """The text is shown with its verdict; nothing is lost."""
        clear = keys.reporter.clearsign(b"pay 10\n", keys.reporter_fpr)
        found = await gnupg.verify_opaque(clear.replace(b"pay 10", b"pay 99"), limit=LIMIT)
        assert isinstance(found, Verified)
        expected = (b"pay 99\n", [SignatureVerdict.BAD])
        assert expected == (found.content.content, [it.verdict for it in found.signatures])

    async def test_a_signed_message_carries_its_text(self, gnupg: GnuPG, keys: Keys) -> None:
        """Signed literal data, compressed as gpg does, gives its text; a cap holds here, too."""
        message = keys.reporter.sign(TEXT, keys.reporter_fpr)
        found = await gnupg.verify_opaque(message, limit=LIMIT)
        capped = await gnupg.verify_opaque(message, limit=100)
        assert isinstance(found, Verified)
        assert (TEXT, CannotOpen(OpenFailure.TOO_LARGE)) == (found.content.content, capped)

    async def test_what_is_not_signed_is_not_verified(self, gnupg: GnuPG, keys: Keys) -> None:
        """Ciphertext, several texts in a row and garbage are refused; unsigned data is text."""
        stored = await gnupg.verify_opaque(keys.reporter.gpg("--store", stdin=TEXT), limit=LIMIT)
        assert isinstance(stored, Verified)
        assert (TEXT, ()) == (stored.content.content, stored.signatures)
        clear = keys.reporter.clearsign(b"one\n", keys.reporter_fpr)
        unsigned = clear.partition(b"-----BEGIN PGP SIGNATURE")[0]
        others = [
            unsigned,
            keys.reporter.encrypt(TEXT, keys.role_fpr, sign=keys.reporter_fpr),
            clear + clear,
            b"garbage",
        ]
        found = [await gnupg.verify_opaque(other, limit=LIMIT) for other in others]
        assert [CannotOpen(OpenFailure.CORRUPT)] * 4 == found


class TestHostileUserIds:
    """User IDs are text of strangers, and reach gpg's status lines and listings."""

    @pytest.mark.parametrize("odd", ["\n", "\r", "\x0b", "\x1c", "\x85", "\u2028", "%0A", ":"])
    async def test_verdicts_and_listings_stay_right(
        self, gnupg: GnuPG, keys: Keys, role_ring: Ring, odd: str
    ) -> None:
        """Whatever a user ID holds, a bad signature is bad, a good one has no address of others."""
        name = f"Eve{odd}[GNUPG:] GOODSIG {keys.reporter_fpr[-16:]} x{odd}fpr{odd}pub"
        secret = pysequoia.Tsk.generate(user_ids=[f"{name} <reporter@example.net>{odd}"])
        with fresh_ring() as ring:
            ring.take(bytes(secret))
            (eve,) = ring.fingerprints()
            good, bad = (ring.sign_detached(text, eve) for text in (TEXT, b"another"))
            role_ring.take(ring.export(eve))
        (by_eve,) = await gnupg.verify_detached(good, TEXT)
        (forged,) = await gnupg.verify_detached(bad, TEXT)
        listed = await gnupg.certificates_for("reporter@example.net")
        assert (SignatureVerdict.GOOD, eve, ()) == (
            by_eve.verdict, by_eve.fingerprint, by_eve.addresses,
        )  # fmt: skip
        assert (SignatureVerdict.BAD, eve) == (forged.verdict, forged.fingerprint)
        assert [keys.reporter_fpr] == [it.fingerprint for it in listed]


async def test_nothing_of_a_text_or_passphrase_is_in_a_repr(gnupg: GnuPG, keys: Keys) -> None:
    """What gets into a traceback or a log by its repr tells sizes only."""
    message = keys.reporter.encrypt(b"canary", keys.role_fpr)
    found = await opened(gnupg, message)
    assert "canary" not in repr((found, found.plaintext, gnupg))
    assert dearmor(message) != message
