"""Ours and PyKEEN's training step compute the same loss from the same weights."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("pykeen")

from benchmarks import epoch  # noqa: E402
from tests.gnn.references import random_triples  # noqa: E402

ENTITIES, RELATIONS, WIDTH = 11, 3, 8


def problem() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    triples = random_triples(ENTITIES, RELATIONS, 40)
    right, wrong = epoch.batches(triples, ENTITIES, 16)()
    return triples, right, wrong


def test_rgcn() -> None:
    triples, right, wrong = problem()
    peer = epoch.pykeen_rgcn(triples, ENTITIES, RELATIONS, WIDTH)
    ours = epoch.RGCN(triples, ENTITIES, RELATIONS, WIDTH)
    (entity,), (relation,) = peer.entity_representations, peer.relation_representations
    (layer,) = entity.layers
    assert ours.layer.alpha is not None
    with torch.no_grad():
        ours.entity.copy_(entity.entity_embeddings())
        ours.relation.copy_(relation())
        ours.layer.self_loop.load_state_dict(layer.self_loop.state_dict())
        ours.layer.alpha.zero_()
        # PyKEEN's "forward" messages go from tail to head.
        for number, side in enumerate((layer.bwd, layer.fwd)):
            bases = slice(number * epoch.BASES, (number + 1) * epoch.BASES)
            own = slice(number * RELATIONS, (number + 1) * RELATIONS)
            ours.layer.bases[bases] = side.bases
            ours.layer.alpha[bases, own] = side.base_weights.t()
    theirs = epoch.peer_loss(peer, 1)(right, wrong)
    torch.testing.assert_close(ours(right, wrong), theirs)


def test_compgcn() -> None:
    triples, right, wrong = problem()
    peer = epoch.pykeen_compgcn(triples, ENTITIES, RELATIONS, WIDTH)
    ours = epoch.CompGCN(triples, ENTITIES, RELATIONS, WIDTH)
    combined = peer.entity_representations[0].combined
    (layer,) = combined.layers
    order = torch.cat([torch.arange(RELATIONS) * 2, torch.arange(RELATIONS) * 2 + 1])
    with torch.no_grad():
        ours.entity.copy_(combined.entity_representations())
        ours.relation.copy_(combined.relation_representations()[order])
        ours.layer.by_direction.copy_(torch.stack([layer.w_fwd, layer.w_bwd]))
        ours.layer.by_loop.copy_(layer.w_loop)
        ours.layer.loop_relation.copy_(layer.self_loop)
        ours.layer.by_relation.copy_(layer.w_rel.weight.t())
    theirs = epoch.peer_loss(peer, 2)(right, wrong)
    torch.testing.assert_close(ours(right, wrong), theirs)


def test_a_step_changes_the_weights() -> None:
    triples, _, _ = problem()
    model = epoch.CompGCN(triples, ENTITIES, RELATIONS, WIDTH)
    before = model.entity.detach().clone()
    epoch.stepper(model, model, epoch.batches(triples, ENTITIES, 16))()
    assert not torch.equal(before, model.entity)
