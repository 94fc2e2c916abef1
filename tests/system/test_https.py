"""HTTPS: served directly or behind a trusted proxy, and required wherever it matters."""

import ssl
from pathlib import Path

import httpx
import psutil
import pytest

from tests.system.certificates import make_certificate
from tests.system.conftest import Serve
from tests.system.running import PASSWORD, Server

PRODUCTION = {
    "ENVIRONMENT": "production",
    "SECRET": "a secret for production, long enough",
    "PUBLIC_URL": "https://api.example.com",
    "MAIL_URL": "smtp://127.0.0.1:1",
}
SIGN_UP = {"email": "ada@example.com", "password": PASSWORD}


def test_a_server_with_a_certificate_serves_https(serve: Serve, tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    server = serve(TLS_CERT=str(made.cert), TLS_KEY=str(made.key))
    assert f"serves https://127.0.0.1:{server.port}\n" in server.output
    trust = ssl.create_default_context(cafile=str(made.cert))
    with httpx.Client(base_url=server.url, verify=trust) as client:
        answers = [
            client.get("/livez"),
            client.post("/api/v1/users", json=SIGN_UP),
            client.get("/api/v1/users/me"),
            client.get("/nowhere"),
            client.get("/docs"),
        ]
    assert [answer.status_code for answer in answers] == [200, 201, 401, 404, 200]
    for answer in answers:
        name, _, age = answer.headers["strict-transport-security"].partition(";")[0].partition("=")
        assert (name, int(age) >= 365 * 24 * 60 * 60) == ("max-age", True)
    # The issuer is the address that clients use.
    server.client().log_in()


def test_plain_http_on_an_https_port_gets_no_response(serve: Serve, tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    server = serve(TLS_CERT=str(made.cert), TLS_KEY=str(made.key))
    wire = server.connect().send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    wire.is_closed_by_server()
    server.connect().send(b"\x16\x03\x01" + b"\xff" * 300)
    assert server.client().status("/livez") == 200


def test_old_versions_of_tls_are_refused(serve: Serve, tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    server = serve(TLS_CERT=str(made.cert), TLS_KEY=str(made.key))
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/livez", verify=old)


@pytest.mark.parametrize(
    ("cipher", "is_accepted"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", True),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", True),
        ("ECDHE-ECDSA-AES256-SHA384", False),  # CBC: no authenticated encryption
        ("ECDHE-ECDSA-AES128-SHA", False),
        ("ECDHE-ECDSA-NULL-SHA", False),
        ("AECDH-AES256-SHA", False),  # without a certificate
    ],
)
def test_weak_ciphers_are_refused(serve: Serve, tmp_path: Path, cipher: str, is_accepted: bool) -> None:
    made = make_certificate(tmp_path)
    server = serve(TLS_CERT=str(made.cert), TLS_KEY=str(made.key))
    client = ssl.create_default_context(cafile=str(made.cert))
    client.set_ciphers(f"{cipher}:@SECLEVEL=0")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    if is_accepted:
        assert httpx.get(f"{server.url}/livez", verify=client).status_code == 200
    else:
        with pytest.raises(httpx.ConnectError, match=r"EOF|HANDSHAKE_FAILURE"):
            httpx.get(f"{server.url}/livez", verify=client)


def test_plain_http_on_a_loopback_address_sends_no_hsts_header(serve: Serve) -> None:
    assert "strict-transport-security" not in serve().client().get("/livez").headers


def refused(answer: httpx.Response) -> bool:
    return answer.status_code == 403 and answer.json()["type"] == "/problems/https-required"


def test_production_refuses_plain_http_except_for_probes(serve: Serve) -> None:
    client = serve(settings=PRODUCTION).client()
    for path in ("/api/v1/users/me", "/docs", "/openapi.json", "/nowhere", "/.well-known/jwks.json"):
        assert refused(client.get(path))
    assert refused(client.post("/api/v1/users", json=SIGN_UP))
    assert refused(client.post("/api/v1/auth/login", json=SIGN_UP))
    # It is refused before the credentials are checked, and never redirected.
    assert refused(client.get("/api/v1/users/me", headers={"Authorization": "Bearer x.y.z"}))
    for probe in ("/livez", "/readyz"):
        assert client.status(probe) == 200


def test_development_refuses_plain_http_except_on_loopback_addresses(serve: Serve) -> None:
    addresses = [a.address for each in psutil.net_if_addrs().values() for a in each if a.family.name == "AF_INET"]
    outside = [address for address in addresses if not address.startswith("127.")]
    if not outside:
        pytest.skip("this machine has no address but loopback")
    server = serve("--host", "0.0.0.0", ENVIRONMENT="development")
    assert server.client().status("/docs") == 200
    assert refused(httpx.get(f"http://{outside[0]}:{server.port}/docs"))


@pytest.mark.parametrize("proxies", ["127.0.0.1", "10.0.0.0/8, 127.0.0.0/8"])
def test_x_forwarded_proto_is_used_from_a_trusted_proxy(serve: Serve, proxies: str) -> None:
    client = serve(settings=PRODUCTION, TRUSTED_PROXIES=proxies).client()
    assert refused(client.post("/api/v1/users", json=SIGN_UP))
    for scheme in ("http", "", "gopher", "https evil", "https, http"):
        assert refused(client.post("/api/v1/users", json=SIGN_UP, headers={"X-Forwarded-Proto": scheme}))
    created = client.post("/api/v1/users", json=SIGN_UP, headers={"X-Forwarded-Proto": "https"})
    assert created.status_code == 201
    assert "strict-transport-security" in created.headers


@pytest.mark.parametrize("proxies", [None, "10.0.0.0/8", "127.0.0.2"])
def test_x_forwarded_proto_is_ignored_from_other_clients(serve: Serve, proxies: str | None) -> None:
    trusted = {} if proxies is None else {"TRUSTED_PROXIES": proxies}
    client = serve(settings=PRODUCTION | trusted).client()
    for header in ("X-Forwarded-Proto", "X-Forwarded-Scheme", "Forwarded", "X-Forwarded-Ssl"):
        for value in ("https", "on", "proto=https"):
            assert refused(client.get("/docs", headers={header: value}))


def address_of_session(server: Server, **headers: str) -> str | None:
    """Return the client address that a login with these headers stores."""
    client = server.client()
    client.headers.update(headers)
    client.log_in()
    (current,) = [
        s for s in client.get("/api/v1/auth/sessions").json()["items"] if s["id"] == client.tokens["session_id"]
    ]
    address: str | None = current["address"]
    return address


def test_the_client_address_is_taken_from_a_trusted_proxy_only(serve: Serve, tmp_path: Path) -> None:
    trusting = serve(TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8")
    trusting.client().sign_up()
    forwarded = {
        "203.0.113.7": "203.0.113.7",
        "203.0.113.7, 10.1.2.3": "203.0.113.7",
        "6.6.6.6, 203.0.113.7": "203.0.113.7",
        "2001:db8::7": "2001:db8::7",
        "[2001:db8::7]:4711": "2001:db8::7",
    }
    for header, address in forwarded.items():
        assert address_of_session(trusting, **{"X-Forwarded-For": header}) == address, header
    assert address_of_session(trusting) == "127.0.0.1"
    distrusting = serve()
    assert address_of_session(distrusting, **{"X-Forwarded-For": "203.0.113.7"}) == "127.0.0.1"
