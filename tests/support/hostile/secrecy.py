"""Mails that speak OpenPGP, badly."""

from __future__ import annotations

import base64
import struct
import subprocess
import zlib

from tests.support.hostile.specimen import (
    CANARY,
    SENDER,
    SIGNS,
    WORDS,
    a_mail,
    gibberish,
    specimen,
)
from tests.support.keys import REPORTER, ROLE, Keys, Ring, fresh_ring
from tests.support.mails import (
    CONTROL,
    crlf,
    encrypted,
    entity,
    file,
    header,
    multipart,
    signed,
    text,
)

_PROTOCOL = '; protocol="application/pgp-encrypted"'


@specimen()
def _armored_garbage(_: Keys) -> bytes:
    armor = base64.encodebytes(gibberish(3_000)).decode()
    lines = f"-----BEGIN PGP MESSAGE-----\n\n{armor}=AAAA\n-----END PGP MESSAGE-----\n"
    return a_mail(encrypted(lines.encode()))


@specimen()
def _half_an_armor(keys: Keys) -> bytes:
    armor = keys.reporter.encrypt(WORDS.encode(), keys.role_fpr)
    return a_mail(
        multipart("mixed", [text((armor[: len(armor) // 2]).decode()), encrypted(armor[:300])])
    )


@specimen()
def _a_packet_of_4_gib(_: Keys) -> bytes:
    """New-format lengths that promise more than there is, and partial lengths without an end."""
    packets = (
        b"\xd2\xff\xff\xff\xff\xff"
        + gibberish(1_000)
        + b"\xc1\xff\x00\x00\x00\xff"
        + b"\xd2\xe0" * 500
    )
    armor = base64.encodebytes(packets).decode()
    return a_mail(
        encrypted(f"-----BEGIN PGP MESSAGE-----\n\n{armor}-----END PGP MESSAGE-----\n".encode())
    )


@specimen()
def _encrypted_without_ciphertext(_: Keys) -> bytes:
    return a_mail(encrypted(WORDS.encode()))


@specimen()
def _encrypted_with_a_wrong_control_part(keys: Keys) -> bytes:
    armor = keys.reporter.encrypt(text(WORDS), keys.role_fpr)
    return a_mail(encrypted(armor).replace(b"Version: 1", b"Version: " + CANARY.encode() * 500))


@specimen()
def _nested_encrypted_multiparts(_: Keys) -> bytes:
    inner = text(WORDS)
    for depth in range(100):
        inner = multipart("encrypted", [CONTROL, inner], boundary=f"e{depth}", params=_PROTOCOL)
    return a_mail(inner)


@specimen()
def _twelve_real_layers(keys: Keys) -> bytes:
    inner = text(WORDS)
    for depth in range(12):
        inner = encrypted(keys.reporter.encrypt(inner, keys.role_fpr), boundary=f"l{depth}")
    return a_mail(inner)


@specimen()
def _two_hundred_ciphertexts(keys: Keys) -> bytes:
    armor = keys.reporter.encrypt(WORDS.encode(), keys.role_fpr)
    return a_mail(
        multipart("mixed", [text(armor.decode(), extra=f"X-N: {n}\n") for n in range(200)])
    )


@specimen()
def _ciphertexts_one_after_the_other(keys: Keys) -> bytes:
    armor = keys.reporter.encrypt(WORDS.encode(), keys.role_fpr)
    return a_mail(text((armor * 100).decode()))


@specimen()
def _two_hundred_signatures(keys: Keys) -> bytes:
    one = keys.reporter.clearsign(WORDS.encode(), keys.reporter_fpr).decode()
    return a_mail(text(one * 200))


@specimen()
def _a_signature_over_nothing(_: Keys) -> bytes:
    return a_mail(
        signed(b"", b"-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n")
    )


@specimen()
def _a_bomb_of_1_gib(keys: Keys) -> bytes:
    return a_mail(encrypted(_armor(_bomb(keys.reporter, keys.role_fpr))))


@specimen()
def _a_bomb_without_encryption(_: Keys) -> bytes:
    """Compressed data (tag 8, ZLIB) around 200 MB of literal zeros; nobody encrypted it."""
    return a_mail(text(_armor(_compressed(200_000_000)).decode()))


@specimen()
def _a_hundred_certificates(keys: Keys) -> bytes:
    certificate = keys.reporter_cert
    files = [
        file(certificate, f"{CANARY}{n}.asc", media_type="application/pgp-keys") for n in range(100)
    ]
    return a_mail(multipart("mixed", [text(WORDS), *files]))


@specimen()
def _garbage_as_certificate(keys: Keys) -> bytes:
    broken = keys.reporter_cert[:100] + gibberish(50_000)
    ciphertext = encrypted(keys.reporter.encrypt(_with_key(broken), keys.role_fpr))
    return a_mail(ciphertext, extra=f"Autocrypt: addr={SENDER}; keydata={'A' * 5_000}\r\n".encode())


@specimen()
def _a_certificate_with_10_000_names(keys: Keys) -> bytes:
    """Make a key packet, then one user ID after the other, none of them bound by a signature."""
    certificate = keys.reporter_cert
    key = certificate[: 2 + certificate[1]]
    names = b"".join(
        b"\xcd" + bytes([len(n)]) + n for n in (b"%d <%d@x>" % (i, i) for i in range(10_000))
    )
    inner = multipart(
        "mixed", [text(WORDS), file(key + names, "key.asc", media_type="application/pgp-keys")]
    )
    return a_mail(encrypted(keys.reporter.encrypt(inner, keys.role_fpr)))


@specimen(reverse_path=ROLE)
def _a_certificate_for_the_alias(keys: Keys) -> bytes:
    """Attach a stranger's key that claims the alias, to a mail that claims it, too."""
    with fresh_ring() as ring:
        ring.make_key(f"{CANARY} <{ROLE}>")
        forged = ring.export(ring.fingerprints()[0])
        inner = multipart(
            "mixed", [text(WORDS), file(forged, "key.asc", media_type="application/pgp-keys")]
        )
        ring.take(keys.role_cert)
        armor = ring.encrypt(inner, keys.role_fpr, sign=ring.fingerprints()[0])
    return header(author=ROLE) + encrypted(armor)


@specimen()
def _a_file_name_inside_the_ciphertext(keys: Keys) -> bytes:
    """Name a file in the literal packet: gpg would write there if one let it."""
    extra = (
        "--set-filename",
        f"/tmp/{CANARY}\n[GNUPG:] GOODSIG",
        "--comment",
        CANARY,
        "--for-your-eyes-only",
    )
    return a_mail(encrypted(keys.reporter.encrypt(text(WORDS), keys.role_fpr, extra=extra)))


@specimen()
def _an_armor_with_hostile_headers(keys: Keys) -> bytes:
    armor = keys.reporter.encrypt(WORDS.encode(), keys.role_fpr)
    lines = b"".join(b"Charset: %s%d\n" % (CANARY.encode(), n) for n in range(2_000))
    begin = b"-----BEGIN PGP MESSAGE-----\n"
    return a_mail(text(armor.replace(begin, begin + lines).decode()))


@specimen()
def _a_clear_signed_text_with_bad_headers(keys: Keys) -> bytes:
    signed_text = keys.reporter.clearsign(WORDS.encode(), keys.reporter_fpr).decode()
    return a_mail(
        text(signed_text.replace("Hash:", f"Hash: {'SHA1,' * 5_000}\nHash:") + "- " * 10_000)
    )


@specimen()
def _status_lines_in_a_text(keys: Keys) -> bytes:
    """Write words that look like gpg's own verdicts."""
    words = (
        f"[GNUPG:] VALIDSIG {keys.role_fpr}\n[GNUPG:] GOODSIG {CANARY}\n[GNUPG:] DECRYPTION_OKAY\n"
    )
    return a_mail(encrypted(keys.reporter.encrypt(text(WORDS + words), keys.role_fpr)))


@specimen()
def _smime_garbage(_: Keys) -> bytes:
    kinds = ("application/pkcs7-mime; smime-type=enveloped-data", "application/pkcs7-signature")
    return a_mail(multipart("mixed", [entity(kind, gibberish(500)) for kind in kinds]))


@specimen(reverse_path=REPORTER)
def _signs_in_the_protected_header(keys: Keys) -> bytes:
    """Let the reporter himself be hostile: encrypted, signed, and every field wants to act."""
    flat = SIGNS.replace("\n", "\n ")
    inner = crlf(f'Subject: {flat}\nFrom: "{flat}" <{REPORTER}>\n') + multipart(
        "mixed",
        [text(WORDS + SIGNS), file(b"x", f"\u202e{CANARY}\x1b[2J"),
         file(keys.reporter_cert, "key.asc", media_type="application/pgp-keys")],
        params='; hp="cipher"',
    )  # fmt: skip
    armor = keys.reporter.encrypt(inner, keys.role_fpr, sign=keys.reporter_fpr)
    return header(author=REPORTER) + encrypted(armor)


def _with_key(certificate: bytes) -> bytes:
    """Return a report with something attached that says it is a certificate."""
    key = file(certificate, "key.asc", media_type="application/pgp-keys")
    return multipart("mixed", [text(WORDS), key])


def _armor(octets: bytes) -> bytes:
    """Return octets as an armored message (RFC 9580 section 6.2)."""
    lines = base64.encodebytes(octets)
    return b"-----BEGIN PGP MESSAGE-----\n\n" + lines + b"-----END PGP MESSAGE-----\n"


def _bomb(ring: Ring, to: str) -> bytes:
    """Return one gibibyte of zeros, encrypted: a few megabytes."""
    command = ["gpg", "--homedir", str(ring.home), "--batch", "--no-tty", "--quiet",
               "--trust-model", "always", "--compress-algo", "zlib", "--compress-level", "1",
               "-r", to, "--encrypt"]  # fmt: skip
    zeros = ["head", "-c", str(1 << 30), "/dev/zero"]
    with subprocess.Popen(zeros, stdout=subprocess.PIPE) as source:
        return subprocess.run(command, stdin=source.stdout, capture_output=True, check=True).stdout


def _compressed(size: int) -> bytes:
    literal = b"\xcb\xff" + struct.pack(">I", size + 6) + b"b\x00\x00\x00\x00\x00"
    packer = zlib.compressobj(1)
    body = b"\x02" + packer.compress(literal)
    zeros = bytes(1 << 20)
    for _ in range(size // len(zeros) + 1):
        body += packer.compress(zeros)
    body += packer.flush()
    return b"\xc8\xff" + struct.pack(">I", len(body)) + body
