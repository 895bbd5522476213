"""Sentences with two marked entities as token ids: what a language model that is tuned reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from relgnn.config import Marking
from relgnn.data.mentions import Span
from relgnn.data.relations import Example
from relgnn.errors import InputError
from relgnn.text.layers import padded_index
from relgnn.text.marking import HEAD, NEITHER, TAIL, nearest, tokens_of
from relgnn.text.packed import send
from relgnn.training.task import NumberedTask

HEAD_START, TAIL_START = 3, 4
"""Roles of a marker: before the head's mention, before the tail's; others are of `marking`."""
PUNCTUATION = (("@", "@"), ("#", "#"))


@dataclass(frozen=True)
class RowBatch:
    """Rows padded to one length.

    Args:
        ids: int64 [B, L].
        mask: bool [B, L].
        role: int64 [B, L]: NEITHER, HEAD, TAIL, HEAD_START or TAIL_START.
    """

    ids: Tensor
    mask: Tensor
    role: Tensor


@dataclass(frozen=True)
class Rows:
    """The token ids of M rows one after another.

    Args:
        ids: int64 [S].
        role: int8 [S].
        offsets: int64 [M + 1], where each row begins and ends.
        padding: the id that fills up.
    """

    ids: Tensor
    role: Tensor
    offsets: Tensor
    padding: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """Tokens of each row, int64 [M]."""
        return self.offsets.diff()

    def batch(self, rows: Tensor, device: torch.device | str = "cpu") -> RowBatch:
        """The given rows [B], padded, on `device`."""
        index, mask = padded_index(self.offsets, rows)
        ids = self.ids[index].masked_fill(~mask, self.padding)
        role = self.role[index].long().masked_fill(~mask, NEITHER)
        return RowBatch(*(send(x, device) for x in (ids, mask, role)))


def like_length(lengths: Tensor, size: int, generator: torch.Generator) -> list[Tensor]:
    """Rows in batches of `size` and of like length [M], in an order drawn from `generator`."""
    order = torch.randperm(len(lengths), generator=generator)
    # Sorting within windows of many batches keeps chance and spares padding.
    parts = [
        part
        for window in order.split(16 * size)
        for part in window[torch.argsort(lengths[window], stable=True)].split(size)
    ]
    return [parts[i] for i in torch.randperm(len(parts), generator=generator).tolist()]


class LikeLengthTask(NumberedTask):
    """A task whose batches are of like length."""

    lengths: Tensor
    """Tokens of each item, int64 [count]."""

    @property
    def count(self) -> int:
        return len(self.lengths)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterable[Tensor]:
        return like_length(self.lengths, self.batch_size, generator)


class Marker:
    """Puts markers around both entities and turns sentences into token ids.

    - special: four new tokens, `[H] … [/H]` and `[T] … [/T]` (Baldini Soares et al., 2019);
    - typed: new tokens that name the entity's type, where they are known (Zhong and Chen, 2021);
    - punctuation: `@ … @` and `# … #`, which the model knows already (Zhou and Chen, 2021);
    - mask: special markers, and the entity's words hidden behind the model's mask token;
    - none: nothing; roles alone say where the entities are.

    Args:
        tokenizer: a fast one, which says where a token stands in the text. New tokens are added.
        marking: see above.
        max_tokens: longest row; of a longer sentence, the tokens nearest to an entity are kept,
            and of a mention longer than half of the room, its first ones.
        types: the entity types that typed markers name.

    Raises:
        InputError: the tokenizer is not a fast one, or has no mask token where one is needed, or
            `max_tokens` has no room for two mentions.
    """

    def __init__(
        self,
        tokenizer: Any,
        marking: Marking = "special",
        max_tokens: int = 128,
        types: Sequence[str] = (),
    ) -> None:
        require_fast(tokenizer)
        if marking == "mask" and tokenizer.mask_token_id is None:
            raise InputError(
                "extraction.marking is 'mask' and the model has no mask token; take 'special'"
            )
        self.tokenizer, self.marking, self.max_tokens = tokenizer, marking, max_tokens
        self.types = tuple(sorted({kind for kind in types if kind}))
        names = marker_names(marking, self.types)
        if names:
            tokenizer.add_special_tokens({"additional_special_tokens": list(names)})
        self.new_tokens: list[int] = tokenizer.convert_tokens_to_ids(list(names))
        self.around = special_tokens(tokenizer)
        self.plain = _markers(tokenizer, marking, "")
        self.of_type = {kind: _markers(tokenizer, marking, kind) for kind in self.types}
        taken = sum(map(len, (*self.around, *(ids for pair in self.plain for ids in pair))))
        self.room = max_tokens - taken
        if self.room < 2:
            raise InputError(
                f"text.max_tokens is {max_tokens}, of which markers and ends take {taken}; two "
                f"mentions need at least {taken + 2}"
            )

    def resize(self, network: Any) -> None:
        """Give the network an embedding for each new token, drawn around the mean of the others."""
        if len(self.tokenizer) > network.get_input_embeddings().num_embeddings:
            network.resize_token_embeddings(len(self.tokenizer))

    def rows(self, examples: Sequence[Example]) -> Rows:
        """Token ids of examples, [CLS] and [SEP] or what stands for them included."""
        texts = list(dict.fromkeys(one.text for one in examples))
        number = {text: i for i, text in enumerate(texts)}
        none: dict[str, list[Any]] = {"input_ids": [], "offset_mapping": []}
        found = with_places(self.tokenizer, texts) if texts else none
        tokens = [np.array(ids, dtype=np.int64) for ids in found["input_ids"]]
        places = [np.array(x, dtype=np.int64).reshape(-1, 2) for x in found["offset_mapping"]]
        built = [
            self._row(one, tokens[i], places[i]) for one in examples for i in [number[one.text]]
        ]
        return Rows(
            torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *(ids for ids, _ in built)])),
            torch.from_numpy(np.concatenate([np.zeros(0, np.int8), *(role for _, role in built)])),
            torch.from_numpy(np.cumsum([0, *(len(ids) for ids, _ in built)])),
            self.tokenizer.pad_token_id or 0,
        )

    def _row(
        self, one: Example, ids: np.ndarray, places: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        before, after = self.around
        found = (tokens_or_nearest(span, places) for span in (one.head, one.tail))
        spans = [(start, min(end, start + self.room // 2)) for start, end in found]
        role = np.zeros(len(ids), dtype=np.int8)
        for who, (start, end) in zip((HEAD, TAIL), spans, strict=True):
            role[start:end] = who
        if self.marking == "mask":
            ids = np.where(role > 0, self.tokenizer.mask_token_id, ids)
        markers = [
            self.of_type.get(kind, self.plain)[side]
            for side, kind in enumerate((one.head_type, one.tail_type))
        ]
        kept = nearest(len(ids), spans, self.room)
        # Insertions, by the token that they stand before; of two at one place the closing first.
        put: list[tuple[int, int, list[int], int]] = []
        for side, ((start, end), (opening, closing)) in enumerate(zip(spans, markers, strict=True)):
            put.append((start, 1, opening, HEAD_START + side))
            put.append((end, 0, closing, NEITHER))
        parts, roles, at = [np.array(before, np.int64)], [np.zeros(len(before), np.int8)], 0
        for place, _, marker, kind in sorted(put, key=lambda x: (x[0], x[1])):
            until = int(np.searchsorted(kept, place))
            parts += [ids[kept[at:until]], np.array(marker, np.int64)]
            own = np.zeros(len(marker), np.int8)
            own[:1] = kind
            roles += [role[kept[at:until]], own]
            at = until
        parts += [ids[kept[at:]], np.array(after, np.int64)]
        roles += [role[kept[at:]], np.zeros(len(after), np.int8)]
        return np.concatenate(parts), np.concatenate(roles)


def tokens_or_nearest(span: Span, places: np.ndarray) -> tuple[int, int]:
    """Tokens [start, end) that overlap characters; the nearest one where none does."""
    found = tokens_of(span, places)
    if found is not None:
        return found
    start = min(int(np.searchsorted(places[:, 0], span[0])), max(len(places) - 1, 0))
    return start, min(start + 1, len(places))


def marker_names(marking: Marking, types: Sequence[str] = ()) -> tuple[str, ...]:
    """The new tokens that a way of marking needs."""
    if marking not in ("special", "typed", "mask"):
        return ()
    kinds = ["", *(types if marking == "typed" else ())]
    return tuple(text for kind in kinds for side in "HT" for text in _pair(side, kind))


def _pair(side: str, kind: str) -> tuple[str, str]:
    name = f"{side}:{kind}" if kind else side
    return f"[{name}]", f"[/{name}]"


def _markers(tokenizer: Any, marking: Marking, kind: str) -> list[tuple[list[int], list[int]]]:
    """Opening and closing ids of the head's markers and of the tail's."""
    if marking == "none":
        return [([], []), ([], [])]
    words = [_pair(side, kind if marking == "typed" else "") for side in "HT"]
    if marking == "punctuation":
        words = list(PUNCTUATION)

    def ids(word: str) -> list[int]:
        found: list[int] = tokenizer(word, add_special_tokens=False)["input_ids"]
        return found

    return [(ids(opening), ids(closing)) for opening, closing in words]


def special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    found = tokenizer("a", return_special_tokens_mask=True)
    ids, special = found["input_ids"], found["special_tokens_mask"]
    first = special.index(0)
    last = len(special) - special[::-1].index(0)
    return ids[:first], ids[last:]


def with_places(tokenizer: Any, texts: str | list[str]) -> Any:
    """Token ids of a text or of several, and the characters that each token stands for.

    Args:
        tokenizer: a fast one.
        texts: read whole, without special tokens.

    Returns:
        a mapping with `input_ids` and `offset_mapping`, of each text where there are several.
    """
    return tokenizer(
        texts, add_special_tokens=False, return_offsets_mapping=True, truncation=False,
        return_attention_mask=False, return_token_type_ids=False, verbose=False,
    )  # fmt: skip


def require_fast(tokenizer: Any) -> None:
    """Refuse a tokenizer that cannot say which characters a token stands for.

    Raises:
        InputError: it is not a fast one.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"the tokenizer {type(tokenizer).__name__} is not a fast one and cannot say where its "
            "tokens stand in the text; take a model with a tokenizer.json"
        )
