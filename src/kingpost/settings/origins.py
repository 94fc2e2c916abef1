"""Functions for origins (`scheme://host:port`) and their hosts."""

import ipaddress
from urllib.parse import urlsplit


def origin_of(host: str, port: int, *, tls: bool) -> str:
    """Return the origin of a server that listens on a host (a name or an IP address) and a port."""
    scheme = "https" if tls else "http"
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}:{port}"


def is_loopback(host: str) -> bool:
    """Return whether a host (a name or an IP address) is a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback_origin(origin: str) -> bool:
    """Return whether the host of an origin is a loopback address."""
    return is_loopback(urlsplit(origin).hostname or "")


def is_address(host: str) -> bool:
    """Return whether a host is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def ascii_host(origin: str) -> str:
    """Return the host of an origin in ASCII (RFC 3490), or `localhost` if it has no ASCII form."""
    host = urlsplit(origin).hostname or ""
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return "localhost"
