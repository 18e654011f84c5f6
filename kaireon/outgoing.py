"""The one door for requests to addresses that users have given: it keeps them out of our network.

A name is resolved once, every address it has is checked, and the connection goes to that address,
so that no second answer of the name server can lead elsewhere. Redirects are not followed, and
proxies of the environment are not used.
"""

import socket
import ssl
import time
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import urllib3

Address = IPv4Address | IPv6Address

MAX_ANSWER_BYTES = 64 << 20
#: IPv6 addresses that stand for an IPv4 address in their last four bytes.
_NAT64 = ip_network("64:ff9b::/96")
_PORTS = {"http": 80, "https": 443}


class Refused(Exception):
    """The address is none that may be asked."""


class Unanswered(Exception):
    """The request failed: no connection, no answer in time, another status than 200."""

    def __init__(self, reason: str, *, is_passing: bool) -> None:
        """`is_passing`: whether the same request may well succeed if repeated."""
        super().__init__(reason)
        self.is_passing = is_passing


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart, with the addresses its host has and may have."""

    scheme: str
    host: str
    port: int
    path: str
    addresses: tuple[str, ...]

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def find_target(url: str, allowed: Collection[str] = ()) -> Target:
    """Resolve the URL's host and check its addresses.

    `allowed` are host names and networks (10.1.0.0/16) that may be asked although they are not
    public. Raises Refused for an address that may not be asked, Unanswered if there is none.
    """
    try:
        parts = urlsplit(url)
        # A name outside of ASCII is asked for, and sent, in the form that DNS has of it.
        host = (parts.hostname or "").rstrip(".").encode("idna").decode()
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError as error:
        raise Refused(f"{url} is no address: {error}") from error
    if port is None or parts.scheme not in _PORTS or not host or parts.username is not None:
        raise Refused(f"{url} is no address of the form https://host/path")
    found = tuple(dict.fromkeys(_resolve(host, port)))
    if host not in {entry.lower() for entry in allowed}:
        for address in found:
            if not is_public(ip_address(address)) and not _is_allowed(address, allowed):
                raise Refused(
                    f"{host} has the address {address}, which is not public; "
                    "KAIREON_ALLOWED_PRIVATE_HOSTS can allow it"
                )
    path = parts.path or "/"
    return Target(parts.scheme, host, port, f"{path}?{parts.query}" if parts.query else path, found)


def is_public(address: Address) -> bool:
    """Whether an address is one of the Internet, and does not stand for one that is not."""
    if isinstance(address, IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64:
            inner.append(IPv4Address(address.packed[-4:]))
        if not all(is_public(each) for each in inner if each is not None):
            return False
        if address.ipv4_mapped is not None:
            return True
    return address.is_global and not address.is_multicast


def post(
    url: str, body: bytes, *, timeout: float, allowed: Collection[str] = (), attempts: int = 1
) -> bytes:
    """POST JSON and return the answer's body.

    `timeout` is in seconds, for each attempt as a whole. Raises Refused or Unanswered.
    """
    deadline = time.monotonic() + timeout
    try:
        return _post_once(find_target(url, allowed), body, deadline)
    except Unanswered as error:
        if attempts <= 1 or not error.is_passing:
            raise
    return post(url, body, timeout=timeout, allowed=allowed, attempts=attempts - 1)


def _resolve(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unanswered(f"{host} has no address: {error}", is_passing=True) from error
    # An IPv6 address may come with a zone, fe80::1%eth0, which tells nothing of where it is.
    return [str(entry[4][0]).partition("%")[0] for entry in found]


def _is_allowed(address: str, allowed: Collection[str]) -> bool:
    for entry in allowed:
        try:
            if ip_address(address) in ip_network(entry, strict=False):
                return True
        except ValueError:  # a name
            continue
    return False


def _post_once(target: Target, body: bytes, deadline: float) -> bytes:
    headers = {
        "Host": target.authority,
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "kaireon",
    }
    fault: Exception | None = None
    for address in target.addresses:
        pool = _pool(target, address)
        try:
            answer = pool.urlopen(
                "POST",
                target.path,
                body=body,
                headers=headers,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(total=max(deadline - time.monotonic(), 0.001)),
                preload_content=False,
                assert_same_host=False,
            )
            return _read(answer, deadline)
        except urllib3.exceptions.NewConnectionError as error:
            fault = error  # this address cannot be reached; another one may
        except (urllib3.exceptions.HTTPError, OSError) as error:
            fault = error
            break
        finally:
            pool.close()
    reason = f"{target.authority} does not answer: {type(fault).__name__}"
    raise Unanswered(reason, is_passing=True) from fault


def _pool(target: Target, address: str) -> urllib3.HTTPConnectionPool:
    """Connections to an address that was checked, with certificates for the name."""
    if target.scheme == "http":
        return urllib3.HTTPConnectionPool(address, target.port, maxsize=1)
    return urllib3.HTTPSConnectionPool(
        address,
        target.port,
        maxsize=1,
        server_hostname=target.host,
        assert_hostname=target.host,
        ssl_context=ssl.create_default_context(),
    )


def _read(answer: Any, deadline: float) -> bytes:
    with closing(answer):
        return _read_open(answer, deadline)


def _read_open(answer: Any, deadline: float) -> bytes:
    if answer.status != 200:
        reason = f"the answer has the status {answer.status}"
        raise Unanswered(reason, is_passing=answer.status in (429, 502, 503, 504))
    body = bytearray()
    while piece := answer.read1(1 << 16):
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise Unanswered(f"the answer is over {MAX_ANSWER_BYTES:,} bytes", is_passing=False)
        if time.monotonic() > deadline:
            raise Unanswered("the answer takes too long", is_passing=True)
    return bytes(body)
