"""What inspect prints of each kind of mail, in one table: protection, layers, signatures, texts.

All mails are made by raw gpg, put together by hand, and looked at in one call of the command.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.support.keys import REPORTER, ROLE, Keys, Ring, copied_ring, fresh_ring
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
from typer.testing import CliRunner, Result

from secbridge.cli import app

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "inspect.schema.json").read_text())
INNER = text("The report.\n")
SECRET = "Secret\n"
PDF = b"%PDF-1.7 \x00\x01"
OCTETS = "application/octet-stream"
NEVER_INTEGRAL = ("--rfc2440", "--disable-mdc", "--cipher-algo", "3DES")


@dataclass(frozen=True)
class People:
    """Who writes: Rita, whose certificate is in the ring; Eve, whose is not; a stranger to us all.

    ``old`` is an expired key, ``gone`` a revoked one, ``many`` has several addresses in one user
    ID, ``two`` has two user IDs; all of them name the reporter's address.  ``pgp`` holds the keys
    of everybody but Rita and the stranger.
    """

    rita: Ring
    stranger: Ring
    pgp: Ring
    names: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.names[name]

    def seal(self, content: bytes = INNER, *to: str, **given: Any) -> bytes:
        """Encrypt as Rita does, to the role key unless others are named."""
        return self.rita.encrypt(content, *(to or (self["role"],)), **given)

    def both(self, content: bytes = INNER) -> bytes:
        """Encrypt and sign as Rita does."""
        return self.seal(content, sign=self["rita"])

    def signed(self, content: bytes = INNER, by: str = "rita", **given: Any) -> bytes:
        """Return a multipart/signed entity."""
        ring = self.rita if by == "rita" else self.pgp
        return signed(content, ring.sign_detached(content, self[by], **given))

    def elsewhere(self, content: bytes = INNER) -> bytes:
        """Encrypt to a key that we do not have."""
        return self.stranger.encrypt(content, self["stranger"])

    def by_eve(self, *more: bytes) -> bytes:
        """Encrypt to us and sign as Eve does, with more parts inside."""
        content = multipart("mixed", [INNER, *more], boundary="eve") if more else INNER
        return self.pgp.encrypt(content, self["role"], sign=self["eve"])


def shut_by_hand(people: People) -> bytes:
    """Return a ciphertext of which an octet was changed on the way."""
    octets = bytearray(people.seal(text("secret\n" * 400), armor=False))
    octets[-30] ^= 1
    return multipart("encrypted", [CONTROL, file(bytes(octets), "x")])


def one_of_two(first: bool, people: People) -> bytes:
    """Return two ciphertexts, the first or the second of which is for us."""
    pair = [encrypted(people.seal()), encrypted(people.elsewhere(), boundary="other")]
    return multipart("mixed", pair if first else pair[::-1])


def half(armored: bytes) -> bytes:
    """Return an armored message without its second half."""
    lines = armored.split(b"\n")
    return b"\n".join(lines[: len(lines) // 2] + lines[-2:])


def inline(*pieces: str | bytes) -> bytes:
    """Return a text part of these pieces."""
    return text("".join(p.decode() if isinstance(p, bytes) else p for p in pieces))


def quoted(armored: bytes, mark: str) -> str:
    """Return a text with a mark before each line."""
    return "".join(f"{mark}{line}\n" for line in armored.decode().splitlines())


def autocrypt(people: People) -> str:
    """Return the header field with Eve's certificate."""
    key = base64.b64encode(people.pgp.export(people["eve"])).decode()
    return f"Autocrypt: addr={REPORTER}; keydata={key}\n"


def quoting(mark: str, people: People) -> bytes:
    """Return a text in which a ciphertext to us is quoted."""
    return inline("He wrote:\n", quoted(people.seal(b"i\n"), mark), "> x\n")


def attaching(name: str, people: People) -> bytes:
    """Return a text with an encrypted file."""
    return multipart("mixed", [text("See.\n"), file(people.seal(PDF, armor=False), name)])


def mangled(people: People, *before: bytes, name: str = "x", after: tuple[bytes, ...] = ()) -> Any:
    """Return control part and ciphertext as siblings in a multipart/mixed."""
    cipher = entity(f'{OCTETS}; name="{name}"', people.both())
    return multipart("mixed", [*before, CONTROL, cipher, *after])


def protected(params: str, people: People) -> bytes:
    """Return a ciphertext whose payload has a subject of its own."""
    return encrypted(people.seal(text(SECRET, params=params, extra="Subject: Real\n")))


Make = Callable[[People], bytes]
Row = dict[str, Any]
OPEN = "encrypted pgp-mime 0 + role"
SHUT = "encrypted pgp-mime 0 -"
INLINE = "encrypted inline 0 + role"
OUTER = "signed pgp-mime 0 +"
UNDER = "signed pgp-mime 1 + rita"
GOOD = "good rita whole sender"
PART = "good rita part sender"

MAILS: dict[str, tuple[Make, str, str | None, list[str], list[str], Row]] = {}


def row(
    name: str,
    make: Make,
    protection: str,
    layers: list[str] | None = None,
    signatures: list[str] | None = None,
    *,
    why: str | None = None,
    **more: Any,
) -> None:
    """Put a mail into the table; ``more`` are other keys of its JSON with their values."""
    named = {key.rstrip("_"): value for key, value in more.items()}
    MAILS[name] = (make, protection, why, layers or [], signatures or [], named)


def mailed(make: Make, change: Callable[[bytes], bytes] = bytes, **given: str) -> Make:
    """Return what makes a whole mail of an entity, and changes it on its way."""
    return lambda people: change(mail(make(people), **given))


def from_an_mbox(raw: bytes) -> bytes:
    """Put an mbox line before a mail."""
    return b"From x@y Fri Nov 20 12:00:00 2026\r\n" + raw


def without_cr(raw: bytes) -> bytes:
    """Take all CR out."""
    return raw.replace(b"\r", b"")


def signature_rows() -> None:
    """Signatures: verdicts, what they cover, and who is the sender."""
    s = row

    def one(name: str, by: str, line: str, *, ok: bool = False, **given: Any) -> None:
        who = line.split()[1]
        layers = [f"signed pgp-mime 0 {'+' if ok else '-'} {who}"]
        s(name, lambda p: mail(p.signed(by=by, **given)), "signed", layers, [line])

    def author(name: str, written: str, whose: str = "other", **more: Any) -> None:
        s(
            name,
            lambda p: mail(p.signed(), author=written),
            "signed", [f"{OUTER} rita"], [f"good rita whole {whose}"], **more,
        )  # fmt: skip

    one("good", "rita", GOOD, ok=True)
    one("two user IDs", "two", "good two whole sender", ok=True)
    one("several addresses in one user ID", "many", "good many whole other", ok=True)
    one("unknown key", "eve", "unknown_key eve whole other")
    one("expired key", "old", "expired_key old whole other", at="20240601T000000")
    one("revoked key", "gone", "revoked_key gone whole other")
    one(
        "expired signature", "two", "expired two whole sender",
        extra=("--default-sig-expire", "seconds=1"), at="20250101T000000",
    )  # fmt: skip
    s(
        "tampered",
        lambda p: mail(p.signed().replace(b"The report.", b"The rebort.")),
        "signed", ["signed pgp-mime 0 - rita"], ["bad rita whole other"], text="The rebort.\n",
    )  # fmt: skip
    for name, change in (("without any CR", without_cr), ("after an mbox line", from_an_mbox)):
        s(name, mailed(lambda p: p.signed(), change), "signed", [f"{OUTER} rita"], [GOOD])
    author("two From fields", f"{REPORTER}\nFrom: e@x.example", from_=[REPORTER, "e@x.example"])
    author("two mailboxes", f"{REPORTER}, e@x.example", may_reply=False)
    author("a display name that holds an address", f'"{REPORTER}" <e@x.example>')
    author("other fields", f"e@x.example\nSender: {REPORTER}\nReply-To: {REPORTER}")
    author("a group", f"friends: {REPORTER};")
    author("a comment beside the address", f"{REPORTER} (Rita)", "sender")
    author("an encoded name", f"=?utf-8?q?R=C3=ADta?= <{REPORTER}>", "sender")
    s(
        "a list's footer",
        lambda p: mail(multipart("mixed", [p.signed(), text("The list.\n")])),
        "signed", [f"{OUTER} rita"], [PART], text="The report.\n\nThe list.\n",
    )  # fmt: skip
    s(
        "on an attached message",
        lambda p: mail(multipart("mixed", [text("See.\n"), entity(
            "message/rfc822", mail(p.signed()))]), author="e@x.example"),
        "signed", [f"{OUTER} rita"], ["good rita part other"], text="See.\n",
    )  # fmt: skip
    s(
        "clear-signed, with words around it",
        lambda p: mail(inline("a\n", p.rita.clearsign(b"b\n", p["rita"]), "c\n")),
        "signed", ["signed inline 0 + rita"], [PART],
    )  # fmt: skip
    s(
        "signed data in armor",
        lambda p: mail(inline(p.rita.sign(b"words\n", p["rita"]))),
        "signed", ["signed inline 0 + rita"], [GOOD], text="words\n",
    )  # fmt: skip
    s(
        "signed data that calls itself encrypted",
        lambda p: mail(encrypted(p.rita.sign(INNER, p["rita"]))),
        "signed", [f"{OUTER} rita"], [GOOD], text="The report.\n",
    )  # fmt: skip
    s(
        "packed data that nobody signed",
        lambda p: mail(inline(p.rita.gpg("--armor", "--store", stdin=b"words\n"))),
        "none", text="words\n",
    )  # fmt: skip


def encryption_rows() -> None:
    """Ciphertexts that open, in all shapes, and what stood beside them."""
    s = row
    s("encrypted", lambda p: mail(encrypted(p.seal())), "encrypted", [OPEN], outside_encryption="")
    s("combined", lambda p: mail(encrypted(p.both())), "encrypted+signed", [OPEN, UNDER], [GOOD])
    s(
        "encapsulated",
        lambda p: mail(encrypted(p.seal(p.signed()))),
        "encrypted+signed", [OPEN, UNDER], [GOOD],
    )  # fmt: skip
    s(
        "signed, encrypted and signed",
        lambda p: mail(encrypted(p.both(p.signed()))),
        "encrypted+signed", [OPEN, UNDER, "signed pgp-mime 2 + rita"], [GOOD, GOOD],
    )  # fmt: skip
    s(
        "encrypted, then signed",
        lambda p: mail(p.signed(encrypted(p.seal()))),
        "encrypted+signed", [f"{OUTER} rita", "encrypted pgp-mime 1 + role"], [GOOD],
    )  # fmt: skip
    s(
        "encrypted twice",
        lambda p: mail(encrypted(p.seal(encrypted(p.both(), boundary="in")))),
        "encrypted+signed",
        [OPEN, "encrypted pgp-mime 1 + role", "signed pgp-mime 2 + rita"], [GOOD],
    )  # fmt: skip
    s("hidden recipient", lambda p: mail(encrypted(p.seal(hidden=True))), "encrypted", [OPEN])
    s(
        "another role key",
        lambda p: mail(encrypted(p.seal(INNER, p["psirt"]))),
        "encrypted", ["encrypted pgp-mime 0 + psirt"],
    )  # fmt: skip
    wrapped = [OPEN, UNDER]
    shapes: tuple[tuple[str, Make, str], ...] = (
        ("exchange", lambda p: mangled(p, text("\n"), after=(text("List\n"),)), "List\n"),
        ("blank before", lambda p: mangled(p, text("")), ""),
        ("bridge", lambda p: mangled(p, text("Empty Message\n"), name="attachment.pgp"),
         "Empty Message\n"),
        ("wrapped", lambda p: multipart("mixed", [encrypted(p.both()), text("Foot\n")]), "Foot\n"),
        ("real first part", lambda p: mangled(p, text("Real.\n")), "Real.\n"),
        ("apple", lambda p: mangled(p, text("Hi \n"), after=(text("\n"),)), "Hi \n"),
        ("html", lambda p: mangled(p, entity("text/html", "<p>Out <b>there</b></p>")),
         "Out there\n"),
        ("picture", lambda p: multipart("mixed", [
            encrypted(p.both()), file(b"\x89PNG", "p.png", media_type="image/png")]),
         "[image/png]"),
    )  # fmt: skip
    for name, make, outside in shapes:
        s(
            f"mangled: {name}", mailed(make), "encrypted+signed", wrapped,
            [PART if outside else GOOD], outside_encryption=outside, text="The report.\n",
        )  # fmt: skip
    s(
        "inline, several and with words between",
        lambda p: mail(inline("a\n", p.seal(b"x\n"), "b\n", p.elsewhere(b"y"), p.both(b"z\n"))),
        "encrypted+signed", [INLINE, "encrypted inline 0 -", INLINE, "signed inline 1 + rita"],
        [PART], why="no-secret-key", text="x\n\nz\n",
    )  # fmt: skip
    s(
        "inline in HTML",
        lambda p: mail(entity("text/html", f"<p>o</p><pre>{p.seal(b'i').decode()}</pre>")),
        "encrypted", [INLINE], text="i",
    )  # fmt: skip
    for mark in ("> ", ">> ", "  "):
        s(
            f"inline, quoted by {mark!r}",
            mailed(partial(quoting, mark)),
            "encrypted", [INLINE], text="i\n", outside_encryption="He wrote:\n\n\n> x\n",
        )  # fmt: skip
    s(
        "inline, quoted and not for us",
        lambda p: mail(inline("Broken:\n", quoted(p.elsewhere(b"x"), "> "))),
        "none",
    )
    s(
        "armor that somebody writes about",
        lambda p: mail(text("I send\n-----BEGIN PGP MESSAGE-----\nand it crashes.\n")),
        "none", text="I send\n-----BEGIN PGP MESSAGE-----\nand it crashes.\n",
    )  # fmt: skip
    attached = "encrypted attachment 0 + role"
    for name in ("report.pdf.gpg", "holiday.jpg"):
        s(
            f"attachment {name}",
            mailed(partial(attaching, name)),
            "encrypted", [attached], text="", outside_encryption="See.\n",
            attachments=[f"{name.removesuffix('.gpg')} {OCTETS} 11 encrypted"],
        )  # fmt: skip
    s(
        "attachment that is only called encrypted",
        lambda p: mail(multipart("mixed", [text("See.\n"), file(b"none", "report.pdf.gpg")])),
        "none", attachments=[f"report.pdf.gpg {OCTETS} 4"],
    )  # fmt: skip
    s(
        "attachments on both sides",
        lambda p: mail(multipart("mixed", [
            encrypted(p.seal(multipart("mixed", [text(SECRET), file(b"in", "in")], boundary="i"))),
            file(b"log\n", "log.txt", media_type="text/plain")])),
        "encrypted", [OPEN], text=SECRET, outside_encryption="log\n",
        attachments=[f"in {OCTETS} 2 encrypted", "log.txt text/plain 4 outside"],
    )  # fmt: skip
    s(
        "forwarded",
        lambda p: mail(multipart("mixed", [
            text("Look.\n"), entity("message/rfc822", mail(encrypted(p.both())))])),
        "encrypted+signed", [OPEN, UNDER], [PART], text="The report.\n",
    )  # fmt: skip


def shut_rows() -> None:
    """Ciphertexts that stay shut, and why; nothing of them is text."""
    reasons: tuple[tuple[str, str, Make], ...] = (
        ("wrong key", "no-secret-key", lambda p: encrypted(p.elsewhere())),
        ("symmetric", "symmetric-only",
         lambda p: encrypted(p.stranger.encrypt_with_password(INNER, "pw"))),
        ("truncated", "corrupt", lambda p: encrypted(half(p.seal(text("secret\n" * 400))))),
        ("tampered ciphertext", "corrupt", shut_by_hand),
        ("no armor in it", "corrupt",
         lambda p: encrypted(b"-----BEGIN PGP MESSAGE-----\n\nhello\n-----END PGP MESSAGE-----\n")),
        ("no integrity protection", "no-integrity-protection",
         lambda p: encrypted(p.seal(INNER, extra=NEVER_INTEGRAL))),
        ("bomb", "too-large", lambda p: multipart("encrypted", [CONTROL, file(
            p.seal(bytes(32 << 20), compress=True, armor=False), "x")])),
    )  # fmt: skip
    for name, why, make in reasons:
        row(
            name, mailed(make), "undecryptable", [SHUT], why=why, text="",
            outside_encryption="", class_="undecryptable",
        )  # fmt: skip
    pair: tuple[tuple[str, bool, list[str]], ...] = (
        ("the second fails", True, [OPEN, SHUT]),
        ("the first fails", False, [SHUT, OPEN]),
    )
    for name, first, layers in pair:
        row(
            name, mailed(partial(one_of_two, first)), "encrypted", layers, why="no-secret-key",
            text="The report.\n",
        )  # fmt: skip
    row(
        "shut attachment",
        lambda p: mail(multipart("mixed", [text("See.\n"), file(p.elsewhere(PDF), "r.pdf.gpg")])),
        "undecryptable", ["encrypted attachment 0 -"], why="no-secret-key", text="",
        outside_encryption="See.\n",
    )  # fmt: skip
    row(
        "S/MIME",
        lambda p: mail(file(
            b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03\xa0\x80" + bytes(40),
            "smime.p7m", media_type="application/pkcs7-mime; smime-type=enveloped-data")),
        "undecryptable", ["encrypted attachment 0 -"], why="smime",
    )  # fmt: skip


def key_rows() -> None:
    """Certificates that come along: a signature by an unknown key is judged again."""

    def eve(name: str, make: Make, signature: str, **more: Any) -> None:
        ok = "+" if signature.startswith("good") else "-"
        row(name, make, "encrypted+signed", [OPEN, f"signed pgp-mime 1 {ok} eve"], [signature],
            **more)  # fmt: skip

    def key(p: People) -> bytes:
        certificate = p.pgp.export(p["eve"], armor=True)
        return file(certificate, "key.asc", media_type="application/pgp-keys")

    eve("no certificate", lambda p: mail(encrypted(p.by_eve())), "unknown_key eve whole other")
    eve("certificate inside", lambda p: mail(encrypted(p.by_eve(key(p)))), "good eve whole sender")
    eve(
        "certificate outside",
        lambda p: mail(multipart("mixed", [encrypted(p.by_eve()), key(p)])),
        "good eve part sender", outside_encryption="[application/pgp-keys]",
    )  # fmt: skip
    eve(
        "one of two certificates in a file",
        lambda p: mail(encrypted(p.by_eve(file(
            p.pgp.export(p["many"]) + p.rita.export(p["rita"]) + p.pgp.export(p["eve"]), "k")))),
        "good eve whole sender",
    )  # fmt: skip
    eve(
        "Autocrypt",
        lambda p: mail(encrypted(p.by_eve()), extra=autocrypt(p)),
        "good eve whole sender",
    )
    eve(
        "certificate of another author",
        lambda p: mail(encrypted(p.by_eve(key(p))), author="mallory@x.example"),
        "unknown_key eve whole other",
    )
    eve(
        "a mailbox in other letters",
        lambda p: mail(encrypted(p.by_eve(key(p))), author="Reporter@Example.NET"),
        "good eve whole sender",
    )


def subject_rows() -> None:
    """Protected subjects."""
    for name, params in (
        ("RFC 9788", '; hp="cipher"'),
        ("draft v1", '; protected-headers="v1"'),
        ("memory hole", ""),
    ):
        row(
            f"subject by {name}", mailed(partial(protected, params), subject="..."),
            "encrypted", [OPEN], subject="Real", outer_subject="...",
        )  # fmt: skip
    row(
        "no subject inside", lambda p: mail(encrypted(p.seal()), subject="Outer"),
        "encrypted", [OPEN], subject="Outer", outer_subject="Outer",
    )  # fmt: skip
    row(
        "a subject in a part without protection",
        lambda p: mail(text(SECRET, params='; hp="cipher"', extra="Subject: No\n"), subject="Yes"),
        "none", subject="Yes", outer_subject="Yes",
    )  # fmt: skip


def class_rows() -> None:
    """Classes that headers and envelope decide."""
    words = text("Hello.\n")
    daemon = "MAILER-DAEMON@mx.example"
    receipt = entity(
        "multipart/report; report-type=disposition-notification; boundary=b",
        "--b\nContent-Type: text/plain\n\nRead.\n--b--\n",
    )

    def clear(name: str, made: bytes, mail_class: str, refused: str | None) -> None:
        row(name, lambda p: made, "none", class_=mail_class, may_reply=refused is None,
            reply_refused_because=refused)  # fmt: skip

    clear("plain", mail(words), "other", None)
    clear("spam", mail(words, extra="X-Spam-Flag: YES\n"), "spam", "set-aside")
    clear("list", mail(words, extra="List-Id: <l.example>\n"), "other", "list")
    clear("bulk", mail(words, extra="Precedence: bulk\n"), "other", "bulk")
    clear(
        "absence", mail(words, extra="Auto-Submitted: auto-replied\n"), "auto-reply",
        "auto-submitted",
    )  # fmt: skip
    clear("null sender", mail(words, extra="Return-Path: <>\n"), "other", "null-sender")
    clear("daemon", mail(words, author=daemon), "bounce", "null-sender")
    clear("daemon without a domain", mail(words, author="MAILER-DAEMON"), "bounce", "null-sender")
    clear("daemon, by a person", mail(words, author=daemon, extra="Return-Path: <a@b.example>\n"),
          "other", "mailer-daemon")  # fmt: skip
    clear("receipt", mail(receipt, extra="Return-Path: <>\n"), "auto-reply", "null-sender")
    clear(
        "a header that is ours, copied", mail(words, extra="X-Secbridge-Origin: v1=abc\n"),
        "other", None,
    )  # fmt: skip
    clear("no From", crlf(f"To: {ROLE}\nSubject: x\n\nHello.\n"), "other", "no-single-author")


for rows in (
    signature_rows, encryption_rows, shut_rows, key_rows, subject_rows, class_rows,
):  # fmt: skip
    rows()


# ── One call for all of them ─────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def people(keys: Keys) -> Iterator[tuple[People, Ring]]:
    """Return who writes, and the ring with which the mails are opened."""
    with fresh_ring() as pgp, copied_ring(keys.role) as ours, copied_ring(keys.reporter) as rita:
        names = {"role": keys.role_fpr, "rita": keys.reporter_fpr, "stranger": keys.stranger_fpr}
        names["psirt"] = ours.make_key("Second <psirt@example.org>")
        rita.take(ours.export(names["psirt"]))
        pgp.take(keys.role_cert)
        named = f"<{REPORTER}>"
        names["eve"] = pgp.make_key(f"Eve {named}", encrypts=False)
        names["old"] = pgp.make_key(
            f"Old {named}", expire="20250101T000000", at="20240101T000000", encrypts=False
        )
        names["gone"] = pgp.make_key(f"Gone {named}", encrypts=False)
        names["many"] = pgp.make_key(f"{REPORTER}, a@x.example <b@x.example>", encrypts=False)
        names["two"] = pgp.make_key("Two <o@x.example>", encrypts=False, at="20240101T000000")
        pgp.gpg("--quick-add-uid", names["two"], f"Rita {named}")
        for name in ("old", "many", "two"):
            ours.take(pgp.export(names[name]))
        ours.take(keys.reporter_cert)
        with copied_ring(pgp) as later:
            ours.take(later.revoke(names["gone"]))
        ours.close_agent()
        yield People(rita, keys.stranger, pgp, names), ours


def run(*arguments: str | Path) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["inspect", "--json", *map(str, arguments)])


@pytest.fixture(scope="module")
def found(
    people: tuple[People, Ring], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Return the row of each mail of the table, after one call for all of them."""
    cast, ring = people
    folder = tmp_path_factory.mktemp("table")
    files = [folder / f"{number}.eml" for number in range(len(MAILS))]
    for path, (make, *_) in zip(files, MAILS.values(), strict=True):
        path.write_bytes(make(cast))
    before = traces(ring.home)
    done = run(*files, "--gnupghome", ring.home)
    assert (done.exit_code, done.stderr) == (0, "")
    assert traces(ring.home) == before
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [str(path) for path in files] == [one["file"] for one in rows]
    return dict(zip(MAILS, rows, strict=True))


def traces(folder: Path) -> dict[str, str]:
    """Return every file under a folder with its content's hash."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def compact(shown: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Return a row in the words of the table."""
    who = {fingerprint: name for name, fingerprint in names.items()}
    layers = [
        " ".join(
            [one["kind"], one["form"], str(one["depth"]), "+" if one["ok"] else "-",
             *(who[key] for key in one["fingerprints"])]
        )
        for one in shown["layers"]
    ]  # fmt: skip
    signatures = [
        f"{one['verdict']} {who[one['fingerprint']]} {one['covers']} "
        f"{'sender' if one['signer_is_sender'] else 'other'}"
        for one in shown["signatures"]
    ]
    attachments = [
        f"{one['name']} {one['type']} {one['size']}"
        + " encrypted" * one["encrypted"]
        + " outside" * one["outside_encryption"]
        for one in shown["attachments"]
    ]
    return {**shown, "layers": layers, "signatures": signatures, "attachments": attachments}


@pytest.mark.parametrize("name", MAILS)
def test_each_mail_is_shown_as_it_is(
    name: str, found: dict[str, dict[str, Any]], people: tuple[People, Ring]
) -> None:
    """Protection, decryption, layers, signatures and whatever else its line of the table says."""
    _, protection, why, layers, signatures, more = MAILS[name]
    shown = compact(found[name], people[0].names)
    tried = any(line.startswith("encrypted") for line in layers)
    expected = {
        "error": None,
        "protection": protection,
        "decryption": {"ok": why is None if tried else None, "reason": why},
        "layers": layers,
        "signatures": signatures,
        **more,
    }
    assert expected == {key: shown[key] for key in expected}


def test_every_row_keeps_to_the_schema(found: dict[str, dict[str, Any]]) -> None:
    """All keys, and nothing else."""
    validator = Draft202012Validator(SCHEMA)
    wrong = {name: [e.message for e in validator.iter_errors(it)] for name, it in found.items()}
    assert {} == {name: errors for name, errors in wrong.items() if errors}


def test_a_ring_without_secret_keys_is_no_fault(
    people: tuple[People, Ring], tmp_path: Path, empty_ring: Ring
) -> None:
    """Nobody named a role key, so none can be lost: the mail is simply not for this ring."""
    path = tmp_path / "mail.eml"
    path.write_bytes(mail(encrypted(people[0].seal())))
    for options in (["--gnupghome", str(empty_ring.home)], []):
        done = run(path, *options)
        shown = json.loads(done.stdout)
        assert (0, None) == (done.exit_code, shown["error"])
        assert {"ok": False, "reason": "no-secret-key"} == shown["decryption"]
        assert "key" in done.stderr


def test_the_name_of_a_missing_file_cannot_act(tmp_path: Path) -> None:
    """A name may hold escape sequences too."""
    done = CliRunner().invoke(app, ["inspect", f"{tmp_path}/\x1b[2Jnone"])
    assert (0, True, False) == (done.exit_code, "⟦U+001B⟧" in done.stdout, "\x1b" in done.stdout)
