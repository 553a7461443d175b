"""What a process says that may have been taken over is a value of its type, or it is nothing."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.messages import a_message, signed

from secbridge.model.message import (
    Attachment,
    CertificateSource,
    DeliveryReport,
    FoundCertificate,
    Headers,
    Layer,
    LayerForm,
    LayerKind,
    OpenFailure,
)
from secbridge.model.part import OpeningLimits
from secbridge.pipeline.opener_frames import LONGEST_HEAD, Malformed, pack, unpack
from secbridge.pipeline.opener_talk import Known, Open, Opened, Ready, Said
from secbridge.ports import Certificate


def read(reading: Generator[int, bytes, Any], octets: bytes) -> Any:
    """Feed octets to a reader and return what it reads; EOFError when they do not suffice."""
    wanted = next(reading)
    while True:
        piece, octets = octets[:wanted], octets[wanted:]
        if len(piece) < wanted:
            raise EOFError
        try:
            wanted = reading.send(piece)
        except StopIteration as end:
            assert octets == b""
            return end.value


def passed(value: Any, kind: Any) -> Any:
    """Return a value as it comes out at the other end."""
    return read(unpack(kind, most=1 << 30), b"".join(pack(value, kind)))


def framed(head: Any, octets: bytes = b"") -> bytes:
    """Return a frame with this head."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack(">I", len(text)) + text + octets


# ── What goes in comes out ───────────────────────────────────────────────────────────────────────


def test_a_message_with_everything_in_it_comes_out_as_it_was() -> None:
    """Contents, long texts, lone surrogates, enums, empty values and absent ones are all kept."""
    message = signed(
        text="words \ud800 \u20ac" * 500,
        subject="\ud800",
        layers=(
            Layer(LayerKind.ENCRYPTED, LayerForm.INLINE, 0, ok=True, fingerprints=("A", "B")),
            Layer(LayerKind.ENCRYPTED, LayerForm.PGP_MIME, 1, ok=False, reason=OpenFailure.SMIME),
        ),
        headers=Headers("<a@b>", ("<c@d>",), (), {"to": ("x", "y" * 1000), "": ()}),
        attachments=(
            Attachment("", "a/b", b"", encrypted=True, outside_encryption=False),
            Attachment(
                "n" * 600, "a/b", b"\0\xff" * 50_000, encrypted=True, outside_encryption=True
            ),
        ),
        certificates=(FoundCertificate(CertificateSource.AUTOCRYPT, b"key"),),
        report=DeliveryReport("failed", None, ("<e@f>",)),
        notes=("epilogue",),
        error="too-complex",
    )
    assert Opened(message) == passed(Opened(message), Said)
    assert Opened(a_message()) == passed(Opened(a_message()), Said)


def test_the_other_values_of_the_talk_come_out_as_they_were() -> None:
    """Limits, moments and absent certificates are kept."""
    moment = datetime(2026, 11, 20, 12, 0, 0, 5, tzinfo=UTC)
    certificate = Certificate("F" * 40, ("a@b.example",), ("E" * 40,), expires=moment)
    limits = OpeningLimits(more_fields=frozenset({"x-a", "x-b"}))
    for value, kind in (
        (Known(certificate), Known),
        (Known(None), Known),
        (Open(b"raw", limits), Open),
        (Ready(closed_off=False), Said),
    ):
        assert value == passed(value, kind)


def test_contents_are_sent_as_they_lie_in_memory() -> None:
    """A large attachment is not copied into a frame: the piece is the very same octets."""
    content = bytes(100_000)
    assert any(piece is content for piece in pack(Open(content, OpeningLimits()), Open))


# ── What is not a value is nothing ───────────────────────────────────────────────────────────────


class Colour(StrEnum):
    """An enum of the test."""

    RED = "red"


@dataclass(frozen=True, slots=True)
class Thing:
    """A value of the test, with a field of each kind."""

    text: str
    number: int
    truth: bool
    content: bytes
    colour: Colour
    moment: datetime | None
    many: tuple[str, ...]
    mapping: dict[str, tuple[str, ...]]


GOOD: list[Any] = ["t", 1, True, 0, "red", None, ["a"], {"b": ["c"]}]


def test_the_frame_that_the_next_test_breaks_is_sound() -> None:
    """Without the damage it is read."""
    thing = Thing("t", 1, True, b"xyz", Colour.RED, None, ("a",), {"b": ("c",)})
    assert thing == read(unpack(Thing, most=3), framed([[3], GOOD], b"xyz"))


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, 5), (0, None), (0, ["t"]), (1, True), (1, "1"), (1, 1.0), (1, None), (2, 1),
        (2, "true"), (3, "xyz"), (3, None), (4, "blue"), (4, 0), (5, [0, "noon"]),
        (5, [1, "2026-11-20"]),
        (5, "2026-11-20"), (5, [True, "2026-11-20"]), (5, [0]), (6, "a"), (6, {"a": 1}), (6, [1]),
        (7, ["b"]), (7, {"b": "c"}), (7, {"b": [None]}),
    ],
)  # fmt: skip
def test_a_field_of_another_type_is_malformed(at: int, value: Any) -> None:
    """Each field has to be of its own type, and true is no number."""
    body = [*GOOD[:at], value, *GOOD[at + 1 :]]
    with pytest.raises(Malformed):
        read(unpack(Thing, most=3), framed([[3], body], b"xyz"))


BROKEN: dict[str, Callable[[], bytes]] = {
    "no head": lambda: struct.pack(">I", 0),
    "a head that is too long": lambda: struct.pack(">I", LONGEST_HEAD + 1),
    "a head that is no JSON": lambda: framed(b"{"),
    "a head that is no UTF-8": lambda: framed(b'["\xff"]'),
    "a head nested too deeply": lambda: framed(b"[" * 100_000),
    "a number without end": lambda: framed(b"1" * 10_000),
    "a head that is no list": lambda: framed({"a": 1}),
    "a head of one": lambda: framed([[]]),
    "lengths that are no list": lambda: framed([3, GOOD]),
    "a length that is no number": lambda: framed([["3"], GOOD]),
    "a length that is true": lambda: framed([[True], GOOD], b"x"),
    "a negative length": lambda: framed([[-1], GOOD]),
    "more octets than asked for": lambda: framed([[4], GOOD], b"xyzz"),
    "octets that nothing needs": lambda: framed([[1, 1], GOOD], b"xy"),
    "too few octets for the value": lambda: framed([[], GOOD]),
    "a field too few": lambda: framed([[3], GOOD[:-1]], b"xyz"),
    "a field too many": lambda: framed([[3], [*GOOD, 1]], b"xyz"),
    "a value that is no list": lambda: framed([[3], {"text": "t"}], b"xyz"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_frame_is_malformed(name: str) -> None:
    """Nothing of it is used, and nothing is allocated for what is too long."""
    with pytest.raises(Malformed):
        read(unpack(Thing, most=3), BROKEN[name]())


@pytest.mark.parametrize("body", [None, [], [0], [99, []], [-1, []], ["0", []], [0, [1]], 7])
def test_what_nobody_may_say_is_malformed(body: Any) -> None:
    """A process can say what the talk has words for, and nothing else."""
    with pytest.raises(Malformed):
        read(unpack(Said, most=100), framed([[], body]))


def test_a_frame_that_stops_in_the_middle_is_an_end() -> None:
    """A process that dies while it speaks has said nothing."""
    whole = b"".join(pack(Opened(a_message()), Said))
    with pytest.raises(EOFError):
        read(unpack(Said, most=1 << 20), whole[:-1])


@settings(deadline=None, max_examples=200)
@given(octets=st.binary(max_size=300))
def test_any_octets_are_a_value_or_nothing(octets: bytes) -> None:
    """Whatever comes, no other exception leaves the reader."""
    head = struct.pack(">I", max(1, len(octets) // 2))
    try:
        read(unpack(Said, most=1 << 20), head + octets)
    except (Malformed, EOFError):
        return


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 20) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)


@settings(deadline=None, max_examples=200)
@given(number=st.integers(-1, 10), body=JSON)
def test_any_value_is_of_its_type_or_nothing(number: int, body: Any) -> None:
    """Also where the frame is sound."""
    try:
        read(unpack(Said, most=0), framed([[], [number, body]]))
    except Malformed:
        return
