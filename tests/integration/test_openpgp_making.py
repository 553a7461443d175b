"""Answers are encrypted to exactly the keys that were meant, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.support.keys import Keys, Ring, fresh_ring

from secbridge.errors import Deferral
from secbridge.mail.armor import dearmor
from secbridge.mail.packets import Container, describe, recipients
from secbridge.model.issue import Severity
from secbridge.openpgp import GnuPG
from secbridge.openpgp.strength import KeyLimits
from secbridge.ports import CannotEncrypt

TEXT = b"Thank you for your report.\r\n"
PAST = "20200101T000000"


@pytest.fixture(scope="module")
def people() -> Iterator[Ring]:
    """Return a ring of people whose keys have every kind of defect."""
    with fresh_ring() as ring:
        yield ring


@pytest.fixture
async def gnupg(role_ring: Ring, keys: Keys) -> AsyncIterator[GnuPG]:
    """Return the port on a ring that holds the role key and the reporter's certificate."""
    role_ring.take(keys.reporter_cert)
    port = GnuPG(role_ring.home, role_keys=[keys.role_fpr])
    yield port
    await port.aclose()


async def refusal(gnupg: GnuPG, keys: Keys, recipient: str) -> tuple[str, str]:
    """Return the code with which encrypting and sealing to a recipient are refused."""
    codes = []
    for work in (
        gnupg.encrypt_and_sign(TEXT, recipients=[keys.role_fpr, recipient], signer=keys.role_fpr),
        gnupg.seal(TEXT, recipients=[keys.role_fpr, recipient]),
    ):
        with pytest.raises(CannotEncrypt) as caught:
            await work
        assert caught.value.fingerprint == recipient
        codes.append(caught.value.code)
    return codes[0], codes[1]


class TestEncrypting:
    """``encrypt_and_sign`` makes one message to exactly these people."""

    async def test_reporter_and_role_can_read_it_and_see_who_signed(
        self, gnupg: GnuPG, keys: Keys
    ) -> None:
        """The reporter's own gpg opens the answer and finds the role key's good signature."""
        message = await gnupg.encrypt_and_sign(
            TEXT, recipients=[keys.reporter_fpr, keys.role_fpr], signer=keys.role_fpr
        )
        said = keys.reporter.gpg("--status-fd", "1", "--decrypt", stdin=message)
        assert TEXT in said
        assert f"VALIDSIG {keys.role_fpr}".encode() in said
        assert message.startswith(b"-----BEGIN PGP MESSAGE-----\n")
        assert b"\r" not in message

    async def test_exactly_the_chosen_subkeys_are_addressed(
        self, gnupg: GnuPG, keys: Keys, role_ring: Ring, people: Ring
    ) -> None:
        """Of several subkeys the newest valid one is taken, once for each recipient."""
        three = people.make_key("Three <three@example.net>", subkey_expire="1y", at=PAST)
        people.add_subkey(three, at="20240101T000000")
        newest = people.add_subkey(three, at="20250101T000000")
        role_ring.take(people.export(three))
        (role_subkey,) = keys.role.subkeys(keys.role_fpr)
        message = await gnupg.encrypt_and_sign(
            TEXT, recipients=[three, keys.role_fpr, three.lower()], signer=keys.role_fpr
        )
        assert sorted([newest[-16:], role_subkey[-16:]]) == sorted(recipients(message))

    async def test_the_text_is_not_compressed(self, gnupg: GnuPG, keys: Keys) -> None:
        """The size of an answer tells nothing about what is in it, and costs no time."""
        text = b"a" * 50_000
        message = await gnupg.encrypt_and_sign(
            text, recipients=[keys.role_fpr], signer=keys.role_fpr
        )
        assert len(dearmor(message)) > len(text)

    async def test_nobody_is_no_recipient(self, gnupg: GnuPG, keys: Keys) -> None:
        """A message without recipients is refused, not sent in clear."""
        with pytest.raises(CannotEncrypt):
            await gnupg.encrypt_and_sign(TEXT, recipients=[], signer=keys.role_fpr)

    async def test_a_signer_without_a_secret_key_is_our_fault(
        self, gnupg: GnuPG, keys: Keys
    ) -> None:
        """Signing with a key that we do not hold is a Deferral."""
        with pytest.raises(Deferral) as caught:
            await gnupg.encrypt_and_sign(TEXT, recipients=[keys.role_fpr], signer=keys.reporter_fpr)
        assert caught.value.code == "gpg-home"


class TestRefusing:
    """A recipient who cannot be encrypted to stops the message; nobody gets it in clear."""

    async def test_unknown_keys(self, gnupg: GnuPG, keys: Keys) -> None:
        """Neither an unknown fingerprint, nor an address, nor an option is a recipient."""
        for recipient in (keys.stranger_fpr, "reporter@example.net", "--output=/tmp/x", ""):
            with pytest.raises(CannotEncrypt) as caught:
                await gnupg.encrypt_and_sign(TEXT, recipients=[recipient], signer=keys.role_fpr)
            assert caught.value.code == "unknown-key"

    async def test_expired_keys(
        self, gnupg: GnuPG, keys: Keys, role_ring: Ring, people: Ring
    ) -> None:
        """A key past its time, and one whose only encryption subkey is, are refused."""
        old = people.make_key("Old <old@example.net>", expire="1y", at=PAST)
        half = people.make_key("Half <half@example.net>", subkey_expire="1y", at=PAST)
        role_ring.take(people.export(old) + people.export(half))
        found = [await refusal(gnupg, keys, old), await refusal(gnupg, keys, half)]
        assert [("expired", "expired")] * 2 == found

    async def test_revoked_keys(
        self, gnupg: GnuPG, keys: Keys, role_ring: Ring, people: Ring
    ) -> None:
        """A key that was good and was then taken back is refused at once."""
        gone = people.make_key("Gone <gone@example.net>")
        role_ring.take(people.export(gone))
        await gnupg.seal(TEXT, recipients=[gone])
        role_ring.take(people.revoke(gone))
        assert await refusal(gnupg, keys, gone) == ("revoked", "revoked")

    async def test_signing_only_keys(
        self, gnupg: GnuPG, keys: Keys, role_ring: Ring, people: Ring
    ) -> None:
        """A key that cannot encrypt is refused."""
        signer = people.make_key("Signer <signer@example.net>", encrypts=False)
        role_ring.take(people.export(signer))
        expected = ("no-encryption-subkey", "no-encryption-subkey")
        assert expected == await refusal(gnupg, keys, signer)

    async def test_keys_below_the_limits(self, people: Ring, role_ring: Ring, keys: Keys) -> None:
        """A reporter's RSA 1024 is used with a warning unless the operator asks for more.

        Of a member, who is ours, more is asked from the beginning.
        """
        short = people.make_key("Short <short@example.net>", algo="rsa1024")
        role_ring.take(people.export(short))
        strict = KeyLimits(reporter_refuse_below=2048)
        for given, expected in (
            ({}, (None, ("weak",))),
            ({"own_keys": [short.lower()]}, ("weak", ())),
            ({"limits": strict}, ("weak", ())),
            ({"own_keys": [short], "limits": KeyLimits(own_refuse_below=1024)}, (None, ())),
        ):
            port = GnuPG(role_ring.home, role_keys=[keys.role_fpr], **given)
            found = await port.certificate(short)
            assert found is not None
            assert expected == (found.problem, found.warnings)
            if expected[0] == "weak":
                assert await refusal(port, keys, short) == ("weak", "weak")
            else:
                sealed = await port.seal(TEXT, recipients=[keys.role_fpr, short])
                assert (await port.unseal(sealed)).content == TEXT
            await port.aclose()

    async def test_a_role_key_below_the_limit(self, people: Ring) -> None:
        """It is not encrypted to either, and the self-test says what to do."""
        role = people.make_key("Short role <role@example.org>", algo="rsa1024")
        port = GnuPG(people.home, role_keys=[role])
        with pytest.raises(CannotEncrypt) as caught:
            await port.seal(TEXT, recipients=[role])
        (finding,) = await port.self_test(role)
        await port.aclose()
        assert (caught.value.code, finding.severity) == ("weak", Severity.ERROR)
        assert "Ed25519" in finding.mend


class TestSigning:
    """``sign_detached`` signs these very bytes."""

    async def test_the_signature_verifies_and_names_its_hash(
        self, gnupg: GnuPG, keys: Keys
    ) -> None:
        """The reporter's gpg finds it good; micalg is what a mail has to say (RFC 3156)."""
        made = await gnupg.sign_detached(TEXT, signer=keys.role_fpr)
        said = keys.reporter.verify_detached(made.armor, TEXT)
        assert b"GOODSIG" in said
        assert made.micalg == "pgp-sha512"
        assert made.armor.startswith(b"-----BEGIN PGP SIGNATURE-----\n")

    async def test_other_bytes_do_not_verify(self, gnupg: GnuPG, keys: Keys) -> None:
        """Line ends are part of what is signed."""
        made = await gnupg.sign_detached(TEXT, signer=keys.role_fpr)
        assert b"BADSIG" in keys.reporter.verify_detached(made.armor, TEXT[:-2] + b"\n")


class TestSealing:
    """What is kept at rest is sealed, and opens again."""

    @pytest.mark.parametrize("size", [0, 1, 100_000, 5_000_000])
    async def test_what_is_sealed_opens_again(self, gnupg: GnuPG, keys: Keys, size: int) -> None:
        """Gpg opens what the library encrypted, whatever its size."""
        text = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        sealed = await gnupg.seal(text, recipients=[keys.role_fpr])
        assert (await gnupg.unseal(sealed)).content == text

    async def test_a_seal_names_the_chosen_subkeys_alone(self, gnupg: GnuPG, keys: Keys) -> None:
        """It is binary, integrity-protected, and encrypted to nobody else."""
        sealed = await gnupg.seal(TEXT, recipients=[keys.role_fpr, keys.reporter_fpr])
        subkeys = [
            *keys.role.subkeys(keys.role_fpr),
            *keys.reporter.subkeys(keys.reporter_fpr),
        ]
        facts = describe(sealed)
        assert sorted(one[-16:] for one in subkeys) == sorted(facts.recipients)
        assert (Container.SEIPD1, 0) == (facts.container, facts.passwords)
        assert TEXT not in sealed

    async def test_an_older_subkey_is_left_out_of_a_seal(
        self, gnupg: GnuPG, keys: Keys, role_ring: Ring
    ) -> None:
        """After a rotation only the newest encryption subkey is sealed to."""
        (older,) = role_ring.subkeys(keys.role_fpr)
        before = await gnupg.seal(TEXT, recipients=[keys.role_fpr])
        newer = role_ring.add_subkey(keys.role_fpr)
        after = await gnupg.seal(TEXT, recipients=[keys.role_fpr])
        assert ((older[-16:],), (newer[-16:],)) == (recipients(before), recipients(after))
        assert (await gnupg.unseal(before)).content == (await gnupg.unseal(after)).content

    async def test_a_role_key_with_old_bindings_is_sealed_to_by_gpg(self, people: Ring) -> None:
        """Where the library refuses a key (SHA-1 bindings), gpg makes the seal."""
        before = set(people.fingerprints())
        sha1 = ("--cert-digest-algo", "SHA1")
        people.gpg(*sha1, "--quick-gen-key", "Sha <s@example.org>", "ed25519", "cert,sign", "0")
        (role,) = set(people.fingerprints()) - before
        people.gpg(*sha1, "--quick-add-key", role, "cv25519", "encr", "0")
        port = GnuPG(people.home, role_keys=[role])
        sealed = await port.seal(TEXT, recipients=[role])
        opened = await port.unseal(sealed)
        await port.aclose()
        assert TEXT == opened.content

    async def test_a_damaged_seal_is_our_fault(self, gnupg: GnuPG, keys: Keys) -> None:
        """What we stored and cannot open is an alarm, not a verdict on a mail."""
        sealed = await gnupg.seal(TEXT, recipients=[keys.role_fpr])
        with pytest.raises(Deferral) as caught:
            await gnupg.unseal(sealed[:-1] + bytes([sealed[-1] ^ 1]))
        assert (caught.value.code, caught.value.alarm) == ("sealed-unreadable", True)
