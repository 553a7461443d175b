"""Which things have to work for a report to get through?  Each is tried, and told as a finding."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from secbridge.daemon import House, open_house, server_tls
from secbridge.errors import ConfigError, Deferral, MessageError, PermanentFault, SecbridgeError
from secbridge.model.alias import Alias
from secbridge.model.issue import Finding, Severity
from secbridge.settings import Settings

Look = Callable[[], Awaitable[Sequence[Finding]]]


def configuration_findings(exc: ConfigError) -> Sequence[Finding]:
    """Return what is wrong with the configuration, one finding for each mistake."""
    where = f"{exc.file}: {exc.setting}" if exc.setting else exc.file
    problem = f"{where}: {exc.problem}"
    first = Finding("configuration", Severity.ERROR, problem, exc.mend, exc.setting)
    return (first, *(_note(text) for text in getattr(exc, "__notes__", ())))


def _note(text: str) -> Finding:
    problem, _, mend = text.partition("\n  Mend: ")
    return Finding("configuration", Severity.ERROR, problem, mend)


async def check_everything(settings: Settings) -> Sequence[Finding]:
    """Return all findings: configuration, aliases, role keys, store, relay, trackers.

    Nothing here raises: what cannot be tried is an error among the findings.
    """
    findings = [finding for alias in settings.aliases() for finding in alias_findings(alias)]
    usable = _usable(settings)
    async with AsyncExitStack() as stack:
        try:
            house = await stack.enter_async_context(open_house(settings))
        except ConfigError as exc:
            return (*configuration_findings(exc), *findings)
        except SecbridgeError as exc:
            return (*usable, *findings, _failure("daemon", exc))
        findings += [finding async for finding in _house_findings(house)]
    return (*usable, *findings)


def _usable(settings: Settings) -> Sequence[Finding]:
    """Say that the configuration can be used, with what STARTTLS needs, or why it cannot."""
    try:
        server_tls(settings)
    except ConfigError as exc:
        return configuration_findings(exc)
    return (Finding("configuration", Severity.OK, f"{settings.source} can be used."),)


def alias_findings(alias: Alias) -> Sequence[Finding]:
    """Return what an alias lacks: an issue that nobody is assigned to is looked at by nobody."""
    if alias.assignees:
        text = f"New issues go to {', '.join(alias.assignees)}."
        return (Finding(f"alias {alias.address}", Severity.OK, text),)
    return (
        Finding(
            f"alias {alias.address}",
            Severity.ERROR,
            "Nobody is assigned to its new issues.",
            "Set assignees to the accounts of those who look first.",
            "alias.assignees",
        ),
    )


async def _house_findings(house: House) -> AsyncIterator[Finding]:
    """Try one room after the other; a room that fails does not keep the next from being tried."""
    for alias in house.aliases.values():
        for key in alias.role_keys:
            for finding in await _tried(f"role key {key}", _role_key(house, key)):
                yield finding
    for finding in await _tried("store", _store(house)):
        yield finding
    for finding in await _tried("relay", house.submission.check):
        yield finding
    for (name, project), tracker in house.trackers.items():
        for finding in await _tried(f"tracker {name} {project}", tracker.check):
            yield finding


async def _tried(subject: str, look: Look) -> Sequence[Finding]:
    """Return what a room found, or why it could not look."""
    try:
        return await look() or (Finding(subject, Severity.OK, "Works."),)
    except SecbridgeError as exc:
        return (_failure(subject, exc),)


def _role_key(house: House, fingerprint: str) -> Look:
    async def look() -> Sequence[Finding]:
        return await house.openpgp.self_test(fingerprint)

    return look


def _store(house: House) -> Look:
    async def look() -> Sequence[Finding]:
        return await house.store.check()

    return look


def _failure(subject: str, exc: SecbridgeError) -> Finding:
    """Say in our words why something could not be tried."""
    match exc:
        case PermanentFault():
            return Finding(subject, Severity.ERROR, exc.sentence, exc.mend, exc.setting)
        case Deferral() | MessageError():
            return Finding(subject, Severity.ERROR, f"{exc.sentence} ({exc.code})")
        case _:
            return Finding(subject, Severity.ERROR, str(exc))
