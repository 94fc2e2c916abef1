"""Who the client is: its address, its scheme and its host, from the connection or from a trusted proxy.

This is the only place that reads `X-Forwarded-*`. They count only if the peer of the connection is a trusted proxy
(`KINGPOST_TRUSTED_PROXIES`). `Forwarded` (RFC 7239) is never read. The host is not taken from a request at all: links
contain `KINGPOST_PUBLIC_URL`.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Final

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network

MAX_LENGTH: Final = 64
"""Characters of an address with a zone and a port. Longer text is no address."""
MAPPED: Final = IPv6Network("::ffff:0:0/96")
"""IPv4 addresses as a socket of both families shows them (RFC 4291, section 2.5.5.2)."""


def parse_address(text: str) -> Address | None:
    """Return an IP address that may have brackets, a port or a zone; None if the text is no address.

    An IPv4 address that is mapped to IPv6 becomes IPv4, and a zone is dropped, so that one client has one address.
    """
    if len(text) > MAX_LENGTH:
        return None
    text = text.strip(" \t")
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or (port and not _is_port(port)):
            return None
        if ":" not in text:
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(f":{port}"):
            return None
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return None if "%" in text else address
    return address if address.ipv4_mapped is None else address.ipv4_mapped


def _is_port(text: str) -> bool:
    digits = text.removeprefix(":")
    return text.startswith(":") and len(digits) <= 5 and digits.isascii() and digits.isdecimal()


cached_address = lru_cache(maxsize=4096)(parse_address)


class Proxies:
    """The trusted proxies."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Trust the addresses of these networks. A single address is a network, too."""
        self._networks = tuple(_unmapped(ipaddress.ip_network(network)) for network in networks)
        self._trusts = lru_cache(maxsize=4096)(self._find)

    def trust(self, address: Address | None) -> bool:
        """Return whether an address is a trusted proxy."""
        return bool(self._networks) and address is not None and self._trusts(address)

    def _find(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def client_of(self, peer: Address, forwarded_for: bytes) -> Address:
        """Return the client's address behind a trusted peer.

        `forwarded_for` is read from the right, where the nearest proxy has appended: the first address that is not
        trusted is the client. An entry that is no address ends the walk, because its sender could have written
        anything to its left. The client is then the last address before it.
        """
        client = peer
        for entry in reversed(forwarded_for.split(b",")):
            if not entry.strip():
                continue
            address = cached_address(entry.strip().decode("latin-1")) if len(entry) <= MAX_LENGTH else None
            if address is None:
                break
            client = address
            if not self.trust(client):
                break
        return client


def scheme_of(own: str, forwarded_proto: bytes) -> str:
    """Return the client's scheme behind a trusted peer: `https` or `http`.

    Every proxy of a chain must say `https`, in any case. Any other word means that a part of the way was not
    encrypted. Without a word, the scheme is that of the connection.
    """
    words = {word for part in forwarded_proto.split(b",") if (word := part.strip().lower())}
    if not words:
        return own
    return "https" if words == {b"https"} else "http"


class Peer:
    """The other end of a connection. `server` is this end. `described` is for messages to the operator."""

    __slots__ = ("_proxies", "address", "client", "described", "is_trusted", "key", "scheme", "server")

    def __init__(self, peername: Any, sockname: Any, scheme: str, proxies: Proxies) -> None:
        """Describe a connection by its socket names, which are None for a socket that is no longer connected."""
        self._proxies = proxies
        self.address = _socket_address(peername)
        self.is_trusted = proxies.trust(self.address)
        self.scheme = scheme
        self.client = None if self.address is None else (str(self.address), int(peername[1]))
        server = _socket_address(sockname)
        self.server = None if server is None else (str(server), int(sockname[1]))
        self.described = (None if self.address is None else str(self.address), self.is_trusted)
        self.key = None if self.address is None or self.is_trusted else _key(self.address)

    def describe(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, tuple[str, int] | None]:
        """Return the scheme and the client of a request. Its headers count if this peer is a trusted proxy."""
        if not self.is_trusted or self.address is None:
            return self.scheme, self.client
        lines = list(headers)
        client = self._proxies.client_of(self.address, _joined(lines, b"x-forwarded-for"))
        return scheme_of(self.scheme, _joined(lines, b"x-forwarded-proto")), (str(client), 0)


def _socket_address(name: Any) -> Address | None:
    return parse_address(name[0]) if isinstance(name, tuple) and len(name) >= 2 else None


def _key(address: Address) -> str | None:
    """Return what one client is for the bound of connections: an IPv4 address, or the /64 of an IPv6 address.

    None: this address has no bound.
    """
    if address.is_loopback:
        return None
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return str(address)


def _joined(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """Return the value of a header. Several lines are one list (RFC 9110, section 5.2)."""
    return b",".join(value for key, value in headers if key == name)


def _unmapped(network: Network) -> Network:
    if isinstance(network, IPv6Network) and network.subnet_of(MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network
