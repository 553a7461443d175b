"""What gpg's status lines prove, and what they do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secbridge.mail.packets import Container, PacketFacts
from secbridge.model.message import OpenFailure, SignatureVerdict
from secbridge.openpgp import status
from secbridge.openpgp.faults import Fault

FPR = "20458C7B37E2190C84202171B9EB2863CCCEC504"
SUB = "6103AB659325687F321234FFD35C1B3832867607"
VALID = f"VALIDSIG {SUB} 2026-11-22 1795333303 0 4 0 22 10 00 {FPR}"
GOOD = ["NEWSIG", f"GOODSIG {SUB[-16:]} Rita <reporter@example.net>", VALID]
OPENED = [
    "ENC_TO D35C1B3832867607 18 0",
    f"DECRYPTION_KEY {SUB} {FPR} u",
    "BEGIN_DECRYPTION",
    "DECRYPTION_INFO 2 9 0",
    "PLAINTEXT 62 1795333303 ",
    "DECRYPTION_OKAY",
    "GOODMDC",
    "END_DECRYPTION",
]


def lines(*texts: str) -> tuple[status.StatusLine, ...]:
    """Return status lines as gpg would write them."""
    return status.parse("".join(f"[GNUPG:] {text}\n" for text in texts).encode())


def without(*keywords: str) -> list[str]:
    """Return the lines of a message that opened, without some of them."""
    return [text for text in OPENED if text.split(" ")[0] not in keywords]


class TestParsing:
    """``parse`` splits at line feeds and nowhere else."""

    def test_only_a_line_feed_ends_a_line(self) -> None:
        """Line separators that stand in a stranger's user ID begin no status line."""
        text = "Rita\r[GNUPG:] BADSIG\x0b[GNUPG:] A\u2028[GNUPG:] B\x85[GNUPG:] C"
        found = status.parse(f"[GNUPG:] GOODSIG 0123 {text}\n".encode())
        assert [line.keyword for line in found] == ["GOODSIG"]

    def test_what_is_no_status_line_is_passed_over(self) -> None:
        """Other lines of the stream mean nothing."""
        assert status.parse(b"gpg: [GNUPG:] GOODSIG x\n[GNUPG:]GOODSIG y\n\n") == ()

    def test_a_repr_tells_no_user_id(self) -> None:
        """Status lines hold names of people, and their repr does not."""
        assert repr(lines("GOODSIG 0123 Rita")[0]) == "StatusLine(GOODSIG)"

    @given(st.binary(max_size=400))
    def test_any_stream_is_judged_without_an_error(self, noise: bytes) -> None:
        """No bytes in the stream make reading it fail, and noise proves nothing."""
        found = status.parse(noise + b"\n[GNUPG:] NEWSIG\n[GNUPG:] VALIDSIG " + noise)
        status.signatures(found)
        assert not status.proves_decryption(found, 0)


class TestSignatures:
    """``signatures`` keeps signatures apart and believes VALIDSIG alone."""

    def test_a_good_signature_is_told_by_its_primary_key(self) -> None:
        """The tenth field of VALIDSIG is the fingerprint, not the subkey that signed."""
        (found,) = status.signatures(lines(*GOOD))
        expected = (SignatureVerdict.GOOD, FPR, True)
        assert expected == (found.verdict, found.key, found.proven)

    @pytest.mark.parametrize(
        ("keyword", "verdict"),
        [
            ("EXPSIG", SignatureVerdict.EXPIRED),
            ("EXPKEYSIG", SignatureVerdict.EXPIRED_KEY),
            ("REVKEYSIG", SignatureVerdict.REVOKED_KEY),
        ],
    )
    def test_qualified_signatures_are_not_good(
        self, keyword: str, verdict: SignatureVerdict
    ) -> None:
        """An expired signature, and one by an expired or revoked key, are named as that."""
        (found,) = status.signatures(lines("NEWSIG", f"{keyword} {SUB[-16:]} Rita", VALID))
        assert (verdict, FPR) == (found.verdict, found.key)

    @pytest.mark.parametrize(
        "said",
        [
            pytest.param(GOOD[:2], id="without-validsig"),
            pytest.param([*GOOD, "BADSIG 0123456789ABCDEF Rita"], id="good-and-bad"),
            pytest.param([*GOOD, VALID], id="two-validsig"),
            pytest.param(["NEWSIG", "GOODSIG 0123456789ABCDEF Eve", VALID], id="other-key"),
            pytest.param(["NEWSIG", VALID], id="validsig-alone"),
            pytest.param(["NEWSIG", f"ERRSIG {FPR[-16:]} 22 1 00 1795333303 5 -"], id="digest"),
        ],
    )
    def test_contradictions_and_gaps_are_bad(self, said: list[str]) -> None:
        """A verdict that VALIDSIG does not bear out, or that something contradicts, is bad."""
        (found,) = status.signatures(lines(*said))
        assert (found.verdict, found.proven) == (SignatureVerdict.BAD, False)

    def test_an_unknown_key_is_named_as_the_signature_names_it(self) -> None:
        """The issuer's fingerprint is taken where the signature has one, else its key id."""
        named = f"ERRSIG {FPR[-16:]} 22 10 00 1795333303 9 {FPR}"
        bare = f"ERRSIG {FPR[-16:]} 22 10 00 1795333303 9 -"
        found = status.signatures(lines("NEWSIG", named, "NEWSIG", bare))
        expected = [(SignatureVerdict.UNKNOWN_KEY, FPR), (SignatureVerdict.UNKNOWN_KEY, FPR[-16:])]
        assert expected == [(it.verdict, it.key) for it in found]

    def test_several_signatures_are_kept_apart(self) -> None:
        """A good one does not lend its verdict to its neighbours."""
        bad = ["NEWSIG", f"BADSIG {FPR[-16:]} Rita"]
        unknown = ["NEWSIG", f"ERRSIG {FPR[-16:]} 22 10 00 1795333303 9 {FPR}"]
        found = status.signatures(lines(*bad, *GOOD, *unknown))
        expected = [SignatureVerdict.BAD, SignatureVerdict.GOOD, SignatureVerdict.UNKNOWN_KEY]
        assert expected == [it.verdict for it in found]


class TestDecryption:
    """``proves_decryption`` takes nothing less than everything."""

    def test_a_whole_protected_message_is_proven(self) -> None:
        """One decryption, one plaintext, integrity checked, exit status 0."""
        assert status.proves_decryption(lines(*OPENED), 0)

    def test_aead_stands_in_for_the_modification_code(self) -> None:
        """A message with an AEAD mode has no GOODMDC and needs none."""
        said = [text.replace("2 9 0", "0 9 2") for text in without("GOODMDC")]
        assert status.proves_decryption(lines(*said), 0)

    @pytest.mark.parametrize("missing", [text.split(" ")[0] for text in OPENED[1:]])
    def test_every_line_of_the_proof_is_needed(self, missing: str) -> None:
        """Without any one of its lines the proof fails, and the text is not used."""
        assert not status.proves_decryption(lines(*without(missing)), 0)

    @pytest.mark.parametrize(
        "trouble",
        [
            "BADMDC",
            "DECRYPTION_FAILED",
            "NODATA 3",
            "UNEXPECTED 0",
            "ERROR decryption.early_plaintext 89",
            "ERROR proc_pkt.plaintext 89_BAD_DATA",
            "FAILURE decrypt 4294967295",
            "PLAINTEXT 62 0 ",
            "BEGIN_DECRYPTION",
            "DECRYPTION_OKAY",
        ],
    )
    def test_any_trouble_voids_the_proof(self, trouble: str) -> None:
        """Damage, a second plaintext or a second message spoil the first one, too."""
        assert not status.proves_decryption(lines(*OPENED, trouble), 0)

    def test_a_plaintext_outside_the_decryption_voids_the_proof(self) -> None:
        """Text that stands before the ciphertext was never encrypted."""
        early = ["PLAINTEXT 62 0 ", *without("PLAINTEXT")]
        assert not status.proves_decryption(lines(*early), 0)

    @pytest.mark.parametrize(
        ("said", "returncode", "expected"),
        [
            ([], 2, False),
            (["ERRSIG 0123 22 10 00 0 9 -", "NO_PUBKEY 0123"], 2, True),
            (["BADSIG 0123 Rita"], 1, True),
            (["ERROR pkdecrypt_failed 11"], 2, True),
            (["BADSIG 0123 Rita"], 33, False),
        ],
    )
    def test_an_exit_status_must_be_explained(
        self, said: list[str], returncode: int, expected: bool
    ) -> None:
        """Signatures that do not verify explain an exit status of 1 or 2, and nothing else does."""
        found = lines(*OPENED[:5], *said, *OPENED[5:])
        assert expected == status.proves_decryption(found, returncode)

    def test_signatures_outside_the_ciphertext_do_not_count(self) -> None:
        """A signature around the ciphertext says nothing of what is in it."""
        found = status.decrypted_signatures(lines(*OPENED, *GOOD))
        assert found == ()

    def test_the_opening_key_is_the_primary(self) -> None:
        """Which of our keys opened a message is told by its primary fingerprint."""
        assert status.opening_key(lines(*OPENED)) == FPR


class TestReasons:
    """``failure`` names why a message did not open."""

    @pytest.mark.parametrize(
        ("said", "facts", "expected"),
        [
            (["NO_SECKEY 1"], PacketFacts(("1",), (3,)), OpenFailure.NO_SECRET_KEY),
            ([], PacketFacts(passwords=1), OpenFailure.SYMMETRIC_ONLY),
            ([], PacketFacts(("1",), (6,)), OpenFailure.UNSUPPORTED_VERSION),
            ([], PacketFacts(("1",), (3,), 0, Container.SEIPD2), OpenFailure.UNSUPPORTED_VERSION),
            (["NODATA 3"], PacketFacts(), OpenFailure.CORRUPT),
            (
                ["ERROR pkdecrypt_failed 16777226", "NO_SECKEY 2"],
                PacketFacts(("1", "2"), (3, 3)),
                OpenFailure.CORRUPT,
            ),
            (
                [*OPENED[:3], "DECRYPTION_INFO 0 2 0", "DECRYPTION_FAILED"],
                PacketFacts(("1",), (3,), 0, Container.SED),
                OpenFailure.NO_INTEGRITY_PROTECTION,
            ),
            ([*OPENED[:4], "BADMDC"], PacketFacts(("1",), (3,)), OpenFailure.CORRUPT),
            (OPENED[:4] + OPENED[:4], PacketFacts(("1",), (3,)), OpenFailure.TOO_COMPLEX),
        ],
    )
    def test_reasons_come_from_status_and_packets(
        self, said: list[str], facts: PacketFacts, expected: OpenFailure
    ) -> None:
        """The status stream and the packet headers together tell the reason."""
        assert expected == status.failure(lines(*said), facts)

    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            ("ERROR pkdecrypt_failed 67108875", Fault.PASSPHRASE),
            ("ERROR pkdecrypt_failed 67108949", Fault.PASSPHRASE),
            ("ERROR add_keyblock_resource 33587281", Fault.HOME),
            ("ERROR pkdecrypt_failed 134250577", Fault.HOME),
            ("ERROR pkdecrypt_failed 67141657", Fault.AGENT),
            ("ERROR pkdecrypt_failed 16777226", None),
            ("NO_SECKEY 0000000000000000", None),
            ("BADMDC", None),
        ],
    )
    def test_only_what_no_mail_can_cause_is_a_fault_at_once(
        self, said: str, expected: Fault | None
    ) -> None:
        """A wrong passphrase and a missing ring are ours; a checksum error may be the mail's.

        A ring that another program replaces in this moment is missing to the key box alone.
        """
        assert expected == status.fault_of(lines(said))

    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            ("FAILURE sign 67108875", Fault.PASSPHRASE),
            ("FAILURE sign 17", Fault.HOME),
            ("INV_SGNR 9 0123", Fault.HOME),
            ("NO_SECKEY 0123", Fault.HOME),
            ("ERROR pkdecrypt_failed 67108941", Fault.AGENT),
            ("FAILURE import 32859", Fault.DISK_FULL),
            ("FAILURE gpg-exit 33554433", None),
        ],
    )
    def test_failures_of_our_own_work_are_sorted(self, said: str, expected: Fault | None) -> None:
        """Where the input was ours, every error is a fault of ours."""
        assert expected == status.fault_of_our_own(lines(said))
