"""Slow, obvious implementations that the fast ones are compared with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from relgnn.gnn.attention import AttentionLayer
from relgnn.gnn.blocks import BlockRGCNLayer
from relgnn.gnn.layers import CompGCNLayer, RGCNLayer

Message = tuple[int, int, int, int, int, float]


def random_triples(nodes: int, relations: int, edges: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    sizes = (nodes, relations, nodes)
    return torch.stack([torch.randint(size, (edges,), generator=generator) for size in sizes], 1)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def randomise(module: torch.nn.Module, seed: int = 0) -> None:
    """Give every parameter a value, so that those that start at 0 take part."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)


def messages(triples: Tensor, relations: int, weight: Tensor | None = None) -> list[Message]:
    """(source, target, relation, direction, triple, weight) of every message, one at a time."""
    out: list[Message] = []
    for number, (head, relation, tail) in enumerate(triples.tolist()):
        scale = 1.0 if weight is None else float(weight[number])
        out.append((head, tail, relation, 0, number, scale))
        out.append((tail, head, relation + relations, 1, number, scale))
    return out


def text_part(
    layer: RGCNLayer | BlockRGCNLayer | CompGCNLayer | AttentionLayer,
    base: int,
    message: Message,
    relations: int,
    text: Tensor | None,
    evidence: Tensor | None,
) -> Tensor | float:
    """⟨p_b^dir, T_r⟩ + ⟨q_b^dir, t_e⟩ of one message."""
    _, _, relation, direction, number, _ = message
    total: Tensor | float = 0.0
    if layer.text.p is not None and text is not None:
        total = total + layer.text.p[direction, base] @ text[relation % relations]
    if layer.text.q is not None and evidence is not None:
        total = total + layer.text.q[direction, base] @ evidence[number]
    return total


def relational(
    layer: RGCNLayer | BlockRGCNLayer,
    x: Tensor,
    triples: Tensor,
    relations: int,
    weight: Tensor | None,
    sent: Callable[[Message], Tensor],
) -> Tensor:
    """W_0 h_v + Σ w_e / c(v, r) · sent(e), a message at a time."""
    every = messages(triples, relations, weight)
    count: dict[tuple[int, int], float] = defaultdict(float)
    for _, target, relation, _, _, scale in every:
        count[target, relation] += scale
    rows = list(layer.self_loop(x))
    for message in every:
        _, target, relation, _, _, scale = message
        if scale > 0:
            rows[target] = rows[target] + scale / count[target, relation] * sent(message)
    out = torch.stack(rows)
    return out if layer.activation is None else layer.activation(out)


def rgcn(
    layer: RGCNLayer,
    x: Tensor,
    triples: Tensor,
    relations: int,
    weight: Tensor | None = None,
    text: Tensor | None = None,
    evidence: Tensor | None = None,
) -> Tensor:
    """The R-GCN equation with bases."""

    def sent(message: Message) -> Tensor:
        parts = []
        for base, matrix in enumerate(layer.bases):
            a = text_part(layer, base, message, relations, text, evidence)
            if layer.alpha is not None:
                a = a + layer.alpha[base, message[2]]
            parts.append(a * (x[message[0]] @ matrix))
        return torch.stack(parts).sum(0)

    return relational(layer, x, triples, relations, weight, sent)


def block_rgcn(
    layer: BlockRGCNLayer,
    x: Tensor,
    triples: Tensor,
    relations: int,
    weight: Tensor | None = None,
    text: Tensor | None = None,
    evidence: Tensor | None = None,
) -> Tensor:
    """The R-GCN equation with whole block-diagonal matrices."""

    def sent(message: Message) -> Tensor:
        gate = 1 + text_part(layer, 0, message, relations, text, evidence)
        return gate * (x[message[0]] @ torch.block_diag(*layer.blocks[message[2]]))

    return relational(layer, x, triples, relations, weight, sent)


def attention(
    layer: AttentionLayer,
    x: Tensor,
    z: Tensor,
    triples: Tensor,
    relations: int,
    weight: Tensor | None = None,
    text: Tensor | None = None,
    evidence: Tensor | None = None,
) -> Tensor:
    """The attention equation, a node, a head and a message at a time."""
    every = [m for m in messages(triples, relations, weight) if m[-1] > 0]
    rows = []
    for node in range(len(x)):
        heads = []
        for k in range(layer.num_heads):
            width = layer.attention.shape[-1]
            part = slice(k * width, (k + 1) * width)
            w, u = layer.by_node.weight[part], layer.by_relation.weight[part]
            a, b, c = layer.attention[:, k]
            scores, sent = [], []
            for message in every:
                source, target, relation, _, _, scale = message
                if target != node:
                    continue
                score = a @ (w @ x[source]) + b @ (w @ x[node]) + c @ (u @ z[relation])
                score = score + text_part(layer, k, message, relations, text, evidence)
                scores.append(scale * functional.leaky_relu(score, 0.2).exp())
                sent.append(w @ x[source] - u @ z[relation])
            share = torch.stack(scores) / torch.stack(scores).sum() if scores else []
            heads.append(sum((s * m for s, m in zip(share, sent, strict=True)), torch.zeros(width)))
        rows.append(layer.self_loop(x[node]) + torch.cat(heads))
    out = torch.stack(rows)
    return out if layer.activation is None else layer.activation(out)


def compose(kind: str, h: Tensor, z: Tensor) -> Tensor:
    if kind == "sub":
        return h - z
    if kind == "mult":
        return h * z
    return torch.stack(
        [(h * torch.roll(z, -shift, -1)).sum(-1) for shift in range(h.shape[-1])], -1
    )


def compgcn(
    layer: CompGCNLayer,
    x: Tensor,
    z: Tensor,
    triples: Tensor,
    relations: int,
    weight: Tensor | None = None,
    text: Tensor | None = None,
    evidence: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The CompGCN equation, a message at a time."""
    every = messages(triples, relations, weight)
    degree: dict[tuple[str, int, int], float] = defaultdict(float)
    for source, target, _, direction, _, scale in every:
        degree["out", source, direction] += scale
        degree["in", target, direction] += scale
    rows = list(compose(layer.composition, x, layer.loop_relation) @ layer.by_loop / 3)
    for message in every:
        source, target, relation, direction, _, scale = message
        if scale == 0:
            continue
        norm = (degree["out", source, direction] * degree["in", target, direction]) ** -0.5
        gate = scale * (1 + text_part(layer, 0, message, relations, text, evidence))
        sent = compose(layer.composition, x[source], z[relation]) @ layer.by_direction[direction]
        rows[target] = rows[target] + gate * norm * sent / 3
    out = torch.stack(rows) + layer.bias
    return (out if layer.activation is None else layer.activation(out)), z @ layer.by_relation


def assert_same(ours: Tensor, theirs: Tensor, inputs: list[Tensor]) -> None:
    """Equal values, and equal gradients of a random projection, to 1e-5."""
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    direction = normal(*ours.shape, seed=99, dtype=ours.dtype)
    mine = torch.autograd.grad((ours * direction).sum(), inputs, allow_unused=True)
    other = torch.autograd.grad((theirs * direction).sum(), inputs, allow_unused=True)
    for a, b, given in zip(mine, other, inputs, strict=True):
        zero = torch.zeros_like(given)
        torch.testing.assert_close(
            zero if a is None else a, zero if b is None else b, atol=1e-4, rtol=1e-5
        )
