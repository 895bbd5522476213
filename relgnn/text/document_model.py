"""Documents read whole by a tuned language model: ATLOP over windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from relgnn.config.document import DocumentTuning
from relgnn.data.documents import Document
from relgnn.data.relations import place_tokens
from relgnn.dropout import Dropout, set_dropout
from relgnn.errors import InputError
from relgnn.text.layers import padded_index
from relgnn.text.marking import tokens_of
from relgnn.text.pooling import group_logsumexp
from relgnn.text.rows import require_fast, special_tokens, with_places

MARKER = "*"
OVERLAP = 4
"""A window begins a share of 1 / OVERLAP of its length before the last one ends."""


@dataclass(frozen=True)
class TokenisedDocument:
    """A document as windows of token ids.

    Args:
        ids: int64 [S], the windows one after another, each with its special tokens.
        offsets: int64 [K + 1], where each window begins and ends.
        window, place: int64 [T], which window, and which place in it, each of the document's
            tokens is read from: the one that shows most of its surroundings.
        mentions: int64 [M, 2], the token of each mention's marker, and its entity.
        entities: how many there are.
        truth: bool [pairs, R], which relations hold of each ordered pair.
    """

    ids: Tensor
    offsets: Tensor
    window: Tensor
    place: Tensor
    mentions: Tensor
    entities: int
    truth: Tensor


def tokenise_document(
    document: Document, truth: Tensor, tokenizer: Any, max_tokens: int
) -> TokenisedDocument:
    """Put `*` around every mention and cut the tokens into windows that overlap by a quarter.

    Args:
        document: what to read.
        truth: bool [pairs, R].
        tokenizer: a fast one.
        max_tokens: of a window, special tokens included.

    Raises:
        InputError: the tokenizer is not a fast one.
    """
    require_fast(tokenizer)
    words = [word for sentence in document.sentences for word in sentence]
    first = [0]
    for sentence in document.sentences:
        first.append(first[-1] + len(sentence))
    text, starts, ends = place_tokens(words)
    found = with_places(tokenizer, text)
    where = torch.tensor(found["offset_mapping"]).reshape(-1, 2).numpy()
    marker = tokenizer(MARKER, add_special_tokens=False)["input_ids"][:1]
    opening: dict[int, list[int]] = {}
    closing: dict[int, int] = {}
    for i, entity in enumerate(document.entities):
        for p in entity.mentions:
            span = starts[first[p.sentence] + p.start], ends[first[p.sentence] + p.end - 1]
            start, end = tokens_of(span, where) or (0, 0)
            opening.setdefault(start, []).append(i)
            closing[end] = closing.get(end, 0) + 1
    ids: list[int] = []
    mentions: list[tuple[int, int]] = []
    for at, token in enumerate([*found["input_ids"], None]):
        ids += marker * closing.get(at, 0)
        for entity_of in opening.get(at, ()):
            mentions.append((len(ids), entity_of))
            ids += marker
        if token is not None:
            ids.append(token)
    windows, window, place = _windows(len(ids), tokenizer, max_tokens)
    before, after = special_tokens(tokenizer)
    rows = [[*before, *ids[a:b], *after] for a, b in windows]
    return TokenisedDocument(
        torch.tensor(list(chain(*rows)), dtype=torch.long),
        torch.tensor([0, *map(len, rows)]).cumsum(0), window, place,
        torch.tensor(mentions, dtype=torch.long).reshape(-1, 2), len(document.entities), truth,
    )  # fmt: skip


def _windows(
    length: int, tokenizer: Any, max_tokens: int
) -> tuple[list[tuple[int, int]], Tensor, Tensor]:
    """Windows over `length` tokens, and for each token its window and its place in it."""
    before, after = special_tokens(tokenizer)
    room = max(1, max_tokens - len(before) - len(after))
    step = max(1, room - room // OVERLAP)
    windows = [(a, min(a + room, length)) for a in range(0, max(1, length - room + step), step)]
    token = torch.arange(length)
    edges = torch.tensor(windows)
    margin = torch.minimum(token - edges[:, :1], edges[:, 1:] - 1 - token)
    # The text's own two ends are no edges: nothing is hidden beyond them.
    margin = torch.where(edges[:, :1] == 0, edges[:, 1:] - 1 - token, margin)
    margin = torch.where(
        (edges[:, 1:] == length) & (edges[:, :1] > 0), token - edges[:, :1], margin
    )
    outside = (token < edges[:, :1]) | (token >= edges[:, 1:])
    window = margin.masked_fill(outside, -1).argmax(0)
    return windows, window, token - edges[window, 0] + len(before)


@dataclass(frozen=True)
class DocumentBatch:
    """Documents with their windows padded to one length.

    Args:
        ids: int64 [K, L] of all windows.
        mask: bool [K, L].
        tokens: int64 [D, T], places in the flattened [K · L] of each document's tokens.
        token_mask: bool [D, T].
        mention: int64 [M], places in the flattened [K · L] of the markers.
        entity: int64 [M], whose they are, of all E entities.
        owner: int64 [E], whose document's.
        pairs: int64 [P, 2], ordered pairs of entities of one document, head by head.
        truth: bool [P, R].
    """

    ids: Tensor
    mask: Tensor
    tokens: Tensor
    token_mask: Tensor
    mention: Tensor
    entity: Tensor
    owner: Tensor
    pairs: Tensor
    truth: Tensor


def batch_of(
    documents: Sequence[TokenisedDocument], padding: int, device: torch.device | str
) -> DocumentBatch:
    """Several documents as one batch on `device`."""
    rows = [x for one in documents for x in one.ids.split(one.offsets.diff().tolist())]
    offsets = torch.tensor([0, *map(len, rows)]).cumsum(0)
    index, mask = padded_index(offsets, torch.arange(len(rows)))
    ids = torch.cat(rows)[index].masked_fill(~mask, padding)
    length, window, entity = ids.shape[1], 0, 0
    tokens, mention, whose, owner, pairs = [], [], [], [], []
    for i, one in enumerate(documents):
        place = (one.window + window) * length + one.place
        tokens.append(place)
        mention.append(place[one.mentions[:, 0]])
        whose.append(one.mentions[:, 1] + entity)
        owner.append(torch.full((one.entities,), i))
        several = torch.arange(one.entities)
        both = torch.cartesian_prod(several, several).reshape(-1, 2)
        pairs.append(both[both[:, 0] != both[:, 1]] + entity)
        window, entity = window + len(one.offsets) - 1, entity + one.entities
    sizes = torch.tensor([0, *map(len, tokens)]).cumsum(0)
    index, token_mask = padded_index(sizes, torch.arange(len(documents)))
    parts = (
        ids, mask, torch.cat(tokens)[index], token_mask, torch.cat(mention), torch.cat(whose),
        torch.cat(owner), torch.cat(pairs), torch.cat([one.truth for one in documents]),
    )  # fmt: skip
    return DocumentBatch(*(x.to(device) for x in parts))


class DocumentModel(nn.Module):
    """Logits of relations of entity pairs; a relation is said to hold where it is above 0.

        e = log Σ_m exp x_m    over an entity's mentions, x_m the state of a mention's marker
        c = Σ_t q_t x_t,       q ∝ a_head ∘ a_tail,  a_e = softmax_t(x_t · A e / √d)
        z = tanh(W [e ; c])    for head and tail
        logits = V vec(z_head z_tailᵀ, block by block)

    (Zhou et al., ATLOP, 2021, whose a_e are the language model's own attention; a learned one reads
    documents of several windows as well, and needs no attention weights of the network. Their logit
    of a threshold class is 0 here: only differences to it matter, and those are bilinear too.)

    Args:
        network: a Hugging Face encoder.
        labels: number of relations R.
        settings: dropout and size of the blocks.

    Raises:
        InputError: the width of the network is no multiple of the block.
    """

    def __init__(self, network: Any, labels: int, settings: DocumentTuning) -> None:
        super().__init__()
        self.network, self.block = network, settings.block
        set_dropout(network, settings.dropout, attention=False)
        dim = int(network.config.hidden_size)
        if dim % settings.block:
            raise InputError(
                f"document.tuning.block is {settings.block} and the model is {dim} wide; take a "
                "divisor of it"
            )
        self.attention = nn.Linear(dim, dim, bias=False)
        self.head, self.tail = nn.Linear(2 * dim, dim), nn.Linear(2 * dim, dim)
        self.dropout = Dropout(settings.dropout)
        self.classifier = nn.Linear(dim * settings.block, labels)

    def forward(self, batch: DocumentBatch) -> Tensor:
        """Logits [P, R]."""
        found = self.network(input_ids=batch.ids, attention_mask=batch.mask.long())
        states = found.last_hidden_state.float().flatten(0, 1)
        entities = group_logsumexp(states[batch.mention], batch.entity, len(batch.owner))
        # An entity without a mention says nothing.
        entities = entities.masked_fill(torch.isinf(entities), 0.0)
        tokens = states[batch.tokens]
        heads, tails = batch.pairs.unbind(1)
        asked, seen = self.attention(entities), []
        for i in range(len(tokens)):  # the pairs of a document are consecutive
            scores = asked[batch.owner == i] @ tokens[i].T / tokens.shape[2] ** 0.5
            scores = scores.float().masked_fill(~batch.token_mask[i], float("-inf"))
            attended = scores.new_zeros(len(entities), len(scores.T))
            attended[batch.owner == i] = scores.softmax(1)
            own = batch.pairs[batch.owner[heads] == i]
            both = attended[own[:, 0]] * attended[own[:, 1]]
            seen.append((both / both.sum(1, keepdim=True).clamp(min=1e-9)) @ tokens[i])
        context = torch.cat(seen).to(entities.dtype)
        z_head = torch.tanh(self.head(torch.cat([entities[heads], context], 1)))
        z_tail = torch.tanh(self.tail(torch.cat([entities[tails], context], 1)))
        left, right = (self.dropout(z).unflatten(1, (-1, self.block)) for z in (z_head, z_tail))
        product = (left[:, :, :, None] * right[:, :, None, :]).flatten(1)
        logits: Tensor = self.classifier(product)
        return logits.float()
