"""What was measured, and was the aim met?  Values with their aims, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from rich import box
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Measure:
    """One value.  ``at_most`` and ``at_least`` are its aim, both None where there is none.

    ``name`` is stable, for programs; ``what`` and ``note`` are for people.  A ``value`` of None
    was not measured, and the note says why.
    """

    name: str
    what: str
    value: float | None
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the aim was met; None without an aim or a value."""
        if self.value is None or (self.at_most is None and self.at_least is None):
            return None
        low = self.at_least is None or self.value >= self.at_least
        high = self.at_most is None or self.value <= self.at_most
        return low and high

    @property
    def aim(self) -> str:
        """The aim as people write it, empty without one."""
        if self.at_least is not None:
            return f"≥ {_number(self.at_least)} {self.unit}".rstrip()
        return f"≤ {_number(self.at_most)} {self.unit}" if self.at_most is not None else ""


@dataclass(frozen=True, slots=True)
class Section:
    """Measures that belong together, and what a reader should know of how they were taken."""

    title: str
    measures: tuple[Measure, ...]
    note: str = ""


def table(sections: Iterable[Section]) -> Table:
    """Return the table that ``make bench`` shows."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("")
    shown.add_column("measured", justify="right", no_wrap=True)
    shown.add_column("aim", justify="right", no_wrap=True)
    shown.add_column("", no_wrap=True)
    shown.add_column("", style="dim")
    for section in sections:
        shown.add_row(Text(section.title, style="bold"))
        for measure in section.measures:
            value = f"{_number(measure.value)} {measure.unit}".rstrip()
            shown.add_row(
                f"  {measure.what}", value, measure.aim, _mark(measure.met), Text(measure.note)
            )
        if section.note:
            shown.add_row(Text(f"  {section.note}", style="dim"))
        shown.add_section()
    return shown


def as_json(sections: Sequence[Section], facts: dict[str, object]) -> str:
    """Return one JSON object: ``machine`` facts, and every measure with its aim and ``met``."""
    measures = [
        {"section": section.title, **asdict(measure), "met": measure.met}
        for section in sections
        for measure in section.measures
    ]
    return json.dumps({"machine": facts, "measures": measures}, ensure_ascii=False, indent=2)


def _mark(met: bool | None) -> Text:
    match met:
        case None:
            return Text("")
        case True:
            return Text("✓", style="green")
        case False:
            return Text("✗", style="red")


def _number(value: float | None) -> str:
    """Write a number with three digits that count."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
