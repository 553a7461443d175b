"""What of a text that a member typed may leave the tracker?  Plain lines that lead nowhere inside.

Taken out, and told to who typed it: what stands below a line ``sb: internal``, comments that a
tracker does not show, marks of ours, links to issues and other things that may be confidential,
uploaded files and pictures, mentions, short references, lines that are commands, and characters
that nobody sees.  Links are judged (``rules.links``) in code as well, because one in code leads
where any other does; mentions, references and commands mean nothing in code, and what looks like
one there (``@Override``, ``#12``) stays.

Money, percentages and labels look like GitLab's other short references (``$5``, ``%5``, ``~x``);
they stay, too, since a letter that was mangled is worse than a number that leads nowhere.

Whatever is typed, the work is linear in its length, and cleaning the outcome takes out nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from secbridge.rules import commands
from secbridge.rules.links import Home, Lead, home_of, judged

INTERNAL = "internal"
"""The word behind the mark (``sb: internal``) below which everything stays in the tracker."""

ROUNDS = 10
"""How often a text is cleaned; one in which there is still something was built for that."""


class Taken(Enum):
    """What is taken out of a text: one of it in words, and several of it."""

    INTERNAL = "internal note", "internal notes"
    COMMENT = "hidden comment", "hidden comments"
    MARKER = "mark of secbridge", "marks of secbridge"
    LINK = "link into the tracker", "links into the tracker"
    FILE = "uploaded file", "uploaded files"
    IMAGE = "picture", "pictures"
    MENTION = "mention", "mentions"
    REFERENCE = "short reference", "short references"
    COMMAND = "line with a command", "lines with a command"
    INVISIBLE = "character that nobody sees", "characters that nobody sees"
    TANGLED = "text that cannot be cleaned", "texts that cannot be cleaned"


_LEADS = {Lead.INSIDE: Taken.LINK, Lead.TO_FILE: Taken.FILE}

PLACEHOLDERS = {
    Taken.MARKER: "[mark removed]",
    Taken.LINK: "[link removed]",
    Taken.FILE: "[file removed]",
    Taken.IMAGE: "[picture removed]",
    Taken.MENTION: "[name removed]",
    Taken.REFERENCE: "[reference removed]",
}
"""What stands in the letter instead, where a gap would make nonsense of a sentence."""


@dataclass(frozen=True, slots=True, repr=False)
class Leaving:
    """What leaves of a text, and in words what was taken out (``2 mentions``), each once."""

    text: str
    removed: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Leaving({len(self.text)} characters)"


def cleaned(text: str, *, url: str, mark: str, slash: bool) -> Leaving:
    """Return what may leave of a text.

    ``url`` is the address of the case's issue, "" for the embedded tracker: it says which host and
    which project are ours.  ``mark`` begins a command; with ``slash`` a line ``/reply`` does, too.
    """
    job = _Job(home_of(url), mark.casefold(), slash)
    left = "\n".join(text.splitlines())
    for _ in range(ROUNDS):
        before = job.taken.total()
        left = job.once(left)
        if job.taken.total() == before:
            return Leaving(left.strip("\n"), _told(job.taken))
    job.take(Taken.TANGLED)
    return Leaving("", _told(job.taken))


def _told(taken: Counter[Taken]) -> tuple[str, ...]:
    return tuple(f"{taken[what]} {what.value[taken[what] > 1]}" for what in Taken if taken[what])


# ── One round ────────────────────────────────────────────────────────────────────────────────────

_SURROGATE = re.compile("[\ud800-\udfff]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Controls, bidi and zero-width characters."""

_JOINERS = re.compile("[\u200c\u200d\ufe00-\ufe0f]+")
"""Characters that say how their neighbours look, in emoji and in scripts that join letters."""

_COMMENT_START = re.compile(r"^[ \t>*+-]*<!--", re.MULTILINE)
_COMMENT_LINE = re.compile(
    r"^[ \t>]*\[(?://|comment)\]:[^\n]*(?:\n|\Z)", re.MULTILINE | re.IGNORECASE
)
"""The other way to write a comment that Markdown does not show: ``[//]: # (…)``."""

_GAP = "\x00"
_LINE_OF_GAPS = re.compile(rf"^[ \t]*{_GAP}[ \t{_GAP}]*(?:\n|\Z)", re.MULTILINE)
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_MARKER = re.compile(
    rf"secbridge(?::(?:report|comment)=|-){_UUID}|secbridge:(?:told|record=[^\s>]*)",
    re.IGNORECASE,
)
_MARKDOWN_LINK = re.compile(r"(!?)\[[^\[\]\n]*\]\(([^()\n]*)\)")
_WIKI_LINK = re.compile(r"\[[^\[\]\n|]*\|([^\[\]\n]*)\]")
_TOKEN = re.compile(r"""[^\s<>"'`()\[\]{}|]+""")
_SCHEME = re.compile(r"https?:", re.IGNORECASE)
_BEFORE, _BEHIND = "*_~,;:!?", "*_~,;:!?."
"""What stands around a link and is none of it."""

_FENCE = re.compile(r"[ \t>]*(`{3,}|~{3,})([^\n]*)")
_MACRO = re.compile(r"\{(?:code|noformat)(?::[^{}\n]*)?\}")
_CODE_SPAN = re.compile(r"(`[^`\n]*`)")
_JIRA_CODE_SPAN = re.compile(r"(`[^`\n]*`|\{\{[^{}\n]*\}\})")

_MENTION = re.compile(
    r"(?<![^\W_])(?<![.+/=%@-])(?<!\w_)@(?=[\w.-]*[^\W\d_])\w(?:[\w.-]*[^\W_])?"
    r"(?:/\w(?:[\w.-]*[^\W_])?)*(?:@\w(?:[\w.-]*[^\W_])?)?(?:\u00a0[\w(][\w.')-]*)*"
    r"|\[~[\w.:@ -]+\]"
)
"""``@name``, ``@group/team`` and Jira's ``[~name]``; an address of mail (RFC 5322) is none.

Names from a Jira Cloud have blanks that do not break (``rules.drafting.adf``).
"""

_REFERENCE = re.compile(
    r"(?<![\w#&!/.=:%+@-])(?:\w[\w.-]*(?:/[\w.-]+)+)?[#!&]\d{1,10}(?![\w-]|[.,]\d)"
    r"|(?<![\w-])GH-\d{1,10}(?![\w-])"
)
_JIRA_IMAGE = re.compile(r"(?<![\w!])![^\s!|][^!\n|]{0,200}\.\w{1,5}(?:\|[^!\n]{0,200})?!")
_JIRA_FILE = re.compile(r"\[\^[^\[\]\n]+\.\w{1,8}\]")

_QUICK_ACTIONS = frozenset(
    {"add_contacts", "add_email", "approve", "assign", "assign_reviewer", "award", "blocked_by",
     "blocks", "board_move", "cc", "clear_health_status", "clear_weight", "clone", "close",
     "confidential", "convert_to_ticket", "copy_metadata", "create_merge_request", "done", "draft",
     "due", "duplicate", "epic", "estimate", "health_status", "invite_email", "iteration", "label",
     "link", "lock", "merge", "milestone", "move", "promote", "promote_to", "promote_to_incident",
     "react", "ready", "reassign", "rebase", "relabel", "relate", "remove_contacts",
     "remove_due_date", "remove_email", "remove_epic", "remove_estimate", "remove_iteration",
     "remove_milestone", "remove_parent", "remove_time_spent", "remove_zoom", "reopen",
     "request_review", "set_parent", "severity", "shrug", "spend", "submit_review", "subscribe",
     "tableflip", "target_branch", "timeline", "title", "todo", "unapprove", "unassign",
     "unassign_reviewer", "unlabel", "unlink", "unlock", "unsubscribe", "weight", "zoom"}
)  # fmt: skip
"""GitLab's; some projects on GitHub have robots that know the most usual of them."""

_SLASH_LINE = re.compile(r"/([a-z][a-z_-]*)(?:[ \t]+(\w+))?(?=[ \t]|$)", re.IGNORECASE)
_LOOKED_AT = 200
"""Characters of a line by which it is seen to be a command."""

_COMMANDS = frozenset(name.value for name in commands.CommandName)


class _Job:
    """A text on its way out, with what was taken out of it so far."""

    def __init__(self, home: Home, mark: str, slash: bool) -> None:
        self._home = home
        self._mark = mark
        self._slash = slash
        self._reference, self._code_span = _REFERENCE, _CODE_SPAN
        if home.key:
            key = rf"(?<![\w-]){re.escape(home.key)}-\d{{1,10}}(?![\w-])"
            self._reference, self._code_span = re.compile(key, re.IGNORECASE), _JIRA_CODE_SPAN
        self.taken: Counter[Taken] = Counter()

    def take(self, what: Taken) -> str:
        """Count one thing that is taken out, and return what stands in its place."""
        self.taken[what] += 1
        return PLACEHOLDERS.get(what, "")

    def once(self, text: str) -> str:
        """Return a text cleaned in one round.

        What is seen by nobody goes first, since it may hide the rest from us.
        """
        text = self._seen(text)
        text = self._without_comments(text)
        text = self._replaced(_MARKER, text, lambda _: Taken.MARKER)
        text = self._without_internal(text)
        text = self._replaced(_MARKDOWN_LINK, text, self._markdown_link)
        text = self._replaced(_WIKI_LINK, text, lambda link: self._lead(link[1]))
        text = _TOKEN.sub(self._token, text)
        return self._outside_code(text)

    def _replaced(
        self, pattern: re.Pattern[str], text: str, judge: Callable[[re.Match[str]], Taken | None]
    ) -> str:
        """Return a text in which what is judged to be something has given way."""

        def instead(found: re.Match[str]) -> str:
            what = judge(found)
            return found[0] if what is None else self.take(what)

        return pattern.sub(instead, text)

    # ── What nobody sees ──────────────────────────────────────────────────────────────────────────

    def _seen(self, text: str) -> str:
        text, broken = _SURROGATE.subn("\ufffd", text)
        text, hidden = _INVISIBLE.subn("", text)
        self.taken[Taken.INVISIBLE] += broken + hidden
        return _JOINERS.sub(self._joiners, text)

    def _joiners(self, found: re.Match[str]) -> str:
        """Return joiners that have something to join: what is ASCII, and an end, needs none."""
        run, text = found[0], found.string
        before = text[max(found.start() - 1, 0) : found.start()]
        after = text[found.end() : found.end() + 1]
        is_between = before > "\x7f" and (run[-1] > "\u200d" or after > "\x7f")
        return run if is_between and len(run) <= 2 else self.take(Taken.INVISIBLE)

    def _without_comments(self, text: str) -> str:
        """Take out comments; one that is never closed hides all behind it where it begins a line.

        A gap is left between what stood around one, so that the two make no new comment.
        """
        pieces, at = [], 0
        while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start + 2)) >= 0:
            pieces.append(text[at:start])
            at = end + 3
        text = _GAP.join([*pieces, text[at:]])
        text = _LINE_OF_GAPS.sub("", text).replace(_GAP, " ")
        open_one = _COMMENT_START.search(text)
        text = text[: open_one.start()] if open_one else text
        text, lines = _COMMENT_LINE.subn("", text)
        self.taken[Taken.COMMENT] += len(pieces) + bool(open_one) + lines
        return text

    def _without_internal(self, text: str) -> str:
        kept: list[str] = []
        for line in text.split("\n"):
            if self._behind_mark(line) == INTERNAL:
                self.take(Taken.INTERNAL)
                break
            kept.append(line)
        return "\n".join(kept)

    def _behind_mark(self, line: str) -> str | None:
        """Return what a line says behind the mark, lower-cased, or None without one."""
        if not line:
            return None
        plain = line[:_LOOKED_AT].replace("\\", "").strip(" \t\u00a0`*_>{}").casefold()
        return plain[len(self._mark) :].strip() if plain.startswith(self._mark) else None

    # ── Links ─────────────────────────────────────────────────────────────────────────────────────

    def _markdown_link(self, link: re.Match[str]) -> Taken | None:
        """Judge a link: a picture never leaves, and of a confidential link not even its text."""
        return Taken.IMAGE if link[1] else self._lead(link[2].strip(" \t<>"))

    def _lead(self, link: str) -> Taken | None:
        lead = judged(link, self._home)
        return None if lead is None else _LEADS[lead]

    def _token(self, found: re.Match[str]) -> str:
        """Return a word, or what stands for it when it is a link that may not leave."""
        token = found[0]
        if not any(sign in token for sign in "/\\%&"):
            return token
        core = token.lstrip(_BEFORE).rstrip(_BEHIND)
        before, _, after = token.partition(core) if core else (token, "", "")
        if scheme := _SCHEME.search(core):
            before, core = before + core[: scheme.start()], core[scheme.start() :]
        what = self._lead(core)
        if what is None and (what := self._lead(token)) is not None:
            before = after = ""
        return token if what is None else f"{before}{self.take(what)}{after}"

    # ── What means something outside code only ────────────────────────────────────────────────────

    def _outside_code(self, text: str) -> str:
        kept: list[str] = []
        for line, is_code in _lines(text, macros=bool(self._home.key)):
            if is_code:
                kept.append(line)
            elif self._is_command(line):
                self.take(Taken.COMMAND)
            else:
                pieces = self._code_span.split(line)
                pieces[::2] = [self._spoken(piece) for piece in pieces[::2]]
                kept.append("".join(pieces))
        return "\n".join(kept)

    def _is_command(self, line: str) -> bool:
        if self._behind_mark(line) is not None:
            return True
        found = _SLASH_LINE.match(line[:_LOOKED_AT].lstrip(" "))
        if found is None:
            return False
        one, two = found[1].lower(), f"{found[1]} {found[2]}".lower()
        return one in _QUICK_ACTIONS or (self._slash and bool({one, two} & _COMMANDS))

    def _spoken(self, text: str) -> str:
        text = self._replaced(_MENTION, text, lambda _: Taken.MENTION)
        if self._home.key:
            text = self._replaced(_JIRA_IMAGE, text, lambda _: Taken.IMAGE)
            text = self._replaced(_JIRA_FILE, text, lambda _: Taken.FILE)
        if self._home.host:
            text = self._replaced(self._reference, text, lambda _: Taken.REFERENCE)
        return text


def _lines(text: str, *, macros: bool) -> Iterator[tuple[str, bool]]:
    """Return the lines of a text, each with whether it is of a block of code.

    The blocks are Markdown's fences and, where ``macros`` says so, those of Jira's markup.
    """
    fence, macro = "", False
    for line in text.split("\n"):
        found = _FENCE.match(line)
        toggles = macros and "{" in line and len(_MACRO.findall(line)) % 2 == 1
        if fence:
            yield line, True
            if found and found[1].startswith(fence) and not found[2].strip():
                fence = ""
        elif found and not macro and "`" not in found[2]:
            fence = found[1]
            yield line, True
        else:
            yield line, macro or toggles
            macro ^= toggles
