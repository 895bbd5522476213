"""Our ranks and metrics equal those of PyKEEN's RankBasedEvaluator on UMLS."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from relgnn.ranking.metrics import metrics_by_stratum
from relgnn.ranking.ranks import FilterIndex, evaluate_ranks
from relgnn.runtime import torch_rng

pytest.importorskip("pykeen")
from pykeen.datasets import UMLS  # noqa: E402  (PyKEEN carries these files: no network)
from pykeen.evaluation import RankBasedEvaluator  # noqa: E402
from pykeen.models import Model  # noqa: E402


class Lookup(Model):
    """A model whose score of (h, r, t) is `tails[h, r, t]`, or `tails[t, r + R, h]` for heads."""

    def __init__(self, tails, triples_factory):
        super().__init__(triples_factory=triples_factory)
        self.table = tails
        self.anchor = torch.nn.Parameter(torch.zeros(1))  # PyKEEN asks it for the device

    def _reset_parameters_(self):
        pass

    def _get_entity_len(self, *, mode):
        return self.num_entities

    def collect_regularization_term(self):
        return torch.zeros(())

    def score_hrt(self, hrt_batch, *, mode=None):
        return self.table[tuple(hrt_batch.T)][:, None]

    def score_t(self, hr_batch, **_):
        return self.table[hr_batch[:, 0], hr_batch[:, 1]]

    def score_h(self, rt_batch, **_):
        return self.table[rt_batch[:, 1], rt_batch[:, 0] + self.num_relations]

    def score_r(self, ht_batch, **_):
        return self.table[ht_batch[:, 0], : self.num_relations, ht_batch[:, 1]]


@pytest.fixture(scope="module")
def umls():
    return UMLS()


@pytest.fixture(params=["distinct", "tied"], scope="module")
def both(request, umls):
    """Ours and PyKEEN's result for the same DistMult-like scores."""
    generator = torch_rng("umls", 0)
    entity, relation = (
        torch.randn(n, 16, generator=generator, dtype=torch.float64)
        for n in (umls.num_entities, 2 * umls.num_relations)
    )
    table = torch.einsum("hd,rd,td->hrt", entity, relation, entity)
    # Coarse scores tie a lot; the fine grid keeps distinct scores farther apart than the tolerance.
    table = table.round() if request.param == "tied" else (table * 1e3).round()

    parts = [umls.training, umls.validation, umls.testing]
    train, valid, test = (part.mapped_triples for part in parts)
    evaluator = RankBasedEvaluator(clear_on_finalize=False)
    theirs = evaluator.evaluate(
        Lookup(table, umls.training),
        test,
        batch_size=64,
        additional_filter_triples=[train, valid],
        use_tqdm=False,
    )
    index = FilterIndex.build(torch.cat([train, valid, test]).numpy(), umls.num_relations)
    ours = evaluate_ranks(lambda h, r: table[h, r], test.numpy(), index, umls.num_relations, 100)
    return ours, theirs, evaluator


@pytest.mark.parametrize("side", ["head", "tail"])
@pytest.mark.parametrize("kind", ["optimistic", "realistic", "pessimistic"])
def test_every_rank_is_the_same(both, side, kind):
    ours, _, evaluator = both
    theirs = np.concatenate(evaluator.ranks[side, kind])
    np.testing.assert_array_equal(ours[side].of_kind(kind), theirs)


@pytest.mark.parametrize("side", ["head", "tail"])
def test_the_same_candidates_are_counted(both, side):
    ours, _, evaluator = both
    theirs = np.concatenate(evaluator.num_candidates[side])
    np.testing.assert_array_equal(ours[side].candidates, theirs)


@pytest.mark.parametrize("side", ["both", "head", "tail"])
@pytest.mark.parametrize("kind", ["optimistic", "realistic", "pessimistic"])
def test_the_metrics_are_the_same(both, side, kind):
    ours, theirs, _ = both
    metrics = metrics_by_stratum(ours)["all"][side][kind]
    names = {"mrr": "inverse_harmonic_mean_rank"} | {
        f"hits@{k}": f"hits_at_{k}" for k in (1, 3, 10)
    }
    for name, peer in names.items():
        assert metrics[name] == pytest.approx(theirs.get_metric(f"{side}.{kind}.{peer}"), abs=1e-6)
