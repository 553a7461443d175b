"""A certificate that claims somebody else's keys for its own: all of it made by hand, no gpg.

Whoever has a public key can bind it under a primary key of his own; it takes no secret of the
owner's, and for a key that encrypts no program can tell (RFC 9580 section 5.2.1.8).
"""

from __future__ import annotations

import hashlib
import struct
import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from secbridge.mail.packets import walk

PRIMARY, SUBKEY = 6, 14
CERTIFIES, SIGNS, ENCRYPTS = 1, 2, 12
_USER_ID, _SIGNATURE = 13, 2
_ED25519_OID = bytes.fromhex("092b06010401da470f01")


def keys_of(certificate: bytes) -> list[bytes]:
    """Return the bodies of the key packets of a certificate, the primary first."""
    return [
        certificate[packet.body : packet.end]
        for packet in walk(certificate)
        if packet.tag in {PRIMARY, SUBKEY}
    ]


def thief(
    user_id: str, stolen: bytes, *, flags: int = ENCRYPTS, expires_after: int | None = None
) -> bytes:
    """Return a new certificate, binary, that has ``stolen`` (the body of a key) as its subkey.

    ``flags`` are what it says the subkey is for; it expires so many seconds after it was made,
    which was an hour ago.
    """
    secret = Ed25519PrivateKey.generate()
    made = int(time.time()) - 3600
    point = b"\x40" + secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    primary = b"\4" + struct.pack(">I", made) + b"\x16" + _ED25519_OID + _number(point)
    name = user_id.encode()
    key_id = hashlib.sha1(_hashed_key(primary), usedforsecurity=False).digest()[-8:]
    validity = [] if expires_after is None else [_sub(9, struct.pack(">I", expires_after))]

    def signature(kind: int, about: bytes, used_for: int) -> bytes:
        hashed = b"".join(
            [_sub(2, struct.pack(">I", made)), _sub(27, bytes([used_for])), *validity]
        )
        head = bytes([4, kind, 22, 8]) + struct.pack(">H", len(hashed)) + hashed
        digest = hashlib.sha256(
            _hashed_key(primary) + about + head + b"\4\xff" + struct.pack(">I", len(head))
        ).digest()
        signed = secret.sign(digest)
        issuer = _sub(16, key_id)
        rest = struct.pack(">H", len(issuer)) + issuer + digest[:2]
        return _packet(_SIGNATURE, head + rest + _number(signed[:32]) + _number(signed[32:]))

    about_name = b"\xb4" + struct.pack(">I", len(name)) + name
    return b"".join(
        [
            _packet(PRIMARY, primary),
            _packet(_USER_ID, name),
            signature(0x13, about_name, CERTIFIES | SIGNS),
            _packet(SUBKEY, stolen),
            signature(0x18, _hashed_key(stolen), flags),
        ]
    )


def _packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 0xFF]) + struct.pack(">I", len(body)) + body


def _sub(kind: int, body: bytes) -> bytes:
    return bytes([len(body) + 1, kind]) + body


def _number(octets: bytes) -> bytes:
    value = int.from_bytes(octets, "big")
    size = (value.bit_length() + 7) // 8
    return struct.pack(">H", value.bit_length()) + value.to_bytes(size, "big")


def _hashed_key(body: bytes) -> bytes:
    return b"\x99" + struct.pack(">H", len(body)) + body
