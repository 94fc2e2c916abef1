"""Who the client is: addresses and schemes from proxies, in any spelling."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kingpost.http.server.client import Peer, Proxies, parse_address, scheme_of

PROXY = "10.0.0.1"
NO_ADDRESSES = [
    *("unknown", "_hidden", "<script>", "x" * 600, "", " ", "-", "null", "localhost", "example.com"),
    *("1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:123456", "1.2.3.4:٣"),
    *("[1.2.3.4]", "[::1", "::1]", "[::1]x", "[::1]:", "[::1]:x", "[]", "1.2.3.4/8", "0x7f.1", "2130706433", "::g"),
    *('"1.2.3.4"', "for=1.2.3.4", "1.2.3.4\x00", "١.٢.٣.٤", "::ffff:1.2.3", "1.2.3.4 5.6.7.8", "%eth0"),
]
ADDRESSES = {
    "203.0.113.7": "203.0.113.7",
    "203.0.113.7:4711": "203.0.113.7",
    " \t203.0.113.7 ": "203.0.113.7",
    "::ffff:203.0.113.7": "203.0.113.7",
    "[::FFFF:cb00:7107]:80": "203.0.113.7",
    "2001:DB8:0:0:0:0:0:7": "2001:db8::7",
    "[2001:db8::7]": "2001:db8::7",
    "[2001:db8::7]:4711": "2001:db8::7",
    "fe80::1%eth0": "fe80::1",
    "[fe80::1%25eth0]:1": "fe80::1",
}
NO_ADDRESSES += ["203.0.113.7%eth0", "203.0.113.7%<script>", "203.0.113.7%:80"]
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


def peer(address: str, *networks: str, scheme: str = "http") -> Peer:
    return Peer((address, 50000, 0, 0), ("::ffff:127.0.0.1", 8000), scheme, Proxies(networks))


def described(peer: Peer, **headers: str) -> tuple[str, str | None]:
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scheme, client = peer.describe(lines)
    return scheme, client[0] if client else None


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_what_is_no_address_is_none(text: str) -> None:
    assert parse_address(text) is None
    trusted = peer(PROXY, "10.0.0.0/8")
    assert described(trusted, x_forwarded_for=text)[1] == PROXY
    # It ends the walk: nothing to its left counts.
    assert (
        described(trusted, x_forwarded_for=f"198.51.100.1, {text}, 10.2.2.2")[1] == "10.2.2.2" if text.strip() else True
    )
    assert described(trusted, x_forwarded_for=f"{text}, 203.0.113.7")[1] == "203.0.113.7"


@pytest.mark.parametrize(("text", "canonical"), ADDRESSES.items())
def test_an_address_has_one_spelling(text: str, canonical: str) -> None:
    assert str(parse_address(text)) == canonical
    assert described(peer(PROXY, PROXY), x_forwarded_for=text)[1] == canonical


@given(st.text(max_size=80))
def test_any_text_is_an_address_in_its_canonical_form_or_none(text: str) -> None:
    address = parse_address(text)
    assert address is None or ipaddress.ip_address(str(address)) == address


@given(addresses, st.integers(0, 65535))
def test_ports_and_brackets_change_nothing(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    mapped = getattr(address, "ipv4_mapped", None)
    expected = mapped or address
    bracketed = f"[{address}]" if address.version == 6 else str(address)
    assert parse_address(str(address)) == parse_address(f"{bracketed}:{port}") == expected


@given(st.lists(addresses, max_size=5), st.sampled_from(NO_ADDRESSES[:4]), st.binary(max_size=100))
def test_the_client_is_the_nearest_address_that_is_not_trusted(
    hops: list[ipaddress.IPv4Address | ipaddress.IPv6Address], word: str, forged: bytes
) -> None:
    """Whatever a client writes to the left of what the proxies append, its own address is found."""
    proxies = Proxies(["10.0.0.0/8"])
    trusted = [hop for hop in hops if proxies.trust(parse_address(str(hop)))]
    tail = ", ".join(["203.0.113.7", *map(str, trusted), "10.9.9.9"]).encode()
    start = parse_address(PROXY)
    assert start is not None
    assert str(proxies.client_of(start, forged + b"," + tail)) == "203.0.113.7"
    assert str(proxies.client_of(start, forged + b"," + word.encode() + b", 10.9.9.9")) == "10.9.9.9"


@pytest.mark.parametrize("network", ["10.0.0.1", "10.0.0.0/8", "::ffff:10.0.0.0/104", "::ffff:10.0.0.1"])
@pytest.mark.parametrize("address", ["10.0.0.1", "::ffff:10.0.0.1", "::FFFF:a00:1"])
def test_a_proxy_is_trusted_in_either_family(network: str, address: str) -> None:
    here = peer(address, network)
    assert here.is_trusted
    assert here.key is None
    assert described(here, x_forwarded_for="203.0.113.7", x_forwarded_proto="https") == ("https", "203.0.113.7")


@pytest.mark.parametrize("networks", [(), ("10.0.0.0/8",), ("203.0.113.8/32", "2001:db8::/32")])
def test_anyone_else_is_not_believed(networks: tuple[str, ...]) -> None:
    here = peer("203.0.113.7", *networks)
    forwarded = {
        "x_forwarded_for": "198.51.100.1",
        "x_forwarded_proto": "https",
        "forwarded": "for=1.1.1.1;proto=https",
    }
    assert described(here, **forwarded) == ("http", "203.0.113.7")


def test_all_hops_may_be_trusted() -> None:
    assert described(peer(PROXY, "10.0.0.0/8"), x_forwarded_for="10.1.1.1, 10.2.2.2")[1] == "10.1.1.1"


def test_repeated_headers_are_one_list() -> None:
    lines = [(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-for", b"10.2.2.2")]
    protos = [(b"x-forwarded-proto", b"https"), (b"x-forwarded-proto", b"http")]
    assert peer(PROXY, "10.0.0.0/8").describe(lines) == ("http", ("203.0.113.7", 0))
    assert peer(PROXY, "10.0.0.0/8").describe(protos)[0] == "http"


SCHEMES = {
    **dict.fromkeys(["https", "HTTPS", "https, https", "https,HTTPS ", " https", "https,"], "https"),
    **dict.fromkeys(
        ["http", "ws", "wss", "https, http", "http, https", "on", "https evil", "h2", "gopher", "ws, https"], "http"
    ),
}


@pytest.mark.parametrize(("words", "scheme"), SCHEMES.items())
@pytest.mark.parametrize("own", ["http", "https"])
def test_a_scheme_is_https_only_if_every_proxy_says_so(own: str, words: str, scheme: str) -> None:
    assert scheme_of(own, words.encode()) == scheme


@pytest.mark.parametrize("own", ["http", "https"])
@pytest.mark.parametrize("words", [b"", b" ", b", ,"])
def test_without_a_word_the_scheme_is_that_of_the_connection(own: str, words: bytes) -> None:
    assert scheme_of(own, words) == own


def test_one_client_of_ipv6_is_its_network() -> None:
    assert peer("2001:db8:1:2::3").key == peer("2001:db8:1:2:ffff::1").key == "2001:db8:1:2::/64"
    assert peer("203.0.113.7").key == peer("::ffff:203.0.113.7").key == "203.0.113.7"
    assert peer("127.0.0.1").key is peer("::1").key is peer("::ffff:127.0.0.1").key is None


def test_a_socket_that_is_no_longer_connected_has_no_address() -> None:
    gone = Peer(None, None, "http", Proxies(["10.0.0.0/8"]))
    assert described(gone, x_forwarded_for="203.0.113.7") == ("http", None)
    assert (gone.server, gone.key) == (None, None)
