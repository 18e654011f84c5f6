"""Outgoing requests stay out of networks that are not public, unless they are allowed."""

import socket
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kaireon import outgoing
from kaireon.outgoing import Refused, Unanswered, find_target, is_public, post
from tests.json_server import JsonServer, json_server


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(Refused, match="which is not public"):
        find_target(f"https://{host}/score")


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("url", ["ftp://8.8.8.8/", "http:///x", "http://u:p@8.8.8.8/", "file:///x"])
def test_other_urls(url: str) -> None:
    with pytest.raises(Refused, match="is no address"):
        find_target(url)


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f000001", "localhost", "LOCALHOST."])
def test_spellings_of_this_machine(host: str) -> None:
    with pytest.raises((Refused, Unanswered)):
        find_target(f"http://{host}/")


def test_what_is_allowed() -> None:
    assert find_target("http://127.0.0.1:81/a?b=c", ["127.0.0.1"]).path == "/a?b=c"
    assert find_target("http://127.0.0.1/", ["127.0.0.0/8"]).authority == "127.0.0.1"
    assert find_target("http://localhost:81/", ["localhost"]).authority == "localhost:81"
    for other in (["10.0.0.0/8"], ["localhost"], ["example.com"]):
        with pytest.raises(Refused):
            find_target("http://127.0.0.1/", other)


def test_every_address_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to(monkeypatch, "8.8.8.8", "10.0.0.1")
    with pytest.raises(Refused, match=r"has the address 10\.0\.0\.1"):
        find_target("http://models.example.com/")


def test_name_is_resolved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    with json_server(lambda _: {"ok": True}) as server:
        asked = []

        def rebinding(host: str, *rest: object, **named: object) -> object:
            asked.append(host)
            return resolve("127.0.0.1", *rest, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        url = f"http://models.example.com:{server.port}/score"
        assert post(url, b"{}", timeout=5, allowed=["models.example.com"]) == b'{"ok": true}'
        assert [host for host in asked if host != "127.0.0.1"] == ["models.example.com"]
        assert server.requests[0].headers["Host"] == f"models.example.com:{server.port}"


ALLOWED = ["127.0.0.1"]


def ask(server: JsonServer, **options: int) -> bytes:
    return post(f"{server.url}/score", b"{}", timeout=5, allowed=ALLOWED, **options)


def test_redirects_are_not_followed() -> None:
    with json_server(lambda _: {}, status=302) as server:
        with pytest.raises(Unanswered, match="has the status 302"):
            ask(server, attempts=2)
        assert len(server.requests) == 1


def test_passing_failures_are_tried_again() -> None:
    with json_server(lambda _: {}, status=503) as server:
        with pytest.raises(Unanswered, match="has the status 503"):
            ask(server, attempts=2)
        assert len(server.requests) == 2


def test_nobody_there() -> None:
    with json_server(lambda _: {}) as server:
        pass
    with pytest.raises(Unanswered, match="does not answer"):
        ask(server)
    with pytest.raises(Unanswered, match="has no address"):
        post("http://nowhere.invalid/", b"{}", timeout=5)


def test_slow_answers_are_given_up() -> None:
    refused = pytest.raises(Unanswered, match="does not answer")
    with json_server(lambda _: {}, is_silent=True) as server, refused:
        post(f"{server.url}/score", b"{}", timeout=0.2, allowed=ALLOWED)


def test_answers_have_a_greatest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "MAX_ANSWER_BYTES", 10)
    refused = pytest.raises(Unanswered, match="over 10 bytes")
    with json_server(lambda _: {"long": "x" * 100}) as server, refused:
        ask(server)


def resolves_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Have every name resolved to these addresses; addresses stay what they are."""

    def answer(host: str, port: int, *_: object, **__: object) -> list[Any]:
        found = [host] if host in addresses else addresses
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


def certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate for a name, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    path = folder / "server.pem"
    path.write_bytes(key.private_bytes(pem, *form) + made.public_bytes(pem))
    return path


@pytest.mark.parametrize("name", ["models.example.com", "other.example.com"])
def test_certificate_is_of_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = certificate(tmp_path, name)
    resolves_to(monkeypatch, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with json_server(lambda _: {}, certificate=path) as server:
        url = f"https://models.example.com:{server.port}/"
        if name == "models.example.com":
            assert post(url, b"{}", timeout=5, allowed=[name]) == b"{}"
            return
        with pytest.raises(Unanswered, match="SSLError"):
            post(url, b"{}", timeout=5, allowed=["models.example.com"])


def test_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to(monkeypatch, "127.0.0.2", "127.0.0.1")  # nobody listens on the first one
    with json_server(lambda _: {}) as server:
        url = f"http://models.example.com:{server.port}/"
        assert post(url, b"{}", timeout=5, allowed=["Models.Example.com"]) == b"{}"


@pytest.mark.parametrize("url", ["http://[::1", "http://a:99999/", "http://" + "x" * 64 + ".de/"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(Refused, match="is no address"):
        find_target(url)
