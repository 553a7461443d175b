"""How do trackers tell us at once?  A small web server for their webhooks, and for nothing else.

Nothing is open unless ``[web] listen`` says so.  Strangers get one answer to everything, 404 and
not a word; the trackers' own webhooks get 204, and make us look at what is new.  A proxy in front
has the TLS.
"""

from secbridge.web.app import HookApp
from secbridge.web.callers import Callers
from secbridge.web.server import WebServer

__all__ = ["Callers", "HookApp", "WebServer"]
