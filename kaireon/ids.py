"""Opaque prefixed ids (`camp_Uk1pLm4z`) for every border; inside, rows keep integer keys.

An id is reversible, not secret: tenant scoping decides what a caller may see.
"""

from sqids.sqids import Sqids

PREFIXES = {
    "Tenant": "ten",
    "ApiKey": "key",
    "Schema": "sch",
    "SchemaJoin": "sj",
    "Segment": "seg",
    "Flow": "df",
    "Category": "cat",
    "SubCategory": "sub",
    "Offer": "off",
    "Channel": "ch",
    "Placement": "plc",
    "Creative": "cre",
    "QualificationRule": "qr",
    "ContactPolicy": "cp",
    "RankingProfile": "rp",
    "VolumeConstraint": "vc",
    "AlgorithmModel": "mod",
    "Campaign": "camp",
    "CampaignRun": "crun",
    "RunFile": "file",
    "DeadLetter": "dlq",
    "Tick": "tick",
    "Membership": "mem",
    "Interaction": "int",
}

_sqids = Sqids(min_length=8)


def encode(model: str, key: int) -> str:
    """Return the public id of the row `key` of the model named `model`."""
    return f"{PREFIXES[model]}_{_sqids.encode([key])}"


def decode(model: str, public_id: object) -> int | None:
    """Return the integer key, or None for an id of another kind or not in canonical form."""
    if not isinstance(public_id, str) or not public_id.isascii():
        return None
    prefix, _, code = public_id.partition("_")
    numbers = _sqids.decode(code) if prefix == PREFIXES[model] else []
    if len(numbers) != 1 or numbers[0] >= 2**63 or _sqids.encode(numbers) != code:
        return None
    return numbers[0]
