"""What does an enemy send?  Mails that break programs, octet by octet, with a canary in each.

``specimens`` makes them; none says what we answer, because the rule is one for all: a clear status,
a listed state, an issue that can be shown, and not a word of it in a log.
"""

from collections.abc import Collection, Iterator

from tests.support.hostile import authors, octets, secrecy, signs, sizes, structure
from tests.support.hostile.specimen import CANARY, DOMAIN, SENDER, Specimen, collected
from tests.support.keys import Keys

__all__ = ["CANARY", "DOMAIN", "SENDER", "Specimen", "specimens"]


def specimens(keys: Keys, *, only: Collection[str] = ()) -> Iterator[Specimen]:
    """Make all of them, one after the other, or ``only`` those of these names."""
    for room in (octets, sizes, structure, authors, secrecy):
        yield from collected(room.__name__, keys, only)
    if only:
        return
    yield from signs.in_header_fields()
    yield from signs.of_machines()
