"""Positive-unlabelled estimation: an incomplete graph labels only a share of what is true.

Write g(x) = P(labelled | x) for a model fitted on "is given". When which true triples are labelled
does not depend on x (SCAR, selected completely at random), g(x) = c * P(true | x) with the label
frequency c = P(labelled | true).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from relgnn.errors import InputError

Frequency = float | Sequence[float] | np.ndarray
"""A label frequency, or one of each relation or example."""


SMALLEST = 10
"""No set that bounds the label frequency has fewer examples, as in TIcE."""


def elkan_noto_mean(g: np.ndarray, labelled: np.ndarray) -> float:
    """Return c as the mean of g over labelled examples (Elkan & Noto 2008, estimator e1).

    Exact where true and false do not overlap; too low where g is uncertain on true examples.

    Args:
        g: P(labelled | x) [N] from models that did not see the example.
        labelled: bool [N].

    Raises:
        InputError: nothing is labelled, nothing is unlabelled, or g is outside [0, 1].
    """
    return _frequency(_split(g, labelled)[0].mean())


def elkan_noto_quantile(g: np.ndarray, labelled: np.ndarray, q: float = 0.9) -> float:
    """Return c as the q quantile of g over labelled examples.

    c is the maximum of g (Elkan & Noto 2008, estimator e3); a high quantile among the labelled
    withstands noise. Arguments and errors as in `elkan_noto_mean`.
    """
    return _frequency(np.quantile(_split(g, labelled)[0], q))


def best_bin(g: np.ndarray, labelled: np.ndarray) -> float:
    """Return c from the share of true examples among the unlabelled by `best_bin_proportion`.

    c = L / (L + alpha U) for L labelled and U unlabelled examples. It needs only the order of g,
    so g may be uncalibrated. Arguments and errors as in `elkan_noto_mean`.
    """
    positive, unlabelled = _split(g, labelled)
    hidden = best_bin_proportion(positive, unlabelled) * len(unlabelled)
    return _frequency(len(positive) / (len(positive) + hidden))


def best_bin_proportion(positive: np.ndarray, unlabelled: np.ndarray) -> float:
    """Return alpha, the share of positives among unlabelled examples (Garg et al. 2021, BBE).

    With q(t) the share of scores >= t, alpha = q_u(t) / q_p(t) at the t that minimises the upper
    bound (q_u(t) + (1 + gamma) d) / q_p(t), d = sqrt(log(4/delta) / 2U) + sqrt(log(4/delta) / 2L).
    Delta is the probability with which the bound may fail, gamma its slack. At the top of the
    scores nearly every unlabelled example is a positive one.

    Args:
        positive: scores [L] of labelled positives that the model was not trained on.
        unlabelled: scores [U].
    """
    delta, gamma = 0.1, 0.01  # as in the paper
    threshold = np.unique(np.concatenate([positive, unlabelled]))
    above_positive = _share_at_least(positive, threshold)
    above_unlabelled = _share_at_least(unlabelled, threshold)
    kept = above_positive > 0
    ratio = above_unlabelled[kept] / above_positive[kept]
    deviation = sum(np.sqrt(np.log(4 / delta) / (2 * len(x))) for x in (positive, unlabelled))
    best = np.argmin(ratio + (1 + gamma) * deviation / above_positive[kept])
    return float(min(ratio[best], 1.0))


def tice(g: np.ndarray, labelled: np.ndarray) -> float:
    """Return a lower bound on c from the most probable examples (after Bekker & Davis 2018).

    A set of T examples of which L are labelled shows by the one-sided Chebyshev inequality that
    c >= L / T - sqrt(c (1 - c) (1 - d) / (d T)), but for a chance of d; the highest such bound
    counts. TIcE looks for sets that are all true with a decision tree; here they are the most
    probable 10, 20, 40, ... and all, so that only the order of g matters. As there, d is 1 / (1 +
    .004 N), at least .025; the inequality is solved for c, where TIcE puts an earlier estimate on
    the right, which is too low a variance where c is small. c is never below the share of all that
    is labelled. Arguments and errors as in `elkan_noto_mean`.
    """
    positive, unlabelled = _split(g, labelled)
    everything = -np.sort(-np.concatenate([positive, unlabelled]))
    size = len(everything)
    sizes = SMALLEST * 2 ** np.arange(max(0, int(np.log2(size / SMALLEST))) + 1)
    # equals stand or fall together, whatever the order of rows
    threshold = np.append(everything[sizes[sizes <= size] - 1], everything[-1])
    count = np.searchsorted(-everything, -threshold, side="right")
    found = np.searchsorted(np.sort(-positive), -threshold, side="right")
    delta, share = max(0.025, 1 / (1 + 0.004 * size)), found / count
    # (share - c)^2 = c (1 - c) spread, the lower root
    spread = (1 - delta) / (delta * count)
    root = np.sqrt(share * (1 - share) * spread + spread**2 / 4)
    bound = (share + spread / 2 - root) / (1 + spread)
    return _frequency(max(bound.max(), len(positive) / size))


def frequency_by_relation(
    g: np.ndarray, labelled: np.ndarray, relation: np.ndarray, num_relations: int, c: float
) -> np.ndarray:
    """Return c of each relation [R], drawn to that of all by a beta prior (empirical Bayes).

    Of relation r, the k_r labelled examples with at least its median g among the labelled are a
    share of the n_r examples with as much: about c_r, for there nearly all are true. With c_r ~
    Beta(s c, s (1 - c)) the posterior mean is (k_r + s c) / (n_r + s). s = 1 / rho - 1 by moments
    (Kleinman 1973): E sum_r n_r (k_r / n_r - c)^2 = c (1 - c) sum_r (1 + rho (n_r - 1)). A relation
    without a label has c itself. Within a relation only the order of g matters.

    Args:
        g, labelled: as in `elkan_noto_mean`.
        relation: int [N].
        num_relations: R.
        c: the label frequency of all.

    Raises:
        InputError: as in `elkan_noto_mean`, or c is outside (0, 1].
    """
    _split(g, labelled)
    g, labelled = np.asarray(g, dtype=float), np.asarray(labelled, dtype=bool)
    _check_frequency(c)
    if c == 1:
        return np.ones(num_relations)
    found, count = np.zeros(num_relations), np.zeros(num_relations)
    for r in np.unique(relation[labelled]):
        own = relation == r
        positive = g[own & labelled]
        surest = np.quantile(positive, 0.5, method="lower")
        found[r], count[r] = (positive >= surest).sum(), (g[own] >= surest).sum()
    seen = count > 0
    n, share = count[seen], found[seen] / count[seen]
    excess = (n * (share - c) ** 2).sum() / (c * (1 - c)) - len(n)
    rho = float(np.clip(excess / max((n - 1).sum(), 1), 0, 1 - 1e-9))
    # multiplied through by rho, which is 0 where the prior has no spread
    mean = (rho * found + (1 - rho) * c) / (rho * count + 1 - rho)
    return np.clip(mean, 1e-6, 1.0)


def ratio_by_relation(
    g: np.ndarray, labelled: np.ndarray, relation: np.ndarray, num_relations: int
) -> np.ndarray:
    """Return labelled over expected examples of each relation [R], drawn to 1 (Marshall 1991).

    A model for all relations may give each as many labels as the average one. With L_r labelled and
    E_r = sum of g, the ratio is (L_r + s) / (E_r + s); 1 / s is the variance of the relations' own
    ratios by moments, E sum_r ((L_r - E_r)^2 - E_r) = sum_r E_r^2 / s. Where g knows the relation,
    the ratios are 1. Arguments as in `frequency_by_relation`.
    """
    expected = np.bincount(relation, g, num_relations)
    found = np.bincount(relation, labelled, num_relations)
    excess = ((found - expected) ** 2 - expected).sum() / max((expected**2).sum(), 1e-12)
    variance = max(float(excess), 0.0)
    return np.asarray((1 + variance * found) / (1 + variance * expected))


LABEL_FREQUENCY: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "elkan_noto_mean": elkan_noto_mean,
    "elkan_noto_quantile": elkan_noto_quantile,
    "best_bin": best_bin,
    "tice": tice,
}


def pu_probability(g: np.ndarray, c: Frequency) -> np.ndarray:
    """Return P(true | x) = g / c, at most 1 (Elkan & Noto 2008, lemma 1).

    Args:
        g: P(labelled | x) [N].
        c: label frequency in (0, 1], of all or of each [N].

    Raises:
        InputError: c is outside (0, 1].
    """
    return np.clip(np.asarray(g, dtype=float) / _check_frequency(c), 0.0, 1.0)


def unlabelled_probability(g: np.ndarray, c: Frequency) -> np.ndarray:
    """Return P(true | x, not labelled) = (1 - c) / c * g / (1 - g), at most 1.

    This, not `pu_probability`, is the precision to expect among examples known to be unlabelled
    (Elkan & Noto 2008, section 3). Where c is 1 it is 0. Arguments and errors as in
    `pu_probability`.
    """
    c = _check_frequency(c)
    g = np.clip(np.asarray(g, dtype=float), 0.0, c)
    # where c is 1, g may be too
    return np.minimum((1 - c) / c * g / np.where(c == 1, 1.0, 1 - g), 1.0)


def labelled_probability(p: np.ndarray | float, c: Frequency) -> np.ndarray:
    """Return P(labelled | x) = c p / (1 - c + c p), of which `unlabelled_probability` makes p.

    Args:
        p: P(true | x, not labelled) [N].
        c: label frequency in (0, 1], of all or of each [N].

    Raises:
        InputError: c is outside (0, 1].
    """
    c = _check_frequency(c)
    return np.asarray(c * p / (1 - c + c * np.asarray(p, dtype=float)))


def frequency_of(c: Frequency, relation: np.ndarray) -> np.ndarray:
    """Return the label frequency of examples of relations [N]: c itself where it is one for all."""
    c = np.asarray(c, dtype=float)
    return c[relation] if c.ndim else c


def _share_at_least(scores: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    ordered = np.sort(scores)
    return 1 - np.searchsorted(ordered, threshold, side="left") / len(ordered)


def _split(g: np.ndarray, labelled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    g, labelled = np.asarray(g, dtype=float), np.asarray(labelled, dtype=bool)
    if not labelled.any() or labelled.all():
        raise InputError(
            f"{int(labelled.sum())} of {len(labelled)} examples are labelled; positive-unlabelled "
            "estimation needs both kinds"
        )
    if not ((g >= 0) & (g <= 1)).all():
        raise InputError("P(labelled | x) has values outside [0, 1]; give probabilities")
    return g[labelled], g[~labelled]


def _frequency(value: float) -> float:
    # A zero would divide by zero later; it means that no labelled example was recognised at all.
    return float(np.clip(value, 1e-6, 1.0))


def _check_frequency(c: Frequency) -> np.ndarray:
    c = np.asarray(c, dtype=float)
    if not ((c > 0) & (c <= 1)).all():
        raise InputError(f"label frequency {c} is outside (0, 1]; estimate it with best_bin")
    return c
