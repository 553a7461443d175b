"""Whose certificates the ring holds, how they get in, and how the role keys are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pysequoia
import pytest
from tests.support.keys import Keys, Ring, fresh_ring, kill_agents

from secbridge.mail.packets import OpenPGPKind, sniff
from secbridge.model.issue import Severity
from secbridge.model.message import SignatureVerdict
from secbridge.model.plaintext import Secret
from secbridge.openpgp import GnuPG
from secbridge.openpgp.strength import KeyLimits
from secbridge.ports import CannotEncrypt, Decrypted

ADDRESS = "reporter@example.net"


@pytest.fixture(scope="module")
def people() -> Iterator[Ring]:
    """Return a ring of people."""
    with fresh_ring() as ring:
        yield ring


@pytest.fixture
async def gnupg(role_ring: Ring, keys: Keys) -> AsyncIterator[GnuPG]:
    """Return the port on a ring that holds the role key alone."""
    port = GnuPG(role_ring.home, role_keys=[keys.role_fpr])
    yield port
    await port.aclose()


class TestImporting:
    """``import_certificate`` takes what names the address, and nothing else."""

    @pytest.mark.parametrize("armor", [True, False])
    async def test_a_good_certificate_is_kept(self, gnupg: GnuPG, keys: Keys, armor: bool) -> None:
        """It is returned as the ring then holds it, and again when it comes again."""
        content = keys.reporter.export(keys.reporter_fpr, armor=armor)
        found = [await gnupg.import_certificate(content, address=ADDRESS) for _ in range(2)]
        expected = await gnupg.certificate(keys.reporter_fpr)
        assert [expected, expected] == found
        assert expected is not None
        assert ((ADDRESS,), None) == (expected.addresses, expected.problem)

    async def test_a_certificate_of_somebody_else_is_not_taken(
        self, gnupg: GnuPG, keys: Keys
    ) -> None:
        """A key that does not name the sender stays outside."""
        found = await gnupg.import_certificate(keys.stranger_cert, address=ADDRESS)
        assert (None, None) == (found, await gnupg.certificate(keys.stranger_fpr))

    async def test_the_one_that_names_the_address_is_found_among_many(
        self, gnupg: GnuPG, keys: Keys
    ) -> None:
        """A whole key ring as attachment adds one certificate."""
        content = keys.stranger_cert + keys.reporter_cert
        found = await gnupg.import_certificate(content, address="reporter@EXAMPLE.NET")
        assert found is not None
        assert keys.reporter_fpr == found.fingerprint
        assert await gnupg.certificate(keys.stranger_fpr) is None

    async def test_other_user_ids_are_left_out(
        self, gnupg: GnuPG, role_ring: Ring, people: Ring
    ) -> None:
        """A certificate that also claims the alias does not speak for it afterwards."""
        key = people.make_key("Mallory <mallory@example.net>")
        people.gpg("--quick-add-uid", key, "Security <security@example.org>")
        await gnupg.import_certificate(people.export(key), address="mallory@example.net")
        listing = role_ring.gpg("--list-keys", "--with-colons", key)
        assert b"mallory@example.net" in listing
        assert b"security@example.org" not in listing

    async def test_secret_keys_are_never_imported(
        self, gnupg: GnuPG, keys: Keys, role_ring: Ring
    ) -> None:
        """A reporter's secret key, sent by mistake, does not enter the ring."""
        content = keys.reporter.export_secret(keys.reporter_fpr)
        found = await gnupg.import_certificate(content, address=ADDRESS)
        assert found is not None
        assert "malformed" == found.problem
        secret = role_ring.gpg("--list-secret-keys", "--with-colons")
        assert keys.reporter_fpr.encode() not in secret

    async def test_a_role_key_is_never_overwritten(
        self, gnupg: GnuPG, keys: Keys, role_ring: Ring
    ) -> None:
        """A revocation of the role key that somebody mails changes nothing."""
        with fresh_ring() as thief:
            thief.take(keys.role.export_secret(keys.role_fpr))
            thief.expire(keys.role_fpr, "1d")
            content = thief.export(keys.role_fpr)
        before = role_ring.export(keys.role_fpr)
        found = await gnupg.import_certificate(content, address="security@example.org")
        assert found is not None
        assert (None, before) == (found.expires, role_ring.export(keys.role_fpr))

    async def test_unusable_certificates_are_told_and_kept_only_to_know_who_signed(
        self, gnupg: GnuPG, people: Ring
    ) -> None:
        """Expired, revoked, signing-only and version 6 certificates come back with a code.

        The first three still tell who signed; none is ever encrypted to.
        """
        old = people.make_key("Old <old@example.net>", expire="1y", at="20200101T000000")
        gone = people.make_key("Gone <gone@example.net>")
        people.revoke(gone)
        signer = people.make_key("Signer <signer@example.net>", encrypts=False)
        new = pysequoia.Tsk.generate("Six <six@example.net>", profile=pysequoia.Profile.RFC9580)
        offered = {
            "old@example.net": people.export(old),
            "gone@example.net": people.export(gone),
            "signer@example.net": people.export(signer),
            "six@example.net": bytes(new.extract_certificate()),
        }
        found = []
        for address, content in offered.items():
            certificate = await gnupg.import_certificate(content, address=address)
            assert certificate is not None
            kept = await gnupg.certificate(certificate.fingerprint)
            found.append((certificate.problem, kept.problem if kept else None))
        expected = [
            ("expired", "expired"),
            ("revoked", "revoked"),
            ("no-encryption-subkey", "no-encryption-subkey"),
            ("unsupported-version", None),
        ]
        assert expected == found

    async def test_a_weak_certificate_is_kept_or_not_as_the_limits_say(
        self, role_ring: Ring, keys: Keys, people: Ring
    ) -> None:
        """Between the two limits it is used and warned of; below the lower one it stays outside."""
        short = people.make_key("Short <short@example.net>", algo="rsa1024")
        content = people.export(short)
        found = []
        for refuse_below in (1025, 1024):
            limits = KeyLimits(reporter_refuse_below=refuse_below)
            port = GnuPG(role_ring.home, role_keys=[keys.role_fpr], limits=limits)
            taken = await port.import_certificate(content, address="short@example.net")
            kept = await port.certificate(short)
            await port.aclose()
            assert taken is not None
            found.append((taken.problem, taken.warnings, kept is not None))
        assert [("weak", (), False), (None, ("weak",), True)] == found

    async def test_a_forged_user_id_on_a_weak_key_is_found_by_gpg(
        self, gnupg: GnuPG, people: Ring
    ) -> None:
        """What the library does not look at (RSA 1024) gpg proves, before the address counts."""
        honest = people.make_key("Honest <honest@example.net>", algo="rsa1024")
        content = people.export(honest)
        forged = content.replace(b"honest@example.net", b"victim@example.net")
        found = await gnupg.import_certificate(forged, address="victim@example.net")
        assert found is not None
        assert ("malformed", ()) == (
            found.problem,
            await gnupg.certificates_for("victim@example.net"),
        )

    async def test_curves_that_only_gpg_knows_are_usable(self, gnupg: GnuPG, people: Ring) -> None:
        """Brainpool is what some authorities prescribe; the library proves nothing about it."""
        key = people.make_key("Bea <bea@example.net>", algo="brainpoolP256r1")
        found = await gnupg.import_certificate(people.export(key), address="bea@example.net")
        assert found is not None
        assert (None, "brainpoolP256r1/brainpoolP256r1") == (found.problem, found.algorithm)
        sealed = await gnupg.seal(b"text", recipients=[key])
        assert people.decrypt(sealed) == b"text"

    async def test_a_renewed_certificate_replaces_the_expired_one(
        self, gnupg: GnuPG, people: Ring
    ) -> None:
        """A reporter who extends the key and sends it again can be answered."""
        key = people.make_key("Ren <ren@example.net>", expire="1d", at="20200101T000000")
        before = await gnupg.import_certificate(people.export(key), address="ren@example.net")
        people.expire(key, "0")
        people.expire(key, "0", *people.subkeys(key))
        after = await gnupg.import_certificate(people.export(key), address="ren@example.net")
        assert before is not None
        assert after is not None
        assert ("expired", None) == (before.problem, after.problem)

    async def test_garbage_is_told_apart_from_absence(self, gnupg: GnuPG) -> None:
        """Content in which nothing can be read says so; an odd address names nobody."""
        garbage = await gnupg.import_certificate(b"garbage", address=ADDRESS)
        large = await gnupg.import_certificate(b"\x99" * (1 << 20), address=ADDRESS)
        odd = await gnupg.import_certificate(b"garbage", address="a@example.net, b@example.net")
        assert garbage is not None
        assert large is not None
        assert ("malformed", "too-large", None) == (garbage.problem, large.problem, odd)

    async def test_a_signature_is_good_once_its_certificate_has_arrived(
        self, gnupg: GnuPG, keys: Keys
    ) -> None:
        """What was an unknown signer is checked again with the key that came along."""
        message = keys.reporter.encrypt(b"text", keys.role_fpr, sign=keys.reporter_fpr)
        found = []
        for _ in range(2):
            opened = await gnupg.decrypt(message, limit=1000)
            assert isinstance(opened, Decrypted)
            found.append(opened.signatures[0].verdict)
            await gnupg.import_certificate(keys.reporter_cert, address=ADDRESS)
        assert [SignatureVerdict.UNKNOWN_KEY, SignatureVerdict.GOOD] == found


class TestLookingUp:
    """Certificates are found by their fingerprint or by their whole address."""

    async def test_addresses_match_as_a_whole(self, gnupg: GnuPG, keys: Keys) -> None:
        """No part of an address and no name finds a certificate; upper and lower case are one."""
        await gnupg.import_certificate(keys.reporter_cert, address=ADDRESS)
        asked = ["reporter@example.net", "reporter@EXAMPLE.NET", "eporter@example.net",
                 "reporter@example.ne", "Reporter@example.net", "Rita", "", "@", "<x>"]  # fmt: skip
        found = [len(await gnupg.certificates_for(one, strangers=True)) for one in asked]
        assert [1, 1, 0, 0, 1, 0, 0, 0, 0] == found

    async def test_usable_certificates_come_first(
        self, gnupg: GnuPG, keys: Keys, role_ring: Ring, people: Ring
    ) -> None:
        """Of several certificates for an address the one that works is first; dead ones follow."""
        signer = people.make_key(f"Rita old <{ADDRESS}>", encrypts=False)
        role_ring.take(people.export(signer) + keys.reporter_cert)
        found = [one.problem for one in await gnupg.certificates_for(ADDRESS)]
        assert [None, "no-encryption-subkey"] == found

    async def test_only_full_fingerprints_name_a_certificate(
        self, gnupg: GnuPG, keys: Keys
    ) -> None:
        """A key id, a subkey, and words are no fingerprint of a certificate."""
        (subkey,) = keys.role.subkeys(keys.role_fpr)
        spaced = " ".join(keys.role_fpr[at : at + 4].lower() for at in range(0, 40, 4))
        asked = [keys.role_fpr, spaced, keys.role_fpr[-16:], subkey, "security@example.org", ""]
        found = [await gnupg.certificate(one) is not None for one in asked]
        assert [True, True, False, False, False, False] == found

    async def test_expiry_and_algorithm_are_told(self, gnupg: GnuPG, people: Ring) -> None:
        """``expires`` is when we can no longer encrypt to it."""
        key = people.make_key("Year <year@example.net>", expire="1y")
        await gnupg.import_certificate(people.export(key), address="year@example.net")
        found = await gnupg.certificate(key)
        assert found is not None
        assert found.expires is not None
        assert timedelta(days=364) < found.expires - datetime.now(UTC) < timedelta(days=366)
        assert "ed25519/cv25519" == found.algorithm

    async def test_a_change_by_somebody_else_is_seen(
        self, gnupg: GnuPG, keys: Keys, role_ring: Ring
    ) -> None:
        """What an operator does with gpg counts at once."""
        assert await gnupg.certificates_for(ADDRESS) == ()
        role_ring.take(keys.reporter_cert)
        (found,) = await gnupg.certificates_for(ADDRESS)
        assert keys.reporter_fpr == found.fingerprint

    async def test_export_gives_a_certificate_that_others_can_use(
        self, gnupg: GnuPG, keys: Keys, empty_ring: Ring
    ) -> None:
        """The role key's certificate is binary, public, and complete."""
        for minimal in (True, False):
            content = await gnupg.export(keys.role_fpr, minimal=minimal)
            assert sniff(content) is OpenPGPKind.PUBLIC_KEY
            empty_ring.take(content)
        assert (keys.role_fpr,) == empty_ring.fingerprints()

    async def test_nothing_is_exported_for_an_unknown_key(self, gnupg: GnuPG, keys: Keys) -> None:
        """An empty file is not mistaken for a certificate."""
        with pytest.raises(CannotEncrypt):
            await gnupg.export(keys.stranger_fpr)


class TestSelfTest:
    """``self_test`` tries a role key for real."""

    async def test_a_healthy_role_key(self, gnupg: GnuPG, keys: Keys) -> None:
        """One finding says that all is well."""
        (found,) = await gnupg.self_test(keys.role_fpr)
        assert found.severity is Severity.OK

    async def test_a_key_that_is_not_there(self, gnupg: GnuPG, keys: Keys) -> None:
        """A missing key, and one without its secret part, are errors with a mend."""
        (missing,) = await gnupg.self_test(keys.stranger_fpr)
        await gnupg.import_certificate(keys.reporter_cert, address=ADDRESS)
        public_only = await gnupg.self_test(keys.reporter_fpr)
        assert missing.severity is Severity.ERROR
        assert [Severity.ERROR, Severity.ERROR] == [it.severity for it in public_only]
        assert "" not in [it.mend for it in (missing, *public_only)]

    @pytest.mark.parametrize(
        ("expire", "at", "severity"),
        [("30d", None, Severity.WARNING), ("1y", "20200101T000000", Severity.ERROR)],
    )
    async def test_a_key_near_or_past_its_time(
        self, people: Ring, expire: str, at: str | None, severity: Severity
    ) -> None:
        """Sixty days before its time a key warns, afterwards it is an error."""
        key = people.make_key(f"Role {expire} <role@example.org>", expire=expire, at=at)
        port = GnuPG(people.home, role_keys=[key])
        found = await port.self_test(key)
        await port.aclose()
        assert severity in [it.severity for it in found]

    async def test_a_wrong_passphrase_is_found_even_after_a_right_one(self) -> None:
        """The agent remembers the right one; the check makes it forget first."""
        with fresh_ring(passphrase="right") as ring:
            role = ring.make_key("Role <role@example.org>")
            ring.sign_detached(b"text", role)
            wrong = GnuPG(ring.home, role_keys=[role], passphrase=Secret("wrong"))
            found = await wrong.self_test(role)
            await wrong.aclose()
            right = GnuPG(ring.home, role_keys=[role], passphrase=Secret("right"))
            well = await right.self_test(role)
            await right.aclose()
        assert [Severity.ERROR, Severity.ERROR] == [it.severity for it in found]
        assert ["gpg-passphrase" in it.text for it in found] == [True, True]
        assert [Severity.OK] == [it.severity for it in well]

    async def test_a_dead_agent_is_found(self, role_ring: Ring, keys: Keys) -> None:
        """A damaged secret key shows in the self-test, not with the first mail."""
        kill_agents(role_ring.home)
        for path in (role_ring.home / "private-keys-v1.d").iterdir():
            path.write_bytes(b"damaged")
        port = GnuPG(role_ring.home, role_keys=[keys.role_fpr])
        found = await port.self_test(keys.role_fpr)
        await port.aclose()
        assert {Severity.ERROR} == {it.severity for it in found}
