"""Vectors on disk, keyed by text: shards that are written whole and never changed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from torch import Tensor

from relgnn.training.checkpoint import METADATA_KEY, save_tensors


class VectorCache:
    """A map from key to vector in a folder of safetensors shards.

    Every `put` writes one new shard beside the others and renames it into place, so two
    processes may write at once and a reader never sees half a shard. A damaged shard is passed
    over: a cache can always be made again.

    Args:
        folder: one folder for each model (the encoder names it after the weights).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, keys: Set[str]) -> dict[str, np.ndarray]:
        """The vectors of those `keys` that are here, float16 [d] each."""
        found: dict[str, np.ndarray] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                with safe_open(path, framework="pt") as shard:
                    header = json.loads((shard.metadata() or {}).get(METADATA_KEY, "{}"))
                    names = header.get("keys", [])
                    rows = [i for i, name in enumerate(names) if name in keys]
                    if rows:
                        vectors = shard.get_tensor("vectors")[rows].numpy()
                        found.update(zip((names[i] for i in rows), vectors, strict=True))
            except (SafetensorError, OSError, json.JSONDecodeError):
                continue
        return found

    def put(self, keys: Sequence[str], vectors: Tensor) -> None:
        """Add `vectors` [len(keys), d] as one shard, in half precision (they have length one)."""
        path = self.folder / f"{uuid.uuid4().hex}.safetensors"
        save_tensors(path, {"vectors": vectors.half()}, {"keys": list(keys)})
