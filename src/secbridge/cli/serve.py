"""How does the daemon start?  In the foreground, whole or in two halves."""

from __future__ import annotations

import typer

from secbridge.cli.common import ConfigOption


def run(config: ConfigOption = None) -> None:
    """Take mail and work on it, in the foreground, until SIGTERM.

    Example: secbridge run --config /etc/secbridge/secbridge.toml
    """
    _serve(config, listen=True, work=True)


def listen(config: ConfigOption = None) -> None:
    """Take mail only: this process needs neither keys nor tokens.

    Example: secbridge listen --config /etc/secbridge/secbridge.toml
    """
    _serve(config, listen=True, work=False)


def work(config: ConfigOption = None) -> None:
    """Work on accepted mail only: this process has keys and tokens, and no listening socket.

    Example: secbridge work --config /etc/secbridge/secbridge.toml
    """
    _serve(config, listen=False, work=True)


def _serve(config: ConfigOption, *, listen: bool, work: bool) -> None:
    from secbridge.settings import load

    settings = load(config)
    from secbridge import daemon  # the whole house, once the configuration is known to be good

    raise typer.Exit(daemon.run(settings, listen=listen, work=work))
