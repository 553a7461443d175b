"""What would a text do on GitHub?  Parsed by GitHub's own parser, cmark-gfm, and looked through.

What is found is recorded and not acted on: people and teams who would be told, references that
would stand in other places, words that close, what a browser would load, draw or follow.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

import cmarkgfm
from cmarkgfm.cmark import Options

QUIET = frozenset(
    {
        "code", "details", "em", "h3", "li", "p", "pre", "strong", "summary", "table", "tbody",
        "td", "th", "thead", "tr", "ul",
    }
)  # fmt: skip
"""The elements that our own drafts are made of; every other one is somebody else's."""

_ALIVE = {
    "mention": re.compile(r"(?<![\w`/])@[a-zA-Z\d][\w-]*(?:/[\w-]+)?"),
    "reference": re.compile(r"(?<!\w)(?:[\w.-]+/[\w.-]+)?#\d+\b|\bGH-\d+\b|\bGHSA(?:-\w{4}){3}"),
    "commit": re.compile(r"(?<!\w)[0-9a-f]{40}(?!\w)"),
    "closing": re.compile(r"(?i)\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?\s+\S*(?:#|GH-)\d"),
    "emoji": re.compile(r"(?<!\w):[a-z+][\w+-]*:"),
    "math": re.compile(r"\$\S[^$]*\$"),
}


def alive(text: str, *, ours: str = "") -> list[str]:
    """Return what in a text would notify, link, load or draw.

    Links whose address begins with ``ours`` are not counted: those are the ones that we write.
    """
    reader = _Reader(ours)
    options = Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_FOOTNOTES
    reader.feed(cmarkgfm.github_flavored_markdown_to_html(text, options))
    reader.close()
    return reader.found


def texts_in_code(text: str) -> list[str]:
    """Return the content of each code block, as GitHub's parser sees it."""
    reader = _Reader("")
    reader.feed(cmarkgfm.github_flavored_markdown_to_html(text, Options.CMARK_OPT_UNSAFE))
    reader.close()
    return reader.blocks


class _Reader(HTMLParser):
    """Walks through the HTML that GitHub makes, before it would filter anything."""

    def __init__(self, ours: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.blocks: list[str] = []
        self._ours = ours
        self._sleeping = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "pre":
            self.blocks.append("")
            if given.get("lang", "text") != "text":
                self.found.append(f"diagram {given['lang']}")
        if tag in {"pre", "code"}:
            self._sleeping += 1
        if tag == "a" and self._ours and given.get("href", "").startswith(self._ours):
            return
        if tag not in QUIET:
            where = given.get("href") or given.get("src") or given.get("type") or ""
            self.found.append(f"{tag} {where}".strip())

    def handle_endtag(self, tag: str) -> None:
        if tag in {"pre", "code"} and self._sleeping:
            self._sleeping -= 1

    def handle_data(self, data: str) -> None:
        if self._sleeping:
            if self.blocks:
                self.blocks[-1] += data
            return
        for kind, pattern in _ALIVE.items():
            self.found += [f"{kind} {match[0]}" for match in pattern.finditer(data)]

    def handle_decl(self, decl: str) -> None:
        self.found.append("declaration")

    def handle_pi(self, data: str) -> None:
        self.found.append("instruction")
