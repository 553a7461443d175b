"""What does a GitLab do with text that comes by API?  It executes it: here, too, so a leak shows.

Quick actions are looked for in both ways that GitLabs have had: in top-level paragraphs of the
parsed Markdown, and by a regular expression on lines outside exact ``` fences.  Mentions,
references, images and diagrams are found in the parsed text; they are recorded and not acted on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token

COMMANDS = frozenset(
    {
        "add_email", "assign", "award", "cc", "clone", "close", "confidential", "convert_to_ticket",
        "copy_metadata", "draft", "due", "duplicate", "estimate", "label", "lock", "move",
        "promote", "promote_to", "relabel", "relate", "remove_due_date", "reopen", "shrug", "spend",
        "subscribe", "submit_review", "tableflip", "target_branch", "title", "todo", "unassign",
        "unlabel", "unsubscribe", "zoom",
    }
)  # fmt: skip

_COMMAND = re.compile(r"^ {0,3}/(?P<name>[a-z_]+)(?: +(?P<argument>.*))?$")
_EXACT_FENCE = re.compile(r"^```.*?\n```$", re.MULTILINE | re.DOTALL)
_MENTION = re.compile(r"(?<!\w)@[\w.-]+|(?<!\w)[\w/.-]*[#!&~%$]\w+|(?<!\w)[0-9a-f]{40}(?!\w)")
_SLEEPING = frozenset({"fence", "code_block", "code_inline"})


@dataclass(frozen=True, slots=True)
class QuickAction:
    """A command as GitLab would execute it."""

    name: str
    argument: str


def extract(text: str) -> tuple[str, list[QuickAction]]:
    """Return the text as GitLab keeps it, and the commands that it takes out of it."""
    lines = text.split("\n")
    acting = {*_lines_of_paragraphs(text), *_lines_outside_fences(text)}
    actions: list[QuickAction] = []
    kept: list[str] = []
    for number, line in enumerate(lines):
        match = _COMMAND.match(line) if number in acting else None
        if match and match["name"] in COMMANDS:
            actions.append(QuickAction(match["name"], (match["argument"] or "").strip()))
        else:
            kept.append(line)
    return "\n".join(kept).rstrip(), actions


def alive(text: str) -> list[str]:
    """Return what in a text would notify, link, load or draw: mentions, references, images."""
    found: list[str] = []
    for token in _flat(MarkdownIt("commonmark").enable("table").parse(text)):
        if token.type == "fence" and token.info.strip() not in {"", "text"}:
            found.append(f"diagram {token.info.strip()}")
        if token.type == "image":
            found.append(f"image {token.attrGet('src')}")
        if token.type == "link_open":
            found.append(f"link {token.attrGet('href')}")
        if token.type in {"text", "html_block", "html_inline"}:
            found += _MENTION.findall(re.sub(r"<!--.*?-->|&\w+;", "", token.content))
        if token.type in {"html_block", "html_inline"} and re.search(r"<(?!!--)", token.content):
            found += _markup(token.content)
    return found


def _markup(content: str) -> list[str]:
    """Return the HTML tags that are neither a comment nor a fold of ours."""
    tags = re.findall(r"</?([a-zA-Z][a-zA-Z0-9]*)", content)
    return [f"html {tag}" for tag in tags if tag not in {"details", "summary"}]


def _flat(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        if token.children is not None and token.type not in _SLEEPING:
            yield from _flat(token.children)
        else:
            yield token


def _lines_of_paragraphs(text: str) -> Iterator[int]:
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "paragraph_open" and token.level == 0 and token.map:
            yield from range(*token.map)


def _lines_outside_fences(text: str) -> Iterator[int]:
    spans = [match.span() for match in _EXACT_FENCE.finditer(text)]
    offset = 0
    for number, line in enumerate(text.split("\n")):
        fenced = any(start <= offset < end for start, end in spans)
        if not fenced and not line.startswith(" "):
            yield number
        offset += len(line) + 1
