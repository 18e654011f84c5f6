"""Asks an embedded server simple things over its socket without a driver. Standard library only.

Speaks the few messages of PostgreSQL's protocol 3.0 that log in and run one statement.
"""

import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import IO

USER = "postgres"
ANSWER_SECONDS = 120.0

Message = tuple[bytes, bytes]


def ask(path: Path, sql: str = "") -> list[Message]:
    """Log in to the maintenance database and run sql; the answer to the last of the two."""
    with socket.socket(socket.AF_UNIX) as link, link.makefile("rb") as stream:
        link.settimeout(ANSWER_SECONDS)
        link.connect(str(path))
        hello = struct.pack("!I", 3 << 16) + f"user\0{USER}\0database\0{USER}\0\0".encode()
        link.sendall(struct.pack("!I", len(hello) + 4) + hello)
        answer = _messages(stream)
        if sql and (b"Z", b"I") in answer:
            query = sql.encode() + b"\0"
            link.sendall(b"Q" + struct.pack("!I", len(query) + 4) + query)
            answer = _messages(stream)
        with suppress(OSError):
            link.sendall(b"X\0\0\0\4")
        return answer


def is_ready(path: Path) -> bool:
    """Whether the server answers, even if only that it is full; not while starting or stopping."""
    try:
        answer = ask(path)
    except OSError:
        return False
    return bool(answer) and refusal(answer).get("C") != "57P03"


def refusal(answer: list[Message]) -> dict[str, str]:
    """The fields of an error (C: SQLSTATE, M: message), or nothing."""
    bodies = [body for kind, body in answer if kind == b"E"]
    fields = bodies[0].decode(errors="replace").split("\0") if bodies else []
    return {field[0]: field[1:] for field in fields if field}


def _messages(stream: IO[bytes]) -> list[Message]:
    """The server's messages (type, body) up to "ready for query" or the end."""
    found = []
    while len(header := stream.read(5)) == 5:
        kind, size = struct.unpack("!cI", header)
        found.append((kind, stream.read(size - 4)))
        if kind == b"Z":
            break
    return found
