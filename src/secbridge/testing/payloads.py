"""What do hostile mails say?  One table for all dialects, each row named by what it hopes for.

A dialect's test renders each payload, has an independent parser read the result, and asserts that
nothing but text comes out of it.  Rows for one tracker are tried on all of them: a text does not
know where it will be read, and a rule that holds by luck in one dialect fails in the next.

``PAYLOADS`` are texts of any form; ``LINES`` fit where one line stands: titles, labels, names.
"""

from __future__ import annotations

MARKER = "9f2c7a52-5c1e-4f0e-9f5f-0c3f3b0a7d11"
"""A marker that a payload pretends to know; tests that look for it make their issues with it."""

QUICK_ACTIONS = {
    "a quick action": "/close",
    "a quick action after text": "Hello\n\n/confidential\n/add_email a@evil.example\n",
    "a quick action after blanks": "   /close\n\t/close\n \u00a0/close\n\u3000/close",
    "quick actions after CR": "Hello\r/close\r\n/label ~public",
    "quick actions after other line ends": "a\u2028/close\u2029/close\x0b/close\x0c/close\x85/a",
    "quick actions after a quote": "> quoted\n/close\n\n>>> \n/close\n>>>",
    "every dangerous quick action": (
        "/confidential\n/unlabel ~Security\n/assign @kim\n/close\n/duplicate #1\n/move a/b\n"
        "/clone a/b\n/copy_metadata #1\n/due 2099-01-01\n/subscribe\n/todo\n"
        "/promote_to incident\n/add_email mallory@evil.example\n/convert_to_ticket a@b.example\n"
        "/cc @all\n/spend 1h\n/zoom https://zoom.example/j/1\n/submit_review"
    ),
    "a command of ours": "sb: reply\nThe secret is out.\n\nsb: accept\n/reply\n",
}

FENCES = {
    "a closing fence": "```\n/close\n```\n@all",
    "a longer closing fence": "`````````\n/close",
    "a tilde fence": "~~~\n/close\n~~~",
    "fences within fences": "````\n```\n``\n`\n/close\n```\n````",
    "an indented closing fence": "   ```\n/close",
    "a fence in a quote": "> ```\n> x\n```\n@all",
    "a fence in a list": "- ```\n  x\n```\n@all",
    "a fence with a language": "```suggestion\n/close\n```",
    "backticks at the end": "x`",
    "a wall of backticks": "`" * 5000 + "\n/close",
    "an indented block": "    /close\n\t/close",
}

REFERENCES = {
    "mentions": "@all @alex group/project#1 !5 &3 ~label %milestone $snippet GH-1",
    "a mention of a team": "@octo-org/security @here @channel @copilot",
    "mentions at the margin": "@alex\n@alex\n(@alex) *@alex* _@alex_ `@alex",
    "closing words": "Fixes #1, closes group/project#2",
    "more closing words": "Resolves octo/other#7\nfixed GH-3\nclose https://github.com/o/r/issues/4",
    "a commit": "0123456789012345678901234567890123456789",
    "a commit elsewhere": "octo/other@0123456789012345678901234567890123456789",
    "an advisory": "GHSA-aaaa-bbbb-cccc CVE-2026-0001 SB-2026-0002",
    "an address of an issue": "https://github.com/octo/other/issues/7 https://gitlab.com/a/b/-/issues/1+",
    "a ticket": "PROJ-1 [PROJ-1] https://example.atlassian.net/browse/PROJ-1",
}

MARKUP = {
    "an image": "![x](https://evil.example/beacon.png) <img src=https://evil.example/b>",
    "an image by reference": "![x][i]\n\n[i]: https://evil.example/beacon.png",
    "a video and a sound": "<video src=https://evil.example/v></video><audio src=//evil.example/a>",
    "a link": "[login](https://evil.example) <https://evil.example> https://evil.example",
    "a link to a program": "[x](javascript:alert(1)) [y](data:text/html,z) <a href=vbscript:x>",
    "a bare link": "www.evil.example mallory@evil.example ftp://evil.example/x",
    "a reference definition": "[1]: https://evil.example\n\n[1]",
    "a footnote": "See[^1].\n\n[^1]: ![x](https://evil.example/b.png)",
    "HTML": "<script>alert(1)</script>\n<iframe src=//evil.example></iframe>\n</details>",
    "the end of a fold": "</details>\n\n/close",
    "a fold of its own": "<details open><summary>Case</summary>\n\n@alex\n\n</details>",
    "the end of a comment": "-->\n/close\n<!--",
    "an open comment": "<!-- everything after this is hidden",
    "an open tag": "<div title='",
    "character references": "&#64;alex &commat;alex &#47;close &lt;b&gt; &#x202e;",
    "escapes": "\\@alex \\/close \\`\\`\\` \\<b\\>",
    "our own marker": f"<!-- secbridge:report={MARKER} -->\n<!-- secbridge:told -->",
    "our own record": '<!-- secbridge:record={"labels":["public"]} -->',
    "a picture as a theme": '<picture><source srcset="https://evil.example/b"><img></picture>',
    "a style": "<style>@import url(https://evil.example/s.css)</style>",
}

BLOCKS = {
    "a diagram": "```mermaid\ngraph TD; A-->B\n```",
    "other diagrams": "```plantuml\n!include https://evil.example\n```\n```geojson\n{}\n```\n```stl\n```",
    "quotes": "> /close\n>>> \n/close\n>>>",
    "an alert": "> [!CAUTION]\n> This report was checked by security: run the attachment.",
    "lists and tasks": "- [ ] /close\n1. /close\n* * *",
    "a table": "| a |\n|---|\n| @all |",
    "a table that breaks out": "| | |\n|---|---|\n| **Class** | spam |",
    "a heading": "# /close\nText\n===\n",
    "front matter": "---\ntitle: /close\n---",
    "a table of contents": "[[_TOC_]]\n::include{file=/etc/passwd}",
    "mathematics": "$$\n/close\n$$\n$`x`$ ```math\n\\href{https://evil.example}{x}\n```",
    "colours and emoji": "`#ff0000` :shipit: :+1: `rgb(1,2,3)`",
}

WIKI = {
    "wiki mentions": "[~alex] [~accountid:5b10a2844c20165700ede21g] [@alex]",
    "wiki images": "!https://evil.example/beacon.png! !x.png|thumbnail! !^x.png!",
    "wiki links": "[login|https://evil.example] [^file.bin] [PROJ-1] [mailto:a@evil.example]",
    "the end of noformat": "{noformat}\n[~alex] !https://evil.example/b.png!\n{noformat}",
    "the end of noformat with options": "{noformat:title=x}\n[~alex]\n{noformat:nopanel=true}",
    "the end of code": "{code}\n[~alex] !https://evil.example/b.png!\n{code:java}\n{code}",
    "broken ends": "{noformat {noformat\n} { noformat } {NOFORMAT} {{noformat}} \\{noformat}",
    "ends with hidden letters": "{no\u200bformat}\n{\u200bnoformat}\n{\u2060code}\n[~alex]",
    "wiki macros": "{panel:title=Case}x{panel} {color:red}x{color} {quote}x{quote} {anchor:x}",
    "macros that reach out": "{html}<script>x</script>{html} {include:x} {rss:url=https://evil.example}",
    "wiki headings and tables": "h1. Closed\nbq. x\n||a||b||\n|c|d|\n----\n* x\n# y\n-- z",
    "monospace": "{{x}} {{[~alex]}} ??x?? +x+ ^x^ ~x~ *x* _x_ -x-",
}

CHARACTERS = {
    "turned writing": "\u202e/close\u202c \u2066/close\u2069",
    "hidden words": "zero\u200bwidth \U000e0041\U000e0042",
    "controls": "\x00\x07\x1b[2J\x9b2J\x7f",
    "a terminal's commands": "\x1b]0;title\x07\x1b[31mred\x1b[0m",
    "lone surrogates": "\ud800\udfff",
    "look-alikes": "@\u0430lex \uff0fclose \u2215close \uff40\uff40\uff40",
    "stacked marks": "Z" + "\u0334\u0321" * 60,
    "a byte order mark": "\ufeff/close",
}

SHAPES = {
    "nothing": "",
    "blank lines": "\n\n\n",
    "a very long line": "/close " * 20_000,
    "many short lines": "@a\n" * 2_000,
    "deep quotes": ">" * 500 + " /close",
    "deep lists": "".join(f"{'  ' * depth}- x\n" for depth in range(60)),
    "many brackets": "[" * 3_000 + "x" + "](" * 3_000,
}

PAYLOADS: dict[str, str] = {
    **QUICK_ACTIONS,
    **FENCES,
    **REFERENCES,
    **MARKUP,
    **BLOCKS,
    **WIKI,
    **CHARACTERS,
    **SHAPES,
}
"""All of them, by name."""

LINES: dict[str, str] = {
    name: text for name, text in PAYLOADS.items() if len(text) <= 200 and text.strip()
}
"""Those that are short enough for a title, a label or a name; some have line ends in them."""
