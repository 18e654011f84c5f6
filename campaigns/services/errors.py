"""What a service raises besides `executor.errors.Rejected`."""


class Conflict(Exception):
    """The request is well formed, but the present state of what it names forbids it."""
