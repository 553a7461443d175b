"""Mails that others wrote are read as a careful person reads them.

The verdicts below were determined by reading each mail; the table is printed when the test fails.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.keys import fresh_ring
from tests.support.opening import Desk, desk, told, verdicts

from secbridge.mail.parse import charset_of, decoded
from secbridge.mail.slices import Budget, slice_entity
from secbridge.mail.text import decode
from secbridge.model.message import Message
from secbridge.model.part import OpeningLimits, Part

Row = tuple[str, str, list[str], list[str]]

_ENCRYPTED = ["encrypted pgp-mime 0 ok"]
_BOTH = [*_ENCRYPTED, "signed pgp-mime 1 ok"]
_SMIME: Row = ("undecryptable", "smime", ["encrypted attachment 0 smime"], [])
_CLEAR: Row = ("none", "", [], [])
_ONE: Row = ("encrypted", "", _ENCRYPTED, [])


def _both(*signatures: str) -> Row:
    return ("encrypted+signed", "", _BOTH, list(signatures))


def _signed(form: str, verdict: str) -> Row:
    ok = "ok" if verdict.startswith("good") else "not ok"
    return ("signed", "", [f"signed {form} 0 {ok}"], [verdict])


OPENPGP: dict[str, Row] = {
    "crlf-encrypted-with-signature": ("encrypted", "", ["encrypted inline 0 ok"], []),
    "crlf-encrypted-with-signature-multipart": _ONE,
    "encapsulated-with-attachment": _CLEAR,
    "forward-openpgp-signed-encrypted": _both("good part sender"),
    "forward-openpgp-signed-encrypted-no-from": _both("good part other"),
    "inlinepgpencrypted": ("encrypted", "", ["encrypted inline 0 ok"], []),
    "inlinepgpencrypted-appendix": ("encrypted", "", ["encrypted inline 0 ok"], []),
    "inlinepgpencrypted-error": (
        "undecryptable", "no-secret-key", ["encrypted inline 0 no-secret-key"], [],
    ),
    "inlinepgpgencrypted-error": (
        "undecryptable", "no-secret-key", ["encrypted inline 0 no-secret-key"], [],
    ),
    "internal-pgpencrypted-mime": _both("good whole sender"),
    "multipart-mixed-alternative-inline-pgp": ("encrypted", "", ["encrypted inline 0 ok"], []),
    "openpgp-encoded": _signed("inline", "unknown_key whole other"),
    "openpgp-encrypted": _ONE,
    "openpgp-encrypted+signed": _both("good whole sender"),
    "openpgp-encrypted-ambiguous-mime": _ONE,
    "openpgp-encrypted-applemail": _ONE,
    "openpgp-encrypted-attachment": _both("good whole sender"),
    "openpgp-encrypted-attachment-and-non-encrypted-attachment": _both("good part sender"),
    "openpgp-encrypted-enigmail1.6": _ONE,
    "openpgp-encrypted-memoryhole": _ONE,
    "openpgp-encrypted-memoryhole2": _ONE,
    "openpgp-encrypted-noData": (
        "undecryptable", "corrupt", ["encrypted pgp-mime 0 corrupt"], [],
    ),
    "openpgp-encrypted-non-encrypted-attachment": _both("good part sender"),
    "openpgp-encrypted-partially-signed-attachments": (
        "encrypted+signed", "", [*_BOTH, *_ENCRYPTED], ["good part other"],
    ),
    "openpgp-encrypted-signed-thunderbird": _both("good whole sender"),
    "openpgp-encrypted-two-attachments": _ONE,
    "openpgp-inline-charset-encrypted": (
        "encrypted+signed", "", ["encrypted inline 0 ok", "signed inline 1 ok"],
        ["good whole other"],
    ),
    "openpgp-inline-encrypted+nonenc": (
        "encrypted+signed", "",
        ["encrypted inline 0 ok", "encrypted inline 0 ok", "signed inline 1 ok"],
        ["good part sender"],
    ),
    "openpgp-inline-signed": _signed("inline", "good part sender"),
    "openpgp-inline-signed-broken": _signed("inline", "bad whole other"),
    "openpgp-inline-signed-broken2": _signed("inline", "bad whole other"),
    "openpgp-inline-wrong-charset-encrypted": (
        "encrypted+signed", "", ["encrypted inline 0 ok", "signed inline 1 ok"],
        ["good whole other"],
    ),
    "openpgp-multipart-embedded": _ONE,
    "openpgp-multipart-embedded-signed": _both("good whole sender"),
    "openpgp-signed-and-unsigned-attachments-and-parts": _signed("pgp-mime", "bad part other"),
    "openpgp-signed-apple": _signed("pgp-mime", "bad whole other"),
    "openpgp-signed-base64-mailman-footer": _signed("pgp-mime", "unknown_key part other"),
    "openpgp-signed-encrypted": _both("good whole sender"),
    "openpgp-signed-encrypted-two-attachments": _both("good whole other"),
    "openpgp-signed-mailinglist": _signed("pgp-mime", "unknown_key part other"),
    "openpgp-signed-mailinglist+additional-children": _signed(
        "pgp-mime", "unknown_key part other"
    ),
    "openpgp-signed-mailinglist+old": _CLEAR,
    "openpgp-signed-no-protocol": _signed("pgp-mime", "unknown_key whole other"),
    "openpgp-signed-sender-mismatch": _signed("pgp-mime", "good whole other"),
    "openpgp-signed-two-attachments": _signed("pgp-mime", "good whole other"),
    "signed-forward-openpgp-signed-encrypted": (
        "encrypted+signed", "",
        ["signed pgp-mime 0 ok", "encrypted pgp-mime 1 ok", "signed pgp-mime 2 ok"],
        ["good whole sender", "good part sender"],
    ),
    "smime-cert": _CLEAR,
    "smime-encrypted": _SMIME,
    "smime-encrypted-ambiguous-mime": _SMIME,
    "smime-encrypted-not-so-ambiguous-mime": _SMIME,
    "smime-encrypted-octet-stream": _SMIME,
    "smime-opaque-enc+sign": _SMIME,
    "smime-opaque-sign": _SMIME,
    "smime-opaque-signed-encrypted-attachment": _SMIME,
    "smime-signed-apple": _CLEAR,
    "smime-signed-charset": _CLEAR,
    "smime-signed-encrypted": _SMIME,
    "msg.asc": ("undecryptable", "no-secret-key", ["encrypted inline 0 no-secret-key"], []),
    "smime.p7m": _SMIME,
}  # fmt: skip
"""Protection, reason, layers and signatures of each mail that is not plainly clear."""

TEXTS = {
    "openpgp-encrypted": ("encrypted message text", ""),
    "openpgp-encrypted-memoryhole": ("very secret mesage\n", ""),
    "openpgp-encrypted-applemail": ("test\n", ""),
    "openpgp-encrypted-attachment-and-non-encrypted-attachment": ("test text", "[image/png]"),
    "openpgp-inline-charset-encrypted": ("asdasd asd asd asdf sadf sdaf sadf öäü", ""),
    "openpgp-inline-wrong-charset-encrypted": (
        "This is a utf-8 message you see - öäüß@ł€¶ŧ←↓→øþ\n", "",
    ),
    "inlinepgpencrypted": ("some random text", ""),
    "smime-encrypted": ("", ""),
}  # fmt: skip

SUBJECTS = {
    "openpgp-encrypted-memoryhole2": ("This is the subject", "..."),
    "openpgp-encrypted-memoryhole": ("hidden subject", "OpenPGP encrypted"),
    "openpgp-encrypted-signed-thunderbird": ("Encrypted and Signed with unittest key", "..."),
    "openpgp-multipart-embedded-signed": ("enc+signed", "Encrypted Message"),
    "openpgp-multipart-embedded": ("foobar", "Encrypted Message"),
    "openpgp-encrypted": ("OpenPGP encrypted", "OpenPGP encrypted"),
}


def content_of(path: Path) -> bytes:
    """Return a mail without the mbox line before it."""
    raw = path.read_bytes()
    return raw.partition(b"\n")[2] if raw.startswith(b"From ") else raw


def row(message: Message) -> Row:
    """Return a message as a row of the table."""
    reason = message.decryption.reason or ""
    return (str(message.protection), str(reason), told(message), verdicts(message))


@pytest.fixture
async def kde(shared: Path) -> AsyncIterator[Desk]:
    """Return a desk with the ring of the corpus."""
    with fresh_ring() as ring:
        shutil.copytree(shared / "corpus/openpgp-mime/gnupg_home", ring.home, dirs_exist_ok=True)
        ring.home.chmod(0o700)
        ring.gpg("--list-secret-keys")  # gpg moves the old secret ring into its agent
        async with desk(ring.home) as made:
            yield made


async def test_the_openpgp_corpus_gives_the_right_verdicts(kde: Desk, shared: Path) -> None:
    """Each mail has the protection, layers and signatures that it should have."""
    found: dict[str, Row] = {}
    for path in sorted((shared / "corpus/openpgp-mime/mails").iterdir()):
        if path.name != "README":
            found[path.name.removesuffix(".mbox")] = row(await kde.open(content_of(path)))
    wrong = {name: (OPENPGP.get(name, _CLEAR), it) for name, it in found.items()}
    assert {name: pair for name, pair in wrong.items() if pair[0] != pair[1]} == {}
    assert set(OPENPGP) <= set(found)


async def test_the_openpgp_corpus_gives_the_right_texts(kde: Desk, shared: Path) -> None:
    """Text from inside, words from outside, and the subject from inside where there is one."""
    folder = shared / "corpus/openpgp-mime/mails"
    for name, expected in TEXTS.items():
        message = await kde.open(content_of(folder / f"{name}.mbox"))
        assert (name, expected) == (name, (message.text, message.outside_encryption))
    for name, subjects in SUBJECTS.items():
        message = await kde.open(content_of(folder / f"{name}.mbox"))
        assert (name, subjects) == (name, (message.subject, message.outer_subject))


async def test_the_autocrypt_mails_are_read(shared: Path) -> None:
    """They open, by a key that has expired since; the setup message needs a password."""
    folder = shared / "corpus/autocrypt/appendix"
    with fresh_ring() as ring:
        for name in ("alice", "bob"):
            ring.take((folder / f"{name}@autocrypt.example.sec.asc").read_bytes())
        async with desk(ring.home) as made:
            rows = {
                path.stem: row(await made.open(path.read_bytes()))
                for path in sorted(folder.glob("*.eml"))
            }
            simple = await made.open((folder / "example-simple-autocrypt.eml").read_bytes())
    assert [found.source for found in simple.certificates] == ["autocrypt"]
    encrypted = {name: it for name, it in rows.items() if it != _CLEAR}
    assert encrypted == {
        "example-draft": _ONE,
        "example-gossip": (
            "encrypted+signed", "", [*_ENCRYPTED, "signed pgp-mime 1 not ok"],
            ["expired_key whole other"],
        ),
        "example-setup-message": (
            "undecryptable", "symmetric-only", ["encrypted attachment 0 symmetric-only"], [],
        ),
    }  # fmt: skip


# ── Torture ──────────────────────────────────────────────────────────────────────────────────────

_UTF_7 = "utf-7 is refused; its octets are shown as they are"
_UUENCODED = "uuencode is undone, not shown as it is"
_NOT_UTF_8 = "octets in no known charset are read as ISO 8859-1 instead of replaced"
_OUTER_WINS = "the boundary of the outer multipart ends the parts within (RFC 2046 section 5.1.2)"
_EMPTY = "empty parts are counted otherwise, and hold nothing"
DIFFERENT = {
    "legacy/001": _UTF_7,
    "legacy/005": _UTF_7,
    "legacy/017": _UUENCODED,
    "legacy/026": _UUENCODED,
    "legacy/033": _NOT_UTF_8,
    "legacy/034": _UTF_7,
    "legacy/048": _UUENCODED,
    "legacy/052": _NOT_UTF_8,
    "malformed/000": _EMPTY,
    "malformed/001": _EMPTY,
    "malformed/003": _EMPTY,
    "malformed/004": "a boundary that never comes is guessed or the whole is read as text",
    "malformed/005": "what follows a closing boundary is an epilogue, with a note",
    "malformed/007": _EMPTY,
    "malformed/009": _OUTER_WINS,
    "malformed/011": _OUTER_WINS,
    "malformed/012": _OUTER_WINS,
    "malformed/013": "a boundary used twice belongs to the outer multipart",
    "malformed/014": _OUTER_WINS,
    "malformed/016": _OUTER_WINS,
    "malformed/019": "boundaries are compared with their case; all words are there",
    "malformed/020": "of two types the first counts; the text before the boundary is kept",
    "malformed/021": "of two types the first counts; the text before the boundary is kept",
    "thirdparty/002": "words behind the padding of base64 are kept as they are",
    "thirdparty/005": "a boundary must begin a line",
    "thirdparty/015": _OUTER_WINS,
}
"""Why a torture mail has other leaves here than in the expected JSON; no words are lost in any."""


def leaves(message: dict[str, Any], index: int = 0) -> list[str | bytes]:
    """Return the leaf contents of the expected JSON, in order."""
    body: Any = message["parts"][index]["body"]
    kind: str
    value: Any
    kind, value = next(iter(body.items())) if isinstance(body, dict) else (body, b"")
    if kind == "Multipart":
        return [leaf for child in value for leaf in leaves(message, child)]
    if kind == "Message":
        return leaves(value)
    return [value if kind in {"Text", "Html"} else bytes(value or b"")]


def ours(raw: bytes, part: Part) -> list[tuple[Part, bytes]]:
    """Return our leaves with their octets, in order."""
    if part.children:
        return [leaf for child in part.children for leaf in ours(raw, child)]
    octets = decoded(raw, part)
    if part.is_message:
        return ours(octets, slice_entity(octets, Budget(OpeningLimits())))
    return [(part, octets)]


def squeezed(value: str | bytes) -> str:
    """Return a content without white space; binary as base64."""
    if isinstance(value, bytes):
        return base64.b64encode(b"".join(value.split())).decode()
    return "".join(value.split())


def test_the_torture_mails_agree_with_what_is_expected(shared: Path) -> None:
    """Odd and broken mails have the expected leaves; each difference has its reason."""
    folder = shared / "corpus/torture/resources/eml"
    different = []
    for path in sorted(folder.glob("*/*.eml")):
        raw = path.read_bytes()
        expected = leaves(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
        found = ours(raw, slice_entity(raw, Budget(OpeningLimits())))
        same = len(expected) == len(found) and all(
            squeezed(value) == squeezed(content_like(value, part, octets))
            for value, (part, octets) in zip(expected, found, strict=True)
        )
        if not same:
            different.append(f"{path.parent.name}/{path.stem}")
    assert different == sorted(DIFFERENT)


def content_like(value: str | bytes, part: Part, octets: bytes) -> str | bytes:
    """Return our content as a text where the expected one is a text."""
    return decode(octets, charset_of(part))[0] if isinstance(value, str) else octets


async def test_no_torture_mail_raises(stranger_desk: Desk, shared: Path) -> None:
    """Every mail of every corpus becomes a Message."""
    seen = 0
    for path in sorted((shared / "corpus").rglob("*")):
        if path.is_file() and path.suffix in {".eml", ".txt", ".mbox", ""}:
            message = await stranger_desk.open(content_of(path))
            assert len(message.attachments) < 600
            seen += 1
    assert seen > 900
