"""An S3 bucket, reached as the environment of this process says (AWS_*), never the database."""

import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING

from obstore.store import S3Store

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

#: Of every single request, for server errors and lost connections.
RETRIES: "RetryConfig" = {
    "max_retries": 6,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=10)},
}
#: Of every single request, with the body of its answer.
TIMEOUT = timedelta(minutes=2)


def open_bucket(name: str, folder: str = "") -> S3Store:
    """The rest of the settings is read from the environment by the library."""
    options: ClientConfig = {"timeout": TIMEOUT}
    if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options["allow_http"] = True
    return S3Store(name, prefix=folder or None, client_options=options, retry_config=RETRIES)


def reason(error: Exception) -> str:
    """What the server said, or else what the library says, without addresses."""
    said = re.search(r"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", str(error), re.DOTALL)
    if said:
        return f"{said[1]}: {said[2]}"
    first = str(error).partition("\n")[0]
    came_to = re.search(r" - (?:Server returned non-2xx status code: )?(.*)", first)
    return came_to[1].rstrip(" :") if came_to else first
