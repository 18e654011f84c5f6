"""An S3 server of its own for tests (moto), which can be told to fail."""

import http.client
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from moto.server import DomainDispatcherApplication, create_backend_app

KEY_ID = "AKIAKAIREONTEST"
BUCKET = "outbox"
REFUSED = (
    b"<Error><Code>InvalidAccessKeyId</Code>"
    b"<Message>The AWS Access Key Id you provided does not exist.</Message></Error>"
)
Answer = Callable[[str, list[tuple[str, str]]], Any]


class Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Silent(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class S3Server:
    """Answers requests signed with KEY_ID; unsigned ones are the test's own."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self.port = 0
        self.reset()

    def reset(self) -> None:
        self.failures = 0  # how many signed requests will still get a 503
        self.broken_part = ""  # the number of a part that always gets one
        self.requests: list[str] = []  # the methods of the signed requests

    def __call__(self, environ: dict[str, Any], answer: Answer) -> Iterable[bytes]:
        signature = environ.get("HTTP_AUTHORIZATION", "")
        if signature:
            self.requests.append(environ["REQUEST_METHOD"])
        if signature and KEY_ID not in signature:
            return self._refuse(environ, answer, "403 Forbidden", REFUSED)
        if self.broken_part and f"partNumber={self.broken_part}&" in environ["QUERY_STRING"]:
            return self._refuse(environ, answer, "503 Slow Down", b"")
        if signature and self.failures:
            self.failures -= 1
            return self._refuse(environ, answer, "503 Slow Down", b"")
        return self._moto(environ, answer)

    def _refuse(
        self, environ: dict[str, Any], answer: Answer, status: str, body: bytes
    ) -> list[bytes]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        answer(status, [("Content-Length", str(len(body)))])
        return [body]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        """Send a request past the library that is tested: status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return response.status, headers, response.read()
        finally:
            connection.close()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    app = S3Server()
    with make_server("127.0.0.1", 0, app, Threaded, Silent) as server:
        app.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield app
        finally:
            server.shutdown()
            thread.join()
