"""Finds out how a CSV file is written: encoding over the whole file, delimiter over its start."""

import codecs
from collections import Counter
from pathlib import Path

import numpy as np
from charset_normalizer import from_bytes

from campaigns.services.imports.records import scan
from executor.errors import Rejected

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_BYTES = 1 << 20
_PIECE = 8 << 20
_EVIDENCE_BYTES = 1 << 16
_DELIMITER_RECORDS = 1000

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Code pages seen in exports, for a file that is not UTF-8.
_LEGACY = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1257", "koi8_r"]
_LEGACY += ["shift_jis", "gb18030", "big5", "euc_kr"]
_NOT_CSV = {
    b"PK\x03\x04": "a ZIP or Excel file: save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel file: save the sheet as CSV",
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard: unpack it first",
    b"BZh": "compressed by bzip2: unpack it first",
    b"\xfd7zXZ": "compressed by xz: unpack it first",
}


def sniff_encoding(path: Path) -> str:
    """Name the Python codec that reads the file: by its mark, else UTF-8, else a legacy code page.

    Reads the whole file unless it starts with a mark. A file that is mostly UTF-8 is UTF-8.
    Raises Rejected for what is not text.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    for mark, encoding in _BOMS:
        if start.startswith(mark):
            return encoding
    for magic, what in _NOT_CSV.items():
        if start.startswith(magic):
            raise Rejected(("file", f"{path} is {what}"))
    if start.count(0) > len(start) // 4:
        raise Rejected(
            ("encoding", "every other byte is zero: give the encoding, such as utf-16-le")
        )
    valid, invalid, evidence = _count_utf8(path)
    return "utf-8" if valid >= invalid else _legacy(path, evidence)


def sniff_delimiter(sample: bytes) -> str:
    """The delimiter that cuts most of the sample's rows into as many fields as its first row."""
    best, best_merit = DELIMITERS[0], (0.0, 1)
    for delimiter in DELIMITERS:
        records = scan(sample, delimiter, final=False, limit=_DELIMITER_RECORDS).records
        records = records or scan(sample, delimiter, final=True).records
        widths = Counter(len(record.fields) for record in records)
        width = len(records[0].fields) if records else 1
        merit = (round(widths[width] / len(records), 1) if width > 1 else 0.0, width)
        if merit > best_merit:
            best, best_merit = delimiter, merit
    return best


def _count_utf8(path: Path) -> tuple[int, int, bytes]:
    """Valid and invalid sequences of more than ASCII, and lines around the invalid ones."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    valid = invalid = 0
    evidence = bytearray()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            if piece.isascii():
                invalid += len(decoder.decode(b"", final=True))
                continue
            text = decoder.decode(piece)
            encoded = _encoded(text)
            if encoded is not None:
                valid += int(np.count_nonzero(np.frombuffer(encoded, np.uint8) >= 0xC0))
                continue
            codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
            escaped = (codes >= 0xDC80) & (codes <= 0xDCFF)
            invalid += int(np.count_nonzero(escaped))
            valid += int(np.count_nonzero((codes > 0x7F) & ~escaped))
            if len(evidence) < _EVIDENCE_BYTES:
                evidence += _lines_beyond_ascii(piece)
        invalid += len(decoder.decode(b"", final=True))
    return valid, invalid, bytes(evidence[:_EVIDENCE_BYTES])


def _encoded(text: str) -> bytes | None:
    """The text as UTF-8, None when bytes that are none stand in it."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


def _lines_beyond_ascii(piece: bytes) -> bytes:
    lines, have = [], 0
    for line in piece.splitlines(keepends=True):
        if not line.isascii():
            lines.append(line)
            have += len(line)
            if have > _EVIDENCE_BYTES:
                break
    return b"".join(lines)


def _legacy(path: Path, evidence: bytes) -> str:
    """The most plausible code page that can decode the whole file; Western when in doubt."""
    ranked = []
    matches = list(from_bytes(evidence, cp_isolation=_LEGACY))
    if matches:
        order = min((match.chaos, -match.coherence) for match in matches)
        equal = [match for match in matches if (match.chaos, -match.coherence) == order]
        names = {name for match in equal for name in match.could_be_from_charset}
        ranked = ["cp1252"] if "cp1252" in names else [equal[0].encoding]
    for encoding in [*ranked, "cp1252"]:
        if _decodes(path, encoding):
            return encoding
    return "latin-1"


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
