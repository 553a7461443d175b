"""What does it cost that a mail is opened in a process of its own, and how long does any mail take?

A small mail is opened in turns with the bare gpg call that it cannot do without.  The torture mails
are read as they are: most of their time would be gpg's, so those that need it are left out.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NoReturn

from bench.result import Measure, Section
from bench.scene import GPG, Mail, Scene
from secbridge.model.part import OpeningLimits
from secbridge.openpgp import GnuPG
from secbridge.pipeline.opener import ProcessOpener
from secbridge.pipeline.opening import open_mail
from secbridge.ports import OpenPGP

WARM_UP = 5
LOOKS = 5
"""How often a torture mail is read; the best time counts, since only the machine makes it worse."""

Step = Callable[[str], None]


async def measure(scene: Scene, *, mails: int, step: Step) -> Section:
    """Measure a small mail against its gpg call, and the worst of the torture mails."""
    step("opening small mails")
    gpg = GnuPG(scene.team, standby=True)  # as in the daemon
    opener = ProcessOpener(gpg, limits=OpeningLimits())
    try:
        await opener.warm()
        small = await _small(scene, opener, gpg, mails)
        step("reading torture mails")
        torture = await _torture(opener)
    finally:
        await opener.aclose()
        await gpg.aclose()
    return Section("Opening", (*small, torture))


async def _small(
    scene: Scene, opener: ProcessOpener, gpg: OpenPGP, count: int
) -> tuple[Measure, ...]:
    apart: list[float] = []
    here: list[float] = []
    bare: list[float] = []
    for number, mail in enumerate(scene.mails(count + WARM_UP)):
        began = perf_counter()
        await opener.open(mail.content)
        opened = perf_counter()
        await open_mail(mail.content, gpg, OpeningLimits())
        read = perf_counter()
        _decrypt(scene, mail)
        if number >= WARM_UP:
            apart.append(opened - began)
            here.append(read - opened)
            bare.append(perf_counter() - read)
    times = f"{_ms(apart)} ms; without a process {_ms(here)} ms; gpg alone {_ms(bare)} ms"
    return (
        Measure(
            "opening_ratio", "2 kB, against gpg alone", median(apart) / median(bare), "",
            at_most=1.3, note=f"{times}; {count} mails",
        ),
    )  # fmt: skip


def _decrypt(scene: Scene, mail: Mail) -> None:
    """Open a ciphertext with gpg and nothing else."""
    subprocess.run(
        [*GPG, str(scene.team), "--decrypt"], input=mail.armor, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _ms(times: list[float]) -> str:
    return f"{1000 * median(times):.1f}"


# ── Torture ──────────────────────────────────────────────────────────────────────────────────────


class _NeedsGpg(Exception):  # noqa: N818 - it says what a mail needs
    """A mail is not read without gpg."""


class _Nobody:
    """An OpenPGP port that has no gpg."""

    def __getattr__(self, _: str) -> NoReturn:
        raise _NeedsGpg


async def _torture(opener: ProcessOpener) -> Measure:
    name, what = "torture_ms", "worst torture mail"
    folder = _corpora() / "torture"
    mails = sorted(one for one in folder.rglob("*") if one.suffix == ".eml")
    if not mails:
        note = "no corpora: set SECBRIDGE_SHARED to their folder"
        return Measure(name, what, None, "ms", at_most=50, note=note)
    worst, which, read = 0.0, "", 0
    for path in mails:
        raw = path.read_bytes()
        if not await _is_read_without_gpg(raw):
            continue
        took = min([await _time(opener, raw) for _ in range(LOOKS)])
        read += 1
        if took > worst:
            worst, which = took, path.name
    return Measure(name, what, 1000 * worst, "ms", at_most=50, note=f"{which}, of {read} mails")


async def _is_read_without_gpg(raw: bytes) -> bool:
    try:
        await open_mail(raw, _Nobody(), OpeningLimits())
    except _NeedsGpg:
        return False
    return True


async def _time(opener: ProcessOpener, raw: bytes) -> float:
    began = perf_counter()
    await opener.open(raw)
    return perf_counter() - began


def _corpora() -> Path:
    """Return the folder of the corpora, as the tests find it."""
    checkout = Path(__file__).resolve().parent.parent
    return Path(os.environ.get("SECBRIDGE_SHARED", checkout.parent / "shared")) / "corpus"
