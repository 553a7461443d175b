"""How is a draft written for a Jira of one's own?  In wiki markup, with strangers' texts asleep.

Untrusted text stands between two ``{noformat}``, each line indented by one blank, so that no line
of a mail can pose as one of ours.  Nothing but another ``{noformat}`` ends that, so wherever a text
holds what looks like a macro with a body, U+200B stands behind the brace: the braces stay to be
seen, and the macro is none.  A text cannot smuggle that character in, because ``visible`` writes it
out.  In our own sentences whatever the markup knows is escaped with a backslash.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import assert_never

from secbridge.model.issue import (
    Block,
    CommentDraft,
    Facts,
    FileLinks,
    Heading,
    IssueDraft,
    Note,
    Paragraph,
    Untrusted,
)
from secbridge.rules.drafting.fitting import fitted, utf16_units
from secbridge.rules.drafting.untrusted import visible

TOLD = "Told by secbridge. Please leave this line."
"""The last line of a text that holds the report; a mail's lines, indented, never say it."""

UNTOLD = "A mail to this case arrived."
"""The first line of a comment that is not proven internal yet."""

BREAK = "\u200b"
"""What stands behind a brace so that it begins no macro."""

_MACRO = re.compile(
    r"\{(?=\s*(?:noformat|code|quote|panel|color|html|xhtml|expand|style|include|script)\b)",
    re.IGNORECASE,
)
_ACTIVE = re.compile(r"([\\{}\[\]!|*^~?#()]|(?<!\w)[_+-]|[_+-](?!\w))")
"""What the markup knows; between letters, as in a case's id, ``_``, ``+``, ``-`` mean nothing."""

_HEAD_OF_LINE = re.compile(r"(h[1-6]|bq)\.", re.IGNORECASE)
_LINK = re.compile(r"(https?|ftp|mailto|file|irc|news|nntp)(:)", re.IGNORECASE)
_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)


def untold_issue(draft: IssueDraft) -> str:
    """Return what an issue says before it is proven confidential: the header only."""
    return _written(draft.header)


def told_issue(draft: IssueDraft, *, limit: int, notes: Sequence[Note] = ()) -> str:
    """Return the whole text of an issue, at most ``limit`` UTF-16 units."""
    blocks = (*draft.header, *notes, *draft.report)
    return _fitted(blocks, (Paragraph(TOLD),), limit=limit, raw=draft.raw_command)


def told_comment(draft: CommentDraft, *, limit: int) -> str:
    """Return the whole text of a comment, at most ``limit`` UTF-16 units."""
    return _fitted(draft.blocks, (), limit=limit, raw=draft.raw_command)


def untold_comment() -> str:
    """Return what a comment says before it is proven internal."""
    return UNTOLD


def is_told_issue(text: str) -> bool:
    """Return whether a text has our own last line at the left margin."""
    return TOLD in text.replace("\r\n", "\n").split("\n")


def is_untold_comment(text: str) -> bool:
    """Return whether a text still says what ``untold_comment`` says."""
    return text.startswith(UNTOLD)


def sent(text: str) -> object:
    """Return a text as Jira takes it."""
    return text


def received(value: object) -> str:
    """Return a text of Jira's answer in the normal form; what is no text is empty."""
    return normal(value) if isinstance(value, str) else ""


def words(value: object) -> str:
    """Return what people wrote, as they wrote it, in lines."""
    return value.replace("\r\n", "\n") if isinstance(value, str) else ""


# ── Blocks ───────────────────────────────────────────────────────────────────────────────────────


def render(block: Block) -> str:
    """Return one block as wiki markup that stands between blank lines."""
    match block:
        case Paragraph(text):
            return escaped(text)
        case Heading(text):
            return f"h3. {escaped(text)}"
        case Facts(rows):
            return "\n".join(f"||{_cell(name)}|{_cell(value)}|" for name, value in rows)
        case FileLinks(rows):
            return "\n".join(f"* {escaped(name)}" for name, _ in rows)
        case Untrusted():
            return _untrusted(block)
        case _:
            assert_never(block)


def asleep(text: str) -> str:
    """Return ``text``, made visible before, between macros that nothing in it can end."""
    body = _MACRO.sub(f"{{{BREAK}", text)
    lines = "\n".join(f" {line}" for line in body.split("\n"))
    return f"{{noformat}}\n{lines}\n{{noformat}}"


def escaped(text: str) -> str:
    """Return a sentence of ours on one line in which nothing is markup."""
    line = _ACTIVE.sub(r"\\\1", " ".join(visible(text).split()))
    line = _LINK.sub(rf"\1{BREAK}\2", line)
    return f"{BREAK}{line}" if _HEAD_OF_LINE.match(line) else line


def _untrusted(block: Untrusted) -> str:
    label = block.label or ("Quoted text" if block.folded else "")
    fence = asleep(visible(block.text))
    return f"*{escaped(label)}*\n\n{fence}" if label else fence


def _cell(value: str) -> str:
    return escaped(value) or " "


# ── Fitting ──────────────────────────────────────────────────────────────────────────────────────


def _fitted(blocks: Sequence[Block], last: Sequence[Block], *, limit: int, raw: str) -> str:
    def size(blocks: Sequence[Block]) -> int:
        return utf16_units(_written((*blocks, *last)))

    return _written((*fitted(blocks, size=size, limit=limit, raw=raw), *last))


def _written(blocks: Sequence[Block]) -> str:
    return normal("\n\n".join(render(block) for block in blocks))


def normal(text: str) -> str:
    """Return a text without what Jira may change and no reader sees.

    That is: CR before LF, blanks at the ends of lines, and blank lines at the end.  Every other
    difference counts: then something was interpreted.
    """
    return _TRAILING.sub("", text.replace("\r\n", "\n")).rstrip("\n")
