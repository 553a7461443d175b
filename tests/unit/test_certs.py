"""Which certificates of strangers we can answer to, and why not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pysequoia
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.keys import Keys, Ring, fresh_ring

from secbridge.openpgp import certs
from secbridge.openpgp.certs import Inspected, inspect, only_address, only_subkeys
from secbridge.openpgp.strength import REPORTER, Bounds
from secbridge.openpgp.userids import addr_spec

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def ring() -> Iterator[Ring]:
    """Return a ring for certificates with every kind of defect."""
    with fresh_ring() as made:
        yield made


def one(content: bytes) -> Inspected:
    """Return the only certificate in ``content``, inspected."""
    (found,) = inspect(content, NOW)
    return found


def problem(content: bytes) -> str | None:
    """Return what keeps us from using the only certificate in ``content``."""
    return one(content).certificate.problem


def judged(content: bytes, bounds: Bounds) -> tuple[str | None, tuple[str, ...]]:
    """Return the problem and the warnings of the only certificate in ``content``."""
    (found,) = inspect(content, NOW, bounds)
    return found.certificate.problem, found.certificate.warnings


class TestAddresses:
    """``addr_spec`` takes an address from a user ID, or nothing."""

    @pytest.mark.parametrize(
        ("user_id", "expected"),
        [
            ("Rita Reporter <rita@Example.NET>", "rita@example.net"),
            ("rita@example.net", "rita@example.net"),
            ("<rita@example.net>", "rita@example.net"),
            ("Jürgen (Arbeit) <j.mueller+pgp@example.net>", "j.mueller+pgp@example.net"),
            ("Rita@Example.net", "Rita@example.net"),
            ("root@localhost", "root@localhost"),
            ("Rita Reporter", None),
            ("", None),
            ("Rita <a@example.net> <b@example.net>", None),
            ("a@example.net b@example.net", None),
            ("a@example.net <b@example.net>", None),
            ("Rita <rita@example.net> (old)", None),
            ("Rita <rita@ex\u0430mple.net>", None),
            ("Rita <rita@example.net\u200b>", None),
            ("Rita \u202e<rita@example.net>", None),
            ("Rita\n<rita@example.net>", None),
            ("Rita\u2028<rita@example.net>", None),
            ("Rita <rita @example.net>", None),
            ('Rita <"rita"@example.net>', None),
            ("Rita <rita@example..net>", None),
            ("Rita <rita@-example.net>", None),
            ("x" * 2000 + " <rita@example.net>", None),
        ],
    )
    def test_exactly_one_plain_address_counts(self, user_id: str, expected: str | None) -> None:
        """Several addresses, invisible characters and look-alikes give no address."""
        assert expected == addr_spec(user_id)


class TestInspection:
    """``inspect`` names the defect of a certificate."""

    def test_a_good_certificate_has_no_problem(self, keys: Keys) -> None:
        """Armored or binary, a sound certificate is ready for use."""
        (subkey,) = keys.reporter.subkeys(keys.reporter_fpr)
        for content in (
            keys.reporter_cert,
            keys.reporter.export(keys.reporter_fpr, armor=True),
            keys.reporter_cert + b"\n",
        ):
            found = one(content).certificate
            expected = (keys.reporter_fpr, ("reporter@example.net",), (subkey,), None)
            seen = (found.fingerprint, found.addresses, found.encryption_subkeys, found.problem)
            assert expected == seen

    def test_several_certificates_in_one_blob_are_told_apart(self, keys: Keys) -> None:
        """A key ring export and two armored blocks give each certificate."""
        armored = [
            keys.reporter.export(keys.reporter_fpr, armor=True),
            keys.role.export(keys.role_fpr, armor=True),
        ]
        for content in (keys.reporter_cert + keys.role_cert, b"see:\n" + b"\n".join(armored)):
            found = [it.certificate.fingerprint for it in inspect(content, NOW)]
            assert [keys.reporter_fpr, keys.role_fpr] == found

    def test_expired_and_revoked_keys_are_named(self, ring: Ring) -> None:
        """A key past its time, one with a dead subkey, and a revoked one cannot be used."""
        old = ring.make_key("Old <old@example.net>", expire="1y", at="20200101T000000")
        half = ring.make_key("Half <h@example.net>", subkey_expire="1y", at="20200101T000000")
        gone = ring.make_key("Gone <gone@example.net>")
        revoked = ring.revoke(gone)
        found = [problem(ring.export(old)), problem(ring.export(half)), problem(revoked)]
        assert found == ["expired", "expired", "revoked"]

    def test_the_newest_valid_subkey_comes_first(self, ring: Ring) -> None:
        """An expired subkey is left out, and the newest of the others is the one to choose."""
        key = ring.make_key("Three <three@example.net>", subkey_expire="1y", at="20200101T000000")
        middle = ring.add_subkey(key, at="20240101T000000")
        newest = ring.add_subkey(key, at="20250101T000000")
        found = one(ring.export(key)).certificate
        assert ((newest, middle), None) == (found.encryption_subkeys, found.problem)

    def test_a_signing_only_key_cannot_be_encrypted_to(self, ring: Ring) -> None:
        """Without an encryption subkey there is nothing to encrypt to."""
        key = ring.make_key("Signer <signer@example.net>", encrypts=False)
        assert problem(ring.export(key)) == "no-encryption-subkey"

    def test_strength_is_measured_by_the_bounds(self, ring: Ring) -> None:
        """RSA 1024 is weak, warned of, or good, as the operator has it; so is any other key."""
        short = ring.export(ring.make_key("Short <short@example.net>", algo="rsa1024"))
        enough = ring.export(ring.make_key("Enough <enough@example.net>", algo="rsa2048"))
        curve = ring.export(ring.make_key("Curve <curve@example.net>", algo="nistp256"))
        found = [
            judged(content, Bounds(refuse_below, warn_below))
            for content in (short, enough, curve)
            for refuse_below, warn_below in ((1024, 1024), (1024, 3073), (3073, 3073))
        ]
        assert [(None, ()), (None, ("weak",)), ("weak", ())] * 3 == found

    def test_the_primary_key_counts_as_much_as_the_subkey(self, ring: Ring) -> None:
        """DSA 1024 with a strong encryption subkey: whoever forges the one takes the other."""
        old = ("--cert-digest-algo", "SHA256", "--enable-dsa2")
        before = set(ring.fingerprints())
        ring.gpg(*old, "--quick-gen-key", "Dora <dora@example.net>", "dsa1024", "cert,sign", "0")
        (key,) = set(ring.fingerprints()) - before
        ring.gpg(*old, "--quick-add-key", key, "elg2048", "encr", "0")
        content = ring.export(key)
        found = one(content).certificate
        assert ("dsa1024/elg2048", None, ("weak",)) == (
            found.algorithm, found.problem, found.warnings,
        )  # fmt: skip
        assert judged(content, Bounds(2048, 2048)) == ("weak", ())

    def test_a_strong_primary_key_does_not_help_a_weak_subkey(self, ring: Ring) -> None:
        """What is encrypted is as safe as the key that it is encrypted to."""
        key = ring.make_key("Mix <mix@example.net>", algo="rsa2048", encrypts=False)
        ring.add_subkey(key, algo="rsa1024")
        content = ring.export(key)
        found = [judged(content, bounds) for bounds in (REPORTER, Bounds(2048, 2048))]
        assert [(None, ("weak",)), ("weak", ())] == found

    def test_weak_keys_have_their_other_defects_told(self, ring: Ring) -> None:
        """What the library does not look at is judged by its packets: time, revocation, hashes."""
        old = ring.make_key(
            "Old 1 <o@example.net>", algo="rsa1024", expire="1y", at="20200101T000000"
        )
        signer = ring.make_key("Sign 1 <s@example.net>", algo="rsa1024", encrypts=False)
        gone = ring.make_key("Gone 1 <g@example.net>", algo="rsa1024")
        dsa = ring.make_key("Dora 1 <d@example.net>", algo="dsa1024", encrypts=False)
        found = [ring.export(old), ring.export(signer), ring.revoke(gone), ring.export(dsa)]
        expected = [("expired",), ("no-encryption-subkey",), ("revoked",), ("sha1-bindings",)]
        assert expected == [one(content).problems for content in found]

    def test_all_that_is_wrong_is_told(self, ring: Ring) -> None:
        """Whoever mends the first defect should not meet the next one a mail later."""
        key = ring.make_key(
            "Both <both@example.net>", algo="rsa1024", expire="1y", at="20200101T000000"
        )
        (found,) = inspect(ring.export(key), NOW, Bounds(2048, 2048))
        assert (("weak", "expired"), "weak") == (found.problems, found.certificate.problem)

    def test_a_key_that_expires_soon_is_warned_of(self, ring: Ring) -> None:
        """Thirty days before; a subkey that ends first counts."""
        names = {"29d": ("expires-soon",), "31d": ()}
        for expire, expected in names.items():
            key = ring.make_key(f"Soon {expire} <soon@example.net>", subkey_expire=expire)
            assert judged(ring.export(key), REPORTER) == (None, expected)

    def test_bindings_by_sha1_are_named(self, ring: Ring) -> None:
        """A certificate whose own signatures are SHA-1 proves nothing, and the reason is told."""
        before = set(ring.fingerprints())
        sha1 = ("--cert-digest-algo", "SHA1")
        ring.gpg(*sha1, "--quick-gen-key", "Sha <sha@example.net>", "ed25519", "cert,sign", "0")
        (key,) = set(ring.fingerprints()) - before
        ring.gpg(*sha1, "--quick-add-key", key, "cv25519", "encr", "0")
        found = one(ring.export(key)).certificate
        assert (found.problem, found.addresses) == ("sha1-bindings", ("sha@example.net",))

    def test_a_subkey_bound_by_sha1_is_named_even_under_a_sound_name(self, ring: Ring) -> None:
        """The name is proven, the key that we would encrypt to is not."""
        key = ring.make_key("Half <half@example.net>", encrypts=False)
        assert problem(ring.export(key)) == "no-encryption-subkey"
        ring.gpg("--cert-digest-algo", "SHA1", "--quick-add-key", key, "cv25519", "encr", "0")
        assert problem(ring.export(key)) == "sha1-bindings"
        ring.add_subkey(key)
        assert problem(ring.export(key)) is None

    def test_certificates_of_version_6_are_unsupported(self) -> None:
        """Gpg reads neither version 6 nor the new algorithms; the owner is told which one it is."""
        made = pysequoia.Tsk.generate("V6 <v6@example.net>", profile=pysequoia.Profile.RFC9580)
        found = one(bytes(made.extract_certificate())).certificate
        assert (found.problem, found.addresses) == ("unsupported-version", ("v6@example.net",))

    def test_certificates_of_version_5_are_unsupported(self, keys: Keys) -> None:
        """As some GnuPG 2.5 make them; told apart from damage by their first octet alone."""
        content = bytearray(keys.reporter_cert)
        assert content[2] == 4
        content[2] = 5
        assert problem(bytes(content)) == "unsupported-version"

    @pytest.mark.parametrize("curve", ["2a8648ce3d030101", "2b8104002100ff01"])
    def test_curves_that_gpg_does_not_know_are_unsupported(self, ring: Ring, curve: str) -> None:
        """NIST P-192 and what nobody has heard of: never used, whatever the limits."""
        key = ring.make_key(f"Curve {curve} <curve@example.net>", algo="nistp256")
        known = bytes.fromhex("2a8648ce3d030107")
        content = ring.export(key).replace(known, bytes.fromhex(curve))
        found = one(content)
        assert "unsupported-version" == found.certificate.problem
        assert (f"Curve {curve} <curve@example.net>",) == found.user_ids

    @pytest.mark.parametrize(
        "name", ["Rita Ö. <r@example.net>", "Рита <r@example.net>", "李 <r@example.net>"]
    )
    def test_user_ids_in_any_script_are_sound(self, name: str) -> None:
        """Only what nobody can see is odd."""
        made = pysequoia.Tsk.generate(user_ids=[name])
        assert problem(bytes(made.extract_certificate())) is None

    @pytest.mark.parametrize("odd", ["\n", "\r", "\u2028", "\u0085", "\u202e", "\0", "\x1b"])
    def test_user_ids_with_odd_characters_spoil_the_certificate(self, odd: str) -> None:
        """What could break a line of a listing, or fool a reader, never reaches the ring."""
        made = pysequoia.Tsk.generate(user_ids=["Eve <eve@example.net>", f"E{odd}ve"])
        assert problem(bytes(made.extract_certificate())) == "malformed"

    def test_damaged_and_foreign_content_is_malformed(self, keys: Keys) -> None:
        """A broken binding, a cut, garbage, and secret keys are not used."""
        whole = keys.reporter_cert
        broken = whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]
        found = [
            problem(content)
            for content in (
                broken,
                whole[:20],
                b"garbage",
                b"",
                keys.reporter.export_secret(keys.reporter_fpr),
            )
        ]
        assert found == ["malformed"] * 5

    def test_too_large_certificates_are_not_even_parsed(self, keys: Keys) -> None:
        """Flooded certificates are refused by their weight."""
        largest = keys.reporter_cert.ljust(certs.MOST_OCTETS, b"\0")
        assert (problem(largest), problem(largest + b"\0")) == (None, "too-large")

    def test_a_blob_of_many_certificates_is_cut_short(self, keys: Keys) -> None:
        """No more than a handful are looked at."""
        found = inspect(keys.reporter_cert * 50, NOW)
        assert len(found) == certs.MOST_CERTIFICATES


class TestHostileCertificates:
    """``inspect`` answers, whatever it is given."""

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=4)), max_size=8))
    def test_any_damage_is_answered_with_a_judgement(
        self, keys: Keys, changes: list[tuple[int, bytes]]
    ) -> None:
        """Octets changed, inserted or cut anywhere never raise, and what passes can be cut down."""
        content = bytearray(keys.reporter_cert + keys.role_cert)
        for at, put in changes:
            content[at % len(content) : at % len(content) + 2] = put
        for found in inspect(bytes(content), NOW):
            if found.certificate.problem is None:
                only_address(found.content, "reporter@example.net")

    @given(st.binary(max_size=400))
    def test_any_bytes_are_answered_with_a_judgement(self, content: bytes) -> None:
        """Noise is malformed, not an error."""
        assert inspect(content, NOW)


class TestCuttingDown:
    """What reaches the ring, or is encrypted to, is what we meant."""

    def test_only_the_wanted_user_ids_remain(self, ring: Ring) -> None:
        """Other user IDs and other people's certifications are left out."""
        key = ring.make_key("Many <many@example.net>")
        ring.gpg("--quick-add-uid", key, "Security <security@example.org>")
        friend = ring.make_key("Friend <friend@example.net>")
        ring.gpg("--local-user", friend, "--quick-sign-key", key)
        cut = only_address(ring.export(key), "many@EXAMPLE.net")
        found = one(cut).certificate
        assert (found.addresses, found.problem) == (("many@example.net",), None)
        assert bytes.fromhex(friend[-16:]) not in cut

    def test_only_the_wanted_subkey_remains(self, ring: Ring) -> None:
        """A certificate cut down to one subkey cannot be encrypted to by another."""
        key = ring.make_key("Two <two@example.net>")
        second = ring.add_subkey(key)
        found = one(only_subkeys(ring.export(key), [second])).certificate
        assert (second,) == found.encryption_subkeys
