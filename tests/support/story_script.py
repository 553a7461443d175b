"""What happens in the story?  Some forty events, from the first report to the last word.

Rita reports a weakness, encrypted; a colleague of hers joins in; strangers try to get into the
thread; machines answer machines; and the team does in its tracker whatever can be done there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.support import mails
from tests.support.keys import REPORTER, ROLE
from tests.support.story import Incoming, Town

from secbridge.model.issue import IssueChange

CANARY, ANOTHER = "Zinnobergimpel", "Kreuzschnabel"
"""Words that are said in the encrypted thread alone: by Rita, and by the team."""

COLLEAGUE, STRANGER, PAUL = "carla@example.net", "mallory@example.com", "paul@example.net"
QUINN, DORA = "quinn@example.net", "dora@example.net"
ALEX, KIM = "alex@example.org", "kim@example.org"

Text = str | Callable[[Town, str], str]
"""What somebody writes on an issue: the same always, or made of the town and the issue's number."""


@dataclass(frozen=True)
class Event:
    """Something that happens; ``needs_strangers``: only where the tracker has people of all kinds.

    By its name later events speak of its mail and of the case that this belongs to.
    """

    name: str
    act: Callable[[Town], Awaitable[Incoming | None]]
    needs_strangers: bool = False


# ── Mails ────────────────────────────────────────────────────────────────────────────────────────


def _post(
    author: str, name: str, content: bytes, *, subject: str = "...", to: str = ROLE, extra: str = ""
) -> bytes:
    """Return a mail as somebody's program writes it."""
    head = (
        f"From: {author}\nTo: {to}\nSubject: {subject}\nMessage-ID: <{name}>\n"
        f"Date: Fri, 20 Nov 2026 09:00:00 +0000\n{extra}MIME-Version: 1.0\n"
    )
    return mails.crlf(head) + content


def _sealed(town: Town, name: str, words: str, *, key: str = "", cert: bool = False) -> bytes:
    """Return what Rita encrypts to the alias and signs, by default with her first key."""
    cast = town.cast
    signer = key or cast.rita_key

    def make() -> bytes:
        files = [mails.file(cast.rita.export(signer), "key.asc")] if cert else []
        parts = [mails.text(words), *files]
        inside = mails.multipart("mixed", parts, boundary="inside")
        armor = cast.rita.encrypt(inside, cast.keys.role_fpr, sign=signer)
        return mails.encrypted(armor)

    return cast.once(name, make)


def _answering(town: Town, recipient: str, number: int = -1) -> tuple[str, str]:
    """Return the field that answers a mail of ours, and the address that answers go to."""
    raw = town.sent(recipient)[number].content.decode("latin-1")
    head = raw.partition("\r\n\r\n")[0].replace("\r\n ", " ").split("\r\n")
    cut = [line.partition(":") for line in head]
    fields = {name.lower(): value.strip() for name, _, value in cut}
    address = fields.get("reply-to", ROLE).rpartition("<")[2].strip("> ")
    return f"In-Reply-To: {fields['message-id']}\nReferences: {fields['message-id']}\n", address


async def _rita_reports(town: Town) -> Incoming:
    words = f"The parser reads past its buffer. {CANARY}\n"
    sealed = _sealed(town, "report", words, cert=True)
    return Incoming(_post(REPORTER, "rita-1@example.net", sealed), REPORTER)


async def _our_answer_comes_back(town: Town) -> Incoming:
    """Send back what went to the alias, which is on CC of our mails."""
    copy = town.sent(ROLE)[0]
    return Incoming(b"Received: from relay\r\n" + copy.content, copy.reverse_path)


async def _a_header_is_copied(town: Town) -> Incoming:
    """Mallory has a mail of ours before her and takes from it what makes it ours."""
    raw = town.sent(REPORTER)[0].content.decode("latin-1").partition("\r\n\r\n")[0]
    taken = [
        line for line in raw.replace("\r\n ", " ").split("\r\n")
        if line.lower().startswith(("message-id", "x-secbridge-origin"))
    ]  # fmt: skip
    head = f"From: {STRANGER}\nTo: {ROLE}\nSubject: Invoice\n" + "\n".join(taken) + "\n"
    return Incoming(mails.crlf(head) + mails.text("Please pay.\n"), STRANGER)


async def _rita_writes_again(town: Town) -> Incoming:
    extra, to = _answering(town, REPORTER)
    quoted = "> Thank you for your report.\n"
    sealed = _sealed(town, "again", f"It is worse on Windows. {CANARY}\n\n{quoted}")
    return Incoming(_post(REPORTER, "rita-2@example.net", sealed, to=to, extra=extra), REPORTER, to)


async def _rita_writes_in_clear(town: Town) -> Incoming:
    extra, to = _answering(town, REPORTER)
    content = mails.text("Did you get my last mail?\n")
    return Incoming(
        _post(REPORTER, "rita-3@example.net", content, to=to, extra=extra), REPORTER, to
    )


async def _a_colleague_joins(town: Town) -> Incoming:
    """Carla was on CC of Rita's mail and answers to all."""
    _, to = _answering(town, REPORTER)
    content = mails.text("I work with Rita and can help.\n")
    return Incoming(_post(COLLEAGUE, "carla-1@example.net", content, to=to), COLLEAGUE, to)


async def _a_subject_claims(town: Town) -> Incoming:
    subject = f"Re: {(await town.case('Rita reports')).id}"
    content = mails.text("What is the state of this? Please send me the details.\n")
    return Incoming(_post(STRANGER, "mallory-2@example.com", content, subject=subject), STRANGER)


async def _a_thread_is_hijacked(town: Town) -> Incoming:
    """Mallory has seen the Message-ID of Rita's mail somewhere."""
    extra = "In-Reply-To: <rita-1@example.net>\nReferences: <rita-1@example.net>\n"
    content = mails.text("Rita asked me to go on with this. Please answer me.\n")
    return Incoming(_post(STRANGER, "mallory-3@example.com", content, extra=extra), STRANGER)


async def _alex_answers_directly(town: Town) -> Incoming:
    """Alex writes to Rita with the alias on CC, and signs."""
    cast = town.cast

    def make() -> bytes:
        inside = mails.text(f"I have seen it too. {ANOTHER}\n")
        recipients = (cast.rita_key, cast.keys.role_fpr)
        return mails.encrypted(cast.team.encrypt(inside, *recipients, sign=cast.alex_key))

    sealed = cast.once("alex", make)
    extra = f"Cc: {ROLE}\nIn-Reply-To: <rita-2@example.net>\nReferences: <rita-2@example.net>\n"
    raw = _post(ALEX, "alex-1@example.org", sealed, to=REPORTER, extra=extra)
    return Incoming(raw, ALEX)


async def _kim_is_on_holiday(town: Town) -> Incoming:
    """Kim's mail program answers the mail that tells who has taken the case."""
    claim = town.sent(KIM)[0]
    extra, _ = _answering(town, KIM, 0)
    extra += "Auto-Submitted: auto-replied\n"
    raw = _post(KIM, "kim-1@example.org", mails.text("I am away.\n"), extra=extra)
    return Incoming(raw, "", claim.reverse_path)


async def _rita_is_on_holiday(town: Town) -> Incoming:
    extra, _ = _answering(town, REPORTER)
    extra += "Auto-Submitted: auto-replied\nPrecedence: bulk\n"
    raw = _post(REPORTER, "rita-4@example.net", mails.text("I am away.\n"), extra=extra)
    return Incoming(raw, "", town.sent(REPORTER)[-1].reverse_path)


async def _our_letter_bounces(town: Town) -> Incoming:
    """Send a delivery report (RFC 3464) for the last letter to Rita."""
    letter = town.sent(REPORTER)[-1]
    ours = letter.content.partition(b"\r\n\r\n")[0].split(b"\r\n")
    ours = [line for line in ours if line.lower().startswith((b"message-id", b"from", b"to:"))]
    status = (
        "Reporting-MTA: dns; mx.example.net\n\n"
        f"Final-Recipient: rfc822; {REPORTER}\nAction: failed\nStatus: 5.2.2\n"
        "Diagnostic-Code: smtp; 552 5.2.2 mailbox full, ask @all\n"
    )
    parts = [
        mails.text("This is the mail system.\n"),
        mails.entity("message/delivery-status", status),
        mails.entity("text/rfc822-headers", b"\r\n".join(ours) + b"\r\n"),
    ]
    report = mails.multipart(
        "report", parts, boundary="dsn", params="; report-type=delivery-status"
    )
    to = letter.reverse_path
    raw = _post("mailer-daemon@mx.example.net", "dsn-1@mx.example.net", report, to=to)
    return Incoming(raw, "", to)


async def _dmarc_fails(town: Town) -> Incoming:
    extra = "Authentication-Results: mail.example.org; dmarc=fail header.from=example.com\n"
    raw = _post("ceo@example.com", "ceo-1@example.com", mails.text("Urgent.\n"), extra=extra)
    return Incoming(raw, "ceo@example.com")


async def _a_list_writes(town: Town) -> Incoming:
    extra = "List-Id: <users.example.com>\nPrecedence: list\n"
    content = mails.text("Digest of the week.\n")
    raw = _post("bob@example.com", "bob-1@example.com", content, extra=extra)
    return Incoming(raw, "users-bounces@example.com")


async def _rita_has_another_key(town: Town) -> Incoming:
    extra, to = _answering(town, REPORTER)
    words, key = f"This is my new key. {CANARY}\n", town.cast.rita_other_key
    sealed = _sealed(town, "new key", words, key=key, cert=True)
    return Incoming(_post(REPORTER, "rita-5@example.net", sealed, to=to, extra=extra), REPORTER, to)


async def _rita_writes_once_more(town: Town) -> Incoming:
    """Write when the issue is closed already."""
    extra, to = _answering(town, REPORTER)
    words, key = f"It still crashes. {CANARY}\n", town.cast.rita_other_key
    sealed = _sealed(town, "more", words, key=key)
    return Incoming(_post(REPORTER, "rita-6@example.net", sealed, to=to, extra=extra), REPORTER, to)


def _clear_report(author: str, name: str, words: str) -> Callable[[Town], Awaitable[Incoming]]:
    async def act(town: Town) -> Incoming:
        return Incoming(_post(author, name, mails.text(words), subject="A bug"), author)

    return act


# ── What the team does ───────────────────────────────────────────────────────────────────────────


def _says(name: str, on: str, text: Text, *, by: str = "alex", strangers: bool = False) -> Event:
    """Somebody comments on the issue of an earlier event's mail."""

    async def act(town: Town) -> None:
        number = await town.number(on)
        said = text if isinstance(text, str) else text(town, number)
        await town.site.write(town.house, number, said, by=by)

    return Event(name, act, strangers)


def _does(name: str, on: str, change: IssueChange) -> Event:
    """Somebody changes an issue by hand."""

    async def act(town: Town) -> None:
        await town.site.change(town.house, await town.number(on), change)

    return Event(name, act)


def _careless(town: Town, number: str) -> str:
    """Return a reply with things in it that a reporter must not see."""
    page = town.site.page(number)
    return f"sb: reply\nWe can reproduce it, see {ANOTHER}. Ask @kim, see {page}\n<!-- oh dear -->"


async def _edits(town: Town) -> None:
    """Edit the reply when it has left."""
    number = await town.number("Rita reports")
    await town.site.rewrite(number, "sb: reply", f"sb: reply\nAnother text. {ANOTHER}")


async def _opens_by_hand(town: Town) -> None:
    town.born["An issue is opened by hand"] = await town.site.open()


async def _is_heard_twice(town: Town) -> None:
    number = await town.number("Rita reports")
    await town.site.write(town.house, number, "sb: disclosed https://example.org/a/1", by="alex")
    await town.listen_twice_at_once()


RITA, PAULS, QUINNS = "Rita reports", "Paul reports in clear", "Quinn reports the same"
BORN = "An issue is opened by hand"

STORY: tuple[Event, ...] = (
    Event(RITA, _rita_reports),
    Event("Our own answer comes back through the alias", _our_answer_comes_back),
    Event("A header of ours is copied onto another text", _a_header_is_copied),
    _says("Alex takes the case", RITA, "sb: take"),
    _says("Kim has not the role", RITA, "sb: accept", by="kim", strangers=True),
    _says("The team talks among itself", RITA, f"Looks bad, @kim. {ANOTHER}"),
    _says("Alex accepts it", RITA, "sb: accept"),
    Event("Rita writes again, encrypted", _rita_writes_again),
    Event("Rita writes in clear", _rita_writes_in_clear),
    Event("A colleague on CC joins", _a_colleague_joins),
    Event("A subject claims to continue it", _a_subject_claims),
    Event("A thread is hijacked", _a_thread_is_hijacked),
    Event("Alex answers Rita directly", _alex_answers_directly),
    Event("Kim's holiday reply comes", _kim_is_on_holiday),
    Event("Rita's holiday reply comes", _rita_is_on_holiday),
    _says("Alex asks for more", RITA, "sb: need-info\nWhich version did you test?"),
    Event("Our letter bounces", _our_letter_bounces),
    Event("A mail fails DMARC", _dmarc_fails),
    Event("A mailing list writes", _a_list_writes),
    Event("Rita has another key", _rita_has_another_key),
    _says(
        "Alex accepts the key", RITA, lambda town, _: f"sb: key accept {town.cast.rita_other_key}"
    ),
    _says("Alex holds the mail", RITA, "sb: hold"),
    _says("Alex replies meanwhile", RITA, _careless),
    _says("Alex asks for the state", RITA, "sb: status"),
    _says("Alex lets the mail go", RITA, "sb: release"),
    Event("Alex edits the reply", _edits, needs_strangers=True),
    _says("Alex looks at a mail first", RITA, "sb: preview fixed 2.4.2"),
    _says("Alex asks for help", RITA, "sb: help"),
    _says("Alex mistypes", RITA, "sb: dance"),
    _says("It is fixed", RITA, "sb: fixed 2.4.2"),
    Event("Webhook and poll hear of the disclosure at once", _is_heard_twice),
    _does("Alex closes the issue", RITA, IssueChange(open=False)),
    Event("Rita writes to the closed issue", _rita_writes_once_more),
    Event(PAULS, _clear_report(PAUL, "paul-1@example.net", "The button does nothing.\n")),
    _does("A label stands for a command", PAULS, IssueChange(add_labels=("confirmed",))),
    _does("Kim is given Paul's issue", PAULS, IssueChange(assignees=("kim",))),
    _says("Paul's is an ordinary bug", PAULS, "sb: normal-bug"),
    Event(QUINNS, _clear_report(QUINN, "quinn-1@example.net", "The parser crashes.\n")),
    _says("Quinn's is a duplicate", QUINNS, "sb: duplicate-of SB-2026-0001"),
    _says("The claim is rejected", "A subject claims to continue it",
          "sb: reject out-of-scope We tell nobody but the reporter."),
    _says("A rejection needs a reason", "A thread is hijacked", "sb: reject out-of-scope"),
    _says("The digest is spam", "A mailing list writes", "sb: spam"),
    Event(BORN, _opens_by_hand, needs_strangers=True),
    _says("It is given a reporter", BORN, f"sb: reporter {DORA}", strangers=True),
    _says("Dora is written to", BORN, "sb: reply\nDear Dora, you told us by phone.",
          strangers=True),
)  # fmt: skip
"""The story."""
