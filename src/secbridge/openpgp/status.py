"""What did gpg say?  The status stream, read strictly, and nothing else of what gpg writes.

Pure: bytes to values.  Lines end at LF alone and every argument is taken by its place (GnuPG,
doc/DETAILS, "Format of the --status-fd output"), so that a user ID, which is text of a stranger at
the end of some lines, can neither begin a line nor move a field.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from secbridge.mail.packets import Container, PacketFacts
from secbridge.model.message import OpenFailure, SignatureVerdict
from secbridge.openpgp.faults import Fault

_PREFIX = b"[GNUPG:] "


@dataclass(frozen=True, slots=True, repr=False)
class StatusLine:
    """One line: its keyword and its arguments, cut at single spaces."""

    keyword: str
    args: tuple[str, ...] = ()

    def arg(self, index: int) -> str:
        """Return an argument, or ``""`` when the line is shorter."""
        return self.args[index] if index < len(self.args) else ""

    def __repr__(self) -> str:
        return f"StatusLine({self.keyword})"


@dataclass(frozen=True, slots=True)
class SignatureStatus:
    """One signature as gpg judged it.

    ``key`` is the primary fingerprint where gpg proved it, else the issuer's fingerprint or key
    id, which the signature merely claims; ``proven`` tells which.
    """

    verdict: SignatureVerdict
    key: str
    proven: bool
    signed_at: datetime | None = None


def parse(stream: bytes) -> tuple[StatusLine, ...]:
    """Return the status lines of a stream, in order; anything else in it is passed over."""
    return tuple(_lines(stream))


def _lines(stream: bytes) -> Iterator[StatusLine]:
    for line in stream.split(b"\n"):
        if line.startswith(_PREFIX):
            keyword, *args = line[len(_PREFIX) :].decode("utf-8", "replace").split(" ")
            yield StatusLine(keyword, tuple(args))


def count(lines: Sequence[StatusLine], *keywords: str) -> int:
    """Return how many lines have one of these keywords."""
    return sum(line.keyword in keywords for line in lines)


def keywords(lines: Sequence[StatusLine]) -> tuple[str, ...]:
    """Return the keywords alone, which hold nothing of any mail or key."""
    return tuple(line.keyword[:40] for line in lines)


def first(lines: Sequence[StatusLine], keyword: str) -> StatusLine | None:
    """Return the first line with this keyword, or None."""
    return next((line for line in lines if line.keyword == keyword), None)


# ── Signatures ───────────────────────────────────────────────────────────────────────────────────

_VALID = {
    "GOODSIG": SignatureVerdict.GOOD,
    "EXPSIG": SignatureVerdict.EXPIRED,
    "EXPKEYSIG": SignatureVerdict.EXPIRED_KEY,
    "REVKEYSIG": SignatureVerdict.REVOKED_KEY,
}
_SPOKEN = frozenset({*_VALID, "BADSIG", "ERRSIG"})
_NO_PUBLIC_KEY = frozenset({"9", "4", "1", "125"})
"""ERRSIG reasons that speak of the key and not of the mail.

It is not in the ring, of an algorithm that gpg does not know, or there as a subkey that may not
sign: not counter-signed, or meant for something else, as a thief would bind it.
"""


def signatures(lines: Sequence[StatusLine]) -> tuple[SignatureStatus, ...]:
    """Return each signature with its verdict, in order.

    gpg opens each with NEWSIG.  A verdict of validity counts only together with the VALIDSIG of
    the same signature, whose tenth field is the primary fingerprint; contradictions are bad.
    """
    groups: list[list[StatusLine]] = []
    for line in lines:
        if line.keyword == "NEWSIG":
            groups.append([])
        elif groups and (line.keyword in _SPOKEN or line.keyword == "VALIDSIG"):
            groups[-1].append(line)
    return tuple(_signature(group) for group in groups if group)


def _signature(group: Sequence[StatusLine]) -> SignatureStatus:
    spoken = [line for line in group if line.keyword in _SPOKEN]
    valid = [line for line in group if line.keyword == "VALIDSIG"]
    line = spoken[0] if spoken else valid[0]
    if len(spoken) != 1 or len(valid) > 1:
        return SignatureStatus(SignatureVerdict.BAD, _key(line.arg(0)), proven=False)
    if line.keyword in _VALID and valid and valid[0].arg(0).endswith(line.arg(0)):
        return _valid(_VALID[line.keyword], valid[0])
    if line.keyword == "ERRSIG" and line.arg(5) in _NO_PUBLIC_KEY:
        unknown = SignatureVerdict.UNKNOWN_KEY
        return SignatureStatus(unknown, _issuer(line), proven=False, signed_at=_time(line.arg(4)))
    return SignatureStatus(SignatureVerdict.BAD, _issuer(line), proven=False)


def _valid(verdict: SignatureVerdict, line: StatusLine) -> SignatureStatus:
    primary = _key(line.arg(9)) or _key(line.arg(0))
    return SignatureStatus(verdict, primary, proven=bool(primary), signed_at=_time(line.arg(2)))


def _issuer(line: StatusLine) -> str:
    fingerprint = _key(line.arg(6)) if line.keyword == "ERRSIG" else ""
    return fingerprint or _key(line.arg(0))


def _key(text: str) -> str:
    """Return a fingerprint or key id in upper-case hex digits, or ``""`` for anything else."""
    digits = text.upper()
    return digits if len(digits) >= 16 and set(digits) <= set("0123456789ABCDEF") else ""


def _time(text: str) -> datetime | None:
    """Return a time that gpg gives as seconds since 1970, or as ``20261122T074143``."""
    try:
        if "T" in text:
            return datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        return datetime.fromtimestamp(int(text), UTC) if text != "0" else None
    except (ValueError, OverflowError, OSError):
        return None


# ── Decryption ───────────────────────────────────────────────────────────────────────────────────

_TROUBLE = ("DECRYPTION_FAILED", "BADMDC", "NODATA", "UNEXPECTED", "BADARMOR", "TRUNCATED")
_TRIED = frozenset({"pkdecrypt_failed", "get_passphrase"})
"""ERROR places that speak of one session key packet, when another one opened the message."""


def proves_decryption(lines: Sequence[StatusLine], returncode: int) -> bool:
    """Return whether what gpg wrote to its output is one whole, integrity-protected plaintext.

    There must be exactly one decryption and one plaintext within it, opened by a public key,
    DECRYPTION_OKAY, and GOODMDC or an AEAD mode; no line may speak of damaged or foreign data;
    and an exit status other than 0 must be explained by signatures (or by a session key packet
    that was not for us).  gpg writes the text of messages without integrity protection, too, and
    of truncated and concatenated ones: nothing less will do.
    """
    inside = _between(lines, "BEGIN_DECRYPTION", "END_DECRYPTION")
    return (
        count(lines, "BEGIN_DECRYPTION") == count(lines, "END_DECRYPTION") == 1
        and count(lines, "DECRYPTION_KEY") == 1
        and count(inside, "DECRYPTION_OKAY") == count(lines, "DECRYPTION_OKAY") == 1
        and count(inside, "PLAINTEXT") == count(lines, "PLAINTEXT") == 1
        and _protected(inside)
        and not _trouble(lines)
        and _explained(lines, returncode)
    )


def _between(lines: Sequence[StatusLine], begin: str, end: str) -> Sequence[StatusLine]:
    said = keywords(lines)
    if begin not in said or end not in said:
        return ()
    return lines[said.index(begin) + 1 : said.index(end)]


def _protected(inside: Sequence[StatusLine]) -> bool:
    """DECRYPTION_INFO says ``mdc_method sym_algo [aead_algo]``, 0 being none."""
    info = first(inside, "DECRYPTION_INFO")
    if info is None or count(inside, "DECRYPTION_INFO") != 1:
        return False
    if info.arg(2) not in ("", "0"):
        return True
    return info.arg(0) not in ("", "0") and count(inside, "GOODMDC") == 1


def _trouble(lines: Sequence[StatusLine]) -> bool:
    return (
        count(lines, *_TROUBLE) > 0
        or any(line.keyword == "ERROR" and line.arg(0) not in _TRIED for line in lines)
        or any(line.keyword == "FAILURE" and line.arg(0) != "gpg-exit" for line in lines)
    )


def _explained(lines: Sequence[StatusLine], returncode: int) -> bool:
    if returncode == 0:
        return True
    unsound = count(lines, "BADSIG", "ERRSIG") > 0
    tried = any(line.keyword == "ERROR" and line.arg(0) in _TRIED for line in lines)
    return returncode in (1, 2) and (unsound or tried)


def decrypted_signatures(lines: Sequence[StatusLine]) -> tuple[SignatureStatus, ...]:
    """Return the signatures that were found *inside* the ciphertext."""
    return signatures(_between(lines, "BEGIN_DECRYPTION", "END_DECRYPTION"))


def proves_opaque(lines: Sequence[StatusLine], returncode: int) -> bool:
    """Return whether what gpg wrote is the text of exactly one unencrypted message.

    It need not be signed at all: packed data that anybody may have made is text, and no more.
    """
    return (
        count(lines, "PLAINTEXT") == 1
        and count(lines, "BEGIN_DECRYPTION", "ENC_TO", "NEED_PASSPHRASE_SYM") == 0
        and not _trouble(lines)
        and _explained(lines, returncode)
    )


def opening_key(lines: Sequence[StatusLine]) -> str:
    """Return the primary fingerprint of our key that opened the message, or ``""``."""
    line = first(lines, "DECRYPTION_KEY")
    return "" if line is None else _key(line.arg(1)) or _key(line.arg(0))


def failure(lines: Sequence[StatusLine], facts: PacketFacts) -> OpenFailure:
    """Return why a message did not open, once every fault of ours is ruled out."""
    if count(lines, "DECRYPTION_KEY"):
        return _data_failure(lines, facts)
    if facts.passwords and not facts.recipients:
        return OpenFailure.SYMMETRIC_ONLY
    if _unsupported(facts):
        return OpenFailure.UNSUPPORTED_VERSION
    if count(lines, "NO_SECKEY") and not _spoiled(lines):
        return OpenFailure.NO_SECRET_KEY
    return OpenFailure.CORRUPT


def _data_failure(lines: Sequence[StatusLine], facts: PacketFacts) -> OpenFailure:
    unprotected = any(
        line.keyword == "DECRYPTION_INFO" and line.arg(0) == "0" and line.arg(2) in ("", "0")
        for line in lines
    )
    if unprotected or facts.container is Container.SED:
        return OpenFailure.NO_INTEGRITY_PROTECTION
    if facts.container in (Container.SEIPD2, Container.UNKNOWN):
        return OpenFailure.UNSUPPORTED_VERSION
    nested = count(lines, "BEGIN_DECRYPTION") > 1 and not _trouble(lines)
    return OpenFailure.TOO_COMPLEX if nested else OpenFailure.CORRUPT


_NEWER = frozenset({4, 5, 6})
"""Versions of session key packets after the one that gpg reads; RFC 9580 has 6."""


def _unsupported(facts: PacketFacts) -> bool:
    """Whether it is of a format that gpg cannot know; octets that are no packets are damage."""
    readable = any(version in (2, 3) for version in facts.pkesk_versions)
    if facts.container in (Container.SEIPD2, Container.UNKNOWN):
        return True
    return not readable and any(version in _NEWER for version in facts.pkesk_versions)


def _spoiled(lines: Sequence[StatusLine]) -> bool:
    """Whether a session key packet for a key that we have did not decrypt."""
    return any(line.keyword == "ERROR" and line.arg(0) == "pkdecrypt_failed" for line in lines)


# ── Faults of ours ───────────────────────────────────────────────────────────────────────────────

_BROKEN_RING = ("add_keyblock_resource", "keydb_search", "keydb_get_keyblock", "keyring_open")
_CODE = 0xFFFF
_PASSPHRASE_CODES = frozenset({11, 31, 85, 86, 87, 99, 177, 198, 277})
"""libgpg-error: bad, invalid, no passphrase; no pinentry; bad PIN; cancelled."""
_NO_SECRET_KEY_CODE = 17
_AGENT_CODES = frozenset({62, 77, 78, 16383, *range(257, 282), 0x8000 | 25, 0x8000 | 109})
"""libgpg-error: timeout, no agent, agent, end of file, the errors of its IPC, and of its socket."""
_SYSTEM_ERROR = 0x8000
"""libgpg-error: the flag of an errno; a ring that another program replaces just now is ENOENT."""
_DISK_FULL_CODES = frozenset({0x8000 | 34, 0x8000 | 91, 0x8000 | 122})
"""libgpg-error: quota exceeded, no space left, read-only file system."""


def fault_of(lines: Sequence[StatusLine]) -> Fault | None:
    """Return the fault of ours that the status stream names without doubt, or None.

    Only errors that no mail can cause are named here; where a hostile mail might cause the same
    error, the room proves its health with a message of its own instead (``gnupg.py``).
    """
    for line in lines:
        if line.keyword == "ERROR" and line.arg(0).startswith(_BROKEN_RING):
            return Fault.HOME
        if line.keyword == "ERROR" and line.arg(0) == "pkdecrypt_failed":
            code = error_code(line.arg(1))
            if code in _PASSPHRASE_CODES:
                return Fault.PASSPHRASE
            if code & _SYSTEM_ERROR:
                return _kind(code) or Fault.HOME
    return None


def fault_of_our_own(lines: Sequence[StatusLine]) -> Fault | None:
    """Return what is wrong when gpg failed at something of *ours*; None leaves it unexplained."""
    if (named := fault_of(lines)) is not None:
        return named
    for line in lines:
        if line.keyword in ("NO_SECKEY", "INV_SGNR"):
            return Fault.HOME
        if line.keyword in ("FAILURE", "ERROR") and (kind := _kind(error_code(line.arg(1)))):
            return kind
    return None


def _kind(code: int) -> Fault | None:
    if code in _DISK_FULL_CODES:
        return Fault.DISK_FULL
    if code in _PASSPHRASE_CODES:
        return Fault.PASSPHRASE
    if code in _AGENT_CODES:
        return Fault.AGENT
    return Fault.HOME if code == _NO_SECRET_KEY_CODE else None


def error_code(text: str) -> int:
    """Return the code of a libgpg-error value, without its source; 0 for what is no number."""
    digits = text.partition("_")[0]
    return int(digits) & _CODE if digits.isdigit() and len(digits) < 12 else 0
