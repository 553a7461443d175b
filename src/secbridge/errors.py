"""What happens to the message now?  Every failure is sorted by its answer to that question.

A failure carries three things: a stable *code* for logs and lists, an *enhanced status* for the
SMTP client (RFC 3463), and a *sentence* fit for a stranger.  The detail goes to the log at the
place where the failure is raised; it never travels in the exception, because exception texts end
up in tracebacks, journals and replies.
"""

from __future__ import annotations

from datetime import timedelta


class SecbridgeError(Exception):
    """Root of our failures; nothing but our own sentences ever stands in its text."""


class MessageError(SecbridgeError):
    """A failure that decides what becomes of one message.

    ``code`` is a stable, lower-case id such as ``gpg-timeout``; ``sentence`` is fit for a stranger.
    """

    status = "5.0.0"

    def __init__(self, code: str, sentence: str, *, status: str | None = None) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence
        if status is not None:
            self.status = status


class Deferral(MessageError):  # noqa: N818 - the map's own word
    """Try again later: the fault is ours or passing, and the message waits, listed (4.y.z).

    ``alarm`` says that a person has to mend something; ``retry_after`` is a floor for the wait that
    the other side asked for, never a promise.
    """

    status = "4.3.0"

    def __init__(
        self,
        code: str,
        sentence: str,
        *,
        status: str | None = None,
        alarm: bool = False,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(code, sentence, status=status)
        self.alarm = alarm
        self.retry_after = retry_after


class Refusal(MessageError):  # noqa: N818 - the map's own word
    """Never: the same message would fail the same way again (5.y.z)."""


class Overtook(Deferral):
    """The mail goes on with another one that is in no case yet; it looks again soon."""

    CODE = "other-mail-first"

    def __init__(self) -> None:
        super().__init__(self.CODE, "The mail that this one goes on with is still being filed.")


class TransientFault(Deferral):
    """The tracker or the mail relay is away, slow or busy; nothing was done there."""


class PermanentFault(Deferral):
    """The tracker refuses until somebody mends a right, a name or a setting; nothing was done.

    It is a deferral with an alarm and not a refusal: the report waits, and drains when mended.
    """

    def __init__(self, code: str, sentence: str, *, setting: str = "", mend: str = "") -> None:
        super().__init__(code, sentence, alarm=True)
        self.setting = setting
        self.mend = mend


class OutcomeUnknown(Deferral):
    """A request went out and its answer did not come back: reconcile, never repeat blindly.

    ``sent`` is False when this try only looked for the effect of an earlier one and waits for it.
    """

    def __init__(
        self,
        code: str,
        sentence: str,
        *,
        sent: bool = True,
        alarm: bool = False,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(code, sentence, alarm=alarm, retry_after=retry_after)
        self.sent = sent


class NotConfidential(OutcomeUnknown):
    """The tracker did not keep the issue secret; it was told nothing of the report.

    An issue of ours is there, closed and without a word: the next try has to find it again, so this
    is an ``OutcomeUnknown``.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(code, sentence, alarm=True)


class IllegalMove(SecbridgeError):  # noqa: N818 - the map's own word
    """A delivery was asked to do what the table of its life does not allow; nothing changed."""


class StoreBusy(Deferral):
    """The store cannot commit now: locked, or its disk is full (then ``status`` is 4.3.1)."""


class ConfigError(SecbridgeError):
    """The configuration cannot be used; the daemon ends with exit status 78 (EX_CONFIG).

    The text names the file, the setting and the mend, and never the value.
    """

    def __init__(self, file: str, setting: str, problem: str, mend: str) -> None:
        where = f"{file}: {setting}" if setting else file
        super().__init__(f"{where}: {problem}\n  Mend: {mend}")
        self.file = file
        self.setting = setting
        self.problem = problem
        self.mend = mend
