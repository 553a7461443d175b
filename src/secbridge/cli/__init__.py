"""What can an operator type?  A module for each group; heavy rooms load when needed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from secbridge.cli import check, delivery, inspect, issue, key, mail, serve, template
from secbridge.cli.boundary import told

app = typer.Typer(
    name="secbridge",
    help="Takes the mail of a security alias into your tracker, as confidential issues, "
    "and answers encrypted.",
    epilog="Example: secbridge run --config /etc/secbridge/secbridge.toml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(serve.run)
app.command()(serve.listen)
app.command()(serve.work)
app.command()(check.check)
app.command()(inspect.inspect)
app.add_typer(delivery.app, name="delivery")
app.add_typer(issue.app, name="issue")
app.add_typer(key.app, name="key")
app.add_typer(mail.app, name="mail")
app.add_typer(template.app, name="template")


@app.command()
def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave it running, and print how to use it.")
    ] = False,
    svg: Annotated[
        Path | None, typer.Option("--svg", help="Write what is shown as a picture.")
    ] = None,
) -> None:
    """Play one report through the real daemon: mail in, confidential issue, encrypted answer out.

    Example: secbridge demo --keep
    """
    from secbridge.cli.demo import demo as play

    play(keep=keep, svg=svg)


def _print_version(wanted: bool) -> None:
    if wanted:
        from secbridge import __version__

        typer.echo(f"secbridge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and end.",
        ),
    ] = False,
) -> None:
    """Take the mail of a security alias into your tracker, and answer encrypted."""


def main() -> None:
    """Run a command; whatever goes wrong is told in a sentence or two, never as a traceback."""
    with told():
        app(prog_name="secbridge")
    sys.exit(0)
