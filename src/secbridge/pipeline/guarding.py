"""Can each project still keep a secret?  Asked at the start, every hour, and before a next try.

A tracker's ``check()`` answers in findings.  An error among them refuses the project: nothing is
filed there, what should be waits with an alarm, and the log names the setting and the mend.  What
waits asks again by waiting: a refused project is checked afresh when a delivery is tried once more,
though not more often than once a minute.  A tracker that is away has not answered, and that refuses
nothing: the create fails by itself, and proof comes before the report in any case.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from secbridge import maillog
from secbridge.errors import Deferral, PermanentFault
from secbridge.model.issue import Finding, Severity
from secbridge.ports import Clock, Places, Tracker

Place = tuple[str, str]
"""A tracker's name and a project in it."""

AFRESH = timedelta(minutes=1)
"""How old the refusal of a project is at least before it is checked again for a delivery."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a check said, and when."""

    at: datetime
    findings: tuple[Finding, ...]

    @property
    def refusal(self) -> Finding | None:
        """The first error that does not pass by itself, or None."""
        errors = (one for one in self.findings if one.severity is Severity.ERROR)
        return next((error for error in errors if not error.passing), None)

    @property
    def is_silent(self) -> bool:
        """Whether the tracker was away, so that nothing is known of the project."""
        return any(finding.passing for finding in self.findings)


class Guarding:
    """Stands before the trackers of one installation.

    ``trackers``: by name and project, as configured.  ``afresh``: see ``AFRESH``.
    """

    def __init__(
        self,
        trackers: Mapping[Place, Tracker],
        places: Places,
        *,
        clock: Clock,
        afresh: timedelta = AFRESH,
    ) -> None:
        self._trackers = trackers
        self._places = places
        self._clock = clock
        self._afresh = afresh
        self._opinions: dict[Place, Opinion] = {}
        self._asking: defaultdict[Place, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def tracker(self, name: str, project: str) -> Tracker:
        """Return a tracker into which something may be filed.

        Raises PermanentFault for one that is not configured, or whose project cannot keep a secret:
        then with the setting and the mend.
        """
        place = (name, project)
        tracker = self.known(*place)
        opinion = self._opinions.get(place)
        if opinion is None or self._is_worth_asking(opinion):
            opinion = await self._asked(place)
        if refusal := opinion.refusal:
            raise PermanentFault(
                "project-refused", refusal.text, setting=refusal.setting, mend=refusal.mend
            )
        return tracker

    async def _asked(self, place: Place) -> Opinion:
        """Return a fresh opinion: one asks, and all others that want it wait for the answer."""
        async with self._asking[place]:
            opinion = self._opinions.get(place)
            if opinion is None or self._is_worth_asking(opinion):
                opinion = await self._ask(place)
            return opinion

    def known(self, name: str, project: str) -> Tracker:
        """Return a tracker as configured, whatever its check says; raises PermanentFault."""
        tracker = self._trackers.get((name, project))
        if tracker is None:
            raise PermanentFault(
                "tracker-not-configured",
                "The tracker of this case is not in the configuration.",
                setting="alias.tracker",
                mend="Configure the tracker and project again, or move the case.",
            )
        return tracker

    def knows(self, name: str, project: str) -> bool:
        """Return whether a project is in the configuration."""
        return (name, project) in self._trackers

    def refuses(self, name: str, project: str) -> bool:
        """Return whether the last check of a project found that nothing may be filed there."""
        opinion = self._opinions.get((name, project))
        return opinion is not None and opinion.refusal is not None

    async def check_all(self) -> None:
        """Check every project, side by side, and tell the log what is found."""
        await asyncio.gather(*(self._check(place) for place in self._trackers))

    async def _check(self, place: Place) -> None:
        async with self._asking[place]:
            await self._ask(place, aloud=True)

    def _is_worth_asking(self, opinion: Opinion) -> bool:
        doubtful = opinion.refusal is not None or opinion.is_silent
        return doubtful and self._clock.now() - opinion.at >= self._afresh

    async def _ask(self, place: Place, *, aloud: bool = False) -> Opinion:
        """Check one project; an opinion that there is outlives a tracker that does not answer.

        Findings are told when they are news, or ``aloud``.
        """
        before = self._opinions.get(place)
        opinion = Opinion(self._clock.now(), tuple(await self._findings(place)))
        if aloud or before is None or opinion.findings != before.findings:
            _tell(place, opinion.findings)
        if opinion.is_silent and not opinion.refusal and before is not None:
            opinion = replace(before, at=opinion.at)
        elif before and before.refusal and not opinion.refusal:
            maillog.project_mended(*place)
        self._opinions[place] = opinion
        await self._record(place, opinion)
        return opinion

    async def _findings(self, place: Place) -> Sequence[Finding]:
        """Return what a tracker says of its project; a plugin that breaks has said nothing."""
        subject = f"{place[0]} {place[1]}"
        try:
            return await self._trackers[place].check()
        except PermanentFault as error:
            finding = Finding(subject, Severity.ERROR, error.sentence, error.mend, error.setting)
            return (finding,)
        except Deferral as error:
            return (Finding(subject, Severity.ERROR, error.sentence, passing=True),)
        except Exception as error:  # noqa: BLE001 - of a plugin; what is filed is proven all the same
            maillog.fault("guarding", type(error).__name__)
            text = "The check of this tracker broke."
            return (Finding(subject, Severity.ERROR, text, passing=True),)

    async def _record(self, place: Place, opinion: Opinion) -> None:
        """Write down how it ended, for ``secbridge check``; a busy store is told the next time."""
        try:
            await self._places.record_check(*place, refused=opinion.refusal is not None)
        except Deferral as error:
            maillog.deferred("guarding", error.code, 0, alarm=False)


def _tell(place: Place, findings: Sequence[Finding]) -> None:
    subject = f"tracker {place[0]} {place[1]}"
    for finding in findings:
        if finding.severity is not Severity.OK:
            maillog.finding(
                subject,
                finding.text,
                alarm=finding.severity is Severity.ERROR and not finding.passing,
                setting=finding.setting,
                mend=finding.mend,
            )
