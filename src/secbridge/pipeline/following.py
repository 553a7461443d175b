"""What follows from a change that people made on an issue?  Labels, states and people may speak.

The tracker says what an issue is like, not what was done to it.  So what it was like when we heard
of it last is kept, and only the difference counts: a label that appeared, a state that changed, a
person who was made responsible.  What we do to an issue ourselves is kept as it is done, so that it
never looks like somebody's word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from secbridge.model.case import Case
from secbridge.model.issue import IssueState
from secbridge.ports import Events, HeardState
from secbridge.rules.commands import CLOSING, Command

OPEN, CLOSED = "open", "closed"
"""The states that may stand for a command, whatever a tracker calls them."""


@dataclass(frozen=True, slots=True)
class Signs:
    """The labels and the states that stand for a command.

    ``nobody``: accounts that get what nobody else has; that they have an issue stands for nothing.
    """

    labels: Mapping[str, Command] = field(default_factory=dict)
    states: Mapping[str, Command] = field(default_factory=dict)
    nobody: tuple[str, ...] = ()

    def label(self, name: str) -> Command | None:
        """Return what a label stands for; trackers do not tell its letters' case apart."""
        wanted = name.casefold()
        found = (command for label, command in self.labels.items() if label.casefold() == wanted)
        return next(found, None)

    def state(self, *, is_open: bool) -> Command | None:
        """Return what a state stands for."""
        return self.states.get(OPEN if is_open else CLOSED)


@dataclass(frozen=True, slots=True)
class Assigned:
    """A person was made responsible in the tracker; ``account`` is what assignees are called."""

    account: str


@dataclass(frozen=True, slots=True)
class Sign:
    """Something that follows from a change; ``key`` names it for ever within its case."""

    key: str
    asked: Command | Assigned

    @property
    def closes(self) -> bool:
        """Whether what it stands for closes the issue."""
        return isinstance(self.asked, Command) and self.asked.name in CLOSING


def as_filed(case: Case) -> HeardState:
    """Return what an issue was like when we filed it."""
    return HeardState(open=True, labels=case.route.labels, assignees=case.route.assignees)


def differs(before: HeardState, now: IssueState) -> bool:
    """Return whether anything that may speak is not as it was."""
    return (
        before.open != now.open
        or _folded(before.labels) != _folded(now.labels)
        or _accounts(before.assignees) != _accounts(now.assignees)
    )


def signs_of(case: Case, before: HeardState, now: IssueState, signs: Signs) -> Iterator[Sign]:
    """Yield what follows from a change: each thing once for each time that it appears.

    The first person who was not there before is who handles the case.
    """
    known, turn = _folded(before.labels), f"{case.id} {before.turn}"
    for name in now.labels:
        if name.casefold() not in known and (command := signs.label(name)):
            yield Sign(f"{turn} label {name.casefold()}", command)
    if before.open != now.open and (command := signs.state(is_open=now.open)):
        yield Sign(f"{turn} state {OPEN if now.open else CLOSED}", command)
    had = _accounts(before.assignees) | _accounts(signs.nobody)
    if new := [who for who in now.assignees if _accounts((who,)).isdisjoint(had)]:
        yield Sign(f"{turn} assigned {new[0]}", Assigned(new[0]))


async def keep_own(
    events: Events,
    case: Case,
    *,
    is_open: bool | None = None,
    assignees: tuple[str, ...] | None = None,
) -> None:
    """Record what we did to an issue ourselves; all else about it stays as it was heard."""
    before = await events.heard_state(case.id) or as_filed(case)
    after = replace(
        before,
        open=before.open if is_open is None else is_open,
        assignees=before.assignees if assignees is None else assignees,
    )
    if after != before:
        await events.keep_state(case.id, after)


async def keep_followed(
    events: Events, case: Case, before: HeardState, followed: IssueState
) -> None:
    """Record that all that follows from a change is done; what we did meanwhile stands."""
    own = await events.heard_state(case.id) or before
    after = HeardState(
        open=own.open if own.open != before.open else followed.open,
        labels=followed.labels,
        assignees=own.assignees if own.assignees != before.assignees else followed.assignees,
        turn=before.turn + 1,
    )
    await events.keep_state(case.id, after)


def _accounts(names: tuple[str, ...]) -> frozenset[str]:
    """Return accounts as they are compared; operators may write them as they are mentioned."""
    return _folded(tuple(name.removeprefix("@") for name in names))


def _folded(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(name.casefold() for name in names)
