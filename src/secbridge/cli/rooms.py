"""Which rooms does a command need?  The store alone for most, the keys only to read an issue."""

from __future__ import annotations

import os
import pwd
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from secbridge.cli.boundary import CommandFailed
from secbridge.model.alias import Alias
from secbridge.ports import Clock, LocalIssues, OpenPGP
from secbridge.settings import Settings
from secbridge.settings.credentials import is_there
from secbridge.store import Store
from secbridge.store.looking import open_read_only
from secbridge.trackers.registry import Sealer


class Now:
    """The present, from the system."""

    def now(self) -> datetime:
        """Return the present in UTC."""
        return datetime.now(UTC)


def now() -> datetime:
    """Return the present in UTC."""
    return Now().now()


def person() -> str:
    """Return who types, for the journal: behind sudo it is the one who called it."""
    if name := os.environ.get("SUDO_USER"):
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Store]:
    """Open the store of an installation to change it; a command never begins an empty one."""
    store = await Store.open(_existing(settings), clock=Now())
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def look_into_store(settings: Settings) -> AsyncIterator[Store]:
    """Open the store of an installation for reading alone, with no trace left."""
    store = await open_read_only(_existing(settings), clock=Now())
    try:
        yield store
    finally:
        await store.aclose()


def _existing(settings: Settings) -> Path:
    path = settings.daemon.database
    if not is_there(path, setting="daemon.database", file=settings.source):
        raise CommandFailed(
            f"There is no store at {path} yet: no mail was accepted here. "
            "Start the daemon once, or name another configuration with --config."
        )
    return path


@dataclass(frozen=True, slots=True, repr=False)
class Desk:
    """The embedded tracker with the keys that open it."""

    settings: Settings
    issues: LocalIssues
    openpgp: OpenPGP
    clock: Clock

    @property
    def opener(self) -> Sealer:
        """What opens sealed texts; it seals to nobody."""
        return Sealer(self.openpgp, ())

    def sealer_for(self, project: str) -> Sealer:
        """Return what seals to the role keys of the aliases that file into a project, or may."""
        keys = tuple(
            dict.fromkeys(
                key
                for alias in self.settings.aliases()
                if project in self._projects(alias)
                for key in alias.role_keys
            )
        )
        if not keys:
            raise CommandFailed(
                f"No alias of the configuration files into the project {project!a}, "
                "so there is no role key to seal the comment to."
            )
        return Sealer(self.openpgp, keys)

    def _projects(self, alias: Alias) -> set[str]:
        """Return the projects of the embedded tracker in which an alias files, now or meanwhile."""
        projects = {alias.local_part} if alias.fallback else set()
        is_local = self.settings.tracker_kind(alias.tracker) == "local"
        return {alias.project, *projects} if is_local else projects


@asynccontextmanager
async def open_desk(settings: Settings, *, to_write: bool) -> AsyncIterator[Desk]:
    """Open the store and the key ring; without ``to_write`` the store is only read."""
    from secbridge.house import build_openpgp

    opened = open_store(settings) if to_write else look_into_store(settings)
    async with opened as store:
        openpgp = build_openpgp(settings)
        try:
            yield Desk(settings, store, openpgp, Now())
        finally:
            await openpgp.aclose()
