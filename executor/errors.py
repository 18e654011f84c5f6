"""The three ways a run or a request can fail, told apart by whose turn it is to act."""

from collections.abc import Iterable


class Rejected(Exception):
    """The user's fault: the input names something impossible. Retrying cannot help."""

    def __init__(self, *errors: tuple[str, str] | str) -> None:
        """Take (path, message) pairs, or bare messages about the whole input."""
        self.errors: list[tuple[str, str]] = [
            ("", error) if isinstance(error, str) else error for error in errors
        ]
        super().__init__(
            "; ".join(f"{path}: {text}" if path else text for path, text in self.errors)
        )

    @classmethod
    def of(cls, errors: Iterable[tuple[str, str]]) -> "Rejected":
        return cls(*errors)


class Retryable(Exception):
    """The world's fault for now: a lost connection, a full disk. The same work may be repeated."""


class Unavailable(Retryable):
    """What all work needs does not answer, such as the storage: it is waited for, however long."""


class Broken(Exception):
    """Our fault: an invariant does not hold. The run fails and keeps its traceback."""
