"""Where can the power go?  Runs the real daemon and kills it with SIGKILL at one named point.

A point is "before" or "after" something that lasts or leaves: a commit of the store, a mail handed
to the relay.  Every point that is reached is written to a file; the one that is asked for is the
last line there.  Run as ``python -m tests.support.mortal --config F --points F [--die POINT]``.
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secbridge import daemon
from secbridge.outbound import SmtpSubmission
from secbridge.settings import load
from secbridge.store import Store
from secbridge.trackers.door import Door

LASTING: list[tuple[type, str]] = [
    (Store, "accept"),
    (Store, "record"),
    (Store, "open_case"),
    (Store, "bind_key"),
    (Store, "propose_key"),
    (Store, "accept_key"),
    (Store, "wake_held"),
    (Store, "require_encryption"),
    (Store, "create_issue"),
    (Store, "tell_issue"),
    (Store, "change_issue"),
    (Store, "add_comment"),
    (Store, "outgoing_sent"),
    (Store, "outgoing_deferred"),
    (Store, "post"),
    (Store, "hold_mail"),
    (Store, "adopt_case"),
    (Store, "set_status"),
    (Store, "take_case"),
    (Store, "attach_reporter"),
    (Store, "told"),
    (Store, "heard"),
    (Store, "move_cursor"),
    (Store, "keep_state"),
    (SmtpSubmission, "submit"),
    (Door, "post"),
    (Door, "put"),
    (Door, "patch"),
]
"""The methods after which something is on the disk or out of the house."""

BY_THE_CLOCK = {"move_cursor", "keep_state"}
"""Of these, what a running daemon does by the clock: a rehearsal cannot say how often."""


@dataclass(frozen=True)
class Story:
    """What became of one report whose daemon may have died."""

    points: list[str]
    issues: int
    told: bool
    answers: list[str]

    def complaints(self) -> list[str]:
        """Say what is not as it has to be; nothing, when all is well."""
        said = []
        if self.issues != 1:
            said.append(f"{self.issues} issues")
        if not self.told:
            said.append("the issue does not hold the report")
        if len(self.answers) not in {1, 2}:
            said.append(f"{len(self.answers)} answers")
        if len(set(self.answers)) > 1:
            said.append("answers under different Message-IDs")
        return said


class Fate:
    """Counts the points and ends the process at the chosen one."""

    def __init__(self, points: Path, die: str | None) -> None:
        self._points = points
        self._die = die
        self._seen: Counter[str] = Counter()

    def reach(self, when: str, what: str) -> None:
        """Write the point down; die if it is the one."""
        name = f"{when} {what}"
        self._seen[name] += 1
        point = f"{name} #{self._seen[name]}"
        with self._points.open("a") as file:
            file.write(point + "\n")
            file.flush()
            os.fsync(file.fileno())
        if point == self._die:
            os.kill(os.getpid(), signal.SIGKILL)


def wrap(owner: type, name: str, fate: Fate) -> None:
    """Put a point before and after a method."""
    method: Callable[..., Awaitable[Any]] = getattr(owner, name)

    @functools.wraps(method)
    async def mortal(self: Any, *args: Any, **kwargs: Any) -> Any:
        what = named(name, args)
        fate.reach("before", what)
        result = await method(self, *args, **kwargs)
        fate.reach("after", what)
        return result

    setattr(owner, name, mortal)


def named(name: str, args: tuple[Any, ...]) -> str:
    """Name a commit by its moves, a submission by its recipient's side."""
    if name in {"post", "put", "patch"} and isinstance(args[0], str):  # the store posts, too
        return f"{name} {args[0]}"
    if name == "record":
        return "record " + "+".join(type(move).__name__ for move in args[1:])
    return name


def main() -> int:
    """Run the daemon, mortally."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--points", type=Path, required=True)
    parser.add_argument("--die")
    chosen = parser.parse_args()
    fate = Fate(chosen.points, chosen.die)
    for owner, name in LASTING:
        if name not in BY_THE_CLOCK:
            wrap(owner, name, fate)
    return daemon.run(load(chosen.config))


if __name__ == "__main__":
    sys.exit(main())
