"""Output of gpg comes out as it went in, and takes little room where it is wide."""

from __future__ import annotations

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from secbridge.openpgp.output import Output

MIB = 1 << 20
CHUNK = bytes(MIB // 4)

pieces = st.tuples(
    st.one_of(st.binary(max_size=64), st.sampled_from([CHUNK, bytes(range(256)) * 2048])),
    st.integers(0, MIB),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(pieces, max_size=12))
def test_what_went_in_comes_out(added: list[tuple[bytes, int]]) -> None:
    """However wide it was in between, every octet is there, in order, and was counted."""
    output = Output()
    for chunk, given_so_far in added:
        output.add(chunk, given_so_far)
    whole = b"".join(chunk for chunk, _ in added)
    assert len(whole) == output.size
    assert whole == output.take()


def room_of(octets: int, given_octets: int) -> int:
    """Return the octets of memory that zeros take which came out of so much input."""
    tracemalloc.start()
    try:
        output = Output()
        while output.size < octets:
            output.add(bytes(len(CHUNK)), given_octets)
        room, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return room


def test_wide_output_takes_little_room() -> None:
    """Out of 1 kB came 32 MiB: all but the first of them are held compressed."""
    assert room_of(32 * MIB, 1000) < 3 * MIB


def test_output_that_is_not_wide_is_held_as_it_is() -> None:
    """It is not compressed for nothing: what came out of 4 MiB costs no time."""
    assert room_of(32 * MIB, 4 * MIB) >= 32 * MIB
