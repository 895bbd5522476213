"""What a language model's attention says of two entities: as features, and as a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from relgnn.data.relations import Example
from relgnn.errors import InputError
from relgnn.text.marking import HEAD, TAIL
from relgnn.text.rows import RowBatch

if TYPE_CHECKING:
    from relgnn.text.reader import Reader

REPORTED = 10
"""Weights of a sentence in a report of a reader that has no attention features."""


def attend_openly(network: Any) -> None:
    """Have a network compute its attention weights, so that they can be read.

    Raises:
        InputError: it has no such form.
    """
    try:
        network.set_attn_implementation("eager")
    except (AttributeError, ValueError) as error:
        raise InputError(
            f"extraction.attention: {type(network).__name__} cannot give its attention weights; "
            "set it to 0 or take another model"
        ) from error


def between(attentions: Sequence[Tensor], batch: RowBatch, count: int) -> tuple[Tensor, Tensor]:
    """The largest attention weights from one mention's tokens to the other's, both directions.

    Args:
        attentions: of each layer, [B, heads, L, P + L] from token to a prefix's P keys, if there
            are any (`extraction.efficient`), and to token; the prefix is left out.
        batch: says whose token each is.
        count: how many of a row.

    Returns:
        weights [B, count], falling, 0 where a row has fewer pairs of tokens; and where they are
        among [layers, heads, L, L] flattened, int64 [B, count].
    """
    head, tail = batch.role == HEAD, batch.role == TAIL
    pair = (head[:, :, None] & tail[:, None, :]) | (tail[:, :, None] & head[:, None, :])
    weights = torch.stack([one[..., -pair.shape[2] :] for one in attentions], dim=1)
    weights = weights.masked_fill(~pair[:, None, None], 0).flatten(1)
    found = weights.topk(min(count, weights.shape[1]), dim=1)
    missing = (0, count - found.values.shape[1])
    return functional.pad(found.values, missing), functional.pad(found.indices, missing)


def attention_report(
    reader: Reader, examples: Sequence[Example], batch_size: int = 16
) -> Iterator[dict[str, Any]]:
    """Which attention weights connect the entities of each example.

    Args:
        reader: with attention features (`extraction.attention`) as many as those, else ten; of an
            ensemble, the first classifier is asked.
        examples: in any number.
        batch_size: sentences that are read at once.

    Yields:
        for each example {"text", "head", "tail", "attention": [{"layer", "head", "from", "to",
        "weight"}, …]}; layers and heads count from 0, and the largest weight comes first.
    """
    model, tokenizer = reader.members[0], reader.marker.tokenizer
    network, count = model.network, model.settings.attention or REPORTED
    before = network.config._attn_implementation
    attend_openly(network)
    model.eval()
    rows = reader.marker.rows(examples)
    try:
        for part in torch.arange(len(examples)).split(batch_size):
            batch = rows.batch(part, model.device)
            with torch.inference_mode():
                found = network(
                    input_ids=batch.ids, attention_mask=batch.mask.long(), output_attentions=True
                ).attentions
                weights, places = between(found, batch, count)
            # layers, heads, from, to
            shape = (len(found), found[0].shape[1], batch.ids.shape[1], batch.ids.shape[1])
            for i, one in enumerate(part.tolist()):
                layers, heads, starts, ends = torch.unravel_index(places[i].cpu(), shape)
                tokens = tokenizer.convert_ids_to_tokens(batch.ids[i].tolist())
                example = examples[one]
                connections = zip(
                    layers.tolist(), heads.tolist(), starts.tolist(), ends.tolist(),
                    weights[i].tolist(), strict=True,
                )  # fmt: skip
                yield {
                    "text": example.text, "head": example.head, "tail": example.tail,
                    "attention": [
                        {"layer": layer, "head": head, "from": tokens[a], "to": tokens[b],
                         "weight": weight}
                        for layer, head, a, b, weight in connections if weight > 0
                    ],
                }  # fmt: skip
    finally:
        network.set_attn_implementation(before)
