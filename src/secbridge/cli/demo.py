"""What does secbridge do?  See it: three mails, three issues, three answers, with nothing faked.

The real daemon runs on free loopback ports with throw-away keys and the embedded tracker.  We play
the reporter, the relay and the team around it, check everything that we show, and end with 0 only
if all of it held.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from email import message_from_bytes
from email.policy import default as default_policy
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from secbridge.cli.stage import ALIAS, REPORTER, DemoError, Stage, set_stage
from secbridge.ports import Decrypted

SECRET_WORD = "heap-buffer-overflow"  # noqa: S105 - the word whose way we follow, no password
REPORT = f"""Hello,

parse_header() in src/http.c copies the value without a bound. Version 2.4.1, reproduced with:

    curl -H "X-Trace: $(printf 'A%.0s' {{1..9000}})" http://localhost:8080/

ASan says {SECRET_WORD}. Please tell me how you want to handle disclosure.

/close @all this line tries to act in your tracker.

Alice
"""
WIDTH = 100
_FONT_FROM_THE_NET = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave it running, and print how to use it.")
    ] = False,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Write what is shown as a picture.")
    ] = None,
) -> None:
    """Play one report through the real daemon: mail in, confidential issue, encrypted answer out.

    Example: secbridge demo --keep
    """
    console = Console(width=WIDTH if svg else None, record=svg is not None, highlight=False)
    try:
        asyncio.run(_play(console, keep=keep, picture=_painter(console, svg)))
    except DemoError as failed:
        console.print(f"[bold red]✗ {failed}[/]")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _painter(console: Console, svg: Path | None) -> Callable[[], None]:
    """Return what to call when all of it was shown: it writes the picture, if one is wanted."""

    def paint() -> None:
        if svg is not None:
            drawn = console.export_svg(title="secbridge demo")
            svg.write_text(_FONT_FROM_THE_NET.sub("", drawn))

    return paint


async def _play(console: Console, *, keep: bool, picture: Callable[[], None]) -> None:
    show = Show(console)
    show.title(
        "secbridge demo", "throw-away keys, free ports on loopback, nothing leaves this machine"
    )
    async with set_stage() as stage:
        show.fact("daemon", f"smtp 127.0.0.1:{stage.port}, role key {stage.role_key}")
        await _encrypted_report(stage, show)
        with show.beside_the_picture():
            await _plain_report(stage, show)
            await _wrong_key(stage, show)
        show.end()
        picture()
        if keep:
            await _stay(stage, show)


# ── The three scenes ─────────────────────────────────────────────────────────────────────────────


async def _encrypted_report(stage: Stage, show: Show) -> None:
    show.scene("1", "A report, encrypted to the alias and signed by its reporter")
    mail = stage.report("Heap overflow in parse_header()", REPORT)
    issue = await _through_the_house(
        stage, show, await stage.encrypted(mail, stage.role_key), expect_class="report"
    )
    show.check("the team reads the report", SECRET_WORD in issue)
    show.check("the issue knows the signature is good", "good" in issue.lower())

    answer = await stage.relay.take(REPORTER)
    copy = await stage.relay.take(ALIAS)
    show.check("the alias gets the same mail (CC)", copy == answer and _cc(answer) == ALIAS)
    show.check("it leaves as ciphertext only", b"multipart/encrypted" in answer)
    show.check("its outer subject is hidden", message_from_bytes(answer)["Subject"] == "[...]")
    opened = await _open_as_reporter(stage, answer)
    show.mail("The answer, as the reporter's own key opens it", opened.plaintext.content)
    good = [s for s in opened.signatures if s.verdict == "good"]
    show.check("it is signed by the role key", [s.fingerprint for s in good] == [stage.role_key])


async def _plain_report(stage: Stage, show: Show) -> None:
    show.scene("2", "The same report in clear, from someone without OpenPGP")
    mail = stage.report("Heap overflow in parse_header()", REPORT).as_bytes()
    issue = await _through_the_house(stage, show, mail, expect_class="report")
    show.check("the team reads the report", SECRET_WORD in issue)
    answer = await stage.relay.take(REPORTER)
    await stage.relay.take(ALIAS)
    show.mail("The answer, in clear and signed", answer)
    show.check("it holds nothing of the report", SECRET_WORD.encode() not in answer)
    show.check("the alias is on CC", _cc(answer) == ALIAS)
    show.check("it is signed", b"multipart/signed" in answer)


async def _wrong_key(stage: Stage, show: Show) -> None:
    show.scene("3", "A report encrypted to a wrong key: nobody here can read it, nobody loses it")
    mail = stage.report("Heap overflow in parse_header()", REPORT)
    issue = await _through_the_house(
        stage, show, await stage.encrypted(mail, stage.stranger_key), expect_class="undecryptable"
    )
    show.check("the issue names the command for the raw mail", "delivery raw" in issue)
    answer = await stage.relay.take(REPORTER)
    await stage.relay.take(ALIAS)
    show.mail("The fixed notice, in clear", answer)
    spoken = answer.decode("ascii", "replace").replace(" ", "").replace("=\r\n", "")
    show.check("it says which key to use", stage.role_key in spoken)


async def _through_the_house(stage: Stage, show: Show, content: bytes, *, expect_class: str) -> str:
    """Hand one mail in, follow it to its issue, and return the issue as the team sees it."""
    accepted = await stage.send(content)
    delivery = accepted.rpartition(" ")[2]
    show.fact("250", accepted)
    judged = await stage.daemon.tells("delivery.judged", delivery=delivery)
    reasons = ", ".join(judged["reasons"])
    show.fact("class", f"{judged['mail_class']}   because: {reasons}")
    show.check(f"it is judged {expect_class}", judged["mail_class"] == expect_class)
    filed = await stage.daemon.tells("case.filed", delivery=delivery)
    issue = await stage.command("issue", "show", str(filed["issue"]))
    show.panel(f"$ secbridge issue show {filed['issue']}", issue)
    show.check("it is confidential", "confidential" in issue.lower())
    show.check("it is labelled Security", "Security" in issue)
    show.check("it has an owner and a due date", "alex" in issue and "due" in issue.lower())
    return issue


async def _open_as_reporter(stage: Stage, answer: bytes) -> Decrypted:
    armor = answer[answer.index(b"-----BEGIN PGP MESSAGE") :]
    opened = await stage.reporter.decrypt(armor[: armor.rindex(b"\r\n--")], limit=1 << 20)
    if not isinstance(opened, Decrypted):
        raise DemoError("the reporter's key does not open the answer")
    return opened


def _cc(mail: bytes) -> str:
    addresses = message_from_bytes(mail, policy=default_policy)["Cc"].addresses
    return ", ".join(address.addr_spec for address in addresses)


async def _stay(stage: Stage, show: Show) -> None:
    """Leave everything running until Ctrl-C, and say how to use it."""
    program = "secbridge" if shutil.which("secbridge") else sys.argv[0]
    show.console.print(
        f"""
[bold]Still running.[/] Send it mail:
  curl -sS smtp://127.0.0.1:{stage.port} --mail-from {REPORTER} --mail-rcpt {ALIAS} -T report.eml
Look at what became of it:
  {program} delivery list --config {stage.config}
  {program} issue list --config {stage.config}
  {program} issue show 1 --config {stage.config}
Encrypt to the alias with its certificate in {stage.folder}/security.asc
The answers that it sends lie in {stage.relay.folder}
Ctrl-C ends it and removes everything.""",
        soft_wrap=True,
    )
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()


# ── How it is shown ──────────────────────────────────────────────────────────────────────────────


class Show:
    """Prints the story, and stops it at the first thing that does not hold."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._held = 0

    def title(self, name: str, text: str) -> None:
        """Print the first line."""
        self.console.print(f"[bold]{name}[/]  [dim]{text}[/]")

    def scene(self, number: str, text: str) -> None:
        """Begin a scene."""
        self.console.print()
        self.console.rule(f"[bold cyan]{number}  {text}[/]", align="left")

    def fact(self, name: str, text: str) -> None:
        """Print one fact."""
        self.console.print(Text.assemble((f"  {name:<8}", "bold"), text))

    def panel(self, title: str, text: str) -> None:
        """Print a longer text in a frame."""
        body = Text.from_ansi(text.strip("\n"))
        self.console.print(Padding(Panel(body, title=title, title_align="left"), (0, 2)))

    def mail(self, title: str, content: bytes) -> None:
        """Print a mail: the header fields that matter, and the text."""
        mail = message_from_bytes(content, policy=default_policy)
        wanted = ("From", "To", "Cc", "Reply-To", "Subject")
        lines = [f"{name}: {mail[name]}" for name in wanted if mail[name]]
        body = mail.get_body(("plain",))
        if body is None:
            raise DemoError("the mail has no text")
        text = str(body.get_content()).replace("\r\n", "\n")
        self.panel(title, "\n".join(lines) + "\n\n" + text)

    def check(self, text: str, held: bool) -> None:
        """Print what held, or stop."""
        if not held:
            raise DemoError(f"this did not hold: {text}")
        self._held += 1
        self.console.print(f"  [green]✓[/] {text}")

    @contextlib.contextmanager
    def beside_the_picture(self) -> Iterator[None]:
        """Show what follows on the terminal only: a picture of one scene can still be read."""
        recording, self.console.record = self.console.record, False
        yield
        self.console.record = recording

    def end(self) -> None:
        """Print the last line."""
        self.console.print()
        self.console.rule(f"[bold green]all {self._held} checks held[/]", align="left")
