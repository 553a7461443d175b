"""What the outside of OpenPGP data tells, without a key."""

from __future__ import annotations

import bz2
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.keys import Keys

from secbridge.mail.armor import ArmorBlock, OpenPGPKind, armor_kind, blocks, dearmor
from secbridge.mail.packets import HIDDEN, Container, describe, recipients, sniff


def packet(tag: int, body: bytes) -> bytes:
    """Return a new-format packet with a five-octet length."""
    return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4, "big") + body


PKESK6 = bytes([6, 33, 6]) + bytes(range(1, 33)) + bytes([25]) + b"\0" * 40


class TestSniffing:
    """``sniff`` tells what a leaf of a mail is, by its content alone."""

    def test_each_kind_is_known_armored_and_binary(self, keys: Keys) -> None:
        """Messages, signed data, signatures and keys are told apart, whatever their form."""
        ring, me, text = keys.reporter, keys.reporter_fpr, b"a line\n"
        for armor in (True, False):
            made = [
                sniff(ring.encrypt(text, keys.role_fpr, armor=armor)),
                sniff(ring.sign(text, me, armor=armor)),
                sniff(ring.sign_detached(text, me, armor=armor)),
                sniff(ring.export(me, armor=armor)),
            ]
            expected = [
                OpenPGPKind.MESSAGE,
                OpenPGPKind.SIGNED_MESSAGE,
                OpenPGPKind.SIGNATURE,
                OpenPGPKind.PUBLIC_KEY,
            ]
            assert expected == made

    def test_secret_keys_and_cleartext_signatures_are_known(self, keys: Keys) -> None:
        """A secret key sent by mistake, and the cleartext framework, have names of their own."""
        secret = keys.reporter.export_secret(keys.reporter_fpr)
        clear = keys.reporter.clearsign(b"a line\n", keys.reporter_fpr)
        assert (sniff(secret), sniff(clear)) == (OpenPGPKind.PRIVATE_KEY, OpenPGPKind.CLEARTEXT)

    def test_a_cut_off_message_is_still_a_message(self, keys: Keys) -> None:
        """Truncated ciphertext is a message that will not open, not an unknown attachment."""
        message = keys.reporter.encrypt(b"x" * 3000, keys.role_fpr, armor=False)
        found = {sniff(message[:size]) for size in (100, 200, 1000)}
        assert {OpenPGPKind.MESSAGE} == found

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b"Dear team,\n-----BEGIN PGP MESSAGE-----\n\nabc\n", id="text-first"),
            pytest.param(b"> -----BEGIN PGP MESSAGE-----\n", id="quoted"),
            pytest.param(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + b"x" * 99, id="pdf"),
            pytest.param(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + b"\x00" * 99, id="jpeg"),
            pytest.param(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + b"\x00" * 99, id="png"),
            pytest.param(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 99, id="old-office"),
            pytest.param(b"\xca\xfe\xba\xbe\x00\x00\x00\x34" + b"\x00" * 99, id="java-class"),
            pytest.param("Ärger mit Ümlauten".encode("latin-1") * 9, id="latin-1"),
            pytest.param("Ärger mit Ümlauten".encode() * 9, id="utf-8"),
            pytest.param("\ufeffBOM text".encode() * 9, id="utf-8-bom"),
            pytest.param("текст отчёта".encode("koi8-r") * 9, id="koi8-r"),
            pytest.param("報告書".encode("euc-jp") * 30, id="euc-jp"),
            pytest.param(bytes(range(128, 256)) * 9, id="all-high-octets"),
            pytest.param(zlib.compress(b"x" * 999), id="zlib"),
            pytest.param(bz2.compress(b"x" * 999), id="bzip2"),
        ],
    )
    def test_other_files_and_texts_are_not_mistaken(self, content: bytes) -> None:
        """Pictures, documents and texts in old charsets are no OpenPGP."""
        assert sniff(content) is None

    @given(st.binary(max_size=300))
    def test_any_bytes_are_described_without_an_error(self, content: bytes) -> None:
        """No bytes make sniffing, describing or dearmoring fail."""
        sniff(content)
        describe(content)
        dearmor(b"-----BEGIN PGP MESSAGE-----\n" + content)


class TestDescribing:
    """``describe`` reads the headers around the ciphertext."""

    def test_recipients_are_the_encryption_subkeys(self, keys: Keys) -> None:
        """Each session key packet names a subkey; hidden ones are sixteen zeros."""
        (role_subkey,) = keys.role.subkeys(keys.role_fpr)
        named = keys.reporter.encrypt(b"x", keys.role_fpr)
        hidden = keys.reporter.encrypt(b"x", keys.role_fpr, hidden=True)
        assert ((role_subkey[-16:],), (HIDDEN,)) == (recipients(named), recipients(hidden))

    def test_a_password_only_message_has_no_recipients(self, keys: Keys) -> None:
        """A message for a password says so, and names nobody."""
        facts = describe(keys.reporter.encrypt_with_password(b"x", "a password"))
        assert (facts.passwords, facts.recipients, facts.container) == (1, (), Container.SEIPD1)

    def test_old_and_new_containers_are_told_apart(self) -> None:
        """SED, SEIPD versions 1 and 2 and the OCB packet each have a name."""
        found = [
            describe(packet(9, b"x" * 20)).container,
            describe(packet(18, b"\x01" + b"x" * 20)).container,
            describe(packet(18, b"\x02" + b"x" * 20)).container,
            describe(packet(20, b"\x01" + b"x" * 20)).container,
            describe(packet(18, b"\x07" + b"x" * 20)).container,
        ]
        expected = [
            Container.SED, Container.SEIPD1, Container.SEIPD2, Container.OCB, Container.UNKNOWN,
        ]  # fmt: skip
        assert expected == found

    def test_version_6_session_keys_name_a_fingerprint(self) -> None:
        """A PKESK of version 6 carries a v6 fingerprint, whose first octets are the key id."""
        facts = describe(packet(1, PKESK6) + packet(18, b"\x02" + b"x" * 20))
        assert (facts.pkesk_versions, facts.recipients) == ((6,), ("0102030405060708",))

    def test_cut_off_and_followed_messages_are_seen(self, keys: Keys) -> None:
        """The end of the one message is the end of the data, or the facts say so."""
        for armor in (True, False):
            message = keys.reporter.encrypt(b"x" * 3000, keys.role_fpr, armor=armor)
            whole, twice = describe(message), describe(message + message)
            cut = describe(message[: len(message) // 2])
            found = [(it.truncated, it.trailing) for it in (whole, cut, twice)]
            assert found == [(False, False), (True, False), (False, True)]


class TestArmor:
    """``blocks`` finds armor in a text, ``dearmor`` undoes it."""

    def test_blocks_stand_in_order_with_their_kinds(self, keys: Keys) -> None:
        """A clear-signed text is one block from its first to its last line; quotes are text."""
        clear = keys.reporter.clearsign(b"hello\n- dash\n", keys.reporter_fpr)
        message = keys.reporter.encrypt(b"x", keys.role_fpr)
        text = b"Hi\n" + clear + b"> -----BEGIN PGP MESSAGE-----\n" + message + b"bye\n"
        found = [(text[it.start : it.end] + b"\n", it.kind, it.complete) for it in blocks(text)]
        expected = [
            (clear, OpenPGPKind.CLEARTEXT, True),
            (message, OpenPGPKind.MESSAGE, True),
        ]
        assert expected == found

    def test_a_block_without_a_tail_is_incomplete(self) -> None:
        """An armored block that never ends reaches to the next one, or to the end of the text."""
        head = b"-----BEGIN PGP MESSAGE-----\n"
        text = head + b"\nabc\n" + head + b"\ndef\n"
        found = blocks(text)
        expected = [
            ArmorBlock(0, 33, OpenPGPKind.MESSAGE, complete=False),
            ArmorBlock(33, 66, OpenPGPKind.MESSAGE, complete=False),
        ]
        assert expected == found

    def test_crlf_headers_and_missing_checksums_are_tolerated(self, keys: Keys) -> None:
        """What mail programs do to armor does not hide its content."""
        binary = keys.reporter.sign_detached(b"x", keys.reporter_fpr, armor=False)
        armored = keys.reporter.gpg("--enarmor", stdin=binary).replace(b"ARMORED FILE", b"MESSAGE")
        lines = [line for line in armored.splitlines() if not line.startswith(b"=")]
        mangled = b"\r\n".join([lines[0], b"Version: Odd 1.0", b"Comment: a: b", *lines[2:]])
        assert (binary, binary) == (dearmor(armored), dearmor(mangled))

    def test_a_damaged_tail_still_gives_what_is_there(self) -> None:
        """Base64 that ends in the middle of a group gives its whole groups."""
        assert dearmor(b"-----BEGIN PGP MESSAGE-----\n\nQUJDRE\n") == b"ABC"

    def test_binary_data_is_left_as_it_is(self) -> None:
        """What is not armored is returned unchanged."""
        assert dearmor(b"\x84\x5e\x03") == b"\x84\x5e\x03"

    def test_the_claim_is_read_behind_blank_lines_only(self) -> None:
        """A leaf that begins with armor claims its kind; one that begins with words claims none."""
        head = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n"
        found = (armor_kind(b"\r\n \r\n" + head), armor_kind(b"see below\r\n" + head))
        assert found == (OpenPGPKind.PUBLIC_KEY, None)
