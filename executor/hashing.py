"""Uses of h(key), each mixed with a salt of its own, so that none follows from another.

h(key) is the first 8 bytes of md5(tenant salt || key), computed by the freeze.
"""

import numpy as np
from numpy.typing import NDArray

Hash = NDArray[np.int64]

# What sets each use apart from the others.
TIE = 0x7469655F627265AB
VARIANT = 0x76617269616E7401
HOLDOUT_OF_TENANT = 0x686F6C646F757402
HOLDOUT_OF_CAMPAIGN = 0x686F6C646F757403
DRAW = 0x6472617770696E04
SAMPLE = 0x73616D706C653005

_MASK = (1 << 64) - 1


def splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014)."""
    with np.errstate(over="ignore"):
        z = x + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))


def mixed(h: Hash, *salts: int) -> NDArray[np.uint64]:
    """h(key) for one use; the salts are its name and what it concerns."""
    salt = np.zeros(1, dtype=np.uint64)
    for one in salts:
        salt = splitmix64(salt ^ np.uint64(one & _MASK))
    return splitmix64(h.view(np.uint64) ^ salt)


def uniform(mixed_hash: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers above 0 and below 1: the upper 53 bits, in the middle of their interval."""
    return ((mixed_hash >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def tie_hash(h: Hash, seed: int) -> NDArray[np.uint64]:
    """h(key) mixed for breaking ties of one campaign."""
    salt = splitmix64(np.array([seed ^ TIE], dtype=np.uint64))
    return splitmix64(h.view(np.uint64) ^ salt)


def is_held(h: Hash, percent: float, *salts: int) -> NDArray[np.bool_]:
    """Who is in a holdout of so many percent: the same customers, and more, when it grows."""
    return np.asarray(uniform(mixed(h, *salts)) * 100 < percent)
