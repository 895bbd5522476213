"""Rows of which a part is hidden: what a reader makes of the context, or of the entities, alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from relgnn.text.marking import HEAD, NEITHER, TAIL
from relgnn.text.rows import Marker, RowBatch, Rows

R = TypeVar("R", Rows, RowBatch)


def special_ids(marker: Marker) -> Tensor:
    """Ids [K] that are no words: special tokens and markers.

    The mask and unknown tokens count as words, because they stand for some.
    """
    tokenizer = marker.tokenizer
    sides = (marker.plain, *marker.of_type.values())
    around = {token for pairs in sides for pair in pairs for ids in pair for token in ids}
    words = {tokenizer.mask_token_id, tokenizer.unk_token_id}
    return torch.tensor(sorted((around | set(tokenizer.all_special_ids)) - words))


class Hider:
    """Hides words behind the tokenizer's mask token.

    A tokenizer without one gives its unknown token, or else the one that pads or ends.

    Args:
        marker: made the rows; its markers and the tokenizer's special tokens are never hidden.
    """

    def __init__(self, marker: Marker) -> None:
        tokenizer = marker.tokenizer
        stand_ins = (
            tokenizer.mask_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id,
            tokenizer.eos_token_id,
        )  # fmt: skip
        self.filler = int(next(found for found in stand_ins if found is not None))
        self.special = special_ids(marker)

    def words(self, rows: R) -> Tensor:
        """Which tokens are of the sentence, bool like `rows.ids`: no `special_ids`, no padding."""
        return ~torch.isin(rows.ids, self.special.to(rows.ids.device))

    def context(self, rows: R) -> R:
        """The entities' words hidden: what the context says of whoever it may be."""
        return self._hide(rows, (rows.role == HEAD) | (rows.role == TAIL))

    def entities(self, rows: R) -> R:
        """All words but the entities' hidden: what their names alone say."""
        return self._hide(rows, self.words(rows) & (rows.role == NEITHER))

    def _hide(self, rows: R, hidden: Tensor) -> R:
        return replace(rows, ids=rows.ids.masked_fill(hidden, self.filler))
