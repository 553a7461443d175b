"""How fast is it here?  ``python -m bench [--quick] [--json] [--only PART]``.

Everything runs on loopback with throw-away keys.  Nothing is asserted: the aims stand beside the
values, and the exit status is 0 as long as there was something to measure.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench import accepting, endtoend, opening, sizes, tracking
from bench.result import Section, as_json, table
from bench.scene import CORES, GPG, Scene, a_scene
from bench.wire import BenchError
from secbridge import logs

PARTS = ("end-to-end", "opening", "tracking", "accepts", "size")


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    mails: int = 120
    rounds: int = 3
    singles: int = 30
    accepts: int = 600
    tries: int = 3
    bomb: int = sizes.BOMB


QUICK = Extent(mails=40, rounds=2, singles=10, accepts=300, tries=1, bomb=256 * sizes.MIB)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print the table or JSON on standard output; progress goes to standard error."""
    asked = _asked(argv)
    errors = Console(stderr=True)
    logs.configure(level="error", stream=sys.stderr)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    began = perf_counter()
    try:
        # Four refreshes a second: the bar shares the cores with what is measured.
        with Progress(*columns, console=errors, transient=True, refresh_per_second=4) as progress:
            task = progress.add_task("making keys", total=None)
            with a_scene() as scene:
                sections = asyncio.run(_measure(scene, asked, progress, task))
    except BenchError as error:
        errors.print(f"bench: {error}")
        return 1
    if asked.json:
        print(as_json(sections, _machine()))
        return 0
    console = Console()
    console.print(table(sections))
    facts = ", ".join(f"{name} {value}" for name, value in _machine().items())
    console.print(f"{facts}; took {perf_counter() - began:.0f} s", style="dim")
    return 0


def _asked(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="fewer mails, in a third of the time")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure only this part")
    return parser.parse_args(argv)


async def _measure(
    scene: Scene, asked: argparse.Namespace, progress: Progress, task: object
) -> list[Section]:
    extent = QUICK if asked.quick else Extent()
    parts = asked.only or PARTS

    def step(what: str) -> None:
        progress.update(task, description=what)  # type: ignore[arg-type] # rich's own TaskID

    sections: list[Section] = []
    if "end-to-end" in parts:
        counts = {"mails": extent.mails, "rounds": extent.rounds, "singles": extent.singles}
        sections.append(await endtoend.measure(scene, step=step, **counts))
    if "opening" in parts:
        sections.append(await opening.measure(scene, mails=extent.mails, step=step))
    if "tracking" in parts:
        sections.append(await tracking.measure(issues=extent.singles, step=step))
    if "accepts" in parts:
        sections.append(
            await accepting.measure(scene, mails=extent.accepts, rounds=extent.rounds, step=step)
        )
    if "size" in parts:
        sections.append(await sizes.measure(scene, tries=extent.tries, bomb=extent.bomb, step=step))
    return sections


def _machine() -> dict[str, object]:
    told = subprocess.run([GPG[0], "--version"], capture_output=True, text=True, check=False)
    return {
        "cores": CORES,
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "gpg": told.stdout.partition("\n")[0].rpartition(" ")[2],
    }


if __name__ == "__main__":
    sys.exit(main())
