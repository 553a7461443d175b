"""What if a process was taken over by the mail?  Then it gains nothing by lying."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.keys import REPORTER
from tests.support.mails import CONTROL, crlf, file, header, mail, multipart, text
from tests.support.messages import a_message
from tests.support.messages import encrypted as opened_ciphertext
from tests.support.messages import signed as signed_message

from secbridge.model.message import (
    Coverage,
    Message,
    Protection,
    Signature,
    SignatureFact,
    SignatureVerdict,
)
from secbridge.model.part import OpeningLimits
from secbridge.model.plaintext import Plaintext
from secbridge.pipeline.opener import ProcessOpener
from secbridge.pipeline.opener_crew import Child, Crew
from secbridge.pipeline.opener_frames import Room, pack, unpack
from secbridge.pipeline.opener_talk import (
    Again,
    Decrypt,
    DecryptPart,
    Failed,
    Import,
    LookUp,
    Open,
    Opened,
    Ready,
    Said,
    VerifyDetached,
    VerifyOpaque,
)
from secbridge.pipeline.opening import too_complex
from secbridge.ports import CannotOpen, Certificate, Decrypted, Verified

RAW = mail(text("Words.\n"), extra="Auto-Submitted: auto-generated\n")
SIGNER = "A" * 40
OTHER = "D" * 40
STRANGER = "other@example.net"
LIMITS = OpeningLimits(max_ciphertexts=3, max_signatures=3, max_plaintext=1000)

Script = Sequence[bytes | Said]
"""What a process says, in order, whatever it is told; octets are said as they are."""


class Knows:
    """A gpg that opens everything, and writes down what it was asked."""

    def __init__(self) -> None:
        self.limits: list[int] = []
        self.imported: list[str] = []
        self.fact = SignatureFact(SignatureVerdict.GOOD, SIGNER, (REPORTER,))

    async def decrypt(self, _: bytes, *, limit: int) -> Decrypted | CannotOpen:
        """Open."""
        self.limits.append(limit)
        return Decrypted(Plaintext(b"x" * limit), "B" * 40, (self.fact,))

    async def verify_detached(self, signature: bytes, _: bytes) -> tuple[SignatureFact, ...]:
        """Judge."""
        if signature == BY_STRANGER.signature:
            return (SignatureFact(SignatureVerdict.GOOD, OTHER, (STRANGER,)),)
        return (self.fact,)

    async def verify_opaque(self, _: bytes, *, limit: int) -> Verified | CannotOpen:
        """Judge."""
        return Verified(Plaintext(b"x" * min(limit, 1)), (self.fact,))

    async def import_certificate(self, _: bytes, *, address: str) -> Certificate | None:
        """Take."""
        self.imported.append(address)
        return None

    async def certificate(self, _: str) -> Certificate | None:
        """Look."""
        return None


class Liars(Crew):
    """Processes that say what the test wants; each is a thread with a real socket."""

    def __init__(self, script: Script) -> None:
        super().__init__(1, 1)
        self._script = script
        self.made = 0
        self.heard: list[Any] = []

    async def take(self) -> Child:
        """Make one."""
        self.made += 1
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        threading.Thread(target=self._lie, args=(theirs,), daemon=True).start()
        return Child(-1, ours)

    async def end(self, child: Child) -> int | None:
        """End it."""
        child.close()
        return None

    def keep(self, child: Child) -> None:
        """End it, too."""
        child.close()

    def dismiss(self, child: Child) -> None:
        """End it."""
        child.close()

    def _lie(self, theirs: socket.socket) -> None:
        with theirs:
            try:
                _hear(theirs)
                for said in self._script:
                    octets = said if isinstance(said, bytes) else b"".join(pack(said, Said))
                    theirs.sendall(octets)
                    if not isinstance(said, bytes | Opened | Ready | Failed):
                        theirs.recv(1 << 20)
                theirs.shutdown(socket.SHUT_WR)
            except OSError:
                return


def _hear(theirs: socket.socket) -> None:
    reading = unpack(Open, most=1 << 30)
    wanted = next(reading)
    while True:
        try:
            wanted = reading.send(Room(wanted).fill(theirs.recv_into))
        except StopIteration:
            return


def opener_of(script: Script, gpg: Knows) -> tuple[ProcessOpener, Liars]:
    """Return an opener all of whose processes follow the script."""
    opener = ProcessOpener(
        gpg,  # type: ignore[arg-type] # the part of it that opening needs
        limits=LIMITS,
        processes=1,
        max_time=timedelta(seconds=20),
    )
    crew = Liars(script)
    opener._crew = crew
    return opener, crew


def of_raw(message: Message, **given: Any) -> Opened:
    """Return an answer that says of ``RAW`` what its header does, and for the rest this."""
    true = too_complex(RAW, LIMITS)
    header = {
        "size": len(RAW), "author": true.author, "authors": true.authors, "headers": true.headers,
        "outer_subject": true.outer_subject,
    }  # fmt: skip
    return Opened(replace(message, **{**header, **given}))


def honest(**given: Any) -> Opened:
    """Return the answer of a process that tells the truth about ``RAW``."""
    return of_raw(a_message(), **given)


def forged(verdict: SignatureVerdict, fingerprint: str, *, by_sender: bool = True) -> Opened:
    """Return the answer that the mail is signed."""
    signature = Signature(verdict, fingerprint, Coverage.WHOLE, signer_is_sender=by_sender)
    return of_raw(signed_message(), signatures=(signature,))


DECRYPT = Decrypt(b"ciphertext", 10)
VERIFY = VerifyDetached(b"signature", b"content")
BY_STRANGER = VerifyDetached(b"stranger's signature", b"content")
HEADERS = too_complex(RAW, LIMITS).headers

LIES: dict[str, Script] = {
    "nothing at all": [],
    "noise": [b"\0\0\0\3abc"],
    "an answer that goes on for ever": [b"\xff" * 100],
    "half an answer": [b"".join(pack(honest(), Said))[:-1]],
    "contents without end": [b'\0\0\0\x16[[99999999999999],[5,0]]'],
    "that it is ready, once more": [Ready(closed_off=True), honest()],
    "another size": [honest(size=1)],
    "another author": [honest(author=STRANGER, authors=(STRANGER,))],
    "another thread": [honest(headers=replace(HEADERS, in_reply_to=("<a@b>",)))],
    "that no machine wrote it": [honest(headers=replace(HEADERS, fields={}))],
    "another subject outside": [honest(outer_subject="words")],
    "a good signature that nobody verified": [forged(SignatureVerdict.GOOD, SIGNER)],
    "a better verdict than gpg's": [VERIFY, forged(SignatureVerdict.EXPIRED, SIGNER)],
    "another signer than gpg's": [VERIFY, forged(SignatureVerdict.GOOD, "C" * 40)],
    "that a stranger's signature is the sender's": [
        BY_STRANGER, forged(SignatureVerdict.GOOD, OTHER),
    ],
    "that what we decrypted came in clear": [DECRYPT, honest()],
    "too many ciphertexts": [*[DECRYPT] * 7, honest()],
    "too many signatures": [*[VERIFY] * 4, *[VerifyOpaque(b"", 1)] * 3, honest()],
    "too many certificates": [*[LookUp(SIGNER)] * 21, honest()],
    "the mail a third time": [Again(), Again(), honest()],
    "octets behind the mail": [DecryptPart(0, len(RAW) + 1, 10), honest()],
    "octets before the mail": [DecryptPart(-1, 2, 10), honest()],
    "a negative number of octets": [DecryptPart(2, -1, 10), honest()],
    "a negative limit": [Decrypt(b"", -1), honest()],
    "a certificate for somebody else": [Import(b"key", "other@example.net"), honest()],
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
async def test_a_lie_is_a_death_and_two_are_too_complex(name: str) -> None:
    """It is believed by nobody, tried once more, and at last the mail counts as unread."""
    gpg = Knows()
    opener, crew = opener_of(LIES[name], gpg)
    with capture_logs() as log:
        message = await opener.open(RAW)
    assert too_complex(RAW, LIMITS) == message
    assert (2, []) == (crew.made, gpg.imported)
    assert [True] * 2 == [one["alarm"] for one in log if one["event"] == "opener.died"]


TRUTHS: dict[str, Script] = {
    "the mail": [honest()],
    "a signature that gpg found good": [VERIFY, forged(SignatureVerdict.GOOD, SIGNER)],
    "a stranger's signature": [
        BY_STRANGER, forged(SignatureVerdict.GOOD, OTHER, by_sender=False),
    ],
    "a signature without its octets": [forged(SignatureVerdict.BAD, "", by_sender=False)],
    "a ciphertext that it asked for": [DECRYPT, of_raw(opened_ciphertext())],
    "a part of the mail that it asked for": [DecryptPart(0, 5, 10), of_raw(opened_ciphertext())],
    "as many questions as may be": [*[DECRYPT] * 6, *[VERIFY] * 6, of_raw(opened_ciphertext())],
    "the mail once more": [Again(), honest()],
    "a certificate for the author": [Import(b"key", REPORTER), LookUp(SIGNER), honest()],
}  # fmt: skip


@pytest.mark.parametrize("name", TRUTHS)
async def test_the_truth_is_believed_at_once(name: str) -> None:
    """The scripts above fail for their lies, not for how they are told."""
    opener, crew = opener_of(TRUTHS[name], Knows())
    message = await opener.open(RAW)
    assert (None, 1) == (message.error, crew.made)


async def test_no_more_is_decrypted_than_for_any_mail() -> None:
    """A process may ask for what it likes: the bounds of the settings are ours."""
    gpg = Knows()
    script = [Decrypt(b"a", 1 << 40)] * 4 + [of_raw(opened_ciphertext())]
    opener, _ = opener_of(script, gpg)
    await opener.open(RAW)
    assert [1000, 1000, 0, 0] == gpg.limits


async def test_what_broke_is_told_without_a_word_of_the_mail() -> None:
    """The class of an exception goes to the log if it is one of Python's; nothing else does."""
    for kind, shown in (("RecursionError", "RecursionError"), ("Kanariengirlitz", "unknown")):
        opener, _ = opener_of([Failed(kind)], Knows())
        with capture_logs() as log:
            await opener.open(RAW)
        assert [("failed", shown)] * 2 == [
            (one["why"], one["kind"]) for one in log if one["event"] == "opener.died"
        ]


# ── What is said of a mail that nobody could open ────────────────────────────────────────────────

HTML = crlf("Content-Type: text/html\n\n<p>words")
ENCODED = crlf("Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\nwords")
ARMOR = crlf("Content-Type: text/plain\n\n-----BEGIN PGP MESSAGE-----\n")

UNREAD: dict[str, tuple[Callable[[], bytes], Protection]] = {
    "plain text": (lambda: RAW, Protection.NONE),
    "plain text without a type": (lambda: header() + b"\r\nwords\r\n", Protection.NONE),
    "plain text beyond ASCII": (lambda: mail(text("grün\n")), Protection.UNDECRYPTABLE),
    "plain text with armor": (lambda: mail(ARMOR), Protection.UNDECRYPTABLE),
    "plain text in an encoding": (lambda: mail(ENCODED), Protection.UNDECRYPTABLE),
    "HTML": (lambda: mail(HTML), Protection.UNDECRYPTABLE),
    "parts": (lambda: mail(multipart("mixed", [text("a\n")])), Protection.UNDECRYPTABLE),
    "PGP/MIME": (lambda: mail(multipart("encrypted", [CONTROL])), Protection.UNDECRYPTABLE),
    "a file": (lambda: mail(file(b"x", "a")), Protection.UNDECRYPTABLE),
    "a header without end": (lambda: b"A: b\n" * 100_000, Protection.UNDECRYPTABLE),
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_mail_that_may_hold_ciphertext_makes_its_thread_encrypted(name: str) -> None:
    """Only what cannot hold any is taken for clear; nothing of a body is told either way."""
    make, protection = UNREAD[name]
    message = too_complex(make(), OpeningLimits())
    assert ("too-complex", protection) == (message.error, message.protection)
    assert ("", "", ()) == (message.text, message.outside_encryption, message.attachments)
    assert message.was_encrypted is (protection is Protection.UNDECRYPTABLE)


def test_the_header_of_a_mail_that_nobody_could_open_is_enough_for_an_answer() -> None:
    """Author, thread and subject are there, and the key of an Autocrypt field."""
    raw = mail(
        HTML,
        subject="=?utf-8?q?Gr=C3=BCn?=",
        extra="In-Reply-To: <a@b>\nReferences: <c@d> <a@b>\n"
        f"Autocrypt: addr={REPORTER}; keydata=eHh4\n",
    )
    message = too_complex(raw, OpeningLimits())
    assert (REPORTER, "Grün", ("<a@b>",), ("<c@d>", "<a@b>"), [b"xxx"]) == (
        message.author,
        message.subject,
        message.headers.in_reply_to,
        message.headers.references,
        [one.content for one in message.certificates],
    )
