"""A server on this machine that answers every POST with JSON, for tests of outgoing requests."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

#: What to answer to the body of a request.
Answer = Callable[[Any], Any]


@dataclass
class Request:
    headers: dict[str, str]
    body: Any


@dataclass
class JsonServer:
    port: int
    requests: list[Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def json_server(
    answer: Answer,
    *,
    status: int = 200,
    is_silent: bool = False,
    certificate: Path | None = None,
) -> Iterator[JsonServer]:
    """`is_silent` never answers, until the block ends; with a certificate it speaks HTTPS."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known.requests.append(Request(dict(self.headers), body))
            if is_silent:
                over.wait()
                return
            answered = answer(body)
            data = answered if isinstance(answered, bytes) else json.dumps(answered).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Nothing: the test looks at the requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known = JsonServer(server.server_port)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield known
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()
