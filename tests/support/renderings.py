"""How does one report look in each tracker?  Drawn for the documents from the real drafts.

``python -m tests.support.renderings`` (``make docs``) writes docs/issue-*.svg; a test compares them
with what the drafts say now.  Markdown is read by markdown-it and drawn by rich, a Jira document is
drawn node by node; the wiki markup of a Data Center, which has no parser, is shown as it is sent.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markdown import Markdown
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from secbridge.model.case import MailClass, Verdict
from secbridge.model.issue import IssueDraft, Paragraph
from secbridge.model.message import (
    Attachment,
    Coverage,
    Decryption,
    Message,
    Protection,
    Signature,
    SignatureVerdict,
)
from secbridge.rules.drafting import adf, draft_report, markdown, plain, wiki
from secbridge.testing.drafts import a_case, a_delivery, a_message

DOCS = Path(__file__).resolve().parents[2] / "docs"
WIDTH = 110
LIMIT = 32_767

_FOLD = re.compile("<details><summary>(.*?)</summary>")
"""What folds a quotation: the one HTML of ours that is seen, and that rich leaves out."""

_TEXT = """Hello,

the parser of version 2.4.1 reads past its buffer, see src/parse.c:120:

    ./parser --input <(printf '%s' "```@all /close")

This can be reached from the network.

Rita

> On Monday the team wrote:
> Thank you, which version is it?
"""


def renderings() -> Mapping[str, str]:
    """Return the content of each drawing by the name of its file in docs/."""
    draft = a_draft()
    marker = a_case().marker
    sealed = Paragraph(
        "Files are sealed to the members of the team and to the role key: gpg --decrypt opens."
    )
    told = markdown.told_issue(draft, marker, limit=LIMIT, notes=(sealed,))
    document = json.loads(adf.told_issue(draft, limit=LIMIT))
    markup = wiki.told_issue(draft, limit=LIMIT)
    drawn = {
        "issue-markdown.svg": ("GitLab and GitHub", Markdown(_FOLD.sub(r"**▸ \1**", told))),
        "issue-jira-cloud.svg": ("Jira Cloud", _document(document)),
        "issue-jira-data-center.svg": ("Jira Data Center: the markup as it is sent", Text(markup)),
        "issue-embedded.svg": ("secbridge issue show 1", Text(plain.issue_text(draft))),
    }
    return {name: _svg(name, draft, title, shown) for name, (title, shown) in drawn.items()}


def a_draft() -> IssueDraft:
    """Return the issue of an encrypted and signed report with a file and a quotation."""
    verdict = Verdict(MailClass.REPORT, ("report.words",), may_reply=True)
    delivery = a_delivery(verdict, id="d-1m7r0c2qk-4d9xz")
    return draft_report(a_case(), delivery, _mail())


def _mail() -> Message:
    signature = Signature(SignatureVerdict.GOOD, "5A3F" * 10, Coverage.WHOLE, signer_is_sender=True)
    return a_message(
        protection=Protection.ENCRYPTED_SIGNED,
        decryption=Decryption(ok=True),
        signatures=(signature,),
        subject="Buffer over-read in the parser",
        outer_subject="...",
        author="rita@example.net",
        authors=("rita@example.net",),
        text=_TEXT,
        attachments=(
            Attachment("poc.bin", "application/octet-stream", b"\0" * 2_048, True, False),
        ),
    )


# ── Drawing ──────────────────────────────────────────────────────────────────────────────────────


def _svg(name: str, draft: IssueDraft, title: str, shown: RenderableType) -> str:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), color_system="truecolor")
    console.print(Text(draft.title, style="bold"))
    labels = f"{', '.join(draft.labels)} · {', '.join(draft.assignees)} · due {draft.due}"
    console.print(Text(f"confidential · {labels}", style="dim"))
    console.print(Rule(style="dim"))
    console.print(shown)
    drawn = console.export_svg(title=title, unique_id=name.removesuffix(".svg"))
    return "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"


def _document(document: Mapping[str, Any]) -> RenderableType:
    parts: list[RenderableType] = []
    for node in document["content"]:
        parts += [*_node(node), Text()]
    return Group(*parts)


def _node(node: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Draw one node of a document; an unknown one is an error, so that none is left out."""
    inner = node.get("content", [])
    match node["type"]:
        case "heading":
            yield Text(_words(node), style="bold underline")
        case "paragraph":
            yield _line(node)
        case "codeBlock":
            yield Panel(Text(_words(node)), box=box.SQUARE, style="on grey15")
        case "table":
            yield _table(inner)
        case "expand" | "nestedExpand":
            title = str(node.get("attrs", {}).get("title", ""))
            yield Panel(Text("(folded)", style="dim"), title=f"▸ {title}", title_align="left")
        case "bulletList":
            for item in inner:
                yield Text(f"• {_words(item)}")
        case other:
            raise ValueError(f"nobody drew a {other} yet")


def _line(node: Mapping[str, Any]) -> Text:
    line = Text()
    for part in node.get("content", []):
        marks = {mark["type"] for mark in part.get("marks", [])}
        style = "bold" if "strong" in marks else "on grey15" if "code" in marks else ""
        line.append(str(part.get("text", "")), style=style)
    return line


def _table(rows: list[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SQUARE, show_header=False)
    for row in rows:
        table.add_row(*[_line(cell["content"][0]) for cell in row["content"]])
    return table


def _words(node: Mapping[str, Any]) -> str:
    if "text" in node:
        return str(node["text"])
    return "".join(_words(inner) for inner in node.get("content", []))


if __name__ == "__main__":
    for file, content in renderings().items():
        (DOCS / file).write_text(content, encoding="utf-8")
