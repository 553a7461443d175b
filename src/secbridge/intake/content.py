"""Where does a mail end?  The bytes between 354 and the final dot, found in one linear scan.

Only CRLF "." CRLF ends a mail (RFC 5321 section 4.1.1.4).  Every other spelling of it (bare LF,
bare CR, mixtures) stays content: a server that is more generous lets one mail smuggle in another.
Lines may be of any length, and bare CR and LF are kept, because signatures cover them.
"""

from __future__ import annotations

from enum import Enum, auto

from secbridge.intake.limits import Reservation

_END = b"\r\n.\r\n"
_STUFFING_SHARE = 16


class Overflow(Enum):
    """Why a mail is read to its end and not kept."""

    NONE = auto()
    TOO_LARGE = auto()
    NO_ROOM = auto()


class Content:
    """Takes the chunks of one mail and says when it is whole.

    ``limit`` is the size in octets without transparency dots (RFC 1870 section 5); while a mail
    comes in, a sixteenth more is allowed for those.  What is beyond ``limit`` or beyond the memory
    is dropped while it arrives.
    """

    def __init__(self, limit: int, reservation: Reservation) -> None:
        self._limit = limit
        self._reservation = reservation
        self._buffer = bytearray(b"\r\n")  # so that a final dot on the first line is one
        self._end = -1
        self._rest = b""
        self.overflow = Overflow.NONE

    def feed(self, chunk: bytes) -> bool:
        """Add what came in; return True once the final dot is in it."""
        seen = len(self._buffer)
        self._buffer += chunk
        self._end = self._buffer.find(_END, max(0, seen - len(_END) + 1))
        if self._end >= 0:
            self._rest = bytes(memoryview(self._buffer)[self._end + len(_END) :])
        self._bound()
        return self._end >= 0

    @property
    def rest(self) -> bytes:
        """What came behind the final dot: the client's next commands."""
        return self._rest

    def take(self) -> bytes:
        """Return the mail as it was written, transparency removed (RFC 5321 section 4.5.2), once.

        ``overflow`` must be asked afterwards: without transparency dots the size is exact.
        """
        content = bytes(memoryview(self._buffer)[2 : self._end + 2])
        self._buffer = bytearray()
        content = content.removeprefix(b".").replace(b"\r\n.", b"\r\n")
        if len(content) > self._limit:
            self.overflow = Overflow.TOO_LARGE
        return content

    def _bound(self) -> None:
        """Drop what we must not keep, but for the last octets: the final dot may begin there."""
        size = len(self._buffer) - len(self._rest)
        if self.overflow is Overflow.NONE:
            if size > self._limit + self._limit // _STUFFING_SHARE + len(_END) + 2:
                self.overflow = Overflow.TOO_LARGE
            elif not self._reservation.grow_to(size):
                self.overflow = Overflow.NO_ROOM
        if self.overflow is not Overflow.NONE:
            self._reservation.release()
            del self._buffer[: -(len(_END) - 1)]
