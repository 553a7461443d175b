"""How is a mail built?  A tree of parts that point into the bytes and copy nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class OpeningLimits:
    """How much of a mail we look at before it counts as too complex, and which fields rules need.

    ``max_layers`` of encryption and signature within each other; ``max_parts`` and ``max_depth`` of
    MIME; ``max_header`` octets of one header; ``max_ciphertexts`` and ``max_signatures`` that one
    mail may ask gpg about; ``max_plaintext`` octets out of all ciphertexts of a mail together, and
    out of one no more than ``plaintext_floor`` and ``plaintext_ratio`` times its own size;
    ``max_text`` and ``max_html`` octets of one text part that are read as text (the rest becomes an
    attachment, never nothing).  ``more_fields``: header fields that rules ask for beyond
    ``mail.headers.KEPT_FIELDS``, lower-case.
    """

    max_layers: int = 8
    max_parts: int = 500
    max_depth: int = 20
    max_header: int = 256 << 10
    max_ciphertexts: int = 32
    max_signatures: int = 32
    max_plaintext: int = 64 << 20
    plaintext_floor: int = 4 << 20
    plaintext_ratio: int = 12
    max_text: int = 1 << 20
    max_html: int = 512 << 10
    more_fields: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, repr=False)
class Part:
    """A MIME entity as a range of the bytes it was cut from (RFC 2045, RFC 2046).

    ``start`` to ``body`` is its header, ``body`` to ``end`` its body; the line end before a
    boundary belongs to the boundary (RFC 2046 section 5.1.1).  ``params`` are those of its
    Content-Type.  ``unread``: a bound was hit, and what it holds was not looked at.
    ``formless``: it says multipart, and no boundary was found in it.
    """

    start: int
    body: int
    end: int
    media_type: str = "text/plain"
    params: dict[str, str] = field(default_factory=dict)
    disposition: str = ""
    name: str = ""
    encoding: str = ""
    children: tuple[Part, ...] = ()
    unread: bool = False
    formless: bool = False

    @property
    def is_multipart(self) -> bool:
        """Whether it is a multipart whose parts were found."""
        return self.media_type.startswith("multipart/") and not self.formless

    @property
    def is_message(self) -> bool:
        """Whether it holds a whole mail (RFC 2046 section 5.2.1, RFC 6532 section 3.7)."""
        return self.media_type in {"message/rfc822", "message/global"}

    def walk(self) -> Iterator[Part]:
        """Yield this part and all below it, in mail order; bounded by the bounds of the slicing."""
        yield self
        for child in self.children:
            yield from child.walk()

    def __repr__(self) -> str:
        return f"Part({self.start}:{self.end}, {len(self.children)} children)"
