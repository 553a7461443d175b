"""How do values travel to and from a process that we do not trust?  Written out, and checked.

A frame is the length of its head, the head, and octets: the head is JSON with the lengths of the
octets and the value itself, in which contents and long texts are left out, because they follow as
octets.  What a frame may hold is told by a type: a frame is read only as a value of that type, and
no class and no name comes out of it.  Nothing here raises anything but ``Malformed`` and EOFError,
and nothing is allocated that was not asked for with ``most``.
"""

from __future__ import annotations

import io
import json
import struct
import types
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

Value = Any
"""What a type describes; only the caller knows the type, and mypy cannot follow."""

Encode = Callable[[Value, list[bytes]], Any]
Decode = Callable[[Any, Iterator[bytes]], Value]

LONGEST_HEAD = 4 << 20
"""Octets of a head: names and header fields of the largest mail stay far below."""

_LENGTH = struct.Struct(">I")
_LONG = 512
"""Characters from which a text follows as octets."""


class Malformed(Exception):  # noqa: N818 - it says what a frame is
    """A frame is not what it has to be; nothing of it was used, and its text says nothing."""


# ── Frames ───────────────────────────────────────────────────────────────────────────────────────


def pack(value: Value, kind: Value) -> list[bytes]:
    """Return the pieces of a frame in the order in which they are sent; contents are not copied."""
    octets: list[bytes] = []
    body = _coder(kind)[0](value, octets)
    sizes = [len(piece) for piece in octets]
    text = json.dumps([sizes, body], ensure_ascii=False, separators=(",", ":"))
    head = text.encode("utf-8", "surrogatepass")
    pieces = [_LENGTH.pack(len(head)) + head]
    for piece in octets:  # one system call for many small pieces
        if len(piece) + len(pieces[-1]) < 16 * 1024:
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def unpack(kind: Value, *, most: int) -> Generator[int, bytes, Value]:
    """Read a frame without any input of its own: yields how many octets it wants, is sent them.

    ``most`` is the largest sum of the octets that follow the head.  Returns the value.
    """
    (length,) = _LENGTH.unpack((yield _LENGTH.size))
    if not 0 < length <= LONGEST_HEAD:
        raise Malformed
    sizes, body = _head((yield length))
    if sum(sizes) > most:
        raise Malformed
    octets: list[bytes] = []
    for size in sizes:
        octets += [(yield size) if size else b""]
    rest = iter(octets)
    value = _coder(kind)[1](body, rest)
    if next(rest, None) is not None:
        raise Malformed
    return value


def _head(octets: bytes) -> tuple[list[int], Any]:
    try:
        head = json.loads(octets)
    except (ValueError, RecursionError):
        raise Malformed from None
    if not isinstance(head, list) or len(head) != 2 or not isinstance(head[0], list):
        raise Malformed
    if any(type(size) is not int or size < 0 for size in head[0]):
        raise Malformed
    return head[0], head[1]


class Room:
    """Room for a known number of octets, filled in place: large contents are never there twice."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._file = io.BytesIO(bytes(size))  # zeros that take no memory before they are written

    def fill(self, take: Callable[[memoryview], int]) -> bytes:
        """Return the octets that ``take`` puts there; it returns their number, and 0 at the end."""
        with self._file.getbuffer() as view:
            at = 0
            while at < self._size:
                at += _some(take(view[at:]))
        return self._file.getvalue()[: self._size]

    async def fill_waiting(self, take: Callable[[memoryview], Any]) -> bytes:
        """Do as ``fill`` does, with a ``take`` that waits."""
        with self._file.getbuffer() as view:
            at = 0
            while at < self._size:
                at += _some(await take(view[at:]))
        return self._file.getvalue()[: self._size]


def _some(count: int) -> int:
    if count == 0:
        raise EOFError
    return count


def prepare(*kinds: Value) -> None:
    """Learn how to write and read values of these types now rather than with the first one."""
    for kind in kinds:
        _coder(kind)


# ── Values ───────────────────────────────────────────────────────────────────────────────────────


@cache
def _coder(kind: Value) -> tuple[Encode, Decode]:
    """Return how values of a type are written and read.  Raises TypeError for a type of no kind."""
    origin: Any = get_origin(kind)
    if origin in {Union, types.UnionType}:
        return _one_of(get_args(kind))
    if origin in {tuple, frozenset}:
        return _many(get_args(kind)[0], origin)
    if origin is dict:
        return _mapping(get_args(kind)[1])
    if is_dataclass(kind):
        return _record(kind)
    if issubclass(kind, Enum):
        return _member(kind)
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    raise TypeError(kind)


def _text_out(value: str, octets: list[bytes]) -> str | int:
    if len(value) < _LONG:
        return value
    octets.append(value.encode("utf-8", "surrogatepass"))
    return 0


def _text_in(body: Any, octets: Iterator[bytes]) -> str:
    if type(body) is str:
        return body
    try:
        return _octets_in(body, octets).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise Malformed from None


def _octets_out(value: bytes, octets: list[bytes]) -> int:
    octets.append(value)
    return 0


def _octets_in(body: Any, octets: Iterator[bytes]) -> bytes:
    piece = next(octets, None)
    if piece is None or type(body) is not int:
        raise Malformed
    return piece


def _moment_in(body: Any, octets: Iterator[bytes]) -> datetime:
    try:
        return datetime.fromisoformat(_text_in(body, octets))
    except ValueError:
        raise Malformed from None


def _just(kind: type) -> tuple[Encode, Decode]:
    """Return how a type is coded that JSON has as well; True is no number."""

    def decode(body: Any, _: Iterator[bytes]) -> Value:
        if type(body) is not kind:
            raise Malformed
        return body

    return (lambda value, _: value), decode


_SIMPLE: dict[type, tuple[Encode, Decode]] = {
    bool: _just(bool),
    int: _just(int),
    str: (_text_out, _text_in),
    bytes: (_octets_out, _octets_in),
    datetime: ((lambda value, _: value.isoformat()), _moment_in),
}


def _member(kind: type[Enum]) -> tuple[Encode, Decode]:
    known = {one.value: one for one in kind}

    def decode(body: Any, _: Iterator[bytes]) -> Value:
        if type(body) is not str or body not in known:
            raise Malformed
        return known[body]

    return (lambda value, _: value.value), decode


def _many(kind: Value, into: Callable[[Sequence[Value]], Value]) -> tuple[Encode, Decode]:
    encode_one, decode_one = _coder(kind)

    def decode(body: Any, octets: Iterator[bytes]) -> Value:
        if type(body) is not list:
            raise Malformed
        return into([decode_one(item, octets) for item in body])

    return (lambda value, octets: [encode_one(item, octets) for item in value]), decode


def _mapping(kind: Value) -> tuple[Encode, Decode]:
    encode_one, decode_one = _coder(kind)

    def encode(value: Value, octets: list[bytes]) -> Any:
        return {name: encode_one(item, octets) for name, item in value.items()}

    def decode(body: Any, octets: Iterator[bytes]) -> Value:
        if type(body) is not dict:
            raise Malformed
        return {name: decode_one(item, octets) for name, item in body.items()}

    return encode, decode


def _record(kind: Value) -> tuple[Encode, Decode]:
    """Return how a dataclass is coded: as a list of its fields, in order."""
    hints = get_type_hints(kind)
    coders = [(field.name, *_coder(hints[field.name])) for field in fields(kind)]

    def encode(value: Value, octets: list[bytes]) -> Any:
        return [encode_one(getattr(value, name), octets) for name, encode_one, _ in coders]

    def decode(body: Any, octets: Iterator[bytes]) -> Value:
        if type(body) is not list or len(body) != len(coders):
            raise Malformed
        given = zip(coders, body, strict=True)
        return kind(**{name: decode_one(item, octets) for (name, _, decode_one), item in given})

    return encode, decode


def _one_of(kinds: Sequence[Value]) -> tuple[Encode, Decode]:
    """Return how one of several types is coded: as its number and the value; None is null."""
    known = [kind for kind in kinds if kind is not types.NoneType]
    coders = {kind: (number, *_coder(kind)) for number, kind in enumerate(known)}
    readers = [decode_one for _, _, decode_one in coders.values()]
    optional = len(known) < len(kinds)

    def encode(value: Value, octets: list[bytes]) -> Any:
        if value is None:
            return None
        if len(readers) == 1:
            return [0, coders[known[0]][1](value, octets)]
        number, encode_one, _ = coders[type(value)]
        return [number, encode_one(value, octets)]

    def decode(body: Any, octets: Iterator[bytes]) -> Value:
        if body is None and optional:
            return None
        if type(body) is not list or len(body) != 2 or type(body[0]) is not int:
            raise Malformed
        number, inner = body
        if not 0 <= number < len(readers):
            raise Malformed
        return readers[number](inner, octets)

    return encode, decode
