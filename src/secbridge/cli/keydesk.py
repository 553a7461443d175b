"""Whose keys are there?  Those of roles, members and reporters, with what is known of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from secbridge.cli.boundary import CommandFailed
from secbridge.cli.rooms import look_into_store, now, open_store
from secbridge.model.message import CertificateSource
from secbridge.openpgp import GnuPG, KeyLimits
from secbridge.openpgp.certs import Inspected, inspect
from secbridge.ports import Certificate, KeyChange
from secbridge.rules.structure import same_address
from secbridge.settings import Settings
from secbridge.store import Store

_HEX = frozenset("0123456789ABCDEF")


class Kind(StrEnum):
    """To whom a key belongs."""

    ROLE = "role"
    MEMBER = "member"
    REPORTER = "reporter"


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody with the key by which we know them, or without one (``fingerprint`` is empty).

    The fields from ``case`` on are of reporters only.  ``waiting``: the key was proposed for the
    reporter, and nobody of the team has said yet whether it counts.  ``certificate`` is what the
    ring holds, or None.
    """

    kind: Kind
    alias: str
    address: str
    fingerprint: str
    name: str = ""
    case: str | None = None
    source: CertificateSource | None = None
    since: datetime | None = None
    accepted_by: str | None = None
    waiting: bool = False
    certificate: Certificate | None = None


# ── Rooms ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class KeyDesk:
    """The configuration, the key ring, and the store; None where nothing was accepted yet."""

    settings: Settings
    openpgp: GnuPG
    store: Store | None

    @property
    def limits(self) -> KeyLimits:
        """How strong keys must be."""
        return KeyLimits(**dict(self.settings.keys))

    def is_role(self, fingerprint: str) -> bool:
        """Whether a key is one of an alias."""
        return any(fingerprint in alias.role_keys for alias in self.settings.aliases())

    def is_member(self, *, address: str = "", fingerprint: str = "") -> bool:
        """Whether an address or a key belongs to somebody behind an alias."""
        return any(
            (address and same_address(person.address, address))
            or (fingerprint and person.fingerprint == fingerprint)
            for alias in self.settings.aliases()
            for person in alias.members
        )

    def inspect(self, content: bytes, *, own: bool) -> tuple[Inspected, ...]:
        """Look at certificates as if they had come by mail; ``own``: they are to be a member's."""
        return inspect(content, now(), self.limits.bounds(own=own))

    def inspect_for_its_owner(self, content: bytes) -> tuple[Inspected, ...]:
        """Look at certificates by the limits of those whose address they name."""
        found = self.inspect(content, own=False)
        own = any(self.is_member(address=address) for address in addresses_of(found))
        return self.inspect(content, own=True) if own else found


@asynccontextmanager
async def open_key_desk(settings: Settings, *, to_write: bool) -> AsyncIterator[KeyDesk]:
    """Open the key ring, and the store where there is one; it is only read unless ``to_write``."""
    from secbridge.house import build_openpgp

    async with AsyncExitStack() as stack:
        opened = open_store(settings) if to_write else look_into_store(settings)
        store: Store | None = None
        try:
            store = await stack.enter_async_context(opened)
        except CommandFailed:  # nothing was accepted yet: there are roles and members all the same
            store = None
        openpgp = build_openpgp(settings)
        stack.push_async_callback(openpgp.aclose)
        yield KeyDesk(settings, openpgp, store)


# ── Whose they are ───────────────────────────────────────────────────────────────────────────────


def full_fingerprint(text: str) -> str | None:
    """Return a fingerprint without blanks and in upper case, or None for what is none."""
    bare = "".join(text.split()).upper().removeprefix("0X")
    return bare if len(bare) == 40 and set(bare) <= _HEX else None


async def find_holders(desk: KeyDesk, wanted: str | None = None) -> Sequence[Holder]:
    """Return roles, then members, then reporters; only those of a fingerprint or an address."""
    holders = [*roles(desk.settings), *members(desk.settings)]
    if desk.store is not None:
        holders += await _reporters(desk.store)
    fingerprint = full_fingerprint(wanted or "")
    chosen = [
        holder
        for holder in holders
        if wanted is None
        or holder.fingerprint == fingerprint
        or (fingerprint is None and same_address(holder.address, wanted))
    ]
    return [await _with_certificate(desk.openpgp, holder) for holder in chosen]


def roles(settings: Settings) -> list[Holder]:
    """Return the keys of the aliases, the one that signs first."""
    return [
        Holder(Kind.ROLE, alias.address, alias.address, fingerprint, alias.name)
        for alias in settings.aliases()
        for fingerprint in alias.role_keys
    ]


def members(settings: Settings) -> list[Holder]:
    """Return the people behind the aliases."""
    return [
        Holder(Kind.MEMBER, alias.address, person.address, person.fingerprint, person.name)
        for alias in settings.aliases()
        for person in alias.members
    ]


async def _reporters(store: Store) -> list[Holder]:
    """Return the bindings with their provenance, and behind them the keys that wait."""
    holders = [
        Holder(
            Kind.REPORTER,
            one.alias,
            one.binding.address,
            one.binding.fingerprint,
            case=one.case_id,
            source=one.binding.source,
            since=one.binding.bound_at,
            accepted_by=one.binding.accepted_by,
        )
        for one in await store.bound_keys()
    ]
    for change in await store.waiting_keys():
        case = await store.get_case(change.case_id)
        holders.append(_proposed(case.route.alias if case is not None else "", change))
    return holders


def _proposed(alias: str, change: KeyChange) -> Holder:
    return Holder(
        Kind.REPORTER,
        alias,
        change.address,
        change.fingerprint,
        case=change.case_id,
        source=change.source,
        since=change.seen_at,
        waiting=True,
    )


async def _with_certificate(openpgp: GnuPG, holder: Holder) -> Holder:
    if not holder.fingerprint:
        return holder
    return replace(holder, certificate=await openpgp.certificate(holder.fingerprint))


# ── Looking at one certificate ───────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Examined:
    """A certificate in the clinic.

    ``problems`` keep us from using it, ``warnings`` do not; both are codes.  ``user_ids`` are a
    stranger's text.
    """

    certificate: Certificate
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    user_ids: tuple[str, ...]


UNKNOWN = "unknown-key"
"""The problem of a key that is not in the ring."""


async def by_fingerprint(desk: KeyDesk, fingerprint: str) -> Examined:
    """Return a certificate of the ring; that it is not there is what is wrong with it."""
    certificate = await desk.openpgp.certificate(fingerprint)
    if certificate is None:
        return Examined(Certificate(fingerprint, (), problem=UNKNOWN), (UNKNOWN,), (), ())
    return await of_ring(desk, certificate)


def of_file(found: Inspected) -> Examined:
    """Return a certificate that is not in the ring: what would be said if it came by mail."""
    return Examined(found.certificate, found.problems, found.certificate.warnings, found.user_ids)


async def of_ring(desk: KeyDesk, certificate: Certificate) -> Examined:
    """Return a certificate of the ring.

    What gpg would use is used; what a closer look at its packets finds besides is a warning, as
    other programs may refuse it for that.
    """
    fingerprint = certificate.fingerprint
    own = desk.is_role(fingerprint) or desk.is_member(fingerprint=fingerprint)
    (found, *_) = desk.inspect(await desk.openpgp.export(fingerprint), own=own)
    problem = (certificate.problem,) if certificate.problem else ()
    more = found.problems if certificate.problem else ()
    besides = () if certificate.problem else found.problems
    return Examined(
        certificate,
        tuple(dict.fromkeys((*problem, *more))),
        tuple(dict.fromkeys((*certificate.warnings, *besides))),
        found.user_ids,
    )


def addresses_of(found: Iterable[Inspected]) -> tuple[str, ...]:
    """Return the addresses that certificates name, each once."""
    return tuple(dict.fromkeys(one for it in found for one in it.certificate.addresses))
