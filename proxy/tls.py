"""How endpoints behind ``https://`` are believed: one answer for all that talks to them.

Called by the composition root, for requests and for scraping alike.
"""

import ssl

from proxy.settings import UpstreamSettings


def endpoint_tls(settings: UpstreamSettings) -> ssl.SSLContext:
    """Make the context that endpoints' certificates are checked by.

    >>> endpoint_tls(UpstreamSettings(verify=False)).check_hostname
    False

    Raises:
        OSError: ``ca_file`` cannot be read, or holds no certificates.
    """
    context = ssl.create_default_context(cafile=settings.ca_file)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
