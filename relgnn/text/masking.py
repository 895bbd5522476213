"""Rows of unlabelled text, and which of their words a language model has to guess."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from relgnn.data.corpus import MarkedText
from relgnn.data.mentions import Span
from relgnn.data.sentences import split_sentences
from relgnn.text.packed import send
from relgnn.text.rows import special_tokens, with_places

_CLAUSE = re.compile(r"[,;:–—，；：]\s*|\s+")
OUTSIDE = -1
"""Unit of special tokens and of what fills up."""


@dataclass(frozen=True)
class Passages:
    """Token ids of M stretches of text one after another.

    Args:
        ids: int64 [S].
        unit: int64 [S], which word, mention or token of its passage a token belongs to, from 0.
        mention: bool [S], whether that unit is a mention.
        offsets: int64 [M + 1], where each passage begins and ends.
        text: int64 [M], which text a passage is of; never falling.
    """

    ids: Tensor
    unit: Tensor
    mention: Tensor
    offsets: Tensor
    text: Tensor

    def __len__(self) -> int:
        return len(self.text)

    @property
    def lengths(self) -> Tensor:
        """Tokens of each passage, int64 [M]."""
        return self.offsets.diff()

    def following(self) -> Tensor:
        """Passages [N] after which the same text goes on."""
        return torch.nonzero(self.text[1:] == self.text[:-1])[:, 0]

    def elsewhere(self, passages: Tensor, generator: torch.Generator) -> Tensor:
        """For each of `passages` [N] one of another text, all of them equally likely."""
        first = torch.searchsorted(self.text, self.text[passages])
        own = torch.searchsorted(self.text, self.text[passages], right=True) - first
        place = (torch.rand(len(passages), generator=generator) * (len(self) - own)).long()
        return place + (place >= first) * own


@dataclass(frozen=True)
class PassageBatch:
    """Rows of one or two passages, padded to one length; all [B, L].

    Args:
        ids: int64, special tokens included.
        mask: bool, what is not padding.
        segment: int64, 1 in the second passage and after it.
        unit: int64, `OUTSIDE` or numbered from 0 through both passages.
        mention: bool.
    """

    ids: Tensor
    mask: Tensor
    segment: Tensor
    unit: Tensor
    mention: Tensor

    def to(self, device: torch.device | str) -> PassageBatch:
        """The same on another device."""
        parts = (self.ids, self.mask, self.segment, self.unit, self.mention)
        return PassageBatch(*(send(part, device) for part in parts))


class PassageReader:
    """Turns texts into passages, and passages into rows: [CLS] a [SEP], or [CLS] a [SEP] b [SEP].

    Args:
        tokenizer: a fast one.
        max_tokens: longest row.
    """

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        self.tokenizer, self.max_tokens = tokenizer, max_tokens
        self.before, self.after = special_tokens(tokenizer)

    def windows(self, texts: Sequence[MarkedText], whole: bool) -> Passages:
        """Whole texts, the longer ones cut into consecutive rows.

        Args:
            texts: M of them.
            whole: units are mentions and words; else single tokens.
        """
        room = max(self.max_tokens - len(self.before) - len(self.after), 1)
        return self._read([(i, one) for i, one in enumerate(texts)], room, whole, cut=False)

    def sentences(self, texts: Sequence[MarkedText], whole: bool) -> Passages:
        """Sentences, at most half a row of each; see `sentences_or_halves`."""
        room = max((self.max_tokens - len(self.before) - 2 * len(self.after)) // 2, 1)
        parts = [
            (i, _part(one, start, end))
            for i, one in enumerate(texts)
            for start, end in sentences_or_halves(one.text)
        ]
        return self._read(parts, room, whole, cut=True)

    def rows(self, passages: Passages, chosen: Tensor) -> PassageBatch:
        """The rows of passages [B, 1 or 2], on the CPU."""
        built = [self._row(passages, row) for row in chosen.tolist()]
        filling = (self.tokenizer.pad_token_id or 0, 0, OUTSIDE, 0)
        ids, segment, unit, mention = (
            torch.nn.utils.rnn.pad_sequence(
                [row[i] for row in built], batch_first=True, padding_value=fill
            )
            for i, fill in enumerate(filling)
        )
        length = torch.tensor([len(row[0]) for row in built])
        mask = torch.arange(ids.shape[1]) < length[:, None]
        return PassageBatch(ids, mask, segment, unit, mention.bool())

    def _row(self, passages: Passages, chosen: Sequence[int]) -> tuple[Tensor, ...]:
        before, after = (torch.tensor(x, dtype=torch.int64) for x in (self.before, self.after))
        none = torch.zeros_like(before)
        ids, segment, unit, mention = [before], [none], [none + OUTSIDE], [none]
        units = 0
        for place, passage in enumerate(chosen):
            part = slice(int(passages.offsets[passage]), int(passages.offsets[passage + 1]))
            ids += [passages.ids[part], after]
            segment.append(torch.full((len(passages.ids[part]) + len(after),), place))
            unit += [passages.unit[part] + units, torch.full_like(after, OUTSIDE)]
            mention += [passages.mention[part].long(), torch.zeros_like(after)]
            units = int(unit[-2].max()) + 1
        return tuple(torch.cat(parts) for parts in (ids, segment, unit, mention))

    def _read(
        self, parts: Sequence[tuple[int, MarkedText]], room: int, whole: bool, cut: bool
    ) -> Passages:
        found = with_places(self.tokenizer, [one.text for _, one in parts])
        ids, units, mentions, owner = [], [], [], []
        for i, (text, one) in enumerate(parts):
            tokens = np.array(found["input_ids"][i], dtype=np.int64)
            unit, mention = np.arange(len(tokens)), np.zeros(len(tokens), dtype=bool)
            if whole:
                places = np.array(found["offset_mapping"][i], dtype=np.int64)
                words = np.array(found.word_ids(i), dtype=np.int64)
                unit, mention = _units(words, places.reshape(-1, 2), one.mentions)
            for start in range(0, min(len(tokens), room) if cut else len(tokens), room):
                window = slice(start, start + room)
                ids.append(torch.from_numpy(tokens[window]))
                units.append(torch.from_numpy(_renumbered(unit[window])))
                mentions.append(torch.from_numpy(mention[window]))
                owner.append(text)
        lengths = torch.tensor([0, *(len(one) for one in ids)])
        empty = torch.zeros(0, dtype=torch.int64)
        return Passages(
            torch.cat([empty, *ids]), torch.cat([empty, *units]),
            torch.cat([empty.bool(), *mentions]), lengths.cumsum(0), torch.tensor(owner).long(),
        )  # fmt: skip


def sentences_or_halves(text: str) -> list[Span]:
    """Spans of a text's sentences; of a single sentence, its two halves.

    It is cut at the comma, semicolon, colon or dash nearest to its middle, else at the space: so
    that single sentences too have something that follows.
    """
    spans = split_sentences(text)
    if len(spans) != 1:
        return spans
    start, end = spans[0]
    cuts = [m for m in _CLAUSE.finditer(text, start, end) if start < m.start() and m.end() < end]
    if not cuts:
        return spans
    clauses = [m for m in cuts if not m.group().isspace()]
    best = min(clauses or cuts, key=lambda m: abs(m.end() - start - (end - m.end())))
    first = text[start : best.end()].rstrip()
    return [(start, start + len(first)), (best.end(), end)]


def mask_units(
    batch: PassageBatch,
    share: float,
    entities: float,
    mask_token: int,
    vocabulary: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Hide units of each row (Devlin et al., BERT, 2019).

    Of n units that are no mentions max(1, round(share · n)) are drawn, and each mention with the
    probability `entities` (as ERNIE hides entities; Sun et al., 2019). A drawn unit's tokens
    become the mask token (80 %), random tokens (10 %) or stay as they are (10 %).

    Args:
        batch: the rows.
        share: of the units.
        entities: probability that a mention is hidden.
        mask_token: its id.
        vocabulary: ids that random tokens are drawn from.
        generator: on the batch's device.

    Returns:
        What the model reads, int64 [B, L], and which tokens it has to guess, bool [B, L].
    """
    unit, device = batch.unit, batch.unit.device
    numbers = torch.arange(int(unit.max()) + 1, device=device)
    member = unit[:, :, None] == numbers
    mention = (member & batch.mention[:, :, None]).any(1)
    word = member.any(1) & ~mention
    count = (share * word.sum(1)).round().clamp(min=1)
    lottery, luck, fate = (
        torch.rand(word.shape, generator=generator, device=device) for _ in range(3)
    )
    rank = lottery.masked_fill(~word, 2.0).argsort(1).argsort(1)
    drawn = word & (rank < count[:, None]) | mention & (luck < entities)
    inside, place = unit != OUTSIDE, unit.clamp(min=0)
    hidden, fate = inside & drawn.gather(1, place), fate.gather(1, place)
    noise = torch.randint(vocabulary, unit.shape, generator=generator, device=device)
    changed = torch.where(fate < 0.8, mask_token, torch.where(fate < 0.9, noise, batch.ids))
    return torch.where(hidden, changed, batch.ids), hidden


def _part(one: MarkedText, start: int, end: int) -> MarkedText:
    inside = [(max(a, start), min(b, end)) for a, b in one.mentions if a < end and b > start]
    return MarkedText(one.text[start:end], tuple((a - start, b - start) for a, b in inside))


def _units(
    words: np.ndarray, places: np.ndarray, mentions: Sequence[Span]
) -> tuple[np.ndarray, np.ndarray]:
    """Each token's word or mention, and whether it is a mention."""
    unit, inside = words.copy(), np.zeros(len(words), dtype=bool)
    for number, (start, end) in enumerate(mentions):
        own = (places[:, 0] < end) & (places[:, 1] > start)
        unit[own] = len(words) + number
        inside |= own
    return unit, inside


def _renumbered(unit: np.ndarray) -> np.ndarray:
    return np.unique(unit, return_inverse=True)[1].astype(np.int64)
