"""How is a draft written for a Jira in the cloud?  As a document of nodes, in which no text acts.

The Atlassian Document Format is a tree of JSON.  A text node is literal: what acts are nodes, and
none but those of this module are ever built (headings, paragraphs, tables, bullets, code blocks
and folds).  A stranger's text stands in a code block without a language.  Empty text nodes, which
the format forbids, are left out.

A *text* of this module is such a document as JSON in its normal form, in which what was sent and
what Jira gives back compare as equal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard, assert_never

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

Node = dict[str, Any]

TOLD = "Told by secbridge. Please leave this line."
"""The last paragraph of a document that holds the report; a mail's text is never a paragraph."""

UNTOLD = "A mail to this case arrived."
"""The first paragraph of a comment that is not proven internal yet."""

_PLAIN_ADDRESS = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(?:/[A-Za-z0-9._~%-]+)+")
_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)

_DEFAULTS: Mapping[str, Any] = {
    "localId": ...,  # given by Jira's editor, of any value
    "isNumberColumnEnabled": False,
    "layout": ...,
    "width": ...,
    "displayMode": ...,
    "colspan": 1,
    "rowspan": 1,
    "colwidth": ...,
    "background": ...,
    "language": None,
    "wrap": False,
    "uniqueId": None,
}
"""Attributes that Jira may add, with the value that says nothing; ``...`` stands for any."""


def untold_issue(draft: IssueDraft) -> str:
    """Return what an issue says before it is proven confidential: the header only."""
    return _written(draft.header)


def told_issue(draft: IssueDraft, *, limit: int, notes: Sequence[Note] = ()) -> str:
    """Return the whole document of an issue, at most ``limit`` UTF-16 units of JSON."""
    blocks = (*draft.header, *notes, *draft.report)
    return _fitted(blocks, (Paragraph(TOLD),), limit=limit, raw=draft.raw_command)


def told_comment(draft: CommentDraft, *, limit: int) -> str:
    """Return the whole document of a comment, at most ``limit`` UTF-16 units of JSON."""
    return _fitted(draft.blocks, (), limit=limit, raw=draft.raw_command)


def untold_comment() -> str:
    """Return what a comment says before it is proven internal."""
    return _written((Paragraph(UNTOLD),))


def is_told_issue(text: str) -> bool:
    """Return whether a document has our own last paragraph, wherever people wrote around it."""
    return paragraph(TOLD) in _blocks_of(text)


def is_untold_comment(text: str) -> bool:
    """Return whether a document still says what ``untold_comment`` says."""
    return _blocks_of(text)[:1] == [paragraph(UNTOLD)]


def sent(text: str) -> object:
    """Return a text of this module as Jira takes it."""
    return json.loads(text)


def received(value: object) -> str:
    """Return a document of Jira's answer in the normal form; what is no document is empty."""
    return normal(value) if isinstance(value, dict) else ""


def words(value: object) -> str:
    """Return what people wrote, in lines: a mention as ``@name``, a card as its address.

    The blanks in a name do not break, so that it is seen where a name ends.
    """
    return "".join(_said(value, 0)).strip("\n")


# ── Nodes ────────────────────────────────────────────────────────────────────────────────────────


def render(block: Block) -> list[Node]:
    """Return one block as nodes of a document's top level."""
    match block:
        case Paragraph(text):
            return [paragraph(text)]
        case Heading(text):
            return [{"type": "heading", "attrs": {"level": 3}, "content": _text(text)}]
        case Facts(rows):
            return [{"type": "table", "content": [_row(name, value) for name, value in rows]}]
        case FileLinks(rows):
            return [{"type": "bulletList", "content": [_link(*row) for row in rows]}]
        case Untrusted():
            return _untrusted(block)
        case _:
            assert_never(block)


def paragraph(text: str, *marks: Node) -> Node:
    """Return a sentence of ours as a paragraph."""
    return {"type": "paragraph", "content": _text(text, *marks)}


def _text(text: str, *marks: Node) -> list[Node]:
    """Return a text on one line as a text node, or nothing where there is none."""
    line = " ".join(visible(text).split())
    if not line:
        return []
    return [{"type": "text", "text": line, **({"marks": list(marks)} if marks else {})}]


def _untrusted(block: Untrusted) -> list[Node]:
    fence = _code_block(visible(block.text))
    if block.folded:
        title = " ".join(visible(block.label).split()) or "Quoted text"
        return [{"type": "expand", "attrs": {"title": title}, "content": [fence]}]
    return [paragraph(block.label, {"type": "strong"}), fence] if block.label else [fence]


def _code_block(text: str) -> Node:
    return {"type": "codeBlock", "content": [{"type": "text", "text": text}] if text else []}


def _row(name: str, value: str) -> Node:
    cells = [("tableHeader", name), ("tableCell", value)]
    return {
        "type": "tableRow",
        "content": [{"type": kind, "content": [paragraph(text)]} for kind, text in cells],
    }


def _link(name: str, address: str) -> Node:
    """Return a file's name as a link, or alone where its address is not of a plain form."""
    plain = _PLAIN_ADDRESS.fullmatch(address)
    marks = [{"type": "link", "attrs": {"href": address}}] if plain else []
    return {"type": "listItem", "content": [paragraph(name, *marks)]}


def _fitted(blocks: Sequence[Block], last: Sequence[Block], *, limit: int, raw: str) -> str:
    def size(blocks: Sequence[Block]) -> int:
        return utf16_units(_written((*blocks, *last)))

    return _written((*fitted(blocks, size=size, limit=limit, raw=raw), *last))


def _written(blocks: Iterable[Block]) -> str:
    nodes = [node for block in blocks for node in render(block)]
    return normal({"type": "doc", "version": 1, "content": nodes})


# ── The normal form ──────────────────────────────────────────────────────────────────────────────


def normal(document: object) -> str:
    """Return a document as JSON without what Jira may change and no reader sees.

    That is: attributes with their default value, ids of the editor, empty lists of content and
    marks, texts cut into several nodes, CR before LF, blanks at the ends of lines, and blank lines
    at the end of a text.  Every other difference counts: then something was interpreted.
    """
    return json.dumps(_normal(document), ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _normal(value: Any) -> Any:
    if isinstance(value, list):
        return _joined([_normal(item) for item in value])
    if not isinstance(value, dict):
        return value
    node = {name: _normal(item) for name, item in value.items() if name != "version"}
    if isinstance(attributes := node.get("attrs"), dict):
        node["attrs"] = {name: item for name, item in attributes.items() if _counts(name, item)}
    if node.get("type") == "text" and isinstance(node.get("text"), str):
        node["text"] = node["text"].replace("\r\n", "\n")
    if node.get("type") == "codeBlock":
        node["content"] = _trimmed(node.get("content"))
    if node.get("type") == "doc":
        node["version"] = 1
    empty = ("attrs", "content", "marks")
    return {name: item for name, item in node.items() if name not in empty or item}


def _counts(name: str, value: object) -> bool:
    """Whether an attribute says anything."""
    if name not in _DEFAULTS:
        return True
    default = _DEFAULTS[name]
    return default is not ... and value != default and value is not None


def _joined(items: list[Any]) -> list[Any]:
    """Return the items with neighbouring texts of the same marks as one."""
    found: list[Any] = []
    for item in items:
        last = found[-1] if found else None
        if _is_text(item) and _is_text(last) and item.get("marks") == last.get("marks"):
            found[-1] = {**last, "text": last["text"] + item["text"]}
        else:
            found.append(item)
    return found


def _is_text(item: object) -> TypeGuard[Node]:
    return isinstance(item, dict) and item.get("type") == "text" and "text" in item


def _trimmed(content: object) -> object:
    """Return a code block's content without blanks at line ends and lines at the end."""
    if not (isinstance(content, list) and len(content) == 1 and _is_text(content[0])):
        return content
    text = _TRAILING.sub("", content[0]["text"]).rstrip("\n")
    return [{**content[0], "text": text}] if text else []


def _blocks_of(text: str) -> list[Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return []
    content = document.get("content") if isinstance(document, dict) else None
    return content if isinstance(content, list) else []


# ── What people write ────────────────────────────────────────────────────────────────────────────

_BLOCKS = frozenset(
    {"paragraph", "heading", "codeBlock", "listItem", "tableRow", "blockquote", "panel", "expand"}
)


def _said(node: object, depth: int) -> list[str]:
    if not isinstance(node, dict) or depth > 50:
        return []
    match kind := str(node.get("type")):
        case "text":
            return [_struck(node, str(node.get("text", "")))]
        case "hardBreak":
            return ["\n"]
        case "mention":
            return ["\N{NO-BREAK SPACE}".join(_named(node).split())]
        case "emoji" | "status" | "date" | "inlineCard" | "blockCard":
            return [_named(node)]
        case _:
            content = node.get("content")
            inner = content if isinstance(content, list) else []
            said = [piece for item in inner for piece in _said(item, depth + 1)]
            if kind == "paragraph" or (kind in _BLOCKS and said and not said[-1].endswith("\n")):
                said.append("\n")
            return _shown(kind, "".join(said))


def _shown(kind: str, text: str) -> list[str]:
    """Return what a block says so that it is seen what it is: a quotation is nobody's own word."""
    match kind:
        case "blockquote":
            return [f"> {line}" for line in text.splitlines(keepends=True)]
        case "codeBlock":
            return ["```\n", text, "```\n"]
        case "listItem":
            return [f"- {text}".replace("\n", "\n  ", max(text.count("\n") - 1, 0))]
        case "tableRow":
            return ["| ", " | ".join(text.splitlines()), " |\n"]
        case _:
            return [text]


def _struck(node: Node, text: str) -> str:
    """Return a text, with the signs for it where somebody has crossed it out."""
    marks = node.get("marks")
    struck = isinstance(marks, list) and {"type": "strike"} in marks
    return f"~~{text}~~" if struck else text


def _named(node: Node) -> str:
    attributes = node.get("attrs")
    if not isinstance(attributes, dict):
        return ""
    for name in ("text", "shortName", "url", "timestamp"):
        if isinstance(value := attributes.get(name), str):
            return value
    return ""
