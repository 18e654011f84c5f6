"""The models of a run, each opened when something first asks for it.

A tenant may have models that nothing of the flow names: what is wrong with them is no matter.
"""

from collections.abc import Iterator, Mapping, Sequence

from executor.artifacts import open_model
from executor.flow.catalog import ModelFacts
from executor.models.model import Model
from executor.storage import Storage


class OpenedModels(Mapping[str, Model]):
    """By key. Looking one up raises Rejected for what is wrong with it."""

    def __init__(self, facts: Sequence[ModelFacts], storage: Storage) -> None:
        self._facts = {one.name: one for one in facts}
        self._storage = storage
        self._opened: dict[str, Model] = {}

    def __getitem__(self, key: str) -> Model:
        if key not in self._opened:
            self._opened[key] = open_model(self._facts[key], self._storage)
        return self._opened[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)
