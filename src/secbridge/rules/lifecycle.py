"""Which moves may a delivery make?  The table is the program; the diagram is drawn from it."""

from __future__ import annotations

from secbridge.errors import IllegalMove
from secbridge.model.delivery import (
    Answered,
    Attempted,
    Commented,
    Deferred,
    Filed,
    Finished,
    Held,
    Judged,
    Move,
    Opened,
    Quarantined,
    Released,
    Retried,
    Routed,
    SetAside,
    State,
    Withheld,
)

TRANSITIONS: dict[tuple[State, type[Move]], State] = {
    (State.RECEIVED, Opened): State.OPENED,
    (State.OPENED, Judged): State.JUDGED,
    (State.JUDGED, Routed): State.ROUTED,
    (State.ROUTED, Filed): State.FILED,
    (State.ROUTED, Commented): State.COMMENTED,
    (State.ROUTED, SetAside): State.SET_ASIDE,
    (State.SET_ASIDE, Released): State.ROUTED,
    (State.FILED, Answered): State.ANSWERED,
    (State.FILED, Held): State.HELD,
    (State.FILED, Withheld): State.WITHHELD,
    (State.COMMENTED, Answered): State.ANSWERED,
    (State.COMMENTED, Held): State.HELD,
    (State.COMMENTED, Withheld): State.WITHHELD,
    (State.HELD, Withheld): State.WITHHELD,
    (State.ANSWERED, Held): State.HELD,
    (State.ANSWERED, Finished): State.DONE,
    (State.WITHHELD, Finished): State.DONE,
}
"""Moves with a state of their own on both ends."""

WORKING = frozenset(
    {
        State.RECEIVED,
        State.OPENED,
        State.JUDGED,
        State.ROUTED,
        State.FILED,
        State.COMMENTED,
        State.ANSWERED,
        State.WITHHELD,
    }
)
"""States in which a worker has something to do; deferral and quarantine leave from here."""

WAITING = frozenset({State.DEFERRED, State.HELD, State.QUARANTINED})
"""States that keep ``resume`` and go back to it by ``Retried``."""

_TO_QUARANTINE = frozenset({State.DEFERRED, State.HELD})
"""Waits that may end in a quarantine, which then keeps their ``resume``."""


def after(state: State, resume: State | None, move: Move) -> tuple[State, State | None]:
    """Return (state, resume) after a move, or raise IllegalMove and change nothing."""
    kind = type(move)
    if (target := TRANSITIONS.get((state, kind))) is not None:
        built_anew = state is State.ANSWERED  # an answer that was held back is built once more
        return target, (State.FILED if built_anew else state) if target in WAITING else None
    if kind is Attempted and state in WORKING:
        return state, None
    if kind is Deferred and state in WORKING:
        return State.DEFERRED, state
    if kind is Quarantined and state in WORKING:
        return State.QUARANTINED, state
    if kind is Quarantined and state in _TO_QUARANTINE:
        return State.QUARANTINED, resume
    if kind is Retried and state in WAITING and resume is not None:
        return resume, None
    raise IllegalMove(f"a delivery that is {state} cannot be {kind.__name__.lower()}")


def mermaid() -> str:
    """Draw the table as a Mermaid state diagram, for docs/design.md."""
    lines = ["stateDiagram-v2", "    [*] --> received: accepted"]
    for (source, move), target in TRANSITIONS.items():
        lines.append(f"    {_id(source)} --> {_id(target)}: {move.__name__.lower()}")
    for move in (Deferred, Quarantined):
        target = {Deferred: State.DEFERRED, Quarantined: State.QUARANTINED}[move]
        lines.append(f"    working --> {target}: {move.__name__.lower()}")
    lines += [f"    {_id(state)} --> working: retried" for state in sorted(WAITING)]
    lines += [f"    {_id(state)} --> quarantined: quarantined" for state in sorted(_TO_QUARANTINE)]
    lines.append("    done --> [*]")
    names = ", ".join(sorted(WORKING))
    lines.append(f"    note right of working: any of {names}")
    return "\n".join(lines) + "\n"


def _id(state: State) -> str:
    return state.value.replace("-", "_")
