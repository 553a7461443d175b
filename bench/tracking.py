"""What does an adapter cost beside the round trips that one issue needs?

An issue is created, proven, told and read back through the adapter, in turns with the very same
requests, replayed over one connection by ``http.client``.  The trackers are the fakes of the tests
on loopback, without the validation of each request, which would be counted on both sides.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from tests.support.bench_github import GitHubBench
from tests.support.bench_gitlab import GitLabBench
from tests.support.bench_jira import JiraBench
from tests.support.fake_github import FakeGitHub
from tests.support.fake_gitlab import FakeGitLab
from tests.support.fake_jira import FakeJira

from bench.result import Measure, Section
from bench.wire import BenchError
from secbridge.testing.bench import RemoteBench
from secbridge.testing.drafts import new_key, report_draft

AIM = 3.0
WARM_UP = 3
TIMEOUT = 30.0

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it went out."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes | str | None


async def measure(*, issues: int, step: Step) -> Section:
    """Measure one issue in each tracker whose client library is installed."""
    measures = []
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, {"SECBRIDGE_SHARED": os.devnull}))
        for name, library, start in _TRACKERS:
            step(f"filing issues: {name}")
            if find_spec(library) is None:
                measures.append(_missing(name))
                continue
            bench = stack.enter_context(start())
            measures.append(await _measure(name, bench, issues))
    return Section("Tracking", tuple(measures))


async def _measure(name: str, bench: RemoteBench, issues: int) -> Measure:
    adapter: list[float] = []
    bare: list[float] = []
    try:
        sent = await _recorded(bench)
        with _connected(sent[0]) as connection:
            for number in range(issues + WARM_UP):
                began = perf_counter()
                await bench.tracker.ensure_issue(new_key(), report_draft(bench))
                filed = perf_counter()
                _replay(connection, sent)
                if number >= WARM_UP:
                    adapter.append(filed - began)
                    bare.append(perf_counter() - filed)
    finally:
        await bench.tracker.aclose()
    times = f"{1000 * median(adapter):.1f} ms; {len(sent)} requests alone {1000 * median(bare):.1f}"
    return Measure(
        f"tracking_{name}", f"{name}, against bare requests", median(adapter) / median(bare), "",
        at_most=AIM, note=f"{times} ms; {issues} issues",
    )  # fmt: skip


async def _recorded(bench: RemoteBench) -> list[Sent]:
    """File issues until nothing is asked for the first time, and return what the last one sent."""
    sent: list[Sent] = []
    for _ in range(WARM_UP):
        with _listening(sent):
            await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    if not sent:
        raise BenchError("nothing was sent to the tracker")
    return sent


@contextmanager
def _listening(sent: list[Sent]) -> Iterator[None]:
    """Write down what ``requests`` sends, beneath every client library."""
    from requests.adapters import HTTPAdapter

    sent.clear()
    send = HTTPAdapter.send

    def heard(self: HTTPAdapter, request: Any, *given: Any, **more: Any) -> Any:
        parts = urlsplit(request.url)
        target = parts._replace(scheme="", netloc="").geturl()
        headers = {**request.headers, "Host": parts.netloc}
        sent.append(Sent(request.method, target, headers, request.body))
        return send(self, request, *given, **more)

    with patch.object(HTTPAdapter, "send", heard):
        yield


@contextmanager
def _connected(first: Sent) -> Iterator[HTTPConnection]:
    connection = HTTPConnection(first.headers["Host"], timeout=TIMEOUT)
    try:
        yield connection
    finally:
        connection.close()


def _replay(connection: HTTPConnection, sent: list[Sent]) -> None:
    """Send all of it again, one after the other, and read the answers."""
    for one in sent:
        connection.request(one.method, one.target, body=one.body, headers=one.headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status >= 400:
            raise BenchError(f"{one.method} {one.target} was answered {answer.status}")


# ── Trackers ─────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _gitlab() -> Iterator[RemoteBench]:
    with FakeGitLab.start() as fake:
        yield GitLabBench(fake, timeout=TIMEOUT)


@contextmanager
def _github() -> Iterator[RemoteBench]:
    with FakeGitHub.start() as fake:
        yield GitHubBench(fake, timeout=TIMEOUT)


@contextmanager
def _jira() -> Iterator[RemoteBench]:
    with FakeJira.start() as fake:
        yield JiraBench(fake, timeout=TIMEOUT)


_TRACKERS = (("gitlab", "gitlab", _gitlab), ("github", "github", _github), ("jira", "jira", _jira))


def _missing(name: str) -> Measure:
    note = f"pip install 'secbridge[{name}]'"
    return Measure(f"tracking_{name}", f"{name}, against bare requests", None, "", AIM, note=note)
