"""Does every line of what we promise about encrypted mail hold, and does its opposite fail?

``LINES`` goes through the promise word by word: each line has a mail for which it holds, and one
that looks like it and for which it must not.  ``ELSEWHERE`` names the tests of what takes more than
one mail to show.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from tests.support.keys import REPORTER, Keys, Ring, copied_ring
from tests.support.mails import (
    CONTROL,
    crlf,
    encrypted,
    entity,
    file,
    mail,
    multipart,
    signed,
    text,
)
from tests.support.messages import NOON
from tests.support.opening import Desk, desk, told, verdicts

from secbridge.model.case import KeyBinding
from secbridge.model.message import CertificateSource, Message, SignatureVerdict
from secbridge.pipeline.examining import with_known_signers

TESTS = Path(__file__).resolve().parents[1]
WORDS = "The proof of concept.\n"
INNER = text(WORDS)
CIPHER = "application/octet-stream"
FOOTER = text("____\nThe list.\n")
MALLORY = "mallory@evil.example"


@dataclass
class Cast:
    """Who writes and who reads: ``role`` is our ring, ``rita`` holds every key of others."""

    keys: Keys
    role: Ring
    rita: Ring
    old_role: str
    lost_role: str
    old: str
    early: str
    gone: str
    by_gone: bytes
    mallory: str

    def to_us(self, content: bytes, **given: Any) -> bytes:
        """Return a message to the role key."""
        return self.rita.encrypt(content, self.keys.role_fpr, **given)

    def to_others(self, content: bytes, **given: Any) -> bytes:
        """Return a message that nobody here can open."""
        return self.rita.encrypt(content, self.keys.stranger_fpr, **given)

    def signature(self, content: bytes = INNER, **given: Any) -> bytes:
        """Return Rita's signature over these octets."""
        return self.rita.sign_detached(content, self.keys.reporter_fpr, **given)

    def by_early(self, expire: str) -> bytes:
        """Return a signature of 2020 that is good for so long."""
        extra = ["--default-sig-expire", expire]
        return self.rita.sign_detached(INNER, self.early, at="20200101T000000", extra=extra)

    def clear(self, words: str = WORDS) -> str:
        """Return a text, clear-signed by Rita."""
        return self.rita.clearsign(words.encode(), self.keys.reporter_fpr).decode()

    @cached_property
    def combined(self) -> bytes:
        """The entity, encrypted and signed by Rita in one message."""
        return self.to_us(INNER, sign=self.keys.reporter_fpr)

    @cached_property
    def armored(self) -> bytes:
        """The entity, encrypted to us."""
        return self.to_us(INNER)

    @cached_property
    def elsewhere(self) -> bytes:
        """The entity, encrypted to others."""
        return self.to_others(INNER)


@pytest.fixture(scope="module")
def cast(keys: Keys) -> Iterator[Cast]:
    """Make rings in which keys are old, revoked, lost, and named like a status line."""
    with copied_ring(keys.role) as role, copied_ring(keys.reporter) as rita:
        rita.take(keys.stranger_cert)
        past = "20200101T000000"
        old_role = role.make_key("Old <security@example.org>", expire="1y", at=past)
        with copied_ring(role) as scratch:
            lost_role = scratch.make_key("Lost <security@example.org>")
            lost = scratch.export(lost_role)
        old = rita.make_key(f"Old <{REPORTER}>", expire="1y", at=past)
        early = rita.make_key(f"Early <{REPORTER}>", at=past)
        gone = rita.make_key(f"Gone <{REPORTER}>")
        by_gone = rita.sign_detached(INNER, gone)
        mallory = rita.make_key(f"[GNUPG:] GOODSIG {keys.reporter_fpr} Rita <{MALLORY}>")
        role.take(
            b"".join(map(rita.export, (keys.reporter_fpr, old, early, mallory))) + rita.revoke(gone)
        )
        rita.take(role.export(old_role) + lost)
        yield Cast(keys, role, rita, old_role, lost_role, old, early, gone, by_gone, mallory)


@pytest.fixture
async def reader(cast: Cast) -> AsyncIterator[Desk]:
    """Return a desk whose ring has two role keys and knows everybody but the stranger."""
    async with desk(cast.role.home) as made:
        yield made


# ── Mails ────────────────────────────────────────────────────────────────────────────────────────

Make = Callable[[Cast], bytes]


@dataclass(frozen=True)
class Line:
    """Words of the promise, a mail for which they hold, one for which they do not."""

    words: str
    good: Make
    seen: dict[str, Any]
    bad: Make
    but: dict[str, Any]


def seen(message: Message) -> dict[str, Any]:
    """Return what the lines speak of."""
    return {
        "protection": message.protection.value,
        "reason": message.decryption.reason and message.decryption.reason.value,
        "layers": told(message),
        "verdicts": verdicts(message),
        "signers": [one.fingerprint for one in message.signatures],
        "text": message.text,
        "outside": message.outside_encryption.strip(),
        "files": [(one.name, one.encrypted) for one in message.attachments],
        "subject": message.subject,
        "notes": message.notes,
        "error": message.error,
    }


OPENED = {"protection": "encrypted", "text": WORDS, "outside": ""}
INLINE = {**OPENED, "layers": ["encrypted inline 0 ok"]}
SHUT = {"protection": "undecryptable", "text": "", "reason": "no-secret-key"}
DAMAGED = {"protection": "undecryptable", "text": "", "reason": "corrupt"}
CLEAR: dict[str, Any] = {"protection": "none", "layers": [], "reason": None}
WHOLE = {"verdicts": ["good whole sender"], "text": WORDS}
NOT_HIS = {"verdicts": ["good whole other"]}
BAD = {"verdicts": ["bad whole other"]}


def cipher(armored: bytes, name: str = "encrypted.asc") -> bytes:
    """Return the part with the ciphertext."""
    return entity(f'{CIPHER}; name="{name}"', armored)


def mixed(*parts: bytes, boundary: str = "mixed") -> bytes:
    """Return a mail of these parts."""
    return mail(multipart("mixed", parts, boundary=boundary))


def mangled(*around: bytes, name: str = "encrypted.asc") -> Callable[[bytes], bytes]:
    """Return what a gateway makes of multipart/encrypted: its parts in a multipart/mixed."""
    return lambda armored: mixed(*around[:1], CONTROL, cipher(armored, name), *around[1:])


def body(words: str | bytes, *, params: str = "") -> bytes:
    """Return a mail that is one text."""
    octets = words.encode() if isinstance(words, str) else words
    return mail(crlf(f"Content-Type: text/plain; charset=utf-8{params}\n\n") + crlf(octets))


def html(words: str) -> bytes:
    """Return a mail in HTML alone."""
    return mail(entity("text/html", f"<p>{words}</p>"))


def by(cast: Cast, author: str, *, extra: str = "") -> bytes:
    """Return a signed mail that says it is from this author."""
    return mail(signed(INNER, cast.signature()), author=author, extra=extra)


def quoted(armored: bytes) -> str:
    """Return armor as a mail program quotes it."""
    return "".join(f"> {line}\n" for line in armored.decode().splitlines())


def layered(cast: Cast, count: int) -> bytes:
    """Return an entity in so many ciphertexts."""
    content = INNER
    for number in range(count):
        content = encrypted(cast.to_us(content), boundary=f"b{number}")
    return mail(content)


def damaged(armored: bytes) -> bytes:
    """Return armor with one letter in its middle changed."""
    at = len(armored) // 2
    while not chr(armored[at]).isalpha():
        at += 1
    return armored[:at] + (b"A" if armored[at] != ord("A") else b"B") + armored[at + 1 :]


def headers_inside(*, hp: str = '; hp="cipher"', boundary: str = "in") -> bytes:
    """Return an entity that says what its real subject is."""
    extra = "Subject: The real one\nHP-Outer: Subject: [...]\n"
    return multipart("mixed", [INNER], params=hp, extra=extra, boundary=boundary)


def pair(words: str, make: Callable[[bytes], bytes], **more: Any) -> Line:
    """Return a line about a shape: it opens, and stays shut where it is for somebody else."""
    return Line(
        words,
        lambda cast: make(cast.armored),
        {**OPENED, "layers": ["encrypted pgp-mime 0 ok"], **more},
        lambda cast: make(cast.elsewhere),
        {
            **SHUT,
            "layers": ["encrypted pgp-mime 0 no-secret-key"],
            "outside": more.get("outside", ""),
        },
    )


SHAPES = [
    pair("PGP/MIME with protocol", lambda armored: mail(encrypted(armored))),
    pair(
        "PGP/MIME without protocol",
        lambda armored: mail(multipart("encrypted", [CONTROL, cipher(armored)])),
    ),
    pair(
        "in any part order",
        lambda armored: mail(multipart("encrypted", [cipher(armored), CONTROL])),
    ),
    pair("mangled: Exchange", mangled(text("\n"), FOOTER), outside="____\nThe list."),
    pair("mangled: Exchange without its headers", mangled(text(""))),
    pair(
        "mangled: Proton bridge",
        mangled(text("Empty Message\n"), name="attachment.pgp"),
        outside="Empty Message",
    ),
    pair(
        "mangled: wrapped by a gateway",
        lambda armored: mixed(encrypted(armored), FOOTER),
        outside="____\nThe list.",
    ),
    pair("mangled: beside a real first part", mangled(text("Real.\n")), outside="Real."),
    pair("mangled: Apple", mangled(text(" \n"), name="")),
    Line(
        "inline PGP in text",
        lambda cast: body(cast.to_us(WORDS.encode())),
        INLINE,
        lambda _: body("It begins with\n-----BEGIN PGP MESSAGE-----\nand then some words.\n"),
        CLEAR,
    ),
    Line(
        "inline PGP in HTML parts",
        lambda cast: html(cast.to_us(WORDS.encode()).decode().replace("\n", "<br>\n")),
        INLINE,
        lambda _: html("-----BEGIN PGP MESSAGE-----<br>is how it begins."),
        CLEAR,
    ),
    Line(
        "several blocks in one text",
        lambda cast: body(cast.to_us(b"one\n") + b"between\n" + cast.to_us(b"two\n")),
        {"text": "one\n\ntwo\n", "outside": "between", "layers": ["encrypted inline 0 ok"] * 2},
        lambda cast: body(cast.to_us(b"one\n") + cast.to_others(b"two\n")),
        {"text": "one\n", "reason": "no-secret-key", "protection": "encrypted"},
    ),
    Line(
        "quoted blocks",
        lambda cast: body(quoted(cast.to_us(WORDS.encode()))),
        INLINE,
        lambda cast: body(quoted(cast.to_others(WORDS.encode()))),
        CLEAR,
    ),
    Line(
        "format=flowed blocks",
        lambda cast: body(
            cast.to_us(WORDS.encode()).replace(b"\n\n", b"\nComment: a \nb\n\n", 1),
            params="; format=flowed",
        ),
        INLINE,
        lambda cast: body(cast.to_us(WORDS.encode()).replace(b"\n\n", b"\nComment: a \nb\n\n", 1)),
        DAMAGED,
    ),
    Line(
        "encrypted attachments known by content, not by name",
        lambda cast: mixed(text("See.\n"), file(cast.to_us(b"\0\1", armor=False), "cat.png")),
        {"protection": "encrypted", "files": [("cat.png", True)], "outside": "See."},
        lambda _: mixed(text("See.\n"), file(b"no OpenPGP", "report.pdf.gpg")),
        {**CLEAR, "files": [("report.pdf.gpg", False)], "text": "See.\n"},
    ),
    Line(
        "signed-then-encrypted",
        lambda cast: mail(encrypted(cast.combined)),
        {**WHOLE, "layers": ["encrypted pgp-mime 0 ok", "signed pgp-mime 1 ok"]},
        lambda cast: mail(encrypted(cast.to_us(INNER, sign=cast.mallory))),
        NOT_HIS,
    ),
    Line(
        "encrypted-then-signed",
        lambda cast: mail(signed(encrypted(cast.armored), cast.signature(encrypted(cast.armored)))),
        {**WHOLE, "layers": ["signed pgp-mime 0 ok", "encrypted pgp-mime 1 ok"]},
        lambda cast: mail(
            signed(encrypted(cast.combined), cast.signature(encrypted(cast.armored)))
        ),
        {"verdicts": ["bad whole other", "good whole sender"]},
    ),
    Line(
        "encapsulated",
        lambda cast: mail(encrypted(cast.to_us(signed(INNER, cast.signature())))),
        {**WHOLE, "layers": ["encrypted pgp-mime 0 ok", "signed pgp-mime 1 ok"]},
        lambda cast: mail(encrypted(cast.to_us(signed(text("Changed.\n"), cast.signature())))),
        {**BAD, "text": "Changed.\n", "protection": "encrypted+signed"},
    ),
    Line(
        "nested and double encryption",
        lambda cast: layered(cast, 2),
        {**OPENED, "layers": ["encrypted pgp-mime 0 ok", "encrypted pgp-mime 1 ok"]},
        lambda cast: mail(encrypted(cast.to_us(encrypted(cast.elsewhere, boundary="in")))),
        {"text": "", "layers": ["encrypted pgp-mime 0 ok", "encrypted pgp-mime 1 no-secret-key"]},
    ),
    Line(
        "up to a bounded depth",
        lambda cast: layered(cast, 8),
        OPENED,
        lambda cast: layered(cast, 9),
        {"text": "", "reason": "too-complex", "error": "too-complex"},
    ),
    Line(
        "message/rfc822 inside",
        lambda cast: mixed(entity("message/rfc822", mail(encrypted(cast.armored)))),
        {"protection": "encrypted", "text": WORDS},
        lambda cast: mixed(entity("message/rfc822", mail(encrypted(cast.elsewhere)))),
        {**SHUT, "files": [("message.eml", False)]},
    ),
    Line(
        "mailing-list footers",
        lambda cast: mixed(encrypted(cast.combined), FOOTER),
        {"text": WORDS, "outside": "____\nThe list.", "verdicts": ["good part sender"]},
        lambda cast: mixed(encrypted(cast.combined), text(" \n")),
        {**WHOLE, "outside": ""},
    ),
    Line(
        "hidden recipients",
        lambda cast: mail(encrypted(cast.to_us(INNER, hidden=True))),
        OPENED,
        lambda cast: mail(encrypted(cast.to_others(INNER, hidden=True))),
        SHUT,
    ),
    Line(
        "several role keys, old ones kept for decryption",
        lambda cast: mail(encrypted(cast.rita.encrypt(INNER, cast.old_role, at="20200201T000000"))),
        OPENED,
        lambda cast: mail(encrypted(cast.rita.encrypt(INNER, cast.lost_role))),
        SHUT,
    ),
    Line(
        "every decrypted layer is parsed again as MIME",
        lambda cast: mail(encrypted(cast.to_us(multipart("mixed", [INNER, file(b"x", "poc")])))),
        {**OPENED, "files": [("poc", True)]},
        lambda cast: body(cast.to_us(b"Note: this is\n\nno MIME.\n")),
        {"text": "Note: this is\n\nno MIME.\n", "files": []},
    ),
]

VERDICTS = [
    Line(
        "from the status stream only",
        lambda cast: mail(signed(INNER, cast.signature())),
        WHOLE,
        lambda cast: mail(
            encrypted(cast.to_us(text(f"[GNUPG:] GOODSIG {cast.keys.reporter_fpr} Rita\n")))
        ),
        {"verdicts": [], "protection": "encrypted"},
    ),
    Line(
        "good, bad",
        lambda cast: body(cast.clear()),
        WHOLE,
        lambda cast: body(cast.clear().replace("proof", "prove")),
        BAD,
    ),
    Line(
        "expired",
        lambda cast: mail(signed(INNER, cast.by_early("0"))),
        WHOLE,
        lambda cast: mail(signed(INNER, cast.by_early("1d"))),
        {"verdicts": ["expired whole sender"], "layers": ["signed pgp-mime 0 not ok"]},
    ),
    Line(
        "expired_key",
        lambda cast: mail(signed(INNER, cast.signature())),
        {"verdicts": ["good whole sender"]},
        lambda cast: mail(
            signed(INNER, cast.rita.sign_detached(INNER, cast.old, at="20200201T000000"))
        ),
        {"verdicts": ["expired_key whole other"], "layers": ["signed pgp-mime 0 not ok"]},
    ),
    Line(
        "revoked_key",
        lambda cast: mail(signed(INNER, cast.signature())),
        {"layers": ["signed pgp-mime 0 ok"]},
        lambda cast: mail(signed(INNER, cast.by_gone)),
        {"verdicts": ["revoked_key whole other"], "layers": ["signed pgp-mime 0 not ok"]},
    ),
    Line(
        "unknown_key",
        lambda cast: mail(signed(INNER, cast.signature())),
        {"protection": "signed"},
        lambda cast: mail(
            signed(INNER, cast.keys.stranger.sign_detached(INNER, cast.keys.stranger_fpr)),
            author="stranger@example.com",
        ),
        {"verdicts": ["unknown_key whole other"], "layers": ["signed pgp-mime 0 not ok"]},
    ),
    Line(
        "whether it covers the whole mail or a part",
        lambda cast: mixed(text(" \n"), signed(INNER, cast.signature())),
        WHOLE,
        lambda cast: mixed(signed(INNER, cast.signature()), text("More.\n")),
        {"verdicts": ["good part sender"]},
    ),
    Line(
        "exactly one From mailbox",
        lambda cast: by(cast, f'"Rita, Reporter" <{REPORTER.upper()}>'),
        WHOLE,
        lambda cast: by(cast, f"{REPORTER}, {MALLORY}"),
        NOT_HIS,
    ),
    Line(
        "a valid user ID of the certificate",
        lambda cast: mail(
            signed(INNER, cast.rita.sign_detached(INNER, cast.mallory)), author=MALLORY
        ),
        WHOLE,
        lambda cast: mail(signed(INNER, cast.signature()), author=f"Rita <{MALLORY}>"),
        NOT_HIS,
    ),
    Line(
        "Text outside the encryption is kept and marked as such",
        lambda cast: mixed(text("Outside.\n"), encrypted(cast.combined)),
        {"text": WORDS, "outside": "Outside.", "verdicts": ["good part sender"]},
        lambda cast: mail(encrypted(cast.to_us(multipart("mixed", [text("Inside.\n"), INNER])))),
        {"text": f"Inside.\n\n{WORDS}", "outside": ""},
    ),
    Line(
        "A signature on an attached message",
        lambda cast: mail(signed(INNER, cast.signature())),
        WHOLE,
        lambda cast: mixed(entity("message/rfc822", mail(signed(INNER, cast.signature())))),
        {"verdicts": ["good part sender"]},
    ),
    Line(
        "an old signature over other text",
        lambda cast: mail(signed(INNER, cast.by_early("0"))),
        WHOLE,
        lambda cast: mail(signed(text("Pay Mallory.\n"), cast.signature())),
        {**BAD, "text": "Pay Mallory.\n"},
    ),
    Line(
        "a second From",
        lambda cast: by(cast, REPORTER, extra=f"Reply-To: {MALLORY}\n"),
        WHOLE,
        lambda cast: by(cast, MALLORY, extra=f"From: {REPORTER}\n"),
        NOT_HIS,
    ),
    Line(
        "a display name that holds an address",
        lambda cast: by(cast, f'"{MALLORY}" <{REPORTER}>'),
        WHOLE,
        lambda cast: by(cast, f'"{REPORTER}" <{MALLORY}>'),
        NOT_HIS,
    ),
    Line(
        "a user ID made to look like a status line",
        lambda cast: mail(
            signed(INNER, cast.rita.sign_detached(INNER, cast.mallory)), author=MALLORY
        ),
        {"verdicts": ["good whole sender"]},
        lambda cast: mail(signed(INNER, cast.rita.sign_detached(INNER, cast.mallory))),
        NOT_HIS,
    ),
]

INTEGRITY = [
    Line(
        "nothing without integrity protection",
        lambda cast: mail(encrypted(cast.armored)),
        OPENED,
        lambda cast: mail(
            encrypted(
                cast.to_us(INNER, extra=["--rfc2440", "--disable-mdc", "--cipher-algo", "3DES"])
            )
        ),
        {"protection": "undecryptable", "text": "", "reason": "no-integrity-protection"},
    ),
    Line(
        "with a tampered body",
        lambda cast: mail(encrypted(cast.combined)),
        WHOLE,
        lambda cast: mail(encrypted(damaged(cast.combined))),
        {**DAMAGED, "verdicts": []},
    ),
    Line(
        "or truncated",
        lambda cast: body(cast.to_us(WORDS.encode() * 50)),
        {"text": WORDS * 50},
        lambda cast: body(
            re.sub(rb"\n(?:[^\n]{64}\n){4}", b"\n", cast.to_us(WORDS.encode() * 50), count=1)
        ),
        DAMAGED,
    ),
    Line(
        "or beyond the output cap",
        lambda cast: mail(encrypted(cast.to_us(text("x" * 60 + "\n") * 9000, compress=True))),
        {"protection": "encrypted"},
        lambda cast: mixed(
            CONTROL, file(cast.to_us(bytes(1 << 23), compress=True, armor=False), "x")
        ),
        {"protection": "undecryptable", "text": "", "reason": "too-large"},
    ),
]

HEADERS = [
    Line(
        'RFC 9788 (hp="cipher", HP-Outer)',
        lambda cast: mail(encrypted(cast.to_us(headers_inside()))),
        {**OPENED, "subject": "The real one"},
        lambda _: mail(headers_inside()),
        {"subject": "[...]"},
    ),
    Line(
        "the draft v1 form",
        lambda cast: mail(encrypted(cast.to_us(headers_inside(hp='; protected-headers="v1"')))),
        {"subject": "The real one"},
        lambda cast: mail(
            encrypted(
                cast.to_us(
                    multipart("mixed", [text(" "), headers_inside(hp='; protected-headers="v1"')])
                )
            )
        ),
        {"subject": "[...]"},
    ),
    Line(
        "charset handling says when it guessed",
        lambda cast: mail(
            encrypted(cast.to_us("Content-Type: text/plain\n\nÜ\n".encode("latin-1")))
        ),
        {"text": "Ü\n", "notes": ("charset-guessed",)},
        lambda cast: mail(encrypted(cast.to_us(text("Ü\n")))),
        {"text": "Ü\n", "notes": ()},
    ),
    Line(
        "links as text <url>, nothing fetched, no markup kept",
        lambda _: html('<a href="https://example.net/x">here</a><script>alert(1)</script>'),
        {"text": "here <https://example.net/x>\n"},
        lambda _: body('<a href="https://example.net/x">here</a>\n'),
        {"text": '<a href="https://example.net/x">here</a>\n'},
    ),
]

LINES = [*SHAPES, *VERDICTS, *INTEGRITY, *HEADERS]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.words)
async def test_a_line_holds(reader: Desk, cast: Cast, line: Line) -> None:
    """The mail that it speaks of is read as it says."""
    found = seen(await reader.open(line.good(cast)))
    assert line.seen == {name: found[name] for name in line.seen}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.words)
async def test_what_only_looks_like_it_does_not_pass(reader: Desk, cast: Cast, line: Line) -> None:
    """The mail that comes nearest to it is not believed, and nothing of it is lost."""
    found = seen(await reader.open(line.bad(cast)))
    assert line.but == {name: found[name] for name in line.but}


async def test_which_fingerprint(reader: Desk, cast: Cast) -> None:
    """A good signature names its maker's primary key, an unknown one what it names itself."""
    stranger = cast.keys.stranger.sign_detached(INNER, cast.keys.stranger_fpr)
    for signature, fingerprint in (
        (cast.signature(), cast.keys.reporter_fpr),
        (stranger, cast.keys.stranger_fpr),
    ):
        found = seen(await reader.open(mail(signed(INNER, signature))))
        assert [fingerprint] == found["signers"]


async def test_whether_that_certificate_is_bound_to_this_reporter(reader: Desk, cast: Cast) -> None:
    """Apart from who the sender is: only a good signature by the very key that is bound."""
    binding = KeyBinding(REPORTER, cast.keys.reporter_fpr, CertificateSource.INSIDE, NOON)
    other = replace(binding, fingerprint=cast.mallory)
    good = await reader.open(mail(signed(INNER, cast.signature()), author=MALLORY))
    bad = await reader.open(mail(signed(text("Other.\n"), cast.signature())))
    assert [SignatureVerdict.BAD] == [one.verdict for one in bad.signatures]
    asked = [(good, binding, True), (good, other, True), (good, None, True), (bad, binding, True)]
    found = [with_known_signers(*one[:2], asked=one[2]).signatures[0] for one in asked]
    assert [True, False, False, False] == [one.signer_is_known for one in found]
    assert found[0].signer_is_sender is False
    assert with_known_signers(good, binding, asked=False).signatures[0].signer_is_known is None


# ── What takes more than one mail ────────────────────────────────────────────────────────────────

HERE = "integration/test_opening_"
ELSEWHERE: dict[str, tuple[str, str]] = {
    "expired signatures": (
        "integration/test_openpgp_opening.py::test_expired_signatures_and_keys_are_told_apart",
        "integration/test_openpgp_opening.py::test_a_detached_signature_covers_these_very_bytes",
    ),
    "the output cap, to the octet": (
        "integration/test_openpgp_opening.py::test_the_cap_itself_is_allowed",
        "integration/test_openpgp_opening.py::test_a_bomb_is_stopped_at_the_cap",
    ),
    "tampered or truncated at any octet": (
        "integration/test_openpgp_opening.py::test_a_signed_message_opens",
        "integration/test_openpgp_opening.py::test_tampered_messages",
    ),
    "no decryption oracle: what cannot be opened is answered by the notice that names the key": (
        "integration/test_replying.py::test_what_cannot_be_opened_is_answered_with_the_key_to_use",
        "integration/test_guard.py::test_a_notice_with_words_of_the_report_does_not_leave",
    ),
    "user IDs that break lines of the status stream": (
        "integration/test_openpgp_opening.py::test_verdicts_and_listings_stay_right",
        "unit/test_certs.py::test_user_ids_with_odd_characters_spoil_the_certificate",
    ),
    "RFC 9788 legacy display parts, read": (
        f"{HERE}headers.py::test_a_legacy_display_is_no_text",
        f"{HERE}headers.py::test_words_that_only_look_like_a_legacy_display_are_kept",
    ),
    "protected headers, written": (
        "unit/test_compose.py::test_the_real_header_stands_inside_the_encryption",
        "unit/test_compose.py::test_an_encrypted_mail_shows_nothing_but_the_envelope",
    ),
    "the real subject comes from inside": (
        f"{HERE}headers.py::test_rfc_9788_headers_are_read",
        f"{HERE}headers.py::test_what_is_not_the_root_of_a_layer_has_no_protected_headers",
    ),
    "charset handling never raises": (
        "unit/test_mail_text.py::test_texts_are_decoded_as_declared_and_else_guessed",
        "unit/test_mail_text.py::test_codecs_that_are_no_charsets_of_mail_are_refused",
    ),
    "HTML to text by an HTML5 parser": (
        "unit/test_mail_text.py::test_html_keeps_its_words_and_loses_its_markup",
        "unit/test_mail_text.py::test_markup_made_to_hurt_is_still_read",
    ),
    "trailing quotes folded, never cut": (
        "unit/test_drafting_untrusted.py::test_only_a_quote_at_the_end_is_told_apart",
        "unit/test_drafting_untrusted.py::test_the_two_parts_are_the_whole_text",
    ),
    "format=flowed with and without DelSp, stuffed, quoted": (
        f"{HERE}flowed.py::test_a_text_that_was_signed_and_then_flowed_verifies",
        f"{HERE}flowed.py::test_a_text_that_was_changed_is_bad_in_every_form",
    ),
}
"""Words of the promise, the test that they hold, and the test that their opposite fails."""


@pytest.mark.parametrize("words", ELSEWHERE)
def test_the_tests_that_are_named_exist(words: str) -> None:
    """A table that names what is not there would promise more than is tested."""
    for named in ELSEWHERE[words]:
        file_name, _, function = named.partition("::")
        source = (TESTS / file_name).read_text(encoding="utf-8")
        assert re.search(rf"def {function}\(", source), named
