"""Expectation-maximisation over which candidate triples are true: the loop's objective, exactly.

Of each candidate c, z_c says whether it is true, x_c is what the text says of it and s_c whether it
is given. Text and graph say independent things once z_c is known, and a true triple is given with
probability f, a false one never:

    p(x, s, z) = Π_c p(x_c | z_c) p(s_c | z_c) p_θ(z_c),   p(s_c = 1 | z_c) = f z_c

θ are the graph model's parameters. For any q_c, the probability that z_c = 1,

    F(q, θ, f) = Σ_c E_q[log p(x_c | z_c) + log p(s_c | z_c) + log p_θ(z_c)] + H(q_c)

is at most the log-likelihood of texts and given triples (Neal and Hinton, 1998). The E step makes
it equal, with q the posterior; the M step raises it over θ, which is weighted cross-entropy with
targets q_c, and over f, the share of what is true that is given. So F never falls, as long as the M
step does not lower its own part: a graph network trained for some epochs need not keep that, and
the loop reports F so that one sees it.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, xlog1py, xlogy

from relgnn.errors import InputError


def e_step(
    text: np.ndarray, graph: np.ndarray, given: np.ndarray, label_frequency: float
) -> np.ndarray:
    """q_c = P(z_c = 1 | x_c, s_c), [C].

        logit q = text + logit p_θ + log(1 - f)   where s_c = 0, and q = 1 where s_c = 1

    Args:
        text: float [C], log p(x | z = 1) - log p(x | z = 0).
        graph: float [C] in (0, 1), p_θ(z = 1).
        given: bool [C].
        label_frequency: f in [0, 1).

    Raises:
        InputError: a probability is outside its range.
    """
    _check(graph, label_frequency)
    odds = text + np.log(graph) - np.log1p(-graph) + np.log1p(-label_frequency)
    return np.where(given, 1.0, expit(odds))


def free_energy(
    q: np.ndarray, text: np.ndarray, graph: np.ndarray, given: np.ndarray, label_frequency: float
) -> float:
    """F(q, θ, f) up to Σ log p(x_c | z_c = 0), which neither step can change.

    Args:
        q: float [C] in [0, 1]; 1 where given, or F is -inf.
        text, graph, given, label_frequency: see `e_step`.

    Raises:
        InputError: a probability is outside its range.
    """
    _check(graph, label_frequency)
    labelled = np.where(given, xlogy(q, label_frequency), xlog1py(q, -label_frequency))
    impossible = np.where(given & (q < 1), -np.inf, 0.0)
    entropy = -xlogy(q, q) - xlog1py(1 - q, -q)
    prior = xlogy(q, graph) + xlog1py(1 - q, -graph)
    return float((q * text + prior + labelled + impossible + entropy).sum())


def label_frequency(q: np.ndarray, given: np.ndarray) -> float:
    """The f that raises F most: given triples over expected true ones, kept below 1."""
    return float(min(given.sum() / max(q.sum(), 1e-12), 1 - 1e-9))


def _check(graph: np.ndarray, frequency: float) -> None:
    if not ((graph > 0) & (graph < 1)).all():
        raise InputError("EM got a graph probability outside of (0, 1); calibrate the graph first")
    if not 0 <= frequency < 1:
        raise InputError(f"EM got a label frequency of {frequency:g}; expected 0 <= f < 1")
