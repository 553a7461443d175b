"""Which trackers are there, and what must one bring along?  Plugins, found by entry point.

A tracker is one object, named in the entry point group ``secbridge.trackers``; the built-in ones
are registered just as a third party's is::

    [project.entry-points."secbridge.trackers"]
    gitlab = "secbridge.trackers.gitlab:plugin"

It has three things (``TrackerPlugin``):

``name``
    what stands in ``kind = "…"``; the same as the entry point's name.
``settings_model``
    a subclass of ``TrackerSettings`` for its own table ``[trackers.NAME]``, without ``kind``.
    Secrets stand there by reference only (``token_credential = "gitlab_token"``), and are asked of
    the context by their stem when needed (``context.secret("token")``).
``create(context, settings, project)``
    returns a ``secbridge.ports.Tracker`` for one project.  It may be called often, must not touch
    the network, and is the first place where a client library may be imported: through
    ``library``, so that a missing one names the extra that brings it.

A tracker that can say at once what happened has a fourth, ``hook(secret, settings)``
(``HookingPlugin``); the others are asked from time to time, as all are.

An adapter maps every exception of its library at its own door, never shows ``str(exc)`` of one, and
leaves the order of creating, proving and telling to ``secbridge.trackers.telling``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Annotated, Protocol, runtime_checkable

from pydantic import BaseModel, BeforeValidator, ConfigDict

from secbridge.errors import PermanentFault, SecbridgeError
from secbridge.model.plaintext import Plaintext, Secret
from secbridge.ports import CannotEncrypt, Clock, Hook, LocalIssues, OpenPGP, Tracker

GROUP = "secbridge.trackers"


class UnknownTracker(SecbridgeError):  # noqa: N818 - it says what is the matter, as in errors.py
    """No installed plugin has this name; the text lists those that there are."""


class MissingLibrary(SecbridgeError):  # noqa: N818 - as above
    """The plugin's client library is not installed; the text names the extra that brings it."""


class TrackerSettings(BaseModel):
    """The options of a ``[trackers.NAME]`` table, all but ``kind``; a plugin adds its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _duration(value: object) -> object:
    """Return the time that a text such as ``30s`` names; pydantic judges everything else."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d{1,9}(?:\.\d+)?) ?(\w+)", value)):
        if (unit := _UNITS.get(match[2])) is None:
            raise ValueError(f'write a text such as "30s"; units are {", ".join(_UNITS)}')
        return timedelta(seconds=float(match[1]) * unit)
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
"""The type of a plugin's option that is a time: seconds, or a text such as ``30s`` or ``5m``."""


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals to the role keys of an alias, and opens again; plaintext stays in memory."""

    openpgp: OpenPGP
    recipients: tuple[str, ...]

    async def seal(self, content: bytes) -> bytes:
        """Return ``content`` encrypted to the role keys.  Raises PermanentFault if it cannot."""
        try:
            return await self.openpgp.seal(content, recipients=self.recipients)
        except CannotEncrypt as exc:
            raise PermanentFault(
                f"role-key-{exc.code}",
                "The alias's own key cannot be used to seal.",
                setting="role_keys",
                mend="Renew or replace the role key; `secbridge check` says what is wrong with it.",
            ) from None

    async def unseal(self, sealed: bytes) -> Plaintext:
        """Open what ``seal`` made; failing to is a Deferral."""
        return await self.openpgp.unseal(sealed)


@dataclass(frozen=True, slots=True)
class TeamSealer:
    """Seals files to the members of the team *and* to the role keys.

    ``members`` are full fingerprints.  A member's key that cannot be used is left out: the others
    can read, and ``check()`` tells whose key it is.
    """

    openpgp: OpenPGP
    role_keys: tuple[str, ...]
    members: tuple[str, ...] = ()

    @property
    def has_members(self) -> bool:
        """Whether anybody but an operator is meant to open what is sealed."""
        return bool(self.members)

    async def readers(self) -> tuple[str, ...]:
        """Return the members whose keys can be used now, each once."""
        wanted = dict.fromkeys(self.members)
        return tuple([member for member in wanted if await self._usable(member)])

    async def seal(self, content: bytes) -> bytes:
        """Return ``content`` encrypted.  Raises PermanentFault when the role key cannot be used."""
        return await self.seal_to(await self.readers(), content)

    async def seal_to(self, readers: Sequence[str], content: bytes) -> bytes:
        """Return ``content`` encrypted to some members and the role keys; raises as ``seal``."""
        recipients = tuple(dict.fromkeys((*self.role_keys, *readers)))
        return await Sealer(self.openpgp, recipients).seal(content)

    async def _usable(self, fingerprint: str) -> bool:
        certificate = await self.openpgp.certificate(fingerprint)
        return certificate is not None and certificate.problem is None


@dataclass(frozen=True, slots=True)
class TrackerContext:
    """What the daemon lends to a tracker: values and ports, never the settings as a whole.

    ``name`` is NAME of ``[trackers.NAME]``.  ``secret("token")`` returns what ``token_credential``
    or ``token_file`` of that table names; it is asked when needed, so that a mended secret is taken
    without a restart, and raises ConfigError.  ``labels`` and ``assignees`` are what the aliases
    that file here ask for; ``check()`` looks at them.  ``team`` seals files for those who read
    here; where it is None nobody has a key.
    """

    name: str
    secret: Callable[[str], Secret]
    local_issues: LocalIssues
    sealer: Sealer
    clock: Clock
    labels: tuple[str, ...] = ("Security",)
    assignees: tuple[str, ...] = ()
    team: TeamSealer | None = None


class TrackerPlugin(Protocol):
    """The object that an entry point names."""

    @property
    def name(self) -> str:
        """What stands in ``kind``."""
        ...

    @property
    def settings_model(self) -> type[TrackerSettings]:
        """The type of the plugin's own table."""
        ...

    def create(self, context: TrackerContext, settings: TrackerSettings, project: str) -> Tracker:
        """Return the tracker for one project.  Raises MissingLibrary; touches no network."""
        ...


@runtime_checkable
class HookingPlugin(Protocol):
    """A plugin whose trackers say by webhook that something happened; no plugin has to be one."""

    def hook(self, secret: Callable[[str], Secret], settings: TrackerSettings) -> Hook | None:
        """Return what proves the webhooks of a tracker, or None where its table names no secret.

        ``secret("webhook_secret")`` is that of the context.  Raises ConfigError, and PermanentFault
        (with ``setting`` and ``mend``) for a secret that cannot be one.
        """
        ...


def names() -> Sequence[str]:
    """Return the names of the installed plugins, sorted; none of them is imported."""
    return sorted({entry.name for entry in _installed()})


def plugin(name: str) -> TrackerPlugin:
    """Import one plugin and return it.  Raises UnknownTracker, or MissingLibrary."""
    for entry in _installed():
        if entry.name == name:
            return _import(entry)
    raise UnknownTracker(
        f"no tracker of kind {name!r} is installed; there are: {', '.join(names())}"
    )


def library(module: str, *, extra: str) -> ModuleType:
    """Import a client library for an adapter.  Raises MissingLibrary, which names the extra."""
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise MissingLibrary(
            f"trackers of kind {extra!r} need a library that is not installed; "
            f"mend: pip install 'secbridge[{extra}]'"
        ) from None


def _installed() -> Sequence[EntryPoint]:
    return tuple(entry_points(group=GROUP))


def _import(entry: EntryPoint) -> TrackerPlugin:
    try:
        found: TrackerPlugin = entry.load()
    except ModuleNotFoundError:
        raise MissingLibrary(
            f"the tracker plugin {entry.name!r} needs a library that is not installed"
        ) from None
    return found
