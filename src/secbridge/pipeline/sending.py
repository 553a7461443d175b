"""How do our mails leave?  Through the guard, to the relay, one recipient a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from time import perf_counter
from typing import TypeVar

from secbridge import maillog
from secbridge.errors import Deferral, Refusal, StoreBusy
from secbridge.model.delivery import Outgoing
from secbridge.pipeline.waiting import RetryPolicy, outlast
from secbridge.pipeline.worker import Crew
from secbridge.ports import Clock, Guard, Outbox, Submission
from secbridge.rules import replies

T = TypeVar("T")


class Sender:
    """Takes due mails from the outbox and hands them to the relay.

    A mail that we were sending when we died goes again, under the same Message-ID; one that has
    killed us ``deaths`` times waits for a human.
    """

    def __init__(
        self,
        outbox: Outbox,
        guard: Guard,
        submission: Submission,
        *,
        clock: Clock,
        retry: RetryPolicy,
        concurrency: int = 4,
        lease: timedelta = timedelta(minutes=15),
        deaths: int = 3,
    ) -> None:
        self._outbox = outbox
        self._guard = guard
        self._submission = submission
        self._clock = clock
        self._retry = retry
        self._lease = lease
        self._deaths = deaths
        self._crew = Crew(concurrency)

    async def work_once(self) -> int:
        """Lease what is due, as far as hands are free, start sending it, and return how many."""
        free = self._crew.free
        if free == 0:
            return 0
        due = await self._outbox.claim_outgoing(self._clock.now(), limit=free, lease=self._lease)
        self._crew.short = len(due) >= free
        for outgoing in due:
            self._crew.start(outgoing.id, partial(self.send, outgoing))
        return len(due)

    async def send(self, outgoing: Outgoing) -> None:
        """Send one mail; whatever fails, it ends in a listed state."""
        try:
            if outgoing.attempts > self._deaths:
                await self._refuse(outgoing, f"died-{self._deaths}-times", quarantine=True)
                return
            await self._send(outgoing)
        except StoreBusy:
            maillog.fault("sender", "StoreBusy", outgoing=outgoing.id)  # the lease runs out
        except Exception as error:  # noqa: BLE001 - the last net: an unknown failure needs a human
            maillog.fault("sender", type(error).__name__, outgoing=outgoing.id)
            kind = f"internal-{type(error).__name__}"
            await self._refuse(outgoing, kind, quarantine=True)

    async def _send(self, outgoing: Outgoing) -> None:
        began = perf_counter()
        mail = outgoing.mail
        try:
            await self._guard.allow(mail)
        except Refusal as error:
            if not await self._is_built_anew(outgoing, error.code):
                await self._refuse(outgoing, error.code, quarantine=True)
            return
        except Deferral as error:
            await self._defer(outgoing, error)
            return
        try:
            status = await self._submission.submit(mail.reverse_path, mail.recipient, mail.content)
        except Refusal as error:
            await self._refuse(outgoing, error.status, quarantine=False)
            return
        except Deferral as error:
            await self._defer(outgoing, error)
            return
        finished = await self._recorded(lambda: self._outbox.outgoing_sent(outgoing.id, status))
        took_ms = round((perf_counter() - began) * 1000)
        maillog.sent(outgoing.id, mail.case_id, mail.kind.value, status, took_ms)
        if finished and outgoing.delivery_id is not None:
            maillog.done(outgoing.delivery_id)

    async def _is_built_anew(self, outgoing: Outgoing, code: str) -> bool:
        """Whether an acknowledgement that changed key or thread outdated is built once more."""
        mail = outgoing.mail
        if code not in replies.OUTDATES or mail.step not in replies.BUILT_ANEW:
            return False
        given_up = await self._recorded(lambda: self._outbox.outgoing_outdated(outgoing.id, code))
        if given_up:
            maillog.outdated(outgoing.id, mail.case_id, mail.kind.value, code)
        return given_up

    async def _defer(self, outgoing: Outgoing, error: Deferral) -> None:
        wait = self._retry.delay(outgoing.deferrals + 1, at_least=error.retry_after)
        until = self._clock.now() + wait
        await self._recorded(lambda: self._outbox.outgoing_deferred(outgoing.id, until, error.code))
        seconds = round(wait.total_seconds())
        maillog.deferred(f"outgoing-{outgoing.id}", error.code, seconds, alarm=error.alarm)

    async def _refuse(self, outgoing: Outgoing, status: str, *, quarantine: bool) -> None:
        await self._recorded(
            lambda: self._outbox.outgoing_refused(outgoing.id, status, quarantine=quarantine)
        )
        mail = outgoing.mail
        maillog.send_refused(outgoing.id, mail.case_id, mail.kind.value, status)

    async def _recorded(self, record: Callable[[], Awaitable[T]]) -> T:
        """Record an outcome however long the store is busy: no mail goes twice for that."""
        return await outlast(record, patience=self._lease / 2)

    @property
    def idle(self) -> asyncio.Event:
        """An event that is set whenever a hand becomes free."""
        return self._crew.freed

    @property
    def wanted(self) -> asyncio.Event:
        """An event that is set when a hand becomes free for which there may be work."""
        return self._crew.wanted

    async def finish(self) -> None:
        """Wait for the mails under way."""
        await self._crew.finish()

    async def drop(self) -> None:
        """Let go of what is still under way; it goes again, under its Message-ID."""
        await self._crew.drop()
