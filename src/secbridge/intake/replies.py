"""What do we answer?  Every reply with its enhanced status (RFC 3463, RFC 2034).

Nothing that a client said and no text of an exception ever stands in a reply.
"""

from __future__ import annotations

from collections.abc import Iterable


class Reply:
    """One line to the client; ``reason`` is its name in the log when it is a refusal."""

    __slots__ = ("code", "line", "reason", "status")

    def __init__(self, code: int, status: str, text: str, reason: str = "") -> None:
        self.code = code
        self.status = status
        self.reason = reason
        self.line = f"{code} {status} {text}\r\n".encode("ascii")


def accepted(ids: Iterable[str]) -> Reply:
    """Return the answer to a mail that is ours, under these ids."""
    return Reply(250, "2.0.0", f"Ok: accepted as {','.join(ids)}")


GO_AHEAD = b"354 End data with <CR><LF>.<CR><LF>\r\n"

SENDER_OK = Reply(250, "2.1.0", "Ok")
RECIPIENT_OK = Reply(250, "2.1.5", "Ok")
OK = Reply(250, "2.0.0", "Ok")
BYE = Reply(221, "2.0.0", "Bye")
READY_FOR_TLS = Reply(220, "2.0.0", "Ready to start TLS")
CANNOT_VERIFY = Reply(252, "2.0.0", "Send a mail and we shall see")
HELP = Reply(214, "2.0.0", "See RFC 5321")

TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", "Too many connections", "too-many-connections")
TOO_MANY_COMMANDS = Reply(421, "4.7.0", "Too many commands without a mail", "too-many-commands")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors", "too-many-errors")
STOPPING = Reply(421, "4.3.2", "Stopping, come again", "stopping")
BROKEN = Reply(421, "4.3.0", "Try again later", "fault")
TIMEOUT = Reply(421, "4.4.2", "Timeout", "timeout")

FAULT = Reply(451, "4.3.0", "Try again later", "fault")
STORE_BUSY = Reply(451, "4.3.0", "Try again later", "store-busy")
DISK_FULL = Reply(452, "4.3.1", "No storage at the moment", "disk-full")
NO_ROOM = Reply(452, "4.3.1", "Too many mails at the moment", "no-room")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients", "too-many-recipients")

BAD_SYNTAX = Reply(500, "5.5.2", "Bad syntax", "bad-syntax")
UNKNOWN_COMMAND = Reply(500, "5.5.1", "Unknown command", "unknown-command")
LINE_TOO_LONG = Reply(500, "5.5.2", "Line too long", "line-too-long")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "Not implemented", "not-implemented")
NEEDS_NAME = Reply(501, "5.5.4", "Say who you are", "bad-greeting")
NO_ARGUMENT = Reply(501, "5.5.4", "No argument is allowed", "bad-argument")
SYNTAX_MAIL = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address>", "bad-mail")
SYNTAX_RCPT = Reply(501, "5.5.4", "Syntax: RCPT TO:<address>", "bad-rcpt")
BAD_SENDER = Reply(501, "5.1.7", "Bad sender address syntax", "bad-sender")
BAD_RECIPIENT = Reply(501, "5.1.3", "Bad recipient address syntax", "bad-recipient")
BAD_PARAMETER = Reply(501, "5.5.4", "Bad parameter", "bad-parameter")
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "Unknown parameter", "unknown-parameter")
GREET_FIRST = Reply(503, "5.5.1", "Greet first", "bad-sequence")
NESTED_MAIL = Reply(503, "5.5.1", "A mail is open already", "bad-sequence")
NEEDS_MAIL = Reply(503, "5.5.1", "MAIL comes first", "bad-sequence")
NEEDS_RCPT = Reply(503, "5.5.1", "No recipient was accepted", "bad-sequence")
TLS_ALREADY = Reply(503, "5.5.1", "TLS is on already", "bad-sequence")
TLS_FIRST = Reply(530, "5.7.0", "STARTTLS comes first", "tls-required")
UNKNOWN_RECIPIENT = Reply(550, "5.1.1", "No such recipient here", "unknown-recipient")
TOO_LARGE = Reply(552, "5.3.4", "Too large", "too-large")
NOT_ALLOWED = Reply(554, "5.7.1", "Your network is not allowed here", "network-not-allowed")
