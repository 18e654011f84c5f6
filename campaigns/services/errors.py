"""What a service raises besides `executor.errors.Rejected`."""


class Missing(Exception):
    """There is no such thing as the request names."""


class Gone(Exception):
    """What the request needs is not kept any more."""


class Conflict(Exception):
    """The request is well formed, but the present state of what it names forbids it."""
