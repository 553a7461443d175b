"""Do our answers still verify when others have carried and kept them?  Postfix, maildir and mbox.

Three readers that share nothing with us and little with each other judge them.  One cuts the signed
octets out of the raw mail and asks GnuPG.  One cuts them as Thunderbird does and asks RNP, which is
the OpenPGP in Thunderbird.  One parses MIME by a library: it takes the mail apart with Python's
email package, puts the signed part together again, and asks Sequoia.
"""

from __future__ import annotations

import base64
import mailbox
import re
from collections.abc import Iterator
from email import message_from_bytes
from email.generator import BytesGenerator
from email.message import EmailMessage, Message
from email.policy import default
from email.utils import parseaddr
from io import BytesIO
from pathlib import Path

import pysequoia
import pytest
from pysequoia.packet import PacketPile, Tag
from tests.support.keys import REPORTER, ROLE, Keys, copied_ring
from tests.support.postfix import why_not
from tests.support.reports import encrypted_report, plain_report, wrapped
from tests.support.rnp import Kind, Reading, Rnp, fresh_rnp
from tests.support.rnp import why_not as why_no_rnp
from tests.support.running import RunningDaemon
from tests.support.village import Village, states, village, wait_until

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
by_rnp = pytest.mark.skipif(why_no_rnp() is not None, reason=str(why_no_rnp()))

LINES = [
    "Grüße, 你好, 🦀: none of it is ASCII.",
    "From here on it gets worse.",
    ">From is what an mbox makes of it.",
    ".",
    ".. and more dots",
    "trailing blanks   ",
    "a trailing tab\t",
    "",
    "   ",
    "- a dash, and a line that looks like armor:",
    "-----BEGIN PGP MESSAGE-----",
    "--=_sb_0123456789abcdef01234567",
    "=3D and =20 and a soft break =",
    "x" * 1500,
    "many words " * 150 + "end",
    "ö" * 998,
    "-- ",
    "The team",
]
TEMPLATE = "Subject: Grüße, {{ case_id }}, from a very long subject that has to be folded: ÄÖÜ\n\n"
TEXT = "\n".join(LINES)
"""What a mail program shows: every line, to its last blank."""
NAMES = ("acknowledgement-encrypted.j2", "acknowledgement-clear.j2", "notice-use-this-key.j2")


@pytest.fixture(scope="module")
def answers(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, bytes]]:
    """Return what came back, as Postfix has written it into the reporter's maildir."""
    folder = tmp_path_factory.mktemp("carried")
    templates = folder / "templates"
    templates.mkdir()
    for name in NAMES:
        (templates / name).write_text(TEMPLATE + "\n".join(LINES) + "\n", encoding="utf-8")
    with village(keys, folder) as here:
        yield _answered(here, keys, templates)


def _answered(here: Village, keys: Keys, templates: Path) -> dict[str, bytes]:
    """Send one report of each kind, and return the answers by kind."""
    config = here.config("carried", alias=f'templates = "{templates}"')
    reports = {kind: plain_report() for kind in ("encrypted", "clear", "notice")}
    raw = {
        "encrypted": encrypted_report(
            keys.reporter, keys.reporter_fpr, keys.role_fpr, mail=reports["encrypted"]
        ),
        "clear": reports["clear"].as_bytes(),
        "notice": wrapped(reports["notice"], keys.stranger.encrypt(b"x", keys.stranger_fpr)),
    }
    with RunningDaemon(config) as daemon:
        for content in raw.values():
            here.send(content)
        found = {
            kind: here.wait_for_answers(report["Message-ID"])[0] for kind, report in reports.items()
        }
        wait_until(lambda: set(states(config)) == {"done"}, "not done", beside=[daemon])
        daemon.terminate()
    return found


# ── Carriers ─────────────────────────────────────────────────────────────────────────────────────


def carried(raw: bytes, folder: Path) -> dict[str, bytes]:
    """Return a mail as it looks after each way of keeping it.

    Postfix writes bare LF, IMAP servers give CRLF; an mbox puts a ``>`` before ``From `` lines, and
    some of its readers take one away from lines that never got it.
    """
    assert b"\r\n" not in raw, "Postfix writes maildirs with bare LF"
    file = mailbox.mbox(folder / "mbox")
    file.add(raw)
    file.close()
    kept = (folder / "mbox").read_bytes().partition(b"\n")[2]
    return {
        "maildir": raw,
        "IMAP": raw.replace(b"\n", b"\r\n"),
        "mbox": kept,
        "mboxrd": re.sub(rb"^>(>*From )", rb"\1", raw, flags=re.MULTILINE),
    }


CARRIERS = ("maildir", "IMAP", "mbox", "mboxrd")


# ── The reader that cuts octets ──────────────────────────────────────────────────────────────────


def parts_of(raw: bytes) -> list[bytes]:
    """Return the octets between the outer boundaries, with CRLF as they were signed."""
    raw = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    header = raw[: raw.index(b"\r\n\r\n")]
    (boundary,) = re.findall(rb'boundary="([^"]+)"', header)
    return [part[2:] for part in raw.split(b"\r\n--" + boundary)[1:-1]]


def armor_in(part: bytes) -> bytes:
    """Return the armored block of a part."""
    (armor,) = re.findall(rb"-----BEGIN PGP [A-Z]+-----.*-----END PGP [A-Z]+-----", part, re.DOTALL)
    return bytes(armor)


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("kind", ["clear", "notice"])
def test_gnupg_verifies_the_octets_of_a_signed_answer(
    answers: dict[str, bytes], keys: Keys, tmp_path: Path, kind: str, carrier: str
) -> None:
    """A good signature by the role key over the part exactly as it lies there; not over another."""
    signed, signature = parts_of(carried(answers[kind], tmp_path)[carrier])
    said = keys.reporter.verify_detached(armor_in(signature), signed)
    assert f"VALIDSIG {keys.role_fpr}".encode() in said
    assert b"GOODSIG" in said
    changed = keys.reporter.verify_detached(armor_in(signature), signed.replace(b"=46rom", b"from"))
    assert b"BADSIG" in changed


@pytest.mark.parametrize("carrier", CARRIERS)
def test_gnupg_opens_and_verifies_an_encrypted_answer(
    answers: dict[str, bytes], keys: Keys, tmp_path: Path, carrier: str
) -> None:
    """What was signed is inside; nothing of the text is outside."""
    raw = carried(answers["encrypted"], tmp_path)[carrier]
    _, cipher = parts_of(raw)
    with copied_ring(keys.reporter) as ring:
        said = ring.gpg("--status-fd", "1", "--decrypt", stdin=armor_in(cipher))
    assert f"VALIDSIG {keys.role_fpr}".encode() in said
    assert b"GOODMDC" in said
    assert text_of(message_from_bytes(plaintext_in(said), policy=default)) == TEXT
    assert b"SB-" not in raw


def plaintext_in(said: bytes) -> bytes:
    """Return what gpg wrote beside its status lines."""
    lines = said.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b"[GNUPG:]"))


# ── The reader in Thunderbird ────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def thunderbird(keys: Keys) -> Iterator[Rnp]:
    """Return RNP with the reporter's secret key and the role key's certificate."""
    with fresh_rnp(keys.reporter.export_secret(keys.reporter_fpr), keys.role_cert) as rnp:
        yield rnp


def thunderbirds_parts(raw: bytes) -> tuple[bytes, bytes]:
    """Return the octets that Thunderbird hashes, and the signature that it finds beside them.

    It searches for the boundary, gives it the one line end before it, and makes all line ends CRLF
    as soon as one of them is not (``onTextData`` and ``onStopRequest`` of its mimeVerify).
    """
    header, body = re.split(rb"\r?\n\r?\n", raw, maxsplit=1)
    (boundary,) = re.findall(rb'boundary="([^"]+)"', header)
    delimiter = rb"(?:^|\r?\n)--" + re.escape(boundary) + rb"\r?\n"
    _, signed, rest = re.split(delimiter, body, maxsplit=2)
    if re.search(rb"[^\r]\n", signed):
        signed = signed.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return signed, armor_in(rest)


@by_rnp
@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("kind", ["clear", "notice"])
def test_rnp_verifies_the_octets_that_thunderbird_hashes(
    answers: dict[str, bytes],
    keys: Keys,
    thunderbird: Rnp,
    tmp_path: Path,
    kind: str,
    carrier: str,
) -> None:
    """A good signature by the role key; a bad one as soon as an octet of the text is another."""
    signed, signature = thunderbirds_parts(carried(answers[kind], tmp_path)[carrier])
    good = Reading(True, b"", (("Good", keys.role_fpr),))
    assert good == thunderbird.verify_detached(signature, signed)
    changed = thunderbird.verify_detached(signature, signed.replace(b"=46rom", b"from"))
    assert Reading(False, b"", (("BAD", keys.role_fpr),)) == changed


@by_rnp
@pytest.mark.parametrize("carrier", CARRIERS)
def test_rnp_opens_an_encrypted_answer(
    answers: dict[str, bytes], keys: Keys, thunderbird: Rnp, tmp_path: Path, carrier: str
) -> None:
    """It reads the very octets that GnuPG reads, signed by the role key, and nobody finds a defect.

    The subject stands inside, marked in the draft's way, for which Thunderbird looks, and in that
    of RFC 9788.
    """
    raw = carried(answers["encrypted"], tmp_path)[carrier]
    _, cipher = parts_of(raw)
    with copied_ring(keys.reporter) as ring:
        plaintext = ring.decrypt(armor_in(cipher))
    read = thunderbird.read(armor_in(cipher))
    assert Reading(True, plaintext, (("Good", keys.role_fpr),)) == read
    inner = message_from_bytes(read.content, policy=default)
    assert [] == defects(inner)
    assert TEXT == text_of(inner)
    assert inner["Subject"].startswith("Grüße, SB-")
    params = inner["Content-Type"].params
    assert ("v1", "cipher") == (params["protected-headers"], params["hp"])


# ── The reader that parses MIME ──────────────────────────────────────────────────────────────────


def rebuilt(part: Message) -> bytes:
    """Return a part as a MIME library writes it again, with CRLF."""
    written = BytesIO()
    BytesGenerator(written, mangle_from_=False, maxheaderlen=0).flatten(part, linesep="\r\n")
    return written.getvalue()


def certificate(keys: Keys) -> pysequoia.Cert:
    """Return the role certificate as the other implementation reads it."""
    return pysequoia.Cert.from_bytes(keys.role_cert)


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("kind", ["clear", "notice"])
def test_a_mime_library_and_another_openpgp_verify_a_signed_answer(
    answers: dict[str, bytes], keys: Keys, tmp_path: Path, kind: str, carrier: str
) -> None:
    """The signed part verifies even when it was parsed and written again."""
    raw = carried(answers[kind], tmp_path)[carrier]
    mail = message_from_bytes(raw)
    assert [part.defects for part in mail.walk() if part.defects] == []
    (_, content, *_, signature) = mail.walk()
    armor = signature.get_payload(decode=True)
    assert isinstance(armor, bytes)
    verified = pysequoia.verify(
        bytes=rebuilt(content),
        store=lambda _: [certificate(keys)],
        signature=pysequoia.Sig.from_bytes(armor),
    )
    assert [keys.role_fpr.lower()] == [one.certificate for one in verified.valid_sigs]
    assert text_of(message_from_bytes(rebuilt(content), policy=default)) == TEXT


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_mime_library_and_another_openpgp_open_an_encrypted_answer(
    answers: dict[str, bytes], keys: Keys, tmp_path: Path, carrier: str
) -> None:
    """Encrypted and signed in one, and the real subject is inside."""
    raw = carried(answers["encrypted"], tmp_path)[carrier]
    mail = message_from_bytes(raw, policy=default)
    assert [part.defects for part in mail.walk() if part.defects] == []
    _, cipher = mail.iter_parts()
    secret = pysequoia.Tsk.from_bytes(keys.reporter.export_secret(keys.reporter_fpr))
    opened = pysequoia.decrypt(
        cipher.get_content(), decryptor=secret.decryptor(), store=lambda _: [certificate(keys)]
    )
    assert [keys.role_fpr.lower()] == [one.certificate for one in opened.valid_sigs]
    inner = message_from_bytes(opened.bytes or b"", policy=default)
    assert text_of(inner) == TEXT
    assert ("[...]", True) == (mail["Subject"], inner["Subject"].startswith("Grüße, SB-"))
    assert "cipher" == inner["Content-Type"].params["hp"]
    outer = [value for name, value in inner.items() if name == "HP-Outer"]
    assert "Subject: [...]" in outer
    assert f"To: {REPORTER}" in outer


def text_of(entity: EmailMessage) -> str:
    """Return the text of an answer as a mail program shows it."""
    (part, *_) = [one for one in entity.walk() if one.get_content_type() == "text/plain"]
    assert isinstance(part, EmailMessage)
    return str(part.get_content()).replace("\r\n", "\n")


# ── What the way cannot change, and what is announced ────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["encrypted", "clear", "notice"])
def test_nothing_in_an_answer_has_to_be_changed_on_its_way(
    answers: dict[str, bytes], kind: str
) -> None:
    """ASCII, no line too long, no blank at a line's end, no ``From `` at its beginning."""
    raw = answers[kind]
    content = raw[raw.index(b"\nFrom: ") :]
    assert raw.isascii()
    assert max(map(len, raw.splitlines())) <= 998
    assert [line for line in content.splitlines() if line != line.rstrip()] == []
    assert [line for line in content.splitlines() if line.startswith((b"From ", b">From "))] == []


@pytest.mark.parametrize("kind", ["encrypted", "clear", "notice"])
def test_a_strict_parser_finds_no_defect_in_an_answer(answers: dict[str, bytes], kind: str) -> None:
    """Neither in a part nor in a header field, as Postfix delivered it."""
    assert [] == defects(message_from_bytes(answers[kind], policy=default))


def defects(mail: EmailMessage) -> list[object]:
    """Return what Python's email package finds wrong in a mail, its header fields included."""
    parts = list(mail.walk())
    fields = [value for part in parts for value in part.values()]
    return [defect for one in (*parts, *fields) for defect in one.defects]


@pytest.mark.parametrize("kind", ["encrypted", "clear", "notice"])
def test_the_autocrypt_header_is_one_that_others_take(
    answers: dict[str, bytes], keys: Keys, kind: str
) -> None:
    """Autocrypt 1.1: one header, addr is the author, keydata last and no more than is needed."""
    mail = message_from_bytes(answers[kind])
    (value,) = mail.get_all("Autocrypt", [])
    pairs = [one.strip().partition("=")[::2] for one in str(value).split(";")]
    assert ["addr", "prefer-encrypt", "keydata"] == [name for name, _ in pairs]
    found = dict(pairs)
    assert (parseaddr(str(mail["From"]))[1], "mutual") == (found["addr"], found["prefer-encrypt"])
    assert len(str(value)) < 10 * 1024
    keydata = announced_in(answers[kind])
    assert keys.role_fpr.lower() == pysequoia.Cert.from_bytes(keydata).fingerprint
    tags = [packet.tag for packet in PacketPile.from_bytes(keydata)]
    assert [Tag.PublicKey, Tag.UserID, Tag.Signature, Tag.PublicSubkey, Tag.Signature] == tags


def announced_in(raw: bytes) -> bytes:
    """Return the certificate in the Autocrypt header of a mail."""
    _, _, keydata = str(message_from_bytes(raw)["Autocrypt"]).partition("keydata=")
    return base64.b64decode("".join(keydata.split()), validate=True)


def attached_to(raw: bytes, keys: Keys) -> bytes:
    """Return the certificate that is attached to a mail, where it is protected."""
    protected, cipher = parts_of(raw)
    if b"-----BEGIN PGP MESSAGE-----" in cipher:
        with copied_ring(keys.reporter) as ring:
            protected = ring.decrypt(armor_in(cipher))
    entity = message_from_bytes(protected, policy=default)
    (attached,) = [one for one in entity.walk() if one.get_content_type() == "application/pgp-keys"]
    content = attached.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


@by_rnp
@pytest.mark.parametrize("kind", ["encrypted", "clear", "notice"])
def test_rnp_takes_the_certificate_from_either_place_and_writes_to_it(
    answers: dict[str, bytes], keys: Keys, kind: str
) -> None:
    """Without a complaint of its library, and the role key opens what it writes."""
    for certificate in (announced_in(answers[kind]), attached_to(answers[kind], keys)):
        with fresh_rnp() as rnp, copied_ring(keys.role) as role:
            assert keys.role_fpr == rnp.take(certificate)
            writer = rnp.make_key(f"Rita <{REPORTER}>", Kind.CV25519)
            sealed = rnp.encrypt(b"an answer", keys.role_fpr, sign=writer)
            assert b"an answer" == role.decrypt(sealed)


@pytest.mark.parametrize("kind", ["encrypted", "clear", "notice"])
def test_the_first_answer_brings_the_role_keys_certificate(
    answers: dict[str, bytes], keys: Keys, kind: str
) -> None:
    """Attached where it is protected, and another program can encrypt to it at once."""
    content = attached_to(answers[kind], keys)
    found = pysequoia.Cert.from_bytes(content)
    assert keys.role_fpr.lower() == found.fingerprint
    assert [ROLE in str(name) for name in found.user_ids] == [True]
    sealed = pysequoia.encrypt(bytes=b"an answer", recipients=[found])
    with copied_ring(keys.role) as ring:
        assert ring.decrypt(sealed) == b"an answer"
