"""The contract that every decoder keeps, and each one's equation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn.decoders import DECODERS, Decoder, TransE, make_decoder
from tests.gnn.references import normal

DIM, BATCH, ENTITIES = 12, 4, 7


def vectors(decoder: Decoder) -> tuple[Tensor, Tensor, Tensor]:
    h, r = normal(BATCH, DIM), normal(BATCH, decoder.relation_dim, seed=1)
    return h, r, normal(ENTITIES, DIM, seed=2)


@pytest.mark.parametrize("kind", DECODERS)
class TestDecoder:
    """A new decoder is covered on the day it is registered."""

    def test_score_all_is_score_of_each(self, kind: str) -> None:
        decoder = make_decoder(kind, DIM)
        h, r, candidates = vectors(decoder)
        scores = decoder.score_all(h, r, candidates)
        assert scores.shape == (BATCH, ENTITIES)
        for tail, vector in enumerate(candidates):
            one = decoder.score(h, r, vector.expand(BATCH, DIM))
            torch.testing.assert_close(scores[:, tail], one, atol=1e-5, rtol=1e-5)

    def test_score_relations_is_score_of_each(self, kind: str) -> None:
        decoder = make_decoder(kind, DIM)
        h, t = normal(BATCH, DIM), normal(BATCH, DIM, seed=4)
        relations = normal(ENTITIES, decoder.relation_dim, seed=2)
        scores = decoder.score_relations(h, relations, t)
        assert scores.shape == (BATCH, ENTITIES)
        for relation, vector in enumerate(relations):
            one = decoder.score(h, vector.expand(BATCH, -1), t)
            torch.testing.assert_close(scores[:, relation], one, atol=1e-5, rtol=1e-5)

    def test_both_ways_have_the_same_gradients(self, kind: str) -> None:
        decoder = make_decoder(kind, DIM)
        given = [tensor.requires_grad_() for tensor in vectors(decoder)]
        h, r, candidates = given
        direction = normal(BATCH, ENTITIES, seed=3)
        every = decoder.score(h[:, None], r[:, None], candidates)
        inputs = [*given, *decoder.parameters()]
        ours = torch.autograd.grad((decoder.score_all(*given) * direction).sum(), inputs)
        theirs = torch.autograd.grad((every * direction).sum(), inputs)
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)

    def test_a_score_does_not_depend_on_its_batch(self, kind: str) -> None:
        decoder = make_decoder(kind, DIM)
        h, r, candidates = vectors(decoder)
        whole = decoder.score_all(h, r, candidates)
        for row in range(BATCH):
            alone = decoder.score_all(h[row : row + 1], r[row : row + 1], candidates)
            torch.testing.assert_close(alone[0], whole[row], atol=1e-5, rtol=1e-5)

    def test_permuting_candidates_permutes_scores(self, kind: str) -> None:
        decoder = make_decoder(kind, DIM)
        h, r, candidates = vectors(decoder)
        order = torch.randperm(ENTITIES, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(
            decoder.score_all(h, r, candidates[order]),
            decoder.score_all(h, r, candidates)[:, order],
        )

    def test_zero_vectors_have_finite_gradients(self, kind: str) -> None:
        decoder = make_decoder(kind, DIM)
        given = [torch.zeros_like(tensor).requires_grad_() for tensor in vectors(decoder)]
        scores = decoder.score_all(*given)
        factors = decoder.factors(given[0], given[1], given[0])
        (scores.sum() + torch.stack([f.sum() for f in factors]).sum()).backward()
        for tensor in given:
            assert tensor.grad is not None and tensor.grad.isfinite().all()

    def test_dropout_only_while_training(self, kind: str) -> None:
        decoder = make_decoder(kind, DIM, dropout=0.5)
        given = vectors(decoder)
        assert not torch.equal(decoder.score_all(*given), decoder.score_all(*given))
        decoder.eval()
        assert torch.equal(decoder.score_all(*given), decoder.score_all(*given))

    def test_half_precision_agrees_roughly(self, kind: str) -> None:
        decoder = make_decoder(kind, DIM)
        given = vectors(decoder)
        exact = decoder.score_all(*given)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = decoder.score_all(*given)
        torch.testing.assert_close(rough.float(), exact, atol=0.15, rtol=0.05)

    def test_no_candidates(self, kind: str) -> None:
        decoder = make_decoder(kind, DIM)
        h, r, candidates = vectors(decoder)
        assert decoder.score_all(h, r, candidates[:0]).shape == (BATCH, 0)

    def test_moduli_are_not_negative(self, kind: str) -> None:
        decoder = make_decoder(kind, DIM)
        h, r, _ = vectors(decoder)
        for factor in decoder.factors(h, r, h):
            assert factor.shape[0] == BATCH and (factor >= 0).all()


def split(value: Tensor) -> Tensor:
    return torch.complex(*value.chunk(2, -1))


def test_distmult() -> None:
    h, r, t = normal(DIM), normal(DIM, seed=1), normal(DIM, seed=2)
    ours = make_decoder("distmult", DIM).score(h, r, t)
    torch.testing.assert_close(ours, sum(h * r * t))


def test_complex() -> None:
    h, r, t = normal(DIM), normal(DIM, seed=1), normal(DIM, seed=2)
    ours = make_decoder("complex", DIM).score(h, r, t)
    torch.testing.assert_close(ours, (split(h) * split(r) * split(t).conj()).sum().real)


@pytest.mark.parametrize("p", [1, 2])
def test_transe(p: int) -> None:
    h, r, t = normal(1, DIM), normal(1, DIM, seed=1), normal(ENTITIES, DIM, seed=2)
    expected = -(((h + r - t).abs() ** p).sum(1) ** (1 / p))
    torch.testing.assert_close(TransE(DIM, p=p).score_all(h, r, t)[0], expected)


def test_rotate() -> None:
    h, r, t = normal(DIM), normal(DIM // 2, seed=1), normal(DIM, seed=2)
    turned = split(h) * torch.polar(torch.ones(DIM // 2), r)
    ours = make_decoder("rotate", DIM).score(h, r, t)
    torch.testing.assert_close(ours, -(turned - split(t)).abs().sum())


def test_rotating_all_the_way_round_changes_nothing() -> None:
    decoder = make_decoder("rotate", DIM)
    h, r, candidates = vectors(decoder)
    once, twice = (
        decoder.score_all(h, r, candidates),
        decoder.score_all(h, r + 2 * math.pi, candidates),
    )
    torch.testing.assert_close(once, twice, atol=1e-4, rtol=1e-4)


def test_dropout_turns_no_phase() -> None:
    """The angle that is learnt is the one that is used, whatever is dropped of the vector."""
    decoder = make_decoder("rotate", 40, dropout=0.5).train()
    r = torch.linspace(-1.5, 1.5, 20)[None]
    torch.manual_seed(0)
    re, im = decoder.query(torch.ones(1, 40), r).chunk(2, -1)
    whole = (re**2 + im**2 - 8).abs() < 1e-4  # both halves kept, each twice as large
    assert 1 < int(whole.sum()) < 15
    torch.testing.assert_close((torch.atan2(im, re) - math.pi / 4)[whole], r[whole])


def test_perfect_tails_score_zero() -> None:
    for kind in ("transe", "rotate"):
        decoder = make_decoder(kind, DIM)
        h, r, _ = vectors(decoder)
        best = decoder.score_all(h, r, decoder.query(h, r)).diagonal()
        torch.testing.assert_close(best, torch.zeros(BATCH))


@pytest.mark.parametrize("dim", [8, 12, 50, 200])
def test_conve_reshapes_any_width(dim: int) -> None:
    decoder = make_decoder("conve", dim)
    assert decoder.score(normal(2, dim), normal(2, dim), normal(2, dim)).shape == (2,)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(InputError, match="decoder 'tucker': expected one of distmult"):
        make_decoder("tucker", DIM)
    for kind in ("complex", "rotate"):
        with pytest.raises(InputError, match="expected an even number; use 8"):
            make_decoder(kind, 7)
