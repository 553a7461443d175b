"""How does mail come in?  SMTP and LMTP on our own loop; 250 only after the spool's commit."""

from secbridge.intake.desk import Network
from secbridge.intake.endpoints import Endpoint, MailProtocol
from secbridge.intake.limits import IntakeLimits
from secbridge.intake.listener import LOOPBACK, Listener

__all__ = ["LOOPBACK", "Endpoint", "IntakeLimits", "Listener", "MailProtocol", "Network"]
