"""How does a certificate get in by hand, and out again?  Looked at first, taken by one address.

What comes by mail is bound on first use; what a person brings counts as the person's word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from secbridge.cli.boundary import CommandFailed
from secbridge.cli.keydesk import KeyDesk, addresses_of
from secbridge.cli.rooms import now, person
from secbridge.model.case import Case, KeyBinding
from secbridge.model.message import CertificateSource
from secbridge.openpgp.certs import Inspected
from secbridge.pipeline.keychanges import KeyChanges, Refused
from secbridge.ports import Certificate, KeyChange
from secbridge.rules.drafting import words
from secbridge.rules.drafting.untrusted import single_line
from secbridge.rules.structure import same_address
from secbridge.store import Store

Ask = Callable[[str], None]
"""Asks a person, and raises where the answer is not yes."""

_NO_STORE = "No mail was accepted here yet, so there is no case."


@dataclass(frozen=True, slots=True)
class Brought:
    """A certificate that a person brought, and what was done with it.

    ``kept``: it is in the ring.  ``bound_to`` is the case that answers with it now, ``replaced``
    the key that did before; ``woken`` counts held answers that are looked at again.
    """

    found: Inspected
    address: str
    kept: bool = False
    member: bool = False
    bound_to: str | None = None
    replaced: str | None = None
    woken: int = 0


async def bring(
    desk: KeyDesk, content: bytes, *, address: str | None, case_id: str | None, ask: Ask
) -> Brought:
    """Put the certificate that names an address into the ring, and bind it to a case if one says.

    Raises CommandFailed where it is not clear which certificate is meant, or for whom.
    """
    case = await _case(desk, case_id) if case_id else None
    offered = desk.inspect(content, own=False)
    if not any(one.certificate.fingerprint for one in offered):
        return Brought(offered[0], address or "")
    address = _whose(offered, address, case)
    member = desk.is_member(address=address)
    found = _one(desk, content, address, own=member)
    replaced = await _asked(desk, case, found, ask) if case and not found.problems else None
    brought = Brought(found, address, member=member, replaced=replaced)
    brought = await _taken(desk, brought)
    if brought.found.problems or desk.store is None:
        return brought
    if case is not None:
        return await _bound(desk.store, brought, case)
    return replace(brought, woken=await desk.store.wake_held(address=address))


async def _taken(desk: KeyDesk, brought: Brought) -> Brought:
    """Offer the certificate to the ring, which takes of an unusable one what tells who signed.

    A member's that is too weak is not offered: as a reporter's it might be good enough.
    """
    found = brought.found
    if "weak" in found.problems:
        return brought
    taken = await desk.openpgp.import_certificate(
        found.content, address=brought.address, by_person=True
    )
    kept = await desk.openpgp.certificate(found.certificate.fingerprint) is not None
    if taken is not None and taken.problem is not None and not found.problems:
        found = replace(found, problems=(taken.problem,))  # gpg has the last word
    return replace(brought, found=found, kept=kept)


async def _case(desk: KeyDesk, case_id: str) -> Case:
    case = await desk.store.get_case(case_id) if desk.store is not None else None
    if case is None:
        raise CommandFailed(
            f"There is no case {case_id!a}. `secbridge delivery list` shows the cases of all mails."
        )
    if case.reporter is None:
        raise CommandFailed(f"The case {case.id} has no reporter whom a key could answer.")
    return case


def _whose(offered: Sequence[Inspected], address: str | None, case: Case | None) -> str:
    """Return the address for which the certificate is to count."""
    if case is not None and case.reporter is not None:
        if address is not None and not same_address(address, case.reporter):
            raise CommandFailed(
                f"The reporter of {case.id} is {single_line(case.reporter)}. "
                "Leave --address out, or name another case."
            )
        return case.reporter
    named = addresses_of(offered)
    if address is None and len(named) != 1:
        raise CommandFailed(f"{_names(named)} Name one with --address.")
    return address if address is not None else named[0]


def _one(desk: KeyDesk, content: bytes, address: str, *, own: bool) -> Inspected:
    """Return the one certificate that names an address, or raise CommandFailed."""
    found = desk.inspect(content, own=own)
    naming = [
        one
        for one in found
        if any(same_address(address, named) for named in one.certificate.addresses)
    ]
    if not naming:
        raise CommandFailed(
            f"No certificate there has {single_line(address)} as a user ID. "
            f"{_names(addresses_of(found))}"
        )
    if len(naming) > 1:
        several = ", ".join(one.certificate.fingerprint for one in naming)
        raise CommandFailed(f"Several certificates name that address ({several}). Give one alone.")
    if desk.is_role(naming[0].certificate.fingerprint):
        raise CommandFailed("That is a role key. gpg is the tool for those (docs/operations.md).")
    return naming[0]


def _names(addresses: Sequence[str]) -> str:
    if not addresses:
        return "What is there names no address."
    return f"What is there names {', '.join(addresses)}."


async def _asked(desk: KeyDesk, case: Case, found: Inspected, ask: Ask) -> str | None:
    """Return the key that the new one replaces in a case, once a person agreed, or None."""
    if desk.store is None or case.reporter is None:
        return None
    bound = case.key or await desk.store.key_for(case.route.alias, case.reporter)
    if bound is None or bound.fingerprint == found.certificate.fingerprint:
        return None
    ask(
        f"{case.id} answers with {bound.fingerprint}, which came {words.source(bound.source)}. "
        f"Answer with {found.certificate.fingerprint} instead?"
    )
    return bound.fingerprint


async def _bound(store: Store, brought: Brought, case: Case) -> Brought:
    """Bind the certificate as a person's word, in place of another one where it was agreed.

    One that is bound already becomes a person's word so: then a key that came since, and was not
    accepted, holds the answer no longer.
    """
    fingerprint, by_hand = brought.found.certificate.fingerprint, CertificateSource.PERSON
    change = KeyChange(case.id, brought.address, fingerprint, by_hand, now())
    await store.propose_key(change)
    await store.accept_key(case.id, fingerprint, by=person())
    woken = await store.wake_held(case_id=case.id)
    return replace(brought, bound_to=case.id, woken=woken)


# ── Accepting and forgetting ─────────────────────────────────────────────────────────────────────


async def accept(desk: KeyDesk, fingerprint: str, case_id: str) -> KeyBinding:
    """Let a certificate that came for a reporter take the place of the bound one."""
    if desk.store is None:
        raise CommandFailed(_NO_STORE)
    result = await KeyChanges(desk.store, desk.openpgp).accept(case_id, fingerprint, person())
    if isinstance(result, Refused):
        raise CommandFailed(
            f"Nothing was changed: {words.key_refusal(result.code)}. "
            "`secbridge key show` lists the keys that wait, each with its case."
        )
    return result.binding


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What became of a key: of how many cases it was taken, and whether the ring lost it."""

    fingerprint: str
    cases: tuple[str, ...]
    deleted: bool
    member: bool


async def forget(desk: KeyDesk, fingerprint: str, ask: Ask) -> Forgotten:
    """Take a key from its cases and, unless it is a member's, from the ring."""
    if desk.is_role(fingerprint):
        raise CommandFailed("That is a role key: take it out of the configuration first, then gpg.")
    bound = await desk.store.bound_keys() if desk.store is not None else ()
    cases = tuple(one.case_id for one in bound if one.binding.fingerprint == fingerprint)
    held: Certificate | None = await desk.openpgp.certificate(fingerprint)
    member = desk.is_member(fingerprint=fingerprint)
    if not cases and (held is None or member):
        raise CommandFailed(
            "That key is a member's, and bound to no case: take it out of the configuration first."
            if member
            else "That key is in no case and not in the key ring. `secbridge key show` lists all."
        )
    told = f" It answers {', '.join(cases)}." if cases else ""
    ask(f"Forget {fingerprint}?{told}")
    if desk.store is not None and cases:
        await desk.store.forget_key(fingerprint, by=person())
    deleted = not member and await desk.openpgp.forget_certificate(fingerprint)
    return Forgotten(fingerprint, cases, deleted, member)
