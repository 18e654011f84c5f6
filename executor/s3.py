"""Where on S3 a campaign may write, and writing there.

Endpoint, region and credentials come from this process's environment (AWS_*), never from the
database. An object appears when its upload is complete, and not at all if that fails.
"""

import re
import time
from collections.abc import Iterable

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from executor.bucket import open_bucket, reason
from executor.storage import Storage

#: Seconds to wait before an upload that failed in spite of the retries is begun anew.
PAUSES: tuple[float, ...] = (1, 5)
#: What trying again cannot help: credentials, a missing bucket, an impossible name.
FINAL = (PermissionDeniedError, UnauthenticatedError, FileNotFoundError, ValueError)

SCHEME = "s3://"
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Undelivered(Exception):
    """The object could not be written; says why, for the reader of the run."""


def find_fault(path: str, locations: Iterable[str]) -> str | None:
    """Say why nothing may be written to `path`, s3://bucket/folder, or None if it may.

    Each location is "bucket" or "bucket/folder", and allows what lies below it.
    """
    bucket, *folders = path.removeprefix(SCHEME).rstrip("/").split("/")
    if not path.startswith(SCHEME) or not BUCKET.fullmatch(bucket):
        return "Must be s3://bucket/folder."
    if CONTROL.search(path) or {"", ".", ".."} & {*folders}:
        return 'May have no empty folder, no "." or ".." and no control characters.'
    allowed = [location.strip("/").split("/") for location in locations]
    if not any([bucket, *folders][: len(place)] == place for place in allowed):
        names = ", ".join(SCHEME + "/".join(place) for place in allowed)
        return f"Is outside of what this tenant may write to: {names or 'no S3 at all'}."
    return None


def deliver(storage: Storage, stored_key: str, path: str, name: str, content_type: str) -> None:
    """Copy what is stored to the object `name` below `path`, over one that is there.

    Raises Undelivered when it still fails after some attempts.
    """
    bucket, _, folder = path.removeprefix(SCHEME).rstrip("/").partition("/")
    key = f"{folder}/{name}" if folder else name
    for pause in (*PAUSES, None):
        try:
            storage.copy(stored_key, open_bucket(bucket), key, content_type)
            return
        except (BaseError, OSError, ValueError) as error:
            if pause is None or isinstance(error, FINAL):
                raise Undelivered(reason(error)) from error
            time.sleep(pause)
