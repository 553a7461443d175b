"""What does a Jira do with text that comes by API?  What acts in it is found here, so a leak shows.

Wiki markup has no parser outside of Jira.  The reader here is independent of what we write: it
finds macros as Atlassian's renderer does (a macro with a body ends at the next tag of its name
without arguments, ``{noformat}`` and ``{code}`` are not looked into) and reports everything in the
rest that would notify, load, link, or draw.  A document needs no parser: its nodes are what acts,
and ``ADF`` is the schema of those that Jira knows and that none of ours may go beyond.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema

Json = dict[str, Any]

# ── Wiki markup ──────────────────────────────────────────────────────────────────────────────────

WITH_BODY = ("noformat", "code", "quote", "panel", "color", "html", "xhtml", "expand", "style")
"""Macros with a body; what stands in the first two is not read."""

_TAG = re.compile(r"(?<!\\)\{(?P<name>[A-Za-z][\w-]*)(?P<arguments>:[^{}\n]*)?\}")
_ALIVE = {
    "mention": re.compile(r"(?<!\\)\[~[^\]\n]+\]"),
    "attachment": re.compile(r"(?<!\\)\[\^[^\]\n]+\]"),
    "link": re.compile(r"(?<!\\)\[[^~^\]\\\s][^\]\n]*\]|\b(?:https?|ftp|mailto|file)://?[^\s|]+"),
    "image": re.compile(r"(?<![\\\w])![^!\s][^!\n]*!"),
    "monospace": re.compile(r"(?<!\\)\{\{[^}\n]+\}\}"),
    "emoticon": re.compile(r"(?<!\\)\((?:[!?/x+y*n-]|on|off)\)|(?<![\w\\]):[()DP]|(?<!\\);\)"),
    "rule": re.compile(r"^-{4,}\s*$", re.MULTILINE),
    "list": re.compile(r"^\s*(?:[#-]+|\*\*+)\s", re.MULTILINE),
    "quote": re.compile(r"^bq\.\s", re.MULTILINE),
}
_HEADING = re.compile(r"^h(?P<level>[1-6])\.\s", re.MULTILINE)
_ASLEEP = frozenset({"noformat", "code"})


def alive_in_wiki(text: str) -> list[str]:
    """Return what acts in a text, apart from the headings, tables and bold labels that are ours."""
    awake, found = _read(text.replace("\r\n", "\n"))
    for kind, pattern in _ALIVE.items():
        found += [f"{kind} {match[0]}" for match in pattern.finditer(awake)]
    found += [f"heading {m['level']}" for m in _HEADING.finditer(awake) if m["level"] != "3"]
    return found


def asleep_in_wiki(text: str) -> list[str]:
    """Return what stands in each ``{noformat}``, as Jira shows it: U+200B is not seen."""
    found: list[str] = []
    rest = text.replace("\r\n", "\n")
    while (begin := _next_tag(rest, 0)) is not None:
        end = _end_of(rest, begin)
        if end is None:
            break
        if begin["name"].lower() == "noformat":
            found.append(rest[begin.end() : end.start()].replace("\u200b", ""))
        rest = rest[end.end() :]
    return found


def _read(text: str) -> tuple[str, list[str]]:
    """Return the text in which markup acts, and the macros in it that are not ours."""
    awake, found, place = "", [], 0
    while (begin := _next_tag(text, place)) is not None:
        awake += text[place : begin.start()]
        end = _end_of(text, begin)
        asleep = begin["name"].lower() in _ASLEEP
        if not asleep or begin["name"].lower() != "noformat":
            found.append(f"macro {begin[0]}")
        if end is None:  # a macro without an end is text, and what follows it acts
            found.append(f"unended {begin[0]}")
            place = begin.end()
        else:
            place = end.end() if asleep else begin.end()
    return awake + text[place:], found


def _next_tag(text: str, place: int) -> re.Match[str] | None:
    return _TAG.search(text, place)


def _end_of(text: str, begin: re.Match[str]) -> re.Match[str] | None:
    """Return the next tag of the same name without arguments: nothing else ends a macro."""
    for tag in _TAG.finditer(text, begin.end()):
        if tag["name"].lower() == begin["name"].lower() and not tag["arguments"]:
            return tag
    return None


# ── Documents ────────────────────────────────────────────────────────────────────────────────────


def _node(kind: str, content: object = None, *, attributes: Json | None = None) -> Json:
    properties: Json = {"type": {"const": kind}}
    if content is not None:
        properties["content"] = {"type": "array", "items": content}
    if attributes is not None:
        properties["attrs"] = {
            "type": "object", "properties": attributes, "additionalProperties": False,
        }  # fmt: skip
    return {
        "type": "object",
        "properties": properties,
        "required": ["type"],
        "additionalProperties": False,
    }


def _ref(*names: str) -> Json:
    """Return the schema of a node that is one of these; only that of its own type is tried."""
    kinds = {"literal": "text"}
    allowed = [kinds.get(name, name) for name in names]
    return {
        "type": "object",
        "properties": {"type": {"enum": allowed}},
        "required": ["type"],
        "allOf": [
            {
                "if": {"properties": {"type": {"const": kind}}},
                "then": {"$ref": f"#/$defs/{name}"},
            }
            for kind, name in zip(allowed, names, strict=True)
        ],
    }


_ANYTHING: Json = {}
_HREF = {"type": "string", "pattern": "^https?://"}
_MARKS = {
    "type": "array",
    "items": {
        "anyOf": [
            _node("strong"), _node("em"), _node("code"),
            _node("link", attributes={"href": _HREF}),
        ]
    },
}  # fmt: skip

ADF: Json = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$defs": {
        "text": {
            "type": "object",
            "properties": {
                "type": {"const": "text"},
                "text": {"type": "string", "minLength": 1},
                "marks": _MARKS,
            },
            "required": ["type", "text"],
            "additionalProperties": False,
        },
        "literal": {
            "type": "object",
            "properties": {"type": {"const": "text"}, "text": {"type": "string", "minLength": 1}},
            "required": ["type", "text"],
            "additionalProperties": False,
        },
        "hardBreak": _node("hardBreak"),
        "mention": _node("mention", attributes={"id": _ANYTHING, "text": _ANYTHING}),
        "inlineCard": _node("inlineCard", attributes={"url": _HREF}),
        "paragraph": _node("paragraph", _ref("text", "hardBreak", "mention", "inlineCard")),
        "heading": _node(
            "heading", _ref("text"), attributes={"level": {"type": "integer", "maximum": 6}}
        ),
        "codeBlock": _node(
            "codeBlock", _ref("literal"), attributes={"language": {"type": ["string", "null"]}}
        ),
        "listItem": _node("listItem", _ref("paragraph", "codeBlock")),
        "bulletList": _node("bulletList", _ref("listItem")),
        "tableHeader": _node("tableHeader", _ref("paragraph")),
        "tableCell": _node("tableCell", _ref("paragraph")),
        "tableRow": _node("tableRow", _ref("tableHeader", "tableCell")),
        "table": _node("table", _ref("tableRow")),
        "expand": _node(
            "expand",
            _ref("paragraph", "codeBlock"),
            attributes={"title": {"type": "string"}},
        ),
    },
    "type": "object",
    "properties": {
        "type": {"const": "doc"},
        "version": {"const": 1},
        "content": {
            "type": "array",
            "items": _ref("paragraph", "heading", "codeBlock", "bulletList", "table", "expand"),
        },
    },
    "required": ["type", "version", "content"],
    "additionalProperties": False,
}
"""The nodes that this Jira knows, as the Atlassian Document Format describes them."""

_VALIDATOR = jsonschema.Draft202012Validator(ADF)
_ACTING = frozenset({"mention", "inlineCard", "blockCard", "media", "extension", "emoji"})


def problems_of_document(document: object) -> list[str]:
    """Return why a Jira would refuse a document."""
    return [error.json_path for error in _VALIDATOR.iter_errors(document)]


def alive_in_document(document: object) -> list[str]:
    """Return the nodes and marks of a document that act."""
    found = []
    for node in nodes(document):
        if node.get("type") in _ACTING:
            found.append(str(node["type"]))
        if node.get("type") == "codeBlock" and (node.get("attrs") or {}).get("language"):
            found.append("language")
        found += [
            f"mark {mark['type']}" for mark in node.get("marks", []) if mark["type"] == "link"
        ]
    return found


def asleep_in_document(document: object) -> list[str]:
    """Return the text of each code block."""
    return [
        "".join(text["text"] for text in node.get("content", []))
        for node in nodes(document)
        if node.get("type") == "codeBlock"
    ]


def nodes(document: object) -> Iterator[Json]:
    """Return all nodes of a document, in order."""
    if isinstance(document, dict):
        yield document
        for inner in document.get("content", []):
            yield from nodes(inner)


def as_the_cloud_shows_it(node: Any) -> Any:
    """Return a document as Jira gives it back: with attributes of its own that say nothing."""
    if not isinstance(node, dict):
        return node
    shown = {name: value for name, value in node.items() if name != "content"}
    inner = [as_the_cloud_shows_it(one) for one in node.get("content", [])]
    match node.get("type"):
        case "table":
            given = {"isNumberColumnEnabled": False, "layout": "align-start", "localId": "1b2c"}
            shown["attrs"] = given | node.get("attrs", {})
        case "tableCell" | "tableHeader":
            shown["attrs"] = {"colspan": 1, "rowspan": 1, "background": None}
        case "paragraph" | "heading" | "expand":
            shown["attrs"] = {**node.get("attrs", {}), "localId": "9f8e"}
        case "codeBlock":
            shown["attrs"] = {"language": None, "wrap": False}
        case _:
            pass
    return {**shown, **({"content": inner} if "content" in node else {})}
