"""Vectors on disk, keyed by text: shards that are written whole and never changed."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from relgnn.training.checkpoint import save_tensors

KEY_BYTES = 16
# So many shards of less than so many rows are merged into one.
MANY_SHARDS = 16
SMALL_SHARD = 65536


class Shard(NamedTuple):
    """One file, mapped into memory: `keys` [n], sorted, and `vectors` float16 [n, dim]."""

    keys: np.ndarray
    vectors: np.ndarray


class VectorCache:
    """A map from key to vector in a folder of safetensors shards.

    Every `put` writes one new shard beside the others and renames it into place, so two
    processes may write at once and a reader never sees half a shard. Shards are mapped into
    memory, not read: a look-up touches the rows it asks for. A damaged shard is passed over: a
    cache can always be made again. Small shards are merged; they go only when the merged one is
    there, and whoever meets the change while opening shards looks again.

    Args:
        folder: one folder for each model (the encoder names it after the weights).
        dim: width of the vectors.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder, self.dim = folder, dim
        self._opened: dict[Path, Shard | None] = {}

    def get(self, keys: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """Look up `keys`, bytes of length `KEY_BYTES`, [n].

        Returns:
            which are here, bool [n], and their vectors, float16 [n, dim], zero where not here.
        """
        found = np.zeros(len(keys), dtype=bool)
        vectors = np.zeros((len(keys), self.dim), dtype=np.float16)
        # In order: neighbouring look-ups share most of their path.
        order = np.argsort(keys)
        for shard in self._shards().values():
            asked = order[~found[order]]
            place = np.searchsorted(shard.keys, keys[asked]).clip(max=len(shard.keys) - 1)
            here = shard.keys[place] == keys[asked]
            vectors[asked[here]] = shard.vectors[place[here]]
            found[asked[here]] = True
        return found, torch.from_numpy(vectors)

    def put(self, keys: np.ndarray, vectors: Tensor) -> None:
        """Add `vectors` [n, dim] as one shard, in half precision (they have length one)."""
        self._write(keys, vectors)
        small = {path: s for path, s in self._shards().items() if len(s.keys) < SMALL_SHARD}
        if len(small) < MANY_SHARDS:
            return
        self._write(
            np.concatenate([shard.keys for shard in small.values()]),
            torch.from_numpy(np.concatenate([shard.vectors for shard in small.values()])),
        )
        for path in small:
            path.unlink(missing_ok=True)

    def _write(self, keys: np.ndarray, vectors: Tensor) -> None:
        path = self.folder / f"{uuid.uuid4().hex}.safetensors"
        names, rows = np.unique(keys, return_index=True)
        table = torch.from_numpy(names.view(np.uint8).reshape(len(names), KEY_BYTES))
        save_tensors(path, {"keys": table, "vectors": vectors[rows].half()})

    def _shards(self) -> dict[Path, Shard]:
        """The readable shards; each is opened once."""
        paths: list[Path] = []
        # Another process may merge shards between the listing and the opening: then again.
        while paths != (paths := self._paths()):
            self._opened = {
                path: self._opened[path] if path in self._opened else self._open(path)
                for path in paths
            }
        return {path: shard for path, shard in self._opened.items() if shard is not None}

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("*.safetensors"))

    def _open(self, path: Path) -> Shard | None:
        try:
            with safe_open(path, framework="pt") as file:
                table, vectors = file.get_tensor("keys"), file.get_tensor("vectors")
        except (SafetensorError, OSError, RuntimeError):  # the last: gone before torch mapped it
            return None
        if table.shape != (len(vectors), KEY_BYTES) or vectors.shape[1:] != (self.dim,):
            return None
        keys = table.numpy().view(f"S{KEY_BYTES}")[:, 0]
        return Shard(keys, vectors.numpy()) if len(keys) else None
