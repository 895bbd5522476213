"""Positive-unlabelled estimation: an incomplete graph labels only a share of what is true.

Write g(x) = P(labelled | x) for a model fitted on "is given". When which true triples are labelled
does not depend on x (SCAR, selected completely at random), g(x) = c * P(true | x) with the label
frequency c = P(labelled | true).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from relgnn.errors import InputError


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


def best_bin_proportion(
    positive: np.ndarray, unlabelled: np.ndarray, delta: float = 0.1, gamma: float = 0.01
) -> float:
    """Return alpha, the share of positives among unlabelled examples (Garg et al. 2021, BBE).

    With q(t) the share of scores >= t, alpha = q_u(t) / q_p(t) at the t that minimises the upper
    bound (q_u(t) + (1 + gamma) d) / q_p(t), d = sqrt(log(4/delta) / 2U) + sqrt(log(4/delta) / 2L).
    At the top of the scores nearly every unlabelled example is a positive one.

    Args:
        positive: scores [L] of labelled positives that the model was not trained on.
        unlabelled: scores [U].
        delta: probability with which the bound may fail.
        gamma: slack of the bound; both defaults are the paper's.
    """
    threshold = np.unique(np.concatenate([positive, unlabelled]))
    above_positive = _share_at_least(positive, threshold)
    above_unlabelled = _share_at_least(unlabelled, threshold)
    kept = above_positive > 0
    ratio = above_unlabelled[kept] / above_positive[kept]
    deviation = sum(np.sqrt(np.log(4 / delta) / (2 * len(x))) for x in (positive, unlabelled))
    best = np.argmin(ratio + (1 + gamma) * deviation / above_positive[kept])
    return float(min(ratio[best], 1.0))


LABEL_FREQUENCY: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "elkan_noto_mean": elkan_noto_mean,
    "elkan_noto_quantile": elkan_noto_quantile,
    "best_bin": best_bin,
}


def pu_probability(g: np.ndarray, c: float) -> np.ndarray:
    """Return P(true | x) = g / c, at most 1 (Elkan & Noto 2008, lemma 1).

    Args:
        g: P(labelled | x) [N].
        c: label frequency in (0, 1].

    Raises:
        InputError: c is outside (0, 1].
    """
    _check_frequency(c)
    return np.clip(np.asarray(g, dtype=float) / c, 0.0, 1.0)


def unlabelled_probability(g: np.ndarray, c: float) -> np.ndarray:
    """Return P(true | x, not labelled) = (1 - c) / c * g / (1 - g), at most 1.

    This, not `pu_probability`, is the precision to expect among examples known to be unlabelled
    (Elkan & Noto 2008, section 3). Arguments and errors as in `pu_probability`.
    """
    _check_frequency(c)
    g = np.clip(np.asarray(g, dtype=float), 0.0, c)
    if c == 1:
        return np.zeros_like(g)
    return np.minimum((1 - c) / c * g / (1 - g), 1.0)


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


def _check_frequency(c: float) -> None:
    if not 0 < c <= 1:
        raise InputError(f"label frequency {c} is outside (0, 1]; estimate it with best_bin")
