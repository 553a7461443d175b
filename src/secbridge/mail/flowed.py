"""What did the sender write, before a mail program let its lines flow?  RFC 3676, undone for armor.

In ``text/plain; format=flowed`` a line that ends with a blank goes on in the next one, and a blank
is put before lines that begin with a blank, ``>`` or ``From ``.  Armor survives that badly: a long
``Comment:`` is broken into a line that is none, and a signed text verifies in the one form in which
it was signed, which may be from before or after the lines were made to flow.
"""

from __future__ import annotations

from dataclasses import dataclass

from secbridge.model.part import Part

_SIGNATURE = b"-----BEGIN PGP SIGNATURE-----"
_SEPARATORS = frozenset({b"-- ", b"- -- "})
"""The line above somebody's name never flows (RFC 3676 section 4.3); dash-escaped, it still is."""
_MOST_HEADERS = 64


@dataclass(frozen=True, slots=True)
class Flow:
    """How the lines of a text flow.  ``delsp``: the blank at a broken line's end is none of it."""

    delsp: bool = False

    def signed_forms(self, block: bytes) -> tuple[bytes, ...]:
        """Return the forms in which a clear-signed block may have been signed, each once.

        As it stands; without the blanks that were put before lines; and with its lines joined.
        """
        begin = block.find(_SIGNATURE)
        text, signature = (block[:begin], block[begin:]) if begin >= 0 else (block, b"")
        lines = _lines(text.rstrip(b" "))
        forms = [[line.removeprefix(b" ") for line in lines], self._joined(lines)]
        if not block.startswith(b" "):
            forms.insert(0, lines)
        tail = armor(signature) if signature else b""
        return tuple(dict.fromkeys(b"\n".join(form) + tail for form in forms))

    def _joined(self, lines: list[bytes]) -> list[bytes]:
        """Return the lines with each broken one in a piece; an empty line ends a paragraph.

        A line goes on only at the same depth of quotation; a ``>`` behind a blank is no quotation.
        """
        joined: list[bytes] = []
        goes_on, depth = False, 0
        for line in lines:
            quotes = len(line) - len(line.lstrip(b">"))
            rest = line[quotes:].removeprefix(b" ")
            if goes_on and quotes == depth and rest:
                joined[-1] += rest
            else:
                joined.append(line if quotes else rest)
            goes_on, depth = rest.endswith(b" ") and rest not in _SEPARATORS, quotes
            if goes_on and self.delsp:
                joined[-1] = joined[-1][:-1]
        return joined


def flow_of(part: Part) -> Flow | None:
    """Return how the lines of a part flow, or None where they are as they stand."""
    if part.media_type != "text/plain" or part.params.get("format", "").lower() != "flowed":
        return None
    return Flow(delsp=part.params.get("delsp", "").lower() == "yes")


def armor(block: bytes) -> bytes:
    """Return an armored block without blanks before its lines, and without its headers.

    They say nothing that is needed to open or verify it (RFC 9580 section 6.2.2), and one that was
    broken in two is no header any more.
    """
    lines = [line.removeprefix(b" ") for line in _lines(block)]
    head = [line.strip() for line in lines[1:_MOST_HEADERS]]
    if head and b": " in head[0] + b" " and b"" in head:
        del lines[1 : 1 + head.index(b"")]
    return b"\n".join(lines)


def _lines(text: bytes) -> list[bytes]:
    return text.replace(b"\r\n", b"\n").split(b"\n")
