"""Armor survives a mail program that lets the lines of a text flow (RFC 3676), and no lie does."""

from __future__ import annotations

import pytest
from tests.support.keys import Keys
from tests.support.mails import crlf, entity, mail
from tests.support.opening import Desk, told, verdicts

from secbridge.mail.flowed import Flow, armor
from secbridge.model.message import OpenFailure, Protection

LONG = "The parser copies the whole header into a buffer of sixty-four octets, whatever its length."
WIDTH = 40


def flow(text: str, *, delsp: bool = False) -> str:
    """Return a text as a program sends it in format=flowed: stuffed, and long lines broken."""
    return "\n".join(_broken(_stuffed(line), delsp=delsp) for line in text.split("\n"))


def _stuffed(line: str) -> str:
    return f" {line}" if line.startswith((" ", "From ")) else line


def _broken(line: str, *, delsp: bool) -> str:
    """Break a line at blanks before ``WIDTH``, each piece with its marks of quotation."""
    if line.startswith("-----"):
        return line
    marks = line[: len(line) - len(line.lstrip(">"))]
    pieces = []
    while len(line) > WIDTH and (at := line.rfind(" ", len(marks) + 1, WIDTH)) > 0:
        pieces.append(line[: at + 1] + (" " if delsp else ""))
        line = (f"{marks} " if marks else "") + line[at + 1 :]
    return "\n".join([*pieces, line])


def flowed(body: str | bytes, *, delsp: bool = False) -> bytes:
    """Return a mail with this as its flowing text."""
    more = "; DelSp=yes" if delsp else ""
    return mail(entity(f'text/plain; charset=utf-8; format="Flowed"{more}', body))


def commented(armored: bytes, comment: str = f"See https://example.net/ - {LONG}") -> str:
    """Return armor with a header that no program leaves in one line."""
    first, rest = armored.decode().split("\n", 1)
    return f"{first}\nComment: {comment}\n{rest}"


@pytest.fixture(scope="module")
def armored(keys: Keys) -> bytes:
    """Return a ciphertext to the role key."""
    return keys.reporter.encrypt(f"{LONG}\n".encode() * 20, keys.role_fpr)


@pytest.mark.parametrize("delsp", [False, True])
async def test_a_ciphertext_with_a_broken_header_opens(
    stranger_desk: Desk, armored: bytes, delsp: bool
) -> None:
    """A header line without a colon stops gpg; no header is needed to open a message."""
    body = flow(f"Hello,\n\n{commented(armored)}\nBye\n", delsp=delsp)
    message = await stranger_desk.open(flowed(body, delsp=delsp))
    assert told(message) == ["encrypted inline 0 ok"]
    assert message.text == f"{LONG}\n" * 20
    assert message.outside_encryption.split() == ["Hello,", "Bye"]


async def test_without_the_parameter_the_header_is_what_it_is(
    stranger_desk: Desk, armored: bytes
) -> None:
    """Nothing is mended in a text that does not say that its lines flow."""
    message = await stranger_desk.open(mail(entity("text/plain", flow(commented(armored)))))
    assert (message.text, message.decryption.reason) == ("", OpenFailure.CORRUPT)


async def test_a_ciphertext_with_a_blank_before_every_line_opens(
    stranger_desk: Desk, armored: bytes
) -> None:
    """RFC 3676 section 4.4 lets a program stuff whatever line it likes."""
    body = "".join(f" {line}\n" for line in commented(armored).splitlines())
    message = await stranger_desk.open(flowed(body))
    assert (told(message), message.text[:10]) == (["encrypted inline 0 ok"], LONG[:10])
    assert message.outside_encryption == ""


async def test_broken_base64_opens(stranger_desk: Desk, armored: bytes) -> None:
    """With DelSp=yes a line may be broken anywhere, and the blank at its end is none of it."""
    lines = armored.decode().splitlines()
    broken = [f"{line[:30]} \n{line[30:]}" if len(line) == 64 else line for line in lines]
    assert len(broken) > 20
    message = await stranger_desk.open(flowed("\n".join(broken) + "\n", delsp=True))
    assert told(message) == ["encrypted inline 0 ok"]


async def test_a_damaged_ciphertext_stays_shut(stranger_desk: Desk, armored: bytes) -> None:
    """What flows is mended, what was changed is not."""
    body = flow(commented(armored))
    middle = len(body) // 2
    message = await stranger_desk.open(flowed(body[:middle] + body[middle + 80 :]))
    assert (message.text, message.protection) == ("", Protection.UNDECRYPTABLE)


async def test_a_quoted_ciphertext_opens(stranger_desk: Desk, armored: bytes) -> None:
    """Whoever answers above our quoted mail sends the ciphertext back, mark before mark."""
    for quote in (">", "> ", ">> ", "> > "):
        lines = flow(commented(armored)).splitlines()
        body = "Again:\n" + "".join(f"{quote}{line}\n" for line in lines)
        message = await stranger_desk.open(flowed(body))
        assert (quote, told(message)) == (quote, ["encrypted inline 0 ok"])
        assert message.outside_encryption == "Again:\n"


async def test_a_quoted_ciphertext_for_others_is_a_quotation(
    stranger_desk: Desk, keys: Keys
) -> None:
    """It is text, and makes nothing undecryptable."""
    lines = keys.stranger.encrypt(b"x", keys.stranger_fpr).decode().splitlines()
    message = await stranger_desk.open(flowed("".join(f"> {line}\n" for line in lines)))
    assert (message.protection, told(message)) == (Protection.NONE, [])
    assert "> -----BEGIN PGP MESSAGE-----" in message.text


# ── Signed texts ─────────────────────────────────────────────────────────────────────────────────

WORDS = f"""Dear team,

{LONG}
{LONG}

From here it is easy:
 indented
> quoted, and long enough that a program which lets lines flow has to break it somewhere
> quoted
>> twice
{"-- "}
Rita
"""


@pytest.mark.parametrize("delsp", [False, True])
async def test_a_text_that_was_signed_and_then_flowed_verifies(
    known_desk: Desk, keys: Keys, delsp: bool
) -> None:
    """What was signed is what its author wrote, and that is what is told."""
    signed = keys.reporter.clearsign(WORDS.encode(), keys.reporter_fpr).decode()
    body = flow(signed, delsp=delsp)
    assert f"{LONG}\n" not in body
    message = await known_desk.open(flowed(body, delsp=delsp))
    assert (told(message), verdicts(message)) == (["signed inline 0 ok"], ["good whole sender"])
    assert message.text.rstrip() == "\n".join(line.rstrip() for line in WORDS.splitlines())


async def test_a_text_that_was_flowed_and_then_signed_verifies(
    known_desk: Desk, keys: Keys
) -> None:
    """Programs that know OpenPGP sign the lines that leave; blanks at their ends do not count."""
    body = keys.reporter.clearsign(flow(WORDS).encode(), keys.reporter_fpr)
    message = await known_desk.open(flowed(body))
    assert verdicts(message) == ["good whole sender"]


async def test_a_text_whose_lines_were_only_stuffed_verifies(known_desk: Desk, keys: Keys) -> None:
    """Short lines that begin with a blank get another one on their way, armor lines too."""
    signed = keys.reporter.clearsign(b" one\n  two\n\n> three \n", keys.reporter_fpr).decode()
    stuffed = "".join(f" {line}\n" if line else "\n" for line in signed.splitlines())
    message = await known_desk.open(flowed(f"Hello,\n{stuffed}"))
    assert verdicts(message) == ["good part sender"]
    assert message.text.startswith("Hello,\n\n one\n  two\n")


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("copies the", "copied the"),
        ("easy:\n", "easy: \n"),
        (" indented", "indented"),
        ("Dear team,\n\n", "Dear team,\n"),
        (">> twice", "> twice"),
    ],
)
async def test_a_text_that_was_changed_is_bad_in_every_form(
    known_desk: Desk, keys: Keys, was: str, becomes: str
) -> None:
    """A word, a line that is joined to the next, and a depth of quotation are all signed."""
    signed = keys.reporter.clearsign(WORDS.encode(), keys.reporter_fpr).decode()
    body = flow(signed)
    assert was in body
    message = await known_desk.open(flowed(body.replace(was, becomes, 1)))
    assert (told(message), verdicts(message)) == (["signed inline 0 not ok"], ["bad whole other"])


async def test_the_blanks_of_delsp_are_not_guessed(known_desk: Desk, keys: Keys) -> None:
    """A text that flows with DelSp has other words without it."""
    signed = keys.reporter.clearsign(WORDS.encode(), keys.reporter_fpr).decode()
    for sent, said in ((True, False), (False, True)):
        message = await known_desk.open(flowed(flow(signed, delsp=sent), delsp=said))
        assert verdicts(message) == ["bad whole other"]


async def test_an_old_signature_is_not_good_for_a_text_that_flows(
    known_desk: Desk, keys: Keys
) -> None:
    """No form of one text is a form of another."""
    signed = keys.reporter.clearsign(b"Please pay Alice.\n", keys.reporter_fpr).decode()
    for changed in ("Please pay \nMallory.", "Please pay Alice. \nAnd Mallory.", " Pay Mallory."):
        body = signed.replace("Please pay Alice.", changed)
        assert verdicts(await known_desk.open(flowed(body))) == ["bad whole other"]


async def test_a_broken_header_of_a_certificate_does_not_lose_it(
    stranger_desk: Desk, keys: Keys
) -> None:
    """The reporter's key in the text settles who signed."""
    signed = keys.reporter.clearsign(b"words\n", keys.reporter_fpr).decode()
    certificate = commented(keys.reporter.export(keys.reporter_fpr, armor=True))
    message = await stranger_desk.open(flowed(flow(f"{signed}\n{certificate}")))
    assert verdicts(message) == ["good part sender"]


def test_forms_are_few_and_end_with_the_joined_one() -> None:
    """Each costs a look by gpg, so those that are the same count once."""
    tail = "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----"
    begin = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n"
    short = crlf(f"{begin}one\ntwo\n{tail}")
    assert len(Flow().signed_forms(short)) == 1
    forms = Flow().signed_forms(crlf(f"{begin}  one \n two\n{tail}"))
    assert [form.decode().removeprefix(begin).removesuffix(tail) for form in forms] == [
        "  one \n two\n", " one \ntwo\n", " one two\n",
    ]  # fmt: skip


def test_armor_without_a_header_is_left_as_it_is() -> None:
    """An empty line within a damaged block is no end of headers."""
    block = b"-----BEGIN PGP MESSAGE-----\nAAAA\n\nBBBB\n-----END PGP MESSAGE-----"
    assert armor(block) == block
