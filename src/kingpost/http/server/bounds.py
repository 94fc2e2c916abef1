"""What connections may take: time, memory and descriptors. Each number has its unit and its reason.

A bound that bites says so in the log, at most once a minute (`connections.py`).
"""

import resource

FIRST_BYTE_SECONDS = 10.0
"""From the connection to the first byte of a request, and for a TLS handshake. Clients connect when they have something
to send; proxies that connect ahead reconnect."""
HEAD_SECONDS = 20.0
"""From the first byte of a head to its end. It fits into a few packets, so even a poor network needs less."""
KEEP_ALIVE_SECONDS = 75.0
"""From a response to the next request: more than load balancers use, so that they close first."""
BODY_SILENCE_SECONDS = 30.0
"""Between two pieces of a body: TCP has repeated a lost packet several times by then."""
BODY_BYTES_PER_SECOND = 500
"""The average rate of a body after its first `BODY_SILENCE_SECONDS`, so that it ends. A modem is faster."""
STALLED_SECONDS = 30.0
"""Without a byte that the client takes from its response. A client that reads slowly is not stalled."""
LINGER_SECONDS = 2.0
"""For which a closed connection still reads and discards. Closing it at once resets it if the client is still sending,
and a reset can destroy the response before the client has read it (RFC 9112, section 9.6)."""
SWEEP_SECONDS = 1.0
"""Between two checks of all deadlines. One check of thousands of connections is cheaper than timers for requests."""

HEADER_LINES = 200
"""In a head. Programs send 5 to 40. Thousands of tiny lines fit into the size limit, and cost time one by one."""
CHUNKS_AT_ONCE = 1_000
"""Chunks of a body that are decoded before other connections have their turn: about one millisecond."""
READ_AHEAD_BYTES = 64 * 1024
"""That are read of a body before the application asks for them, or of requests that wait for an earlier response."""
DISCARD_BYTES = 256 * 1024
"""Of an unread body that are discarded to keep a connection. It costs less than a new connection, up to this size."""

BODIES_BYTES = 64 * 1024 * 1024
"""In memory of all bodies that are still arriving: 64 of the largest size. Requests that arrive in one piece are not
counted, so they are still served when this much waits."""
ANSWERS_BYTES = 64 * 1024 * 1024
"""In memory of all responses that wait for their readers. Beyond it, those that have waited longest are reset."""

CONNECTIONS = 16_384
"""Of a process. An idle one takes about 10 KB."""
CONNECTIONS_OF_ADDRESS = 256
"""Of an IPv4 address or the /64 of an IPv6 address in a process: an office of forty browsers with six each. Trusted
proxies and loopback addresses are exempt."""
SHARE_OF_ADDRESS = 4
"""An address never gets more than the bound of the process divided by this."""
RESERVED_DESCRIPTORS = 256
"""That are not for clients: files, connections to the database, Valkey and mail, and the sockets that accept."""
REFUSALS_AT_ONCE = 64
"""Connections beyond the bound that wait until the client has read why, and a quarter of the bound at most. Further
ones are reset."""
MAX_DESCRIPTORS = 65_536
"""The descriptor limit is raised to this at most: an unlimited number makes the start of subprocesses slow."""


def raise_descriptor_limit() -> int:
    """Raise the soft limit of descriptors to the hard limit, and return the number of connections that fit below it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    available = MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
    return connections_below(available)


def connections_below(descriptors: int) -> int:
    """Return the number of connections that a process with this many descriptors accepts."""
    return min(CONNECTIONS, max(descriptors - RESERVED_DESCRIPTORS, descriptors // 4))
