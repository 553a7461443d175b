"""What did the operator decide?  One TOML file, overridden by the environment, read once at start.

Every value is checked before a socket opens; what cannot be used becomes a ``ConfigError`` that
names the file, the setting, the problem and the mend, and never the value, because a value may be
a secret that somebody put in the wrong place.  Secrets themselves come as systemd credentials or
as files (``Settings.secret``), never in the TOML, the environment or on a command line.
"""

from secbridge.settings.reading import DEFAULT_CONFIG, load
from secbridge.settings.root import Settings
from secbridge.settings.tables import (
    LOCAL_TRACKER,
    AliasSettings,
    DaemonSettings,
    IntakeSettings,
    LogFormat,
    LogLevel,
    MemberSettings,
    OpeningSettings,
    OpenPGPSettings,
    RetrySettings,
    SubmissionSettings,
    SubmissionTls,
    TriageSettings,
)
from secbridge.settings.written import Endpoint, FdEndpoint, TcpEndpoint, UnixEndpoint

__all__ = [
    "DEFAULT_CONFIG",
    "LOCAL_TRACKER",
    "AliasSettings",
    "DaemonSettings",
    "Endpoint",
    "FdEndpoint",
    "IntakeSettings",
    "LogFormat",
    "LogLevel",
    "MemberSettings",
    "OpenPGPSettings",
    "OpeningSettings",
    "RetrySettings",
    "Settings",
    "SubmissionSettings",
    "SubmissionTls",
    "TcpEndpoint",
    "TriageSettings",
    "UnixEndpoint",
    "load",
]
