"""Losses over scores, and the regulariser that goes with them. Each returns a scalar.

Those over all candidates sum in float32 at least: a log of a sum that is rounded to half precision
is off by more than most probabilities are.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from relgnn.gnn.precision import widen


def one_vs_all_cross_entropy(
    scores: Tensor,
    rows: Tensor,
    columns: Tensor,
    weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    normalise: bool = False,
) -> Tensor:
    """Cross-entropy of every candidate against a query's weighted targets.

    L = 1/B Σ_q Σ_j w_qj [ (1 − ε) (−log P(j | q)) + ε/N Σ_k (−log P(k | q)) ],  P(· | q) =
    softmax(scores_q)

    Lacroix et al., Canonical Tensor Decomposition for Knowledge Base Completion, ICML 2018, is one
    target a row.

    Args:
        scores: [B, N].
        rows, columns: int64 [M], the query and the candidate of each target; a query may have
            several, or none.
        weights: w [M]; 1 where None.
        label_smoothing: ε.
        normalise: True divides a query's weights by their sum, so that every query with a target
            counts the same; False counts every target.
    """
    scores = widen(scores)
    weights = _target_weights(scores, rows, weights, normalise)
    target_scores = scores[rows, columns]
    log_total = scores.logsumexp(1)[rows]
    loss = (weights * (log_total - target_scores)).sum()
    if label_smoothing:
        smooth = (weights * (log_total - scores.mean(1)[rows])).sum()
        loss = (1 - label_smoothing) * loss + label_smoothing * smooth
    return loss / max(scores.shape[0], 1)


def _target_weights(
    scores: Tensor, rows: Tensor, weights: Tensor | None, normalise: bool
) -> Tensor:
    if weights is None:
        weights = scores.new_ones(rows.shape[0])
    if not normalise:
        return weights
    total = weights.new_zeros(scores.shape[0]).index_add_(0, rows, weights)
    return weights / total[rows].clamp(min=torch.finfo(total.dtype).tiny)


def generalised_cross_entropy(
    scores: Tensor,
    rows: Tensor,
    columns: Tensor,
    weights: Tensor,
    label_smoothing: float = 0.0,
    q: float = 0.7,
) -> Tensor:
    """Cross-entropy that grows less where a target is unlikely, as a false one is.

    L = 1/B Σ_j w_j [ (1 − ε) (1 − P(j)^q)/q + ε/N Σ_k (−log P(k)) ]

    Its gradient is that of cross-entropy times P(j)^q. q → 0 is cross-entropy, q = 1 is 1 − P(j),
    half the mean absolute error. Zhang and Sabuncu, Generalized Cross Entropy Loss for Training
    Deep Neural Networks with Noisy Labels, NeurIPS 2018; the smoothed part is not changed.

    Args:
        scores: [B, N].
        rows, columns: int64 [M], the query and the candidate of each target.
        weights: w [M].
        label_smoothing: ε.
        q: in (0, 1].
    """
    log_p, smooth = _log_probabilities(widen(scores), rows, columns)
    each = (1 - label_smoothing) * -(q * log_p).expm1() / q + label_smoothing * smooth
    return (weights * each).sum() / max(scores.shape[0], 1)


def bootstrapped_cross_entropy(
    scores: Tensor,
    rows: Tensor,
    columns: Tensor,
    weights: Tensor,
    label_smoothing: float = 0.0,
    beta: float = 0.95,
) -> Tensor:
    """Cross-entropy against a mean of the (smoothed) label and the model's own answer.

    L = −1/B Σ_j w_j Σ_k [ β y_jk + (1 − β) P(k) ] log P(k),  y_jk = (1 − ε) [k = j] + ε/N

    So the model may disagree with a label that it finds unlikely; β = 1 is cross-entropy. Reed et
    al., Training Deep Neural Networks on Noisy Labels with Bootstrapping, ICLR workshop 2015, soft.

    Args:
        scores: [B, N].
        rows, columns: int64 [M], the query and the candidate of each target.
        weights: w [M].
        label_smoothing: ε.
        beta: β, in [0, 1].
    """
    scores = widen(scores)
    log_p, smooth = _log_probabilities(scores, rows, columns)
    label = (1 - label_smoothing) * -log_p + label_smoothing * smooth
    everywhere = scores.log_softmax(1)[rows]
    entropy = -(everywhere.exp() * everywhere).sum(1)
    return (weights * (beta * label + (1 - beta) * entropy)).sum() / max(scores.shape[0], 1)


def _log_probabilities(scores: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """log P(j) of each target, and the mean of −log P over all candidates of its query, [M]."""
    log_total = scores.logsumexp(1)[rows]
    return scores[rows, columns] - log_total, log_total - scores.mean(1)[rows]


def bce_one_vs_all(
    scores: Tensor,
    rows: Tensor,
    columns: Tensor,
    weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Binary cross-entropy of every candidate, each a question of its own.

    L = 1/(B N) [ Σ_targets w · bce(s, 1 − ε + ε/N) + Σ_others bce(s, ε/N) ]

    Dettmers et al., AAAI 2018 (1-N scoring).

    Args:
        scores: [B, N].
        rows, columns: int64 [M], distinct (query, candidate) pairs that are positive.
        weights: w [M], how much a positive counts; 1 where None.
        label_smoothing: ε.
    """
    scores = widen(scores)
    if weights is None:
        weights = scores.new_ones(rows.shape[0])
    low = label_smoothing / scores.shape[1]
    high = 1 - label_smoothing + low
    positive = scores[rows, columns]
    as_negative = functional.softplus(positive) - low * positive
    as_positive = functional.softplus(positive) - high * positive
    everywhere = functional.softplus(scores).sum() - low * scores.sum()
    return (everywhere + (weights * as_positive - as_negative).sum()) / max(scores.numel(), 1)


def margin_ranking(
    positive: Tensor, negative: Tensor, margin: float = 1.0, weights: Tensor | None = None
) -> Tensor:
    """Hinge between a triple and each of its corruptions: mean of w · max(0, γ − s⁺ + s⁻).

    Bordes et al., NIPS 2013.

    Args:
        positive: s⁺ [B].
        negative: s⁻ [B, K].
        margin: γ.
        weights: w [B]; 1 where None.
    """
    loss = functional.relu(margin - positive[:, None] + negative).mean(1)
    return (loss if weights is None else loss * weights).mean()


def self_adversarial(
    positive: Tensor,
    negative: Tensor,
    margin: float = 9.0,
    temperature: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Negative sampling where hard corruptions count more: mean over triples of
    −w [ log σ(γ + s⁺) + Σ_k softmax_k(τ s⁻) log σ(−s⁻_k − γ) ], no gradient through the softmax.

    Sun et al., ICLR 2019; where s is minus a distance, γ is how far is near.

    Args:
        positive: s⁺ [B].
        negative: s⁻ [B, K].
        margin: γ.
        temperature: τ.
        weights: w [B]; 1 where None.
    """
    share = (temperature * negative).softmax(1).detach()
    loss = functional.softplus(-margin - positive)
    loss = loss + (share * functional.softplus(negative + margin)).sum(1)
    return (loss if weights is None else loss * weights).mean()


def pair_bce(positive: Tensor, negative: Tensor) -> Tensor:
    """Binary cross-entropy of true pairs and of false ones, each their own mean:
    −mean log σ(s⁺) − mean log σ(−s⁻).

    Args:
        positive: s⁺ [B].
        negative: s⁻ [K].
    """
    return functional.softplus(-positive).mean() + functional.softplus(negative).mean()


def pair_auc(positive: Tensor, negative: Tensor) -> Tensor:
    """A smooth stand-in for 1 − AUC of true pairs over false ones: mean (1 − s_i⁺ + s_ik⁻)².

    Gao & Zhou, On the Consistency of AUC Pairwise Optimization, IJCAI 2015; of links: Wang et al.,
    Pairwise Learning for Neural Link Prediction, 2021.

    Args:
        positive: s⁺ [B].
        negative: s⁻ [B · K], K for each true pair, those of one pair neighbours.
    """
    return (1 - positive[:, None] + negative.view(len(positive), -1)).square().mean()


def n3(factors: Iterable[Tensor]) -> Tensor:
    """Nuclear 3-norm regulariser: the sum of cubed moduli, mean over the batch: 1/B Σ_f Σ_bi
    |f_bi|³.

    Lacroix et al., ICML 2018.

    Args:
        factors: moduli [B, ·] as given by `Decoder.factors`.
    """
    total = torch.stack([factor.pow(3).sum() / max(factor.shape[0], 1) for factor in factors])
    return total.sum()
