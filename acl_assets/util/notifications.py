"""Messages to people through the library apprise: mail, chats, webhooks.

No message and no log repeats an address, which may hold a token.
"""

import logging

from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat

# It logs addresses that it cannot read.
logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
# A followed redirect becomes a GET without the message, whose answer would pass for a delivery.
_ASSET = AppriseAsset(app_id="acl_assets", app_desc="acl_assets", http_redirects=False)


class DeliveryError(Exception):
    """A service did not take a message; the error names the kind of service."""


def services_at(addresses: str) -> list[NotifyBase]:
    """Return the services behind addresses that are separated by whitespace or commas.

    Raises:
        ValueError: apprise cannot use one of them.
    """
    services = Apprise(asset=_ASSET)
    if not services.add(addresses):
        raise ValueError(
            "one of its addresses is none that apprise sends to. Set it to addresses such as "
            "mailtos://user:password@example.com, separated by spaces; see https://appriseit.com/services"
        )
    return list(services)


def send(service: NotifyBase, title: str, body: str) -> None:
    """Send a plain text, which apprise escapes for services that render it.

    Raises:
        DeliveryError: the service did not take it.
    """
    notifier = Apprise()
    notifier.add(service)
    if not notifier.notify(title=title, body=body, body_format=NotifyFormat.TEXT):
        raise DeliveryError(
            f"{service.service_name} did not take the alert '{title}'. The next tick sends it again. If that fails "
            "too, check the address of this service in ACL_ALERT_URLS, and that this machine reaches it."
        )
