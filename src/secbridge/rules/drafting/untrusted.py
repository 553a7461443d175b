"""What must happen to a stranger's text before anybody shows it?  It becomes visible, all of it.

Characters that steer a terminal, turn the direction of writing, or hide are written out as
``⟦U+202E⟧``, so that what a reader sees is what is there.  Nothing is removed.
"""

from __future__ import annotations

import re

_UNSEEN_CLASS = (
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1, all but tab and line feed
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"  # soft hyphen, joiners, fillers, marks
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"  # zero width, line ends, bidi controls
    "\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"  # fillers, byte order mark, annotations
    "\ud800-\udfff"  # lone surrogates, which UTF-8 cannot say
    "\U000e0000-\U000e0fff"  # tags and variation selectors of the hidden plane
    "]"
)
"""Not in it: U+200C and U+200D, which Persian, Indic scripts and emoji need."""

_UNSEEN = re.compile(f"({_UNSEEN_CLASS})\\1*")
"""A run of one unseen character: a megabyte of NUL is said in a word."""

_LINE_ENDS = re.compile("\r\n|\r")

_MANY = 4
"""So many of one unseen character in a row are counted."""

_FORWARDED = (
    re.compile(r"\*?(?:from|von|de|da|van|från|fra|od)\s?:\*?\s.*\S", re.IGNORECASE),
    re.compile(
        r"\*?(?:sent|date|gesendet|datum|envoyé|enviado|fecha|inviato|data|verzonden|skickat|sendt"
        r"|wysłano)\s?:\*?\s.*\d",
        re.IGNORECASE,
    ),
    re.compile(r"\*?(?:to|an|à|para|a|aan|till|til|do)\s?:\*?\s.*\S", re.IGNORECASE),
    re.compile(
        r"\*?(?:subject|betreff|objet|asunto|assunto|oggetto|onderwerp|ämne|emne|temat)\s?:",
        re.IGNORECASE,
    ),
)
"""The header that Outlook puts above a quote, line by line; the quote itself is not marked."""

_RULE = re.compile(r"_{10,}|-{3,}[^-]{1,60}-{3,}")
"""What it may put above that header."""

_ATTRIBUTION_LINES = 2
"""How many lines "On … wrote:" may take above a quote."""


def visible(text: str) -> str:
    """Return ``text`` with LF line ends and every unseen character written out."""
    return _UNSEEN.sub(_spelled, _LINE_ENDS.sub("\n", text))


def single_line(text: str, *, limit: int = 500) -> str:
    """Return ``text`` visible, on one line, with at most ``limit`` characters and a note if cut."""
    line = " ".join(visible(text[: limit * 4]).split())
    if len(line) <= limit and len(text) <= limit * 4:
        return line
    return f"{line[:limit]} [cut]"


def longest_run(text: str, character: str) -> int:
    """Return the length of the longest run of ``character``, in linear time."""
    return max((len(run) for run in re.findall(f"{re.escape(character)}+", text)), default=0)


def split_trailing_quote(text: str) -> tuple[str, str]:
    """Return (own words, trailing quote): the last block of ``>`` lines with its attribution.

    The quote is empty when anything follows it, or when the text is nothing but a quote; then all
    of it counts as own words.  The two parts together are the whole text, in order.
    """
    lines = text.split("\n")
    end = len(lines)
    while end > 0 and not lines[end - 1].strip():
        end -= 1
    start = end
    while start > 0 and (lines[start - 1].startswith(">") or not lines[start - 1].strip()):
        start -= 1
    if not any(line.startswith(">") for line in lines[start:end]):
        return text, ""
    start = _with_attribution(lines, start)
    if not any(line.strip() for line in lines[:start]):
        return text, ""
    return "\n".join(lines[:start]), "\n".join(lines[start:])


def split_forwarded_header(text: str) -> tuple[str, str]:
    """Return (own words, quote) where the header of another mail stands above the quote.

    So Outlook quotes: From, Sent, To, perhaps Cc, and Subject, one below the other.  The quote is
    empty when there is no such header, or when nothing stands above it.
    """
    lines = text.split("\n")
    found = (
        at
        for at, line in enumerate(lines)
        if _FORWARDED[0].match(line) and _is_forwarded_header(lines[at : at + 5])
    )
    start = next(found, 0)
    above = start
    while above > 0 and not lines[above - 1].strip():
        above -= 1
    if above > 0 and _RULE.fullmatch(lines[above - 1].strip()[:100]):
        start = above - 1
    if not any(line.strip() for line in lines[:start]):
        return text, ""
    return "\n".join(lines[:start]), "\n".join(lines[start:])


def _is_forwarded_header(lines: list[str]) -> bool:
    """Whether these lines, five at most, begin with From, Sent, To and Subject, maybe with Cc."""
    if not all(form.match(line) for form, line in zip(_FORWARDED[:3], lines, strict=False)):
        return False
    return any(_FORWARDED[3].match(line) for line in lines[3:])


def _with_attribution(lines: list[str], start: int) -> int:
    """Return where the quote begins when the lines above it say "On … wrote:" in any language.

    The attribution is one line, or a paragraph of two that a mail program wrapped.
    """
    above = start
    while above > 0 and start - above <= _ATTRIBUTION_LINES and lines[above - 1].strip():
        above -= 1
    first = above if start - above <= _ATTRIBUTION_LINES else start - 1
    return first if _is_attribution(" ".join(lines[first:start])) else start


def _is_attribution(line: str) -> bool:
    """Whether a line ends with a colon and names a date or an address."""
    return len(line) < 400 and line.rstrip().endswith(":") and bool(re.search(r"[0-9@<]", line))


def _spelled(match: re.Match[str]) -> str:
    """Write out a run of one character, with how often it stands there."""
    name, times = f"U+{ord(match[1]):04X}", len(match[0])
    return f"⟦{name}⟧" * times if times < _MANY else f"⟦{name} x {times}⟧"
