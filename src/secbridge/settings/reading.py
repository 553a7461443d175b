"""How does a file become settings?  Read once, checked whole, refused with all its mistakes.

The TOML is read here and not by a settings source of the library: that one passes over a missing
file in silence and reports a syntax error without the name of the file.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings.exceptions import SettingsError

from secbridge.errors import ConfigError
from secbridge.settings.explaining import (
    SECRET_PROBLEM,
    SEE_DOCS,
    Table,
    explain,
    find_field,
    looks_secret,
    nearest,
    secret_mend,
)
from secbridge.settings.root import ENV_PREFIX, Settings
from secbridge.settings.tables import LOCAL_TRACKER
from secbridge.settings.written import base_dir

ENV_OF_OTHERS = frozenset({"SECBRIDGE_CONFIG", "SECBRIDGE_SHARED"})
"""Variables with our prefix that are no options: the path of the file, the corpora of the tests."""

DEFAULT_CONFIG = Path("/etc/secbridge/secbridge.toml")
"""Where the configuration lies unless ``--config`` or ``SECBRIDGE_CONFIG`` says otherwise."""


def load(path: Path | None) -> Settings:
    """Return the settings of a file and the environment, or raise ConfigError.

    ``path`` None reads ``SECBRIDGE_CONFIG`` or the default path.  Further mistakes stand in the
    notes of the error (PEP 678), one each, so that an operator can mend all of them at once.
    """
    path = path or Path(os.environ.get("SECBRIDGE_CONFIG") or DEFAULT_CONFIG)
    table = _read_toml(path)
    _check_variables(os.environ)
    token = base_dir.set(path.absolute().parent)
    try:
        settings = Settings(**table)
    except ValidationError as exc:
        raise explain(exc, path) from None
    except SettingsError as exc:
        raise ConfigError("environment", "", f"a variable is no JSON ({exc})", SEE_DOCS) from None
    finally:
        base_dir.reset(token)
    settings._source = str(path)  # set once by the only maker
    _check_trackers(settings, path)
    return settings


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            str(path),
            "",
            "there is no such file",
            "name it with --config, or copy config/secbridge.toml there and fill it in",
        ) from None
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            str(path), "", f"cannot be read ({why})", "make it a readable text file in UTF-8"
        ) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(
            str(path), "", f"is no TOML: {exc}", "mend that line (https://toml.io)"
        ) from None


def _check_variables(environ: Mapping[str, str]) -> None:
    """Refuse variables with our prefix that nothing would read; the library passes over them."""
    for name, value in sorted(environ.items()):
        upper = name.upper()
        if not upper.startswith(ENV_PREFIX) or upper in ENV_OF_OTHERS:
            continue
        path = tuple(upper.removeprefix(ENV_PREFIX).lower().split("__"))
        if looks_secret(path[-1]):
            raise ConfigError("environment", name, SECRET_PROBLEM, secret_mend(path[-1]))
        if (field := find_field(path)) is None and path[0] != "trackers":
            raise ConfigError("environment", name, "is not an option", nearest(path) or SEE_DOCS)
        if len(path) == 1 and field is not None and not _is_list(field):
            raise ConfigError(
                "environment",
                name,
                "is a whole table",
                f"name one option of it: {name}__OPTION",
            )
        if field is not None and _is_list(field) and not _is_json_list(value):
            raise ConfigError(
                "environment", name, "must be a list", 'write it as JSON: ["one", "two"]'
            )


def _is_list(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is tuple


def _is_json_list(value: str) -> bool:
    try:
        return isinstance(json.loads(value), list)
    except ValueError:
        return False


def _check_trackers(settings: Settings, path: Path) -> None:
    """Let each plugin check its own table, with errors that name ``trackers.NAME.option``."""
    if not settings.trackers:
        return
    from secbridge.trackers import registry  # costs nothing where there are none

    for name, table in settings.trackers.items():
        where, kind = f"trackers.{name}.kind", settings.tracker_kind(name)
        kinds = f"kinds are: {', '.join(registry.names())}"
        if name != LOCAL_TRACKER and "kind" not in table:
            raise ConfigError(str(path), where, "is missing", kinds)
        if name == LOCAL_TRACKER and kind != LOCAL_TRACKER:
            raise ConfigError(
                str(path),
                where,
                f"cannot be changed: {LOCAL_TRACKER} is the name of the embedded tracker",
                "give the table another name",
            )
        try:
            model = registry.plugin(kind).settings_model
            model(**settings.tracker_options(name))
        except registry.UnknownTracker:
            raise ConfigError(str(path), where, "is no installed kind of tracker", kinds) from None
        except registry.MissingLibrary as exc:
            mend = f"pip install 'secbridge[{kind}]'"
            raise ConfigError(str(path), where, str(exc), mend) from None
        except ValidationError as exc:
            raise explain(exc, path, Table(model, ("trackers", name))) from None
