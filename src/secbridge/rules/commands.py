"""What does a person of the team ask of us in a comment?  Only an explicit mark is a command.

A comment whose first line begins with the mark (``sb:`` by default) is for secbridge; every other
one is the team's own conversation and is never looked at again.  Where a tracker leaves such lines
alone, ``/reply`` is ``sb: reply``, and a word behind a slash that we do not know is nobody's
business.  What stands behind the command and in the lines below is its argument and its text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from secbridge.model.case import CaseStatus
from secbridge.model.reply import ReplyKind
from secbridge.rules.loops import is_plain_address

MARK = "sb:"

LONGEST_VERSION = 100
LONGEST_URL = 500
LONGEST_ISSUE = 500
"""Characters of what stands behind ``fixed``, ``disclosed`` and ``duplicate-of``."""

LONGEST_ADDRESS = 1000
"""Characters of what stands behind ``reporter``: an address and, of some editors, a link to it.

To look for an address takes time by the square of the length, and anybody may write a comment.
"""

REJECTION_CLASSES = (
    "not-a-vulnerability",
    "out-of-scope",
    "not-reproducible",
    "not-enough-information",
    "works-as-intended",
    "known-issue",
    "third-party",
)
"""Why a report may be rejected; the texts for reporters have words for each."""


class CommandName(StrEnum):
    """Everything that can be asked, in the words that are typed."""

    REPLY = "reply"
    ACCEPT = "accept"
    REJECT = "reject"
    NEED_INFO = "need-info"
    FIXED = "fixed"
    DISCLOSED = "disclosed"
    DUPLICATE_OF = "duplicate-of"
    NORMAL_BUG = "normal-bug"
    SPAM = "spam"
    TAKE = "take"
    KEY_ACCEPT = "key accept"
    REPORTER = "reporter"
    HOLD = "hold"
    RELEASE = "release"
    STATUS = "status"
    PREVIEW = "preview"
    HELP = "help"


@dataclass(frozen=True, slots=True)
class Usage:
    """How a command is typed (behind the mark), what it does, and what it looks like."""

    form: str
    effect: str
    example: str


USAGES: dict[CommandName, Usage] = {
    CommandName.REPLY: Usage(
        "reply TEXT",
        "send this text to the reporter; it may go on in the lines below",
        "reply Thank you, we can reproduce it.",
    ),
    CommandName.ACCEPT: Usage(
        "accept [TEXT]", "tell the reporter that the report is accepted and worked on", "accept"
    ),
    CommandName.REJECT: Usage(
        "reject CLASS REASON",
        "tell the reporter that it is rejected, and why; closes the issue",
        "reject out-of-scope We do not maintain this service.",
    ),
    CommandName.NEED_INFO: Usage(
        "need-info TEXT",
        "ask the reporter for what is missing",
        "need-info Which version did you test?",
    ),
    CommandName.FIXED: Usage(
        "fixed VERSION", "tell the reporter which version holds the fix", "fixed 2.4.1"
    ),
    CommandName.DISCLOSED: Usage(
        "disclosed URL",
        "tell the reporter where it is published",
        "disclosed https://example.org/advisories/1",
    ),
    CommandName.DUPLICATE_OF: Usage(
        "duplicate-of ISSUE",
        "tell the reporter that it was reported before; links and closes the issue",
        "duplicate-of SB-2026-0001",
    ),
    CommandName.NORMAL_BUG: Usage(
        "normal-bug [TEXT]",
        "tell the reporter that it is treated as an ordinary bug; closes the issue",
        "normal-bug",
    ),
    CommandName.SPAM: Usage("spam", "close the issue; nothing is sent", "spam"),
    CommandName.TAKE: Usage(
        "take", "you handle the case: assigns it to you and tells the team by mail", "take"
    ),
    CommandName.KEY_ACCEPT: Usage(
        "key accept FINGERPRINT",
        "answer the reporter with this key from now on; what was held goes out",
        "key accept 0123456789ABCDEF0123456789ABCDEF01234567",
    ),
    CommandName.REPORTER: Usage(
        "reporter ADDRESS",
        "say to whom answers go from now on",
        "reporter rita@example.net",
    ),
    CommandName.HOLD: Usage("hold", "keep all mail of this case back until release", "hold"),
    CommandName.RELEASE: Usage("release", "let the mail that was kept back go", "release"),
    CommandName.STATUS: Usage("status", "show where the case and its mails stand", "status"),
    CommandName.PREVIEW: Usage(
        "preview COMMAND",
        "show the mail that a command would send, and send nothing",
        "preview accept",
    ),
    CommandName.HELP: Usage("help", "list these commands", "help"),
}

LETTERS: dict[CommandName, ReplyKind] = {
    CommandName.REPLY: ReplyKind.REPLY,
    CommandName.ACCEPT: ReplyKind.HOLDING,
    CommandName.REJECT: ReplyKind.REJECTION,
    CommandName.NEED_INFO: ReplyKind.NEED_INFO,
    CommandName.FIXED: ReplyKind.FIXED,
    CommandName.DISCLOSED: ReplyKind.DISCLOSED,
    CommandName.DUPLICATE_OF: ReplyKind.DUPLICATE,
    CommandName.NORMAL_BUG: ReplyKind.NORMAL_BUG,
}
"""The commands that write to the reporter."""

STATUSES: dict[CommandName, CaseStatus] = {
    CommandName.ACCEPT: CaseStatus.ACCEPTED,
    CommandName.REJECT: CaseStatus.REJECTED,
    CommandName.NEED_INFO: CaseStatus.NEEDS_INFO,
    CommandName.FIXED: CaseStatus.FIXED,
    CommandName.DISCLOSED: CaseStatus.DISCLOSED,
    CommandName.DUPLICATE_OF: CaseStatus.DUPLICATE,
    CommandName.NORMAL_BUG: CaseStatus.NORMAL_BUG,
    CommandName.SPAM: CaseStatus.SPAM,
}
"""Where a case stands after a command."""

CLOSING = frozenset(
    {CommandName.REJECT, CommandName.DUPLICATE_OF, CommandName.NORMAL_BUG, CommandName.SPAM}
)
"""The commands after which the issue is closed."""

FOR_SIGNS = frozenset(
    {*LETTERS, CommandName.SPAM, CommandName.HOLD, CommandName.RELEASE} - {CommandName.DUPLICATE_OF}
)
"""What a label or a state may stand for: what says the same thing of every case."""


@dataclass(frozen=True, slots=True, repr=False)
class Command:
    """A command with its argument (one line, maybe empty) and its text.

    ``previewed`` is the command whose mail is to be shown.
    """

    name: CommandName
    argument: str = ""
    text: str = ""
    previewed: Command | None = None

    def __repr__(self) -> str:
        return f"Command({self.name})"


class MistakeKind(StrEnum):
    """Why a marked comment is no command."""

    UNKNOWN = "unknown-command"
    NO_ARGUMENT = "argument-missing"
    NO_TEXT = "text-missing"
    NO_CLASS = "no-such-class"
    NO_VERSION = "not-a-version"
    NO_URL = "not-a-url"
    NO_ADDRESS = "not-an-address"
    TOO_MUCH = "nothing-belongs-there"
    NO_LETTER = "nothing-to-preview"
    NO_SIGN = "not-for-labels"


@dataclass(frozen=True, slots=True)
class Mistake:
    """A marked comment that we do not understand; ``name``: the command that it may have meant."""

    kind: MistakeKind
    name: CommandName | None = None


def parse(text: str, *, mark: str = MARK, slash: bool = False) -> Command | Mistake | None:
    """Return the command of a comment, what is wrong with it, or None where nothing is asked.

    Blanks before the mark, its case, backslashes before it, and code spans around what is typed do
    not matter.  ``slash``: a first line such as ``/reply`` counts as well.
    """
    first, _, below = _LINE_ENDS.sub("\n", text).partition("\n")
    line = first.strip(_BLANK)
    if (asked := _behind(mark, _unwrapped(line))) is not None:
        return _command(asked, below) if asked.strip() else Command(CommandName.HELP)
    if slash and re.match(r"/\S", line) and _named(line[1:]) is not None:
        return _command(line[1:], below)
    return None


def sign(line: str) -> Command | Mistake:
    """Return the command that a label or a state stands for, typed as behind the mark."""
    first, _, below = _LINE_ENDS.sub("\n", line).partition("\n")
    found = _command(first, below)
    if isinstance(found, Command) and found.name not in FOR_SIGNS:
        return Mistake(MistakeKind.NO_SIGN, found.name)
    return found


# ── The first line ───────────────────────────────────────────────────────────────────────────────

_LINE_ENDS = re.compile("\r\n|\r")
_BLANK = " \t\u00a0\u200b\u200e\ufeff"
"""What editors put before the first letter, seen or not."""

_WRAPPED = re.compile(
    r"(?:(`{1,3})(?P<code>[^`]*)\1|\{\{(?P<mono>[^{}]*)\}\})(?P<rest>.*)", re.DOTALL
)
"""A code span of few ticks: with any number of them, a line of ticks alone would take minutes."""

_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_URL = re.compile(r"""https?://[^\s<>|\]\[()"'`{}\\^]+""", re.IGNORECASE)
_ADDRESS = re.compile(r"""[^\s<>|\]\[()"'`{}:,;]+@[^\s<>|\]\[()"'`{}:,;]+""")


def _unwrapped(line: str) -> str:
    """Return a line without the code span (of Markdown, of wiki markup) that it begins with."""
    found = _WRAPPED.fullmatch(line)
    return (found["code"] or found["mono"] or "") + found["rest"] if found else line


def _behind(mark: str, line: str) -> str | None:
    """Return what stands behind the mark, or None where the line does not begin with it."""
    escaped = "".join(rf"\\?{re.escape(letter)}" for letter in mark)
    found = re.match(escaped, line.lstrip(_BLANK), re.IGNORECASE)
    return line.lstrip(_BLANK)[found.end() :] if found else None


def _named(asked: str) -> tuple[CommandName, str] | None:
    """Return the command that a line begins with and the rest of the line, or None."""
    for length in (2, 1):
        words = asked.split(None, length)
        typed = " ".join(_plain(word) for word in words[:length])
        if name := _NAMES.get(typed.lower().rstrip(":")):
            return name, "".join(words[length:]).strip()
    return None


def _plain(word: str) -> str:
    """Return what was typed, without the backslashes and code spans of an editor."""
    return _ESCAPED.sub(r"\1", word).strip("`")


# ── What belongs to a command ────────────────────────────────────────────────────────────────────


def _command(asked: str, below: str) -> Command | Mistake:
    asked = _unwrapped(asked.strip(_BLANK))
    if (found := _named(asked)) is None:
        return Mistake(MistakeKind.UNKNOWN)
    name, rest = found
    return _READERS[name](name, rest, below)


def _joined(rest: str, below: str) -> str:
    """Return a text that begins behind the command or below it; paragraphs stay apart."""
    text = f"{rest}\n{below}" if rest else below
    return text.strip("\n").rstrip() if text.strip() else ""


def _nothing(name: CommandName, rest: str, below: str) -> Command | Mistake:
    return Mistake(MistakeKind.TOO_MUCH, name) if rest else _anything(name, rest, below)


def _anything(name: CommandName, rest: str, below: str) -> Command | Mistake:
    del rest
    return Command(name, text=_joined("", below))


def _maybe_text(name: CommandName, rest: str, below: str) -> Command | Mistake:
    return Command(name, text=_joined(rest, below))


def _text(name: CommandName, rest: str, below: str) -> Command | Mistake:
    text = _joined(rest, below)
    return Command(name, text=text) if text else Mistake(MistakeKind.NO_TEXT, name)


def _class_and_reason(name: CommandName, rest: str, below: str) -> Command | Mistake:
    first, more = _first(rest)
    chosen = _plain(first).lower().rstrip(":,")
    if not chosen:
        return Mistake(MistakeKind.NO_ARGUMENT, name)
    if chosen not in REJECTION_CLASSES:
        return Mistake(MistakeKind.NO_CLASS, name)
    reason = _joined(more, below)
    return Command(name, chosen, reason) if reason else Mistake(MistakeKind.NO_TEXT, name)


def _version(name: CommandName, rest: str, below: str) -> Command | Mistake:
    version = " ".join(_plain(rest).split())
    if not version:
        return Mistake(MistakeKind.NO_ARGUMENT, name)
    if len(version) > LONGEST_VERSION or not version.isprintable():
        return Mistake(MistakeKind.NO_VERSION, name)
    return Command(name, version, _joined("", below))


def _url(name: CommandName, rest: str, below: str) -> Command | Mistake:
    first, more = _first(rest)
    if not first:
        return Mistake(MistakeKind.NO_ARGUMENT, name)
    found = _URL.search(_plain(first))
    if not found or len(found[0]) > LONGEST_URL or not found[0].isprintable():
        return Mistake(MistakeKind.NO_URL, name)
    return Command(name, found[0], _joined(more, below))


def _issue(name: CommandName, rest: str, below: str) -> Command | Mistake:
    first, more = _first(rest)
    found = _URL.search(_plain(first))
    named = found[0] if found else _plain(first).rstrip(".,;")
    if not named or len(named) > LONGEST_ISSUE:
        return Mistake(MistakeKind.NO_ARGUMENT, name)
    return Command(name, named, _joined(more, below))


def _address(name: CommandName, rest: str, below: str) -> Command | Mistake:
    if not rest:
        return Mistake(MistakeKind.NO_ARGUMENT, name)
    if len(rest) > LONGEST_ADDRESS:
        return Mistake(MistakeKind.NO_ADDRESS, name)
    address, *others = dict.fromkeys(_ADDRESS.findall(_plain(rest))) or [""]
    if others or not is_plain_address(address):
        return Mistake(MistakeKind.NO_ADDRESS, name)
    return Command(name, address, _joined("", below))


def _fingerprint(name: CommandName, rest: str, below: str) -> Command | Mistake:
    argument = " ".join(_plain(rest).split())
    if not argument:
        return Mistake(MistakeKind.NO_ARGUMENT, name)
    return Command(name, argument, _joined("", below))


def _preview(name: CommandName, rest: str, below: str) -> Command | Mistake:
    if not rest:
        return Mistake(MistakeKind.NO_ARGUMENT, name)
    asked = _named(_unwrapped(rest.strip(_BLANK)))
    if asked is not None and asked[0] not in LETTERS:  # a preview of a preview, too, without end
        return Mistake(MistakeKind.NO_LETTER, name)
    found = _command(rest, below)
    return found if isinstance(found, Mistake) else Command(name, previewed=found)


def _first(rest: str) -> tuple[str, str]:
    """Return the first word of a line, and what stands behind it."""
    first, more = [*rest.split(None, 1), "", ""][:2]
    return first, more


_Reader = Callable[[CommandName, str, str], Command | Mistake]

_READERS: dict[CommandName, _Reader] = {
    CommandName.REPLY: _text,
    CommandName.ACCEPT: _maybe_text,
    CommandName.REJECT: _class_and_reason,
    CommandName.NEED_INFO: _text,
    CommandName.FIXED: _version,
    CommandName.DISCLOSED: _url,
    CommandName.DUPLICATE_OF: _issue,
    CommandName.NORMAL_BUG: _maybe_text,
    CommandName.SPAM: _nothing,
    CommandName.TAKE: _nothing,
    CommandName.KEY_ACCEPT: _fingerprint,
    CommandName.REPORTER: _address,
    CommandName.HOLD: _nothing,
    CommandName.RELEASE: _nothing,
    CommandName.STATUS: _anything,
    CommandName.PREVIEW: _preview,
    CommandName.HELP: _anything,
}

_NAMES = {name.value: name for name in CommandName}
