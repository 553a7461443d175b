"""How do answers leave?  The words that we send, the guard at the door, and the relay behind it."""

from secbridge.outbound.guard import MailGuard
from secbridge.outbound.submission import RelayTls, SmtpSubmission
from secbridge.outbound.wording import TemplateWording

__all__ = ["MailGuard", "RelayTls", "SmtpSubmission", "TemplateWording"]
