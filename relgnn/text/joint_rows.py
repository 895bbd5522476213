"""Whole sentences as token ids, with the words, mentions and relations that they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from relgnn.data.joint import Annotated
from relgnn.data.relations import place_tokens
from relgnn.spans import spread
from relgnn.text.layers import padded_index
from relgnn.text.marking import tokens_of
from relgnn.text.packed import send
from relgnn.text.rows import require_fast, special_tokens, with_places

NO_MENTION = 0
"""Class of a span that names nothing; kind k is class k + 1."""
SPECIAL, LOWER, CAPITAL, UPPER, DIGITS, OTHER = range(6)
"""How a token is written, which an uncased model's ids do not tell: names have capitals."""
SHAPES = 6


@dataclass(frozen=True)
class JointBatch:
    """Sentences padded to one length; words and mentions of all of them are laid end to end.

    Args:
        ids: int64 [B, L].
        shape: int64 [B, L], how each token is written; see `SPECIAL` and what follows it.
        mask: bool [B, L].
        words: int64 [W, 2], each word's tokens [start, end) in the flattened [B · L].
        sentence: int64 [W], whose word it is.
        stop: int64 [W], where the words of its sentence end.
        mentions: int64 [E, 3], words [start, end) of the W and kind.
        relations: int64 [R, 3], head and tail of the E and label.
    """

    ids: Tensor
    shape: Tensor
    mask: Tensor
    words: Tensor
    sentence: Tensor
    stop: Tensor
    mentions: Tensor
    relations: Tensor

    def spans(self, longest: int) -> Tensor:
        """Every span of at most `longest` words, int64 [N, 2], in words [start, end)."""
        start = torch.arange(len(self.words), device=self.words.device)[:, None]
        end = start + 1 + torch.arange(longest, device=self.words.device)
        return torch.stack([start.expand_as(end), end], 2)[end <= self.stop[:, None]]

    def classes(self, spans: Tensor, longest: int) -> Tensor:
        """Which kind of mention each of `spans` is, int64 [N]; see `NO_MENTION`."""
        known = self.mentions[self.mentions[:, 1] - self.mentions[:, 0] <= longest]
        grid = self.words.new_full((len(self.words), longest + 1), NO_MENTION)
        grid[known[:, 0], known[:, 1] - known[:, 0]] = known[:, 2] + 1
        return grid[spans[:, 0], spans[:, 1] - spans[:, 0]]

    def thinned(
        self, spans: Tensor, classes: Tensor, negatives: int, generator: torch.Generator
    ) -> Tensor:
        """Every mention, and of the other spans about `negatives` of each sentence: bool [N]."""
        sentence = self.sentence[spans[:, 0]]
        others = torch.bincount(sentence[classes == NO_MENTION], minlength=len(self.ids))
        share = (negatives / others.clamp(min=1))[sentence]
        drawn = torch.rand(len(spans), generator=generator, device=spans.device)
        return (classes != NO_MENTION) | (drawn < share)


@dataclass(frozen=True)
class Sentences:
    """M sentences as token ids, with their mentions and relations, all laid end to end.

    Words beyond the longest row are not read, nor are mentions and relations that need them.

    Args:
        ids, shape: int64 [S], rows begin and end at `offsets` [M + 1].
        words: int64 [W, 2], tokens [start, end) in the row; of each row from `word_offsets`.
        mentions: int64 [E, 3], words [start, end) in the sentence and kind.
        relations: int64 [R, 3], head and tail in the sentence's mentions and label.
        padding: the id that fills up.
    """

    ids: Tensor
    shape: Tensor
    offsets: Tensor
    words: Tensor
    word_offsets: Tensor
    mentions: Tensor
    mention_offsets: Tensor
    relations: Tensor
    relation_offsets: Tensor
    padding: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """Tokens of each row, int64 [M]."""
        return self.offsets.diff()

    def batch(self, rows: Tensor, device: torch.device | str = "cpu") -> JointBatch:
        """The given sentences [B], padded, on `device`."""
        index, mask = padded_index(self.offsets, rows)
        ids = self.ids[index].masked_fill(~mask, self.padding)
        shape = self.shape[index].masked_fill(~mask, SPECIAL)
        sentence, words, first_word = _take(self.words, self.word_offsets, rows)
        words = words + (sentence * ids.shape[1])[:, None]
        stop = torch.cat([first_word[1:], first_word.new_tensor([len(words)])])[sentence]
        owner, mentions, first_mention = _take(self.mentions, self.mention_offsets, rows)
        mentions[:, :2] += first_word[owner, None]
        owner, relations, _ = _take(self.relations, self.relation_offsets, rows)
        relations[:, :2] += first_mention[owner, None]
        parts = (ids, shape, mask, words, sentence, stop, mentions, relations)
        return JointBatch(*(send(x, device) for x in parts))


def _take(values: Tensor, offsets: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What belongs to `rows`: whose it is, the values, and where each row's begin."""
    count = offsets[rows + 1] - offsets[rows]
    owner, place = spread(offsets[rows], count)
    return owner, values[place], count.cumsum(0) - count


def tokenise(sentences: Sequence[Annotated], tokenizer: Any, max_tokens: int) -> Sentences:
    """Token ids of sentences, [CLS] and [SEP] or what stands for them included.

    Raises:
        InputError: the tokenizer is not a fast one.
    """
    require_fast(tokenizer)
    before, after = special_tokens(tokenizer)
    room = max_tokens - len(before) - len(after)
    placed = [place_tokens(one.words) for one in sentences]
    found = with_places(tokenizer, [text for text, _, _ in placed])
    rows, shapes, words, mentions, relations = [], [], [], [], []
    for i, (one, (_, starts, ends)) in enumerate(zip(sentences, placed, strict=True)):
        ids = found["input_ids"][i][:room]
        where = np.array(found["offset_mapping"][i][:room], dtype=np.int64).reshape(-1, 2)
        rows.append([*before, *ids, *after])
        own_shapes = [shape_of(placed[i][0][a:b]) for a, b in where.tolist()]
        shapes.append([*[SPECIAL] * len(before), *own_shapes, *[SPECIAL] * len(after)])
        read = int(where[-1, 1]) if len(ids) < len(found["input_ids"][i]) else len(placed[i][0])
        characters = [(a, b) for a, b in zip(starts, ends, strict=True) if b <= read]
        own = _words(characters, where, len(before))
        words.append(own)
        new: dict[int, int] = {}
        for j, mention in enumerate(one.mentions):
            if mention.end <= len(own):
                new[j] = len(new)
        mentions.append([one.mentions[j] for j in new])
        relations.append(
            [(new[h], new[t], r) for h, t, r in one.relations if h in new and t in new]
        )
    return Sentences(
        torch.tensor(list(chain(*rows)), dtype=torch.long),
        torch.tensor(list(chain(*shapes)), dtype=torch.long), _offsets(rows),
        _table(words, 2), _offsets(words), _table(mentions, 3), _offsets(mentions),
        _table(relations, 3), _offsets(relations), tokenizer.pad_token_id or 0,
    )  # fmt: skip


def shape_of(piece: str) -> int:
    """How a stretch of text is written; see `SPECIAL` and what follows it."""
    if any(c.isdigit() for c in piece):
        return DIGITS
    if piece.isupper() and len(piece) > 1:
        return UPPER
    if piece[:1].isupper():
        return CAPITAL
    return LOWER if piece[:1].isalpha() else OTHER


def _words(
    characters: Sequence[tuple[int, int]], where: np.ndarray, before: int
) -> list[tuple[int, int]]:
    """Tokens of each word; a word that the tokenizer makes nothing of shares the one before it."""
    found: list[tuple[int, int]] = []
    for span in characters:
        own = tokens_of(span, where)
        last = found[-1] if found else (before, before + 1)
        found.append((own[0] + before, own[1] + before) if own else last)
    return found


def _offsets(rows: Sequence[Sequence[Any]]) -> Tensor:
    return torch.tensor([0, *map(len, rows)]).cumsum(0)


def _table(rows: Sequence[Sequence[Any]], columns: int) -> Tensor:
    return torch.tensor(list(chain(*rows)), dtype=torch.long).reshape(-1, columns)
