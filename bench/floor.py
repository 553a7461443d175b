"""What would gpg alone need?  One decryption and one encryption with signature for each mail.

Plain processes, as many at once as there are cores, fed from files: nothing of ours is between.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

from bench.scene import CORES, GPG, Mail, Scene

_ANSWER = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + b"Thank you for your mail.\r\n" * 32


def gpg_floor(scene: Scene, mails: Sequence[Mail]) -> float:
    """Return the seconds in which gpg opens these mails and encrypts as many answers."""
    answer = scene.folder / "answer"
    answer.write_bytes(_ANSWER)
    files = []
    for number, mail in enumerate(mails):
        files.append(scene.folder / f"floor-{number}")
        files[-1].write_bytes(mail.armor)

    def one(ciphertext: Path) -> None:
        _run(scene, ciphertext, "--decrypt")
        _run(
            scene, answer, "--armor", "--local-user", scene.role_key, "--sign",
            "--recipient", scene.reporter_key, "--recipient", scene.role_key, "--encrypt",
        )  # fmt: skip

    with ThreadPoolExecutor(CORES) as pool:
        began = perf_counter()
        list(pool.map(one, files))
        return perf_counter() - began


def _run(scene: Scene, stdin: Path, *args: str) -> None:
    with stdin.open("rb") as feed:
        subprocess.run(
            [*GPG, str(scene.team), *args],
            stdin=feed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
        )  # fmt: skip
