"""Signals as something to be read, so that nothing is ever interrupted in the middle."""

import os
import signal


def listen(*numbers: signal.Signals) -> int:
    """Return a descriptor that tells which of the signals have come, as bytes.

    What is in progress goes on, and what waits by select() wakes up at once.
    """
    readable, writable = os.pipe()
    for end in (readable, writable):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writable)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return readable
