"""Where does a mail end?  At its final dot, whatever the pieces in which it comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from secbridge.intake.content import Content, Overflow
from secbridge.intake.limits import Memory

_BITS = st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\r\n."]), max_size=40)


def _reserved(total: int = 10**6) -> tuple[Memory, Content]:
    memory = Memory(total)
    reservation = memory.reserve(0)
    assert reservation is not None
    return memory, Content(total, reservation)


def _stuffed(mail: bytes) -> bytes:
    """Write a mail as a client does (RFC 5321 section 4.5.2), and end it."""
    lines = (mail or b"").split(b"\r\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)


@given(bits=_BITS, cuts=st.lists(st.integers(0, 100), max_size=6), rest=st.binary(max_size=10))
def test_any_mail_comes_out_as_it_went_in(bits: list[bytes], cuts: list[int], rest: bytes) -> None:
    """Whatever a mail holds and however it is cut, it ends at its final dot and nowhere else."""
    mail = b"".join(bits) + b"\r\n"
    wire = _stuffed(mail) + b".\r\n" + rest
    memory, content = _reserved()
    ends = sorted({min(cut, len(wire)) for cut in cuts} | {len(wire)})
    begun = 0
    whole = False
    behind = b""
    for end in ends:
        chunk, begun = wire[begun:end], end
        if whole:
            behind += chunk
        elif content.feed(chunk):
            whole = True
            behind = content.rest
    assert whole
    assert rest == behind
    assert mail == content.take()
    assert content.overflow is Overflow.NONE
    assert memory.held <= len(wire) + 2


def test_a_mail_beyond_its_limit_is_dropped_while_it_comes_in() -> None:
    """What is too large holds no memory, and its end is still found."""
    memory = Memory(10**6)
    reservation = memory.reserve(0)
    assert reservation is not None
    content = Content(1000, reservation)
    for _ in range(100):
        assert content.feed(b"x" * 100 + b"\r\n") is False
    assert content.overflow is Overflow.TOO_LARGE
    assert memory.held == 0
    assert content.feed(b".\r") is False
    assert content.feed(b"\nQUIT\r\n") is True
    assert content.rest == b"QUIT\r\n"


def test_a_mail_beyond_the_memory_is_dropped_while_it_comes_in() -> None:
    """When others hold the memory, the end is found and nothing is kept."""
    memory = Memory(1000)
    others = memory.reserve(900)
    reservation = memory.reserve(0)
    assert others is not None
    assert reservation is not None
    content = Content(1000, reservation)
    assert content.feed(b"x" * 200 + b"\r\n.\r\n") is True
    assert content.overflow is Overflow.NO_ROOM
    assert memory.held == 900


def test_a_share_of_the_memory_is_given_back_once() -> None:
    """Releasing twice is harmless, so nobody needs to know who was first."""
    memory = Memory(100)
    reservation = memory.reserve(60)
    assert reservation is not None
    assert memory.reserve(60) is None
    reservation.release()
    reservation.release()
    assert memory.held == 0
