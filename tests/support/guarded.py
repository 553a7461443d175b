"""An installation before a tracker that can be refused: real rooms, worked by hand, one by one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.fake_gitlab import FakeGitLab
from tests.support.keys import REPORTER, ROLE, Keys, Ring
from tests.support.running import write_config
from tests.support.stores import StillClock

from secbridge.house import House, build_steps, chores, open_house
from secbridge.model.case import Case
from secbridge.model.delivery import Delivery
from secbridge.model.envelope import Envelope, Target
from secbridge.pipeline.clockwork import Chore, strike
from secbridge.pipeline.waiting import RetryPolicy
from secbridge.pipeline.worker import Worker, WorkerLimits
from secbridge.settings import load
from secbridge.trackers.local import OpenedIssue, open_issue
from secbridge.trackers.registry import Sealer


def gitlab_config(
    folder: Path, gitlab: FakeGitLab, ring: Ring, role_key: str, *, alias: str = "", more: str = ""
) -> Path:
    """Write the configuration of an installation that files into the GitLab."""
    folder.mkdir(exist_ok=True)
    token = folder / "token"
    token.write_text(gitlab.token)
    token.chmod(0o600)
    return write_config(
        folder,
        role_home=ring.home,
        role_key=role_key,
        relay_port=1,
        more=f"""[trackers.main]
kind = "gitlab"
url = "{gitlab.url}"
token_file = "{token}"
timeout = "8s"
settle = "0s"
{more}""",
        alias=f'tracker = "main"\nproject = "{gitlab.project}"\n{alias}',
    )


@dataclass
class Installation:
    """The rooms of one installation, and the hands that work in them."""

    house: House
    clock: StillClock
    role_key: str

    async def receive(self, content: bytes, *, to: str = ROLE, token: str | None = None) -> str:
        """Accept a mail and return the id of its delivery."""
        envelope = Envelope(REPORTER, (to,), "127.0.0.1", self.clock.now())
        (delivery,) = await self.house.store.accept(envelope, content, [Target(to, ROLE, token)])
        return delivery

    async def work(self) -> None:
        """Carry everything that is due as far as it goes, once."""
        worker = Worker(
            build_steps(self.house),
            self.house.store,
            clock=self.clock,
            limits=WorkerLimits(),
            retry=RetryPolicy(timedelta(seconds=1), timedelta(seconds=2)),
        )
        await worker.work_once()
        await worker.finish()

    async def strike(self, name: str) -> None:
        """Let the clock strike for one chore."""
        (chore,) = [chore for chore in self.chores() if chore.name == name]
        await strike(chore)

    def chores(self) -> Sequence[Chore]:
        """Return all chores."""
        return chores(self.house)

    async def delivery(self, delivery_id: str) -> Delivery:
        """Return a delivery as it is now."""
        found = await self.house.store.get(delivery_id)
        assert found is not None
        return found

    async def case(self, delivery_id: str) -> Case:
        """Return the case of a delivery as it is now."""
        delivery = await self.delivery(delivery_id)
        found = await self.house.store.get_case(delivery.case_id or "")
        assert found is not None
        return found

    async def journal(self, name: str) -> list[tuple[str, Any]]:
        """Return events and facts of a case's own journal."""
        entries = await self.house.store.journal(name)
        return [(entry.event, entry.facts) for entry in entries if entry.subject == name]

    async def local(self, number: int = 1) -> OpenedIssue:
        """Return an issue of the embedded tracker, opened."""
        sealer = Sealer(self.house.openpgp, (self.role_key,))
        found = await open_issue(self.house.store, sealer, number)
        assert found is not None
        return found


@contextlib.asynccontextmanager
async def installation(
    config: Path, keys: Keys, *, clock: StillClock | None = None
) -> AsyncIterator[Installation]:
    """Open the rooms of a configuration under a clock that stands still.

    It begins with the present, as the tracker's own clock does.
    """
    clock = clock or StillClock(datetime.now(UTC))
    async with open_house(load(config), clock=clock) as house:
        yield Installation(house, clock, keys.role_fpr)
