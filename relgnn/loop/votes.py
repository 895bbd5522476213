"""What each view says of every candidate of a round, before it is weighed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from relgnn.loop.candidates import Candidates
from relgnn.training import load_tensors, save_tensors

FILE = "votes.safetensors"
VIEW = "view."


@dataclass(frozen=True)
class Votes:
    """Candidates and the views' raw votes, given triples among them.

    Args:
        candidates: C triples; `pair` counts the evidence that is linked and then proposed.
        by_view: view -> float [C, V], logits, log probabilities or reasons; nan where it is silent.
        proposed: int64 [P, 2], pairs of entities that the graph proposed for the text to judge.
    """

    candidates: Candidates
    by_view: dict[str, np.ndarray]
    proposed: np.ndarray

    def save(self, folder: Path) -> None:
        """Write `votes.safetensors` into a round's folder.

        Raises:
            MachineError: it cannot be written.
        """
        found = self.candidates
        tensors = {f.name: getattr(found, f.name) for f in fields(found)}
        tensors |= {VIEW + name: votes for name, votes in self.by_view.items()}
        tensors["proposed"] = self.proposed
        save_tensors(
            folder / FILE,
            {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in tensors.items()},
        )

    @classmethod
    def load(cls, folder: Path) -> Votes:
        """Read back what `save` wrote.

        Raises:
            InputError: the file is missing or broken.
        """
        tensors = {name: x.numpy() for name, x in load_tensors(folder / FILE)[0].items()}
        candidates = Candidates(*(tensors[f.name] for f in fields(Candidates)))
        views = {name.removeprefix(VIEW): x for name, x in tensors.items() if VIEW in name}
        # a file's tensors have no order of their own, and text comes before graph before rules
        order = [name for name in ("text", "graph", "rules") if name in views]
        return cls(candidates, {name: views[name] for name in order}, tensors["proposed"])
