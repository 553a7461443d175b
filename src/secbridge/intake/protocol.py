"""What do the lines of a client mean?  SMTP (RFC 5321) and LMTP (RFC 2033).

Every command with its enhanced status, the bounded reading of a mail, and LMTP's reply for each
recipient in every case.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, assert_never

from secbridge import maillog
from secbridge.intake import replies
from secbridge.intake.connection import COMMAND_LENGTH, EVERYTHING, Connection
from secbridge.intake.content import Content, Overflow
from secbridge.intake.desk import Desk, Mail
from secbridge.intake.limits import Reservation
from secbridge.intake.replies import Reply
from secbridge.model.envelope import Envelope, Target
from secbridge.rules.addresses import BadPath, combine, parse_path

_SIZE = re.compile(r"[0-9]{1,20}")
_BODIES = frozenset({"7BIT", "8BITMIME"})  # RFC 6152; octets stay as they are in both cases
_BEFORE_TLS = frozenset({"EHLO", "LHLO", "STARTTLS", "NOOP", "QUIT"})  # RFC 3207 section 4


@dataclass(slots=True)
class Transaction:
    """One mail from MAIL to the final dot; ``recipients`` has an entry for each accepted RCPT."""

    reverse_path: str | None = None
    size: int = 0
    recipients: list[Target] = field(default_factory=list)


_Verb = Callable[[Any, str], Awaitable[None]]


class _BadParameterError(ValueError):
    """A parameter of MAIL or RCPT that we cannot take; ``reply`` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply


class Conversation(Connection):
    """An SMTP conversation with one client."""

    greeting_word = "ESMTP"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.transaction = Transaction()
        self._greeted = False
        self._commands = 0

    async def _obey(self, line: bytes) -> None:
        """Do what a line says, within the limits."""
        if len(line) > COMMAND_LENGTH:
            self._say(replies.LINE_TOO_LONG)
            return
        self._commands += 1
        if self._commands > self.desk.limits.commands:
            self._hang_up(replies.TOO_MANY_COMMANDS)
            return
        verb, argument = _split(line)
        obey = self.verbs.get(verb)
        if obey is None:
            self._say(replies.UNKNOWN_COMMAND if verb else replies.BAD_SYNTAX)
        elif self.desk.require_tls and not (self._secure or self._on_unix or verb in _BEFORE_TLS):
            self._say(replies.TLS_FIRST)
        else:
            await obey(self, argument)

    # ── Greeting ─────────────────────────────────────────────────────────────────────────────────

    async def _helo(self, argument: str) -> None:
        """Greet without extensions (HELO, RFC 5321 section 4.1.1.1)."""
        if self._greet(argument):
            self._wire.write(f"250 {self.desk.hostname}\r\n".encode("ascii"))

    async def _ehlo(self, argument: str) -> None:
        """EHLO and LHLO: tell the extensions that we have."""
        if self._greet(argument):
            lines = [self.desk.hostname, *self._extensions()]
            text = "".join(f"250-{line}\r\n" for line in lines[:-1]) + f"250 {lines[-1]}\r\n"
            self._wire.write(text.encode("ascii"))

    def _greet(self, argument: str) -> bool:
        """Note that the client has a name; a greeting also forgets an open mail."""
        if not argument:
            self._say(replies.NEEDS_NAME)
            return False
        self.transaction = Transaction()
        self._greeted = True
        return True

    def _extensions(self) -> Sequence[str]:
        """Return what we can: RFC 2920, 1870, 3207, 2034, 6152 and 6531."""
        starttls = ["STARTTLS"] if self.desk.tls is not None and not self._secure else []
        size = f"SIZE {self.desk.limits.message_size}"
        return ["PIPELINING", size, *starttls, "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8"]

    async def _starttls(self, argument: str) -> None:
        """STARTTLS: RFC 3207.  What the client sent in clear before is forgotten."""
        if argument:
            self._say(replies.NO_ARGUMENT)
        elif self._secure:
            self._say(replies.TLS_ALREADY)
        elif self.desk.tls is None:
            self._say(replies.NOT_IMPLEMENTED)
        else:
            self._say(replies.READY_FOR_TLS)
            self.transaction = Transaction()
            self._greeted = False
            await self._start_tls(self.desk.tls)

    # ── One mail ─────────────────────────────────────────────────────────────────────────────────

    async def _mail(self, argument: str) -> None:
        """MAIL: RFC 5321 section 4.1.1.2, with SIZE, BODY and SMTPUTF8."""
        self._say(self._open(argument))

    def _open(self, argument: str) -> Reply:
        """Begin a transaction and return the answer."""
        if not self._greeted:
            return replies.GREET_FIRST
        if self.transaction.reverse_path is not None:
            return replies.NESTED_MAIL
        if argument[:5].upper() != "FROM:":
            return replies.SYNTAX_MAIL
        try:
            sender, rest = parse_path(argument[5:].lstrip())
            size = _mail_parameters(rest) if rest else 0
        except BadPath:
            return replies.BAD_SENDER
        except _BadParameterError as exc:
            return exc.reply
        if size > self.desk.limits.message_size:
            return replies.TOO_LARGE
        self.transaction.reverse_path = "" if sender is None else str(sender)
        self.transaction.size = size
        return replies.SENDER_OK

    async def _rcpt(self, argument: str) -> None:
        """RCPT: RFC 5321 section 4.1.1.3; we take the aliases and the addresses that we issued."""
        self._say(await self._add(argument))

    async def _add(self, argument: str) -> Reply:
        """Add a recipient to the transaction and return the answer."""
        transaction = self.transaction
        if transaction.reverse_path is None:
            return replies.NEEDS_MAIL if self._greeted else replies.GREET_FIRST
        if argument[:3].upper() != "TO:":
            return replies.SYNTAX_RCPT
        try:
            mailbox, rest = parse_path(argument[3:].lstrip())
        except BadPath:
            return replies.BAD_RECIPIENT
        if mailbox is None or rest:
            return replies.UNKNOWN_PARAMETER if rest else replies.BAD_RECIPIENT
        if len(transaction.recipients) >= self.desk.limits.recipients:
            return replies.TOO_MANY_RECIPIENTS
        found = await self.desk.find(mailbox)
        if isinstance(found, Reply):
            return found
        transaction.recipients.append(found)
        return replies.RECIPIENT_OK

    async def _data(self, argument: str) -> None:
        """Take a mail (DATA, RFC 5321 section 4.1.1.4); 250 only once the spool has committed."""
        transaction = self.transaction
        if argument:
            self._say(replies.NO_ARGUMENT)
            return
        if not transaction.recipients:
            self._say(replies.NEEDS_RCPT if self._greeted else replies.GREET_FIRST)
            return
        self.transaction = Transaction()
        reservation = self.desk.memory.reserve(transaction.size)
        if reservation is None:
            self._say(replies.NO_ROOM)
            return
        self._receiving = True
        try:
            await self._take(transaction, reservation)
        finally:
            self._receiving = False

    async def _take(self, transaction: Transaction, reservation: Reservation) -> None:
        """Read a mail, commit it and answer for it."""
        content = await self._receive(reservation)
        deliveries, owners = combine(transaction.recipients)
        try:
            outcome = await self._finish(transaction, content, deliveries, reservation)
        except Exception as exc:  # noqa: BLE001 - LMTP owes an answer for each recipient here
            reservation.release()
            maillog.fault("intake", type(exc).__name__)
            outcome = replies.FAULT
        if isinstance(outcome, Reply):
            self._refuse_mail(outcome, len(owners))
        else:
            self._errors = self._commands = 0
            self._confirm_mail([outcome[owner] for owner in owners])

    async def _receive(self, reservation: Reservation) -> Content:
        """Read up to the final dot, for as long as octets come and the whole is not too slow.

        What fails in here leaves us in the middle of a mail, where only closing is safe: the rest
        of it must not be read as commands.
        """
        content = Content(self.desk.limits.message_size, reservation)
        try:
            self._wire.write(replies.GO_AHEAD)
            await self._fill(content)
        except (asyncio.IncompleteReadError, asyncio.CancelledError):
            reservation.release()
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is, the rest is no command
            reservation.release()
            maillog.fault("intake", type(exc).__name__)
            self._hang_up(replies.BROKEN)
            raise ConnectionAbortedError from None
        return content

    async def _fill(self, content: Content) -> None:
        """Feed the content; what comes behind the final dot goes back to be read as commands."""
        end = self.loop.time() + self.desk.limits.data_time.total_seconds()
        chunk = b""
        while not content.feed(chunk):
            self._allow(min(self._timeout_duration, end - self.loop.time()))
            chunk = await self._reader.read(EVERYTHING)
            if not chunk:
                raise asyncio.IncompleteReadError(b"", None)
        if content.rest:
            self._give_back(content.rest)

    async def _finish(
        self,
        transaction: Transaction,
        content: Content,
        deliveries: Sequence[Target],
        reservation: Reservation,
    ) -> Sequence[str] | Reply:
        """Commit a mail unless it was too much; return its deliveries' ids, or the refusal."""
        raw = content.take() if content.overflow is Overflow.NONE else b""
        match content.overflow:
            case Overflow.NONE:
                self._allow(self.desk.limits.commit_time.total_seconds() + self._timeout_duration)
                envelope = Envelope(
                    reverse_path=transaction.reverse_path or "",
                    recipients=tuple(target.recipient for target in transaction.recipients),
                    peer=self.peer,
                    received_at=self.desk.clock.now(),
                )
                return await self.desk.commit(Mail(envelope, raw, deliveries, reservation))
            case Overflow.TOO_LARGE:
                reservation.release()
                return replies.TOO_LARGE
            case Overflow.NO_ROOM:
                reservation.release()
                return replies.NO_ROOM
            case _:
                assert_never(content.overflow)

    def _refuse_mail(self, reply: Reply, recipients: int) -> None:
        """Answer the final dot with a refusal."""
        self._say(reply)

    def _confirm_mail(self, ids: Sequence[str]) -> None:
        """Answer the final dot: the mail is ours, for every recipient, under these ids."""
        self._say(replies.accepted(dict.fromkeys(ids)))

    # ── The rest ─────────────────────────────────────────────────────────────────────────────────

    async def _rset(self, argument: str) -> None:
        """RSET: forget the open mail."""
        if argument:
            self._say(replies.NO_ARGUMENT)
            return
        self.transaction = Transaction()
        self._say(replies.OK)

    async def _noop(self, argument: str) -> None:
        """NOOP: nothing."""
        self._say(replies.OK)

    async def _vrfy(self, argument: str) -> None:
        """VRFY: neither yes nor no (RFC 5321 section 7.3)."""
        self._say(replies.CANNOT_VERIFY)

    async def _help(self, argument: str) -> None:
        """HELP: where to read."""
        self._say(replies.HELP)

    async def _quit(self, argument: str) -> None:
        """QUIT: say goodbye and close."""
        self._say(replies.BYE)
        self._close()

    async def _not_here(self, argument: str) -> None:
        """Answer a command that exists elsewhere."""
        self._say(replies.NOT_IMPLEMENTED)

    verbs: ClassVar[Mapping[str, _Verb]] = {
        "HELO": _helo,
        "EHLO": _ehlo,
        "STARTTLS": _starttls,
        "MAIL": _mail,
        "RCPT": _rcpt,
        "DATA": _data,
        "RSET": _rset,
        "NOOP": _noop,
        "VRFY": _vrfy,
        "HELP": _help,
        "QUIT": _quit,
        "EXPN": _not_here,
        "AUTH": _not_here,
        "BDAT": _not_here,
        "ETRN": _not_here,
    }


class LMTPConversation(Conversation):
    """An LMTP conversation: after the final dot a reply for each recipient (RFC 2033)."""

    greeting_word = "LMTP"
    verbs: ClassVar[Mapping[str, _Verb]] = {
        "LHLO": Conversation._ehlo,
        **{verb: do for verb, do in Conversation.verbs.items() if verb not in ("HELO", "EHLO")},
    }

    def _refuse_mail(self, reply: Reply, recipients: int) -> None:
        self._say(reply, recipients)

    def _confirm_mail(self, ids: Sequence[str]) -> None:
        self._wire.write(b"".join(replies.accepted((one,)).line for one in ids))


def _split(line: bytes) -> tuple[str, str]:
    """Return the verb in capitals and its argument; ("", "") for what is no line of text."""
    try:
        text = line.decode().rstrip()
    except UnicodeDecodeError:
        return "", ""
    if not text.isprintable():
        return "", ""
    verb, _, argument = text.partition(" ")
    return verb.upper(), argument.strip()


def _mail_parameters(text: str) -> int:
    """Return the size that MAIL announces, 0 if it does not.  Raises _BadParameterError."""
    size = 0
    for parameter in text.split():
        name, equals, value = parameter.partition("=")
        match name.upper():
            case "SIZE":
                if not _SIZE.fullmatch(value):
                    raise _BadParameterError(replies.BAD_PARAMETER)
                size = int(value)
            case "BODY":
                if value.upper() not in _BODIES:
                    raise _BadParameterError(replies.BAD_PARAMETER)
            case "SMTPUTF8":
                if equals:
                    raise _BadParameterError(replies.BAD_PARAMETER)
            case _:
                raise _BadParameterError(replies.UNKNOWN_PARAMETER)
    return size
