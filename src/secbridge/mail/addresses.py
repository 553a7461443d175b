"""Whose address is this?  Mailbox lists, read octet by octet, and believed only where clear.

Display names, comments and encoded words are text of the sender's choice and never count.
"""

from __future__ import annotations

import re

QUOTED = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
"""A quoted string (RFC 5322 section 3.2.4)."""

_ATOM = r"[^\x00-\x20\x7f()<>\[\]:;@\\,.\"]+"
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_DOMAIN = re.compile(rf"(?:{_ATOM}(?:\.{_ATOM})*|\[[\x21-\x5a\x5e-\x7e]*\])")


def mailboxes(value: str) -> tuple[list[str], bool]:
    """Return the addr-specs of a list, domains lower-cased, and whether all of it was clear.

    Display names, comments and encoded words never count, whatever they hold.  Groups and stray
    text are read through, and then nothing is clear any more.
    """
    reader = _Mailboxes()
    at, may_close = 0, True
    while at < len(value):
        char = value[at]
        quoted = QUOTED.match(value, at) if char == '"' and may_close else None
        if quoted is not None:
            reader.put(quoted[0])
            at = quoted.end()
        elif char == "(":
            at = reader.comment(value, at)
        else:
            may_close = may_close and char != '"'  # one that stays open leaves all behind it open
            reader.take(char)
            at += 1
    reader.flush()
    return reader.specs, reader.clear


class _Mailboxes:
    """Reads an address list octet by octet."""

    def __init__(self) -> None:
        self.specs: list[str] = []
        self.clear = True
        self._bare: list[str] = []
        self._angle: list[str] | None = None
        self._open = False

    def put(self, text: str) -> None:
        if self._angle is None:
            self._bare.append(text)
        elif self._open:
            self._angle.append(text)
        elif text.strip():
            self.clear = False

    def take(self, char: str) -> None:
        match char:
            case "<" if self._angle is None:
                self._angle, self._open = [], True
            case "<":
                self.clear = False
                self.flush()
                self._angle, self._open = [], True
            case ">" if self._open:
                self._open = False
            case "," if not (self._open and self._angle and self._angle[0] == "@"):
                self.flush()
            case ";":
                self.clear = False
                self.flush()
            case ":" if not self._open:
                self.clear = False
                self._bare.clear()
            case ">":
                self.clear = False
            case _:
                self.put(char)

    def comment(self, value: str, at: int) -> int:
        """Return where the comment that begins here ends (they nest, RFC 5322 section 3.2.2)."""
        depth = 0
        while at < len(value):
            if value[at] == "\\":
                at += 1
            elif value[at] == "(":
                depth += 1
            elif value[at] == ")":
                depth -= 1
                if depth == 0:
                    return at + 1
            at += 1
        self.clear = False
        return len(value)

    def flush(self) -> None:
        """End the mailbox that was being read."""
        if self._angle is not None:
            self._keep("".join(self._angle))
            self.clear = self.clear and not self._open
        elif text := "".join(self._bare).strip():
            self._keep(text)
        self._bare.clear()
        self._angle, self._open = None, False

    def _keep(self, text: str) -> None:
        spec = addr_spec(text)
        if spec is not None:
            self.specs.append(spec)
            return
        self.clear = False
        loose = (addr_spec(word.strip("<>\"'")) for word in text.split() if "@" in word)
        self.specs.extend(found for found in loose if found is not None)


def addr_spec(text: str) -> str | None:
    """Return one address in its plain form, domain lower-cased, or None when it is none.

    A source route is dropped, and a quoted local part that needs no quotes loses them
    (RFC 5322 sections 3.4.1 and 4.4).
    """
    text = text.strip()
    if text.startswith("@"):
        text = text.partition(":")[2].strip()
    local, at, domain = text.rpartition("@")
    local, domain = local.strip(), domain.strip()
    if quoted := QUOTED.fullmatch(local):
        inner = re.sub(r"\\(.)", r"\1", quoted[0][1:-1])
        local = inner if _DOT_ATOM.fullmatch(inner) else local
    elif not _DOT_ATOM.fullmatch(local):
        return None
    if not at or not _DOMAIN.fullmatch(domain) or len(local) + len(domain) > 998:
        return None
    return f"{local}@{domain.lower()}"
