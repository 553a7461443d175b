"""Which things have to work for a report to get through?  Each is tried, and told as a finding."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack

from secbridge.cli.common import moment
from secbridge.doors import build_hooks, server_tls
from secbridge.errors import ConfigError, Deferral, MessageError, PermanentFault, SecbridgeError
from secbridge.house import House, open_house
from secbridge.model.alias import Alias, Member
from secbridge.model.case import Case
from secbridge.model.issue import Finding, Severity
from secbridge.model.message import CertificateSource
from secbridge.pipeline.guarding import Place
from secbridge.pipeline.keyfinding import ASKED
from secbridge.ports import Certificate, ProjectCheck
from secbridge.rules import clinic
from secbridge.settings import LOCAL_TRACKER, Settings

Look = Callable[[], Awaitable[Sequence[Finding]]]

_LISTED = 10
"""Cases that a finding names one by one."""


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
    findings.append(lookup_finding(settings))
    findings += web_findings(settings)
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


def lookup_finding(settings: Settings) -> Finding:
    """Return where reporters' keys are looked for, and who is asked outside; now nobody is."""
    servers = {
        CertificateSource.VKS: settings.lookup.vks_server,
        CertificateSource.HKP: settings.lookup.hkp_server,
    }
    places = ["bound"]
    for source in settings.key_sources():
        host = (servers.get(source) or "").removeprefix("https://")
        places.append(f"{source.value} ({host})" if host else source.value)
    how = "through the proxy" if settings.lookup.proxy else "directly"
    asked = any(source in ASKED for source in settings.key_sources())
    outside = f"Others are asked {how}." if asked else "Nobody outside is asked."
    text = f"Reporters' keys are looked for in this order: {', '.join(places)}. {outside}"
    return Finding("key look-up", Severity.OK, text, setting="lookup.sources")


def web_findings(settings: Settings) -> Sequence[Finding]:
    """Return where webhooks come in and of which trackers; one half without the other is idle."""
    try:
        hooks, place = build_hooks(settings), settings.web.listen
    except ConfigError as exc:
        return configuration_findings(exc)
    names = ", ".join(hooks)
    match (place is not None, bool(hooks)):
        case (True, True):
            text = f"They are let in at {place}, path /hooks/NAME, for: {names}."
            return (Finding("webhooks", Severity.OK, text),)
        case (True, False):
            text = "They are let in, and no tracker has a secret that could prove them."
            mend = "Give the tracker's table its webhook secret, or take web.listen out."
        case (False, True):
            text = f"There is a secret for them ({names}), and nothing listens."
            mend = "Set web.listen, or take the secret out: trackers are asked all the same."
        case _:
            text = "None come in: trackers are asked from time to time."
            return (Finding("webhooks", Severity.OK, text),)
    return (Finding("webhooks", Severity.WARNING, text, mend, "web.listen"),)


async def _house_findings(house: House) -> AsyncIterator[Finding]:
    """Try one room after the other; a room that fails does not keep the next from being tried."""
    for key in dict.fromkeys(key for alias in house.aliases.values() for key in alias.role_keys):
        for finding in await _tried(f"role key {key}", _role_key(house, key)):
            yield finding
    for person in dict.fromkeys(one for alias in house.aliases.values() for one in alias.members):
        for finding in await _tried(f"member {person.address}", _member(house, person)):
            yield finding
    for finding in await _tried("store", _store(house)):
        yield finding
    for finding in await _tried("relay", house.submission.check):
        yield finding
    for (name, project), tracker in house.trackers.items():
        for finding in await _tried(f"tracker {name} {project}", tracker.check):
            yield finding
    for finding in await _tried("guard", _guard(house)):
        yield finding
    for finding in await _tried("fallback", _fallback(house)):
        yield finding


async def _tried(subject: str, look: Look) -> Sequence[Finding]:
    """Return what a room found, or why it could not look."""
    try:
        return await look() or (Finding(subject, Severity.OK, "Works."),)
    except SecbridgeError as exc:
        return (_failure(subject, exc),)
    except Exception as exc:  # noqa: BLE001 - of a plugin; its text may hold anything
        text = f"It broke while it was tried ({type(exc).__name__})."
        mend = "Look for a newer version of what is installed there, or report this."
        return (Finding(subject, Severity.ERROR, text, mend),)


def _role_key(house: House, fingerprint: str) -> Look:
    async def look() -> Sequence[Finding]:
        return await house.openpgp.self_test(fingerprint)

    return look


def _member(house: House, person: Member) -> Look:
    """Return whether anything can be encrypted to a person, and what to do where it cannot."""
    subject, setting = f"member {person.address}", "alias.member.fingerprint"
    bring = f"secbridge key import FILE --address {person.address}"

    async def look() -> Sequence[Finding]:
        if not person.fingerprint:
            text = "No OpenPGP key is named, so nothing can be encrypted to this person."
            mend = f"Import the key ({bring}) and set its fingerprint."
            return (Finding(subject, Severity.WARNING, text, mend, setting),)
        found = await house.openpgp.certificate(person.fingerprint)
        if found is None:
            text = f"The key {person.fingerprint} is not in the key ring."
            return (Finding(subject, Severity.ERROR, text, f"Import it: {bring}.", setting),)
        return tuple(_defects(subject, found)) or (
            Finding(subject, Severity.OK, f"The key {found.fingerprint} can be encrypted to."),
        )

    return look


def _defects(subject: str, found: Certificate) -> Iterator[Finding]:
    """Say what is wrong with a member's key."""
    if (code := found.problem) is not None:
        text = f"The key {found.fingerprint} cannot be used: {clinic.PROBLEMS.get(code, code)}"
        yield Finding(subject, Severity.ERROR, text, clinic.MENDS.get(code, ""))
    for code in found.warnings:
        text = f"The key {found.fingerprint} can be used, but {clinic.WARNINGS.get(code, code)}"
        yield Finding(subject, Severity.WARNING, text, clinic.WARNING_MENDS.get(code, ""))


def _guard(house: House) -> Look:
    """Return how the daemon's own last check of each project ended: by that it files or waits."""

    async def look() -> Sequence[Finding]:
        last = {(one.tracker, one.project): one for one in await house.store.project_checks()}
        return [_last_check(place, last.get(place)) for place in house.trackers]

    return look


def _last_check(place: Place, last: ProjectCheck | None) -> Finding:
    subject = f"tracker {place[0]} {place[1]}"
    if last is None:
        return Finding(subject, Severity.OK, "The daemon has not checked it yet.")
    when = moment(last.checked_at)
    if last.refused_since is None:
        return Finding(subject, Severity.OK, f"The daemon files there: it was checked at {when}.")
    text = f"The daemon files nothing there since {moment(last.refused_since)} (checked at {when})."
    mend = "Mend what is said of this tracker; what waits is then filed by itself."
    return Finding(subject, Severity.WARNING, text, mend)


def _fallback(house: House) -> Look:
    """Return what becomes of reports while a project is refused, and which are away from it."""

    async def look() -> Sequence[Finding]:
        away = await house.store.away_from_home(LOCAL_TRACKER)
        staying = [one.case for one in away if one.left is None]
        known = [
            finding
            for alias in house.aliases.values()
            for finding in _of_alias(
                house, alias, [case for case in staying if case.route.alias == alias.address]
            )
        ]
        lost = _of_nobody([case for case in staying if case.route.alias not in house.aliases])
        return (*known, *lost) or (_no_fallback(),)

    return look


def _no_fallback() -> Finding:
    text = "No alias has one: while a project cannot keep a secret, its reports wait."
    return Finding("fallback", Severity.OK, text, setting="alias.fallback")


def _of_alias(house: House, alias: Alias, away: Sequence[Case]) -> Iterator[Finding]:
    subject, setting = f"fallback {alias.address}", "alias.fallback"
    has_one = alias.address in house.shelters
    if has_one and not away:
        text = "While its project cannot keep a secret, reports go to the embedded tracker."
        yield Finding(subject, Severity.OK, text, setting=setting)
    if not away:
        return
    text = _away(away)
    if has_one:
        mend = "Mend what is said of its own tracker: they move there within retry.trackers."
        yield Finding(subject, Severity.WARNING, text, mend, setting)
    else:
        mend = 'Set fallback = "local" again until they have moved: nothing moves them now.'
        yield Finding(subject, Severity.ERROR, text, mend, setting)


def _of_nobody(away: Sequence[Case]) -> Iterator[Finding]:
    """Tell of cases whose alias was taken out of the configuration: they would stay for ever."""
    if away:
        mend = "Configure their alias again until they have moved: nothing moves them now."
        yield Finding("fallback", Severity.ERROR, _away(away), mend, "alias")


def _away(away: Sequence[Case]) -> str:
    names = ", ".join(case.id for case in away[:_LISTED]) + (", …" if len(away) > _LISTED else "")
    number = "1 case" if len(away) == 1 else f"{len(away)} cases"
    return f"In the embedded tracker for now: {number} ({names})."


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
