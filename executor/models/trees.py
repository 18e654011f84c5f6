"""Gradient boosted trees in LightGBM's JSON, scored without walking any tree.

Every leaf of a tree is a bit, numbered from the left. A split that sends a row to the right clears
the bits of its left side; the lowest bit left is the row's leaf. What all splits of a tree on one
feature clear together depends only on which interval of the feature's thresholds the value lies
in, so it is one look-up in a table for each feature of a tree (after Lucchese et al., QuickScorer,
SIGIR 2015).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executor.errors import Rejected
from executor.models.values import is_number

#: What LightGBM takes for zero where zero is a missing value: 1e-35 as a float32.
ZERO = float(np.float32(1e-35))
#: Bytes that the tables of a model may take.
MAX_TABLE_BYTES = 256 << 20
WORD = 64

Codes = NDArray[np.intp]
Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Split:
    """A split and the leaves on its left: `first` up to, without, `middle`."""

    feature: int
    #: The greatest value that goes left, or the categories that do.
    left: float | frozenset[int]
    missing: str
    default_left: bool
    first: int
    middle: int

    def goes_left(self, value: float, is_zero: bool) -> bool:
        """As LightGBM decides; a category of -1 stands for all that no split names."""
        if not isinstance(self.left, float):
            return not isnan(value) and int(value) in self.left
        if isnan(value) and self.missing != "NaN":
            value, is_zero = 0.0, True
        if isnan(value) or (self.missing == "Zero" and is_zero):
            return self.default_left
        return value <= self.left


@dataclass(slots=True)
class Shape:
    """A tree taken apart: its splits, and the values of its leaves from the left."""

    splits: list[Split] = field(default_factory=list)
    leaves: list[float] = field(default_factory=list)


def read_tree(root: Mapping[str, Any]) -> Shape:
    """Take a tree apart that `tree_checks` has nothing to say about."""
    shape = Shape()
    _read(root, shape)
    return shape


def _read(node: Mapping[str, Any], shape: Shape) -> None:
    if "leaf_value" in node:
        shape.leaves.append(float(node["leaf_value"]))
        return
    first = len(shape.leaves)
    _read(node["left_child"], shape)
    middle = len(shape.leaves)
    _read(node["right_child"], shape)
    is_category = node.get("decision_type", "<=") == "=="
    threshold = node["threshold"]
    shape.splits.append(
        Split(
            feature=node["split_feature"],
            left=read_categories(threshold) if is_category else float(threshold),
            # Without either key a missing value counts as 0, as where there was none in training.
            missing=node.get("missing_type", "NaN" if "default_left" in node else "None"),
            default_left=bool(node.get("default_left", False)),
            first=first,
            middle=middle,
        )
    )


def read_categories(threshold: object) -> frozenset[int]:
    """The categories that go left: 3, or "0||1||3". Raises ValueError for anything else."""
    parts = [threshold] if is_number(threshold) else str(threshold).split("||")
    values = [float(part) for part in parts]  # type: ignore[arg-type]
    if not all(value >= 0 and value.is_integer() for value in values):
        raise ValueError("categories are whole numbers from 0 on")
    return frozenset(map(int, values))


class Numbers:
    """The intervals between all thresholds of a feature; then NaN, then zero."""

    def __init__(self, splits: Sequence[Split]) -> None:
        self._edges = np.unique([split.left for split in splits])
        #: Whether zero is a missing value of this feature: then no interval holds it.
        self._zero_is_missing = any(split.missing == "Zero" for split in splits)

    def probes(self) -> Iterator[tuple[float, bool]]:
        """For each code a value that stands for all that have it, and whether it is zero."""
        yield from ((float(edge), False) for edge in self._edges)
        yield from ((np.inf, False), (np.nan, False), (0.0, True))

    def codes(self, values: NDArray[np.float64]) -> Codes:
        last = len(self._edges)
        codes = np.searchsorted(self._edges, values, side="left")
        codes[np.isnan(values)] = last + 1
        if self._zero_is_missing:
            codes[np.abs(values) <= ZERO] = last + 2
        return codes


class Categories:
    """The categories that any split of a feature names; then all others, then NaN."""

    def __init__(self, splits: Sequence[Split]) -> None:
        named = frozenset[int]().union(*(split.left for split in splits))  # type: ignore[arg-type]
        self._named = np.array(sorted(named), dtype=np.float64)

    def probes(self) -> Iterator[tuple[float, bool]]:
        yield from ((float(each), False) for each in self._named)
        yield from ((-1.0, False), (np.nan, False))

    def codes(self, values: NDArray[np.float64]) -> Codes:
        whole = np.trunc(values)
        codes = np.searchsorted(self._named, whole, side="left")
        found = self._named[np.minimum(codes, len(self._named) - 1)] == whole
        codes[~found] = len(self._named)
        codes[np.isnan(values)] = len(self._named) + 1
        return codes


@dataclass(frozen=True, slots=True)
class Tree:
    """Per word of 64 leaves: the feature and its table of which leaves a code leaves open."""

    words: tuple[tuple[tuple[int, Words], ...], ...]
    leaves: NDArray[np.float64]

    def values(self, codes: Mapping[int, Codes], rows: int) -> NDArray[np.float64]:
        leaf: NDArray[Any] | None = None
        for number in reversed(range(len(self.words))):
            bits = np.full(rows, np.iinfo(np.uint64).max)
            for feature, table in self.words[number]:
                bits &= table[codes[feature]]
            # The zeros below the lowest bit are its position.
            position = np.bitwise_count(~bits & (bits - np.uint64(1))) + np.intp(number * WORD)
            leaf = position if leaf is None else np.where(bits != 0, position, leaf)
        return self.leaves[leaf]


class Forest:
    """The trees of a model and the intervals of each feature that any of them splits on."""

    def __init__(self, trees: Sequence[Mapping[str, Any]]) -> None:
        """Raises Rejected for a feature that is split in two ways, and for tables too large."""
        shapes = [read_tree(tree["tree_structure"]) for tree in trees]
        by_feature: dict[int, list[Split]] = {}
        for shape in shapes:
            for split in shape.splits:
                by_feature.setdefault(split.feature, []).append(split)
        self.bins = {feature: _bins(splits) for feature, splits in sorted(by_feature.items())}
        self._probes = {feature: list(each.probes()) for feature, each in self.bins.items()}
        _refuse_large(sum(map(self._table_bytes, shapes)))
        self.trees = [self._tree(shape) for shape in shapes]

    def margins(self, codes: Mapping[int, Codes], rows: int) -> NDArray[np.float64]:
        """The sum of the leaves, tree by tree in their order."""
        total = np.zeros(rows)
        for tree in self.trees:
            total += tree.values(codes, rows)
        return total

    def _table_bytes(self, shape: Shape) -> int:
        features = {split.feature for split in shape.splits}
        bins = sum(len(self._probes[feature]) for feature in features)
        return bins * 8 * -(-len(shape.leaves) // WORD)

    def _tree(self, shape: Shape) -> Tree:
        features = sorted({split.feature for split in shape.splits})
        words = []
        for start in range(0, len(shape.leaves), WORD):
            end = min(start + WORD, len(shape.leaves))
            tables = ((feature, self._table(shape, feature, start, end)) for feature in features)
            words.append(tuple(tables))
        return Tree(tuple(words), np.array(shape.leaves))

    def _table(self, shape: Shape, feature: int, start: int, end: int) -> Words:
        whole = (1 << (end - start)) - 1
        table = [whole] * len(self._probes[feature])
        for split in shape.splits:
            left = _bits(split.first, split.middle, start, end)
            if split.feature != feature or not left:
                continue
            for code, (value, is_zero) in enumerate(self._probes[feature]):
                if not split.goes_left(value, is_zero):
                    table[code] &= ~left
        return np.array(table, dtype=np.uint64)


def _bits(first: int, middle: int, start: int, end: int) -> int:
    """The leaves from `first` up to `middle`, as bits of the word from `start` up to `end`."""
    low, high = max(first, start) - start, min(middle, end) - start
    return (1 << high) - (1 << low) if low < high else 0


def _bins(splits: Sequence[Split]) -> Numbers | Categories:
    numeric = sum(isinstance(split.left, float) for split in splits)
    if numeric not in (0, len(splits)):
        path = f"modelState.feature_names[{splits[0].feature}]"
        raise Rejected((path, "has splits by threshold and splits by category"))
    return Numbers(splits) if numeric else Categories(splits)


def _refuse_large(size: int) -> None:
    if size > MAX_TABLE_BYTES:
        megabytes, allowed = -(-size >> 20), MAX_TABLE_BYTES >> 20
        problem = f"would take {megabytes} MB of tables, at most {allowed} are allowed"
        raise Rejected(("modelState.trees", f"{problem}; import the model as ONNX instead"))
