"""A GitHub that others wrote: the npm package ``emulate``, which ``make test-deps`` fetches.

It knows repositories, issues, comments, labels and milestones, and has none of our faults nor of
our convictions: what the adapter believes of GitHub is tried on somebody else's reading of it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import reserved_port

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / ".node" / "node_modules" / "emulate" / "dist" / "index.js"
BOT, PROJECT, TOKEN = "secbridge-bot", "secbridge-bot/reports", "test_token_bot"


def missing() -> str:
    """Return what is not there for it, or ""."""
    if shutil.which("node") is None:
        return "no Node.js: the GitHub emulator is not tried (make test-deps)"
    if not PROGRAM.is_file():
        return f"no emulator at {PROGRAM}: GitHub is not tried with it (make test-deps)"
    return ""


@contextmanager
def emulated_github(folder: Path) -> Iterator[str]:
    """Run one with a private repository of the bot's, and return the address of its API."""
    seed = {
        "tokens": {TOKEN: {"login": BOT, "scopes": ["repo"]}},
        "github": {
            "users": [{"login": BOT}, {"login": "alex"}],
            "repos": [{"owner": BOT, "name": "reports", "private": True, "auto_init": True}],
        },
    }
    file = folder / "seed.yaml"
    file.write_text(json.dumps(seed))  # JSON is YAML
    command = ["node", str(PROGRAM), "start", "--service", "github", "--seed", str(file)]
    out, err = subprocess.PIPE, subprocess.STDOUT
    with (
        reserved_port() as port,
        subprocess.Popen(
            [*command, "--port", str(port)], stdout=out, stderr=err, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            for _ in process.stdout:  # it says what it offers, and then that it is configured
                if _answers(port):
                    break
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


def _answers(port: int) -> bool:
    """Return whether it takes connections by now."""
    with contextlib.suppress(OSError):
        asking = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            asking.request("GET", "/rate_limit")
            return asking.getresponse().status < 500
        finally:
            asking.close()
    return False
