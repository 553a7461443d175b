"""Is the state diagram of the design the one that the code obeys?  Draw it again from the table."""

from __future__ import annotations

import re
from pathlib import Path

from secbridge.rules.lifecycle import mermaid

DESIGN = Path(__file__).parent.parent / "docs" / "design.md"
DIAGRAM = re.compile(r"(?<=```mermaid\n)stateDiagram-v2\n.*?(?=```)", re.DOTALL)


def main() -> None:
    """Write the diagram into docs/design.md in the place of the old one."""
    text = DESIGN.read_text(encoding="utf-8")
    DESIGN.write_text(DIAGRAM.sub(lambda _: mermaid(), text, count=1), encoding="utf-8")


main()
