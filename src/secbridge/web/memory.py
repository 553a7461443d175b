"""Was this webhook here before?  A memory with an end, in number and in time."""

from __future__ import annotations

from datetime import datetime, timedelta

MOST = 4096
"""So many webhooks are remembered at most (about 100 octets each)."""

KEPT = timedelta(days=1)
"""How long one is remembered."""


class Memory:
    """Remembers webhooks that were proven; it is lost with the process.

    What was forgotten could be played again, and make us look once more at what is new: a
    repetition costs a request or two, and no more.
    """

    def __init__(self, *, most: int = MOST, kept: timedelta = KEPT) -> None:
        self._most = most
        self._kept = kept
        self._seen: dict[tuple[str, bytes], datetime] = {}

    def is_new(self, tracker: str, identity: bytes, now: datetime) -> bool:
        """Return whether a webhook is here for the first time, and remember it."""
        self._forget(now)
        if (tracker, identity) in self._seen:
            return False
        if len(self._seen) >= self._most:
            del self._seen[next(iter(self._seen))]
        self._seen[tracker, identity] = now
        return True

    def _forget(self, now: datetime) -> None:
        """Let go of what is too old; the oldest stands first."""
        while self._seen:
            oldest = next(iter(self._seen))
            if now - self._seen[oldest] < self._kept:
                return
            del self._seen[oldest]
