"""Whether the Hugging Face Hub can be reached at all; without it the cache alone is asked.

The Hub's client tries for half a minute before it says that there is no network. A name that
cannot be looked up says so at once.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


@contextmanager
def offline_where_unreachable() -> Iterator[None]:
    """Let the `datasets` library look at its cache alone, where the Hub has no address here."""
    from datasets import config
    from huggingface_hub import constants

    if any(map(os.environ.get, _PROXIES)) or _has_address(constants.ENDPOINT):
        yield
        return
    before = constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE = before


def _has_address(endpoint: str) -> bool:
    address = urlsplit(endpoint)
    try:
        return bool(socket.getaddrinfo(address.hostname, address.port or 443))
    except OSError:
        return False
