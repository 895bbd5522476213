"""A contract suite for every selector, and what each promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relgnn.errors import InputError
from relgnn.posterior.conformal import Certificate
from relgnn.posterior.selectors import (
    SELECTORS,
    AgreementSelector,
    BudgetSelector,
    CappedSelector,
    ClassTopSelector,
    ConformalSelector,
    CurriculumSelector,
    FixedSelector,
    FlexSelector,
    FreeSelector,
    Posteriors,
    PrecisionSelector,
    SoftSelector,
    build_selector,
    surest_of_pairs,
)
from relgnn.posterior.selectors.base import share
from relgnn.runtime import rng

MADE = {
    "precision": [PrecisionSelector(0.8, 0.3), PrecisionSelector(1.0, 0.5)],
    "budget": [BudgetSelector(0.5, 20), BudgetSelector(2.0, 0), BudgetSelector(3.0, 100)],
    "fixed": [FixedSelector(0.7), FixedSelector(1.0)],
    "flex": [FlexSelector(0.9, 0.3), FlexSelector(0.5, 0.01)],
    "free": [FreeSelector(), FreeSelector(0.4)],
    "soft": [SoftSelector(), SoftSelector(0.4)],
    "class_top": [ClassTopSelector((2, 0, 1), 1.5), ClassTopSelector((9, 9, 9), 3.0, 0.5)],
    "agreement": [AgreementSelector(0.6), AgreementSelector(0.3, 1, 0.4), AgreementSelector(1, 3)],
    "curriculum": [CurriculumSelector(0.9, 0.6, n, 3, 0.3) for n in (1, 2, 3)],
    "conformal": [
        ConformalSelector(Certificate(0.6, 0.9, 0.1)),
        ConformalSelector(Certificate(None, 0.9, 0.1)),
        ConformalSelector(Certificate(0.005, 0.5, 0.5), 0.4),
    ],
    "capped": [
        CappedSelector(FixedSelector(0.4), 0.5, 9), CappedSelector(SoftSelector(), 1.0, 5),
        CappedSelector(ClassTopSelector((9, 9, 9), 3.0), 1.0, 7),
        CappedSelector(AgreementSelector(0.2), 1.0, 3), CappedSelector(FixedSelector(), 1.0, 0),
    ],
}  # fmt: skip
BY_RELATION = (FlexSelector, FreeSelector, ClassTopSelector)


def group_of(selector, given):
    """Among which triples a higher p is never rejected for a lower."""
    inner = selector.selector if isinstance(selector, CappedSelector) else selector
    if isinstance(inner, BY_RELATION):
        return given.relation
    if isinstance(inner, AgreementSelector):  # by which views speak
        return np.isnan(given.p_graph).astype(int)
    return np.zeros(len(given))


def posteriors(p):
    """Return posteriors of distinct triples, the middle of whose views is missing."""
    p = np.asarray(p, dtype=float)
    number = np.arange(len(p))
    return Posteriors(
        head=number // 3,
        relation=number % 3,
        tail=number,
        p=p,
        p_text=np.round(p, 1),
        p_graph=np.where(number % 2, p, np.nan),
        p_rules=np.full(len(p), np.nan),
        fold=number % 2,
    )


probabilities = st.lists(st.sampled_from(np.linspace(0, 1, 11).tolist()), max_size=40)


def test_every_registered_selector_is_in_the_suite():
    assert set(MADE) == {*SELECTORS, "capped"}
    for name, made in SELECTORS.items():
        assert all(isinstance(one, made) for one in MADE[name])


@pytest.mark.parametrize("selector", [one for made in MADE.values() for one in made], ids=repr)
class TestEverySelector:
    @settings(max_examples=40, deadline=None)
    @given(p=probabilities)
    def test_accepted_are_distinct_weighted_and_explained(self, selector, p):
        found = selector.select(posteriors(p))
        assert len(set(found.index.tolist())) == len(found.index) == len(found.weight)
        assert ((found.weight > 0) & (found.weight <= 1)).all()
        assert found.reason.shape == (len(p),)
        assert all(isinstance(r, str) and 0 < len(r) < 80 and "\n" not in r for r in found.reason)
        rejected = np.setdiff1d(np.arange(len(p)), found.index)
        assert not set(found.reason[found.index]) & set(found.reason[rejected])

    @settings(max_examples=40, deadline=None)
    @given(p=probabilities)
    def test_a_higher_probability_is_never_rejected_for_a_lower(self, selector, p):
        given = posteriors(p)
        found = selector.select(given)
        rejected = np.setdiff1d(np.arange(len(p)), found.index)
        # those that judge each relation on its own promise it within a relation
        group = group_of(selector, given)
        for number in np.unique(group):
            taken, left = (given.p[i[group[i] == number]] for i in (found.index, rejected))
            assert taken.min(initial=1) >= left.max(initial=0)

    @settings(max_examples=40, deadline=None)
    @given(p=probabilities)
    def test_the_most_probable_come_first(self, selector, p):
        given = posteriors(p)
        assert (np.diff(given.p[selector.select(given).index]) <= 0).all()

    @settings(max_examples=40, deadline=None)
    @given(p=probabilities, seed=st.integers(0, 99))
    def test_the_order_of_rows_is_no_matter(self, selector, p, seed):
        one = posteriors(p)
        order = rng("rows", seed).permutation(len(p))
        found, other = selector.select(one), selector.select(one.subset(order))
        assert order[other.index].tolist() == found.index.tolist()

    def test_nothing_gives_nothing(self, selector):
        assert len(selector.select(posteriors([])).index) == 0

    def test_the_impossible_is_never_accepted(self, selector):
        assert len(selector.select(posteriors([0.0] * 5)).index) == 0


def test_precision_accepts_down_to_its_target():
    p = [1.0, 0.9, 0.8, 0.6, 0.4, 0.1]
    found = PrecisionSelector(0.8, 0.3).select(posteriors(p))
    assert found.index.tolist() == [0, 1, 2, 3]
    assert found.weight.tolist() == p[:4]
    assert found.reason[4] == "expected precision would fall below 0.8"
    assert found.reason[5] == "p below 0.3"


def test_precision_treats_equals_alike():
    p = [1.0, 0.6, 0.6, 0.6]
    assert len(PrecisionSelector(0.7, 0.5).select(posteriors(p)).index) == 4
    assert len(PrecisionSelector(0.8, 0.5).select(posteriors(p)).index) == 1


def test_the_promise_of_precision_is_kept_by_calibrated_probabilities():
    generator = rng("promise", 0)
    p = generator.random(20_000)
    true = generator.random(20_000) < p
    found = PrecisionSelector(0.85, 0.5).select(posteriors(p))
    assert true[found.index].mean() == pytest.approx(0.85, abs=0.01)


def test_the_budget_is_spent_on_the_most_probable():
    found = BudgetSelector(0.5, 5).select(posteriors([0.2, 0.9, 0.5, 0.7]))
    assert found.index.tolist() == [1, 3]
    assert found.reason.tolist() == ["budget of 2 spent", "within the budget of 2"] * 2


def test_a_share_is_the_whole_number_that_is_written() -> None:
    assert [share(0.29, 100), share(0.57, 100), share(0.5, 3), share(0.1, 3)] == [29, 57, 1, 0]
    assert share(0.29, 10**9) == 290_000_000


def test_a_tie_at_the_budget_goes_to_the_surer_text():
    tied = posteriors([0.5, 0.5, 0.5])
    tied.p_text[:] = [0.1, np.nan, 0.3]
    assert BudgetSelector(1.0, 1).select(tied).index.tolist() == [2]


def of_pairs(rows):
    """Return posteriors of relations 0, 1, … [pairs, relations]."""
    p = np.asarray(rows, dtype=float)
    pair, relation = (x.ravel() for x in np.indices(p.shape))
    none = np.full(p.size, np.nan)
    return Posteriors(pair, relation, pair, p.ravel(), p.ravel(), none, none, np.zeros_like(pair))


def accepted(selector, given):
    index = selector.select(given).index
    return set(zip(given.head[index].tolist(), given.relation[index].tolist(), strict=True))


def test_the_surest_triple_of_each_pair():
    triples = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 0], [0, 2, 1], [2, 0, 3]])
    assert surest_of_pairs(triples, np.array([0.2, 0.7, 0.1, 0.7, 0.9])).tolist() == [1, 2, 4]
    assert surest_of_pairs(triples[:0], np.zeros(0)).tolist() == []


def test_fixed_accepts_from_its_threshold_on():
    found = FixedSelector(0.7).select(posteriors([0.7, 0.69, 0.9]))
    assert found.index.tolist() == [2, 0]
    assert found.reason[1] == "p below 0.7"


def test_flex_lowers_the_threshold_of_what_few_are_sure_of():
    # sure at .8: four of relation 0, two of relation 1, one pair of none. β = 1, 1/2; M(1/2) = 1/3
    p = [[0.9, 0.1]] * 4 + [[0.1, 0.9]] * 2 + [[0.5, 0.3]]
    assert accepted(FlexSelector(0.8, 0.01), of_pairs(p)) == {
        (0, 0), (1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 1),
    }  # fmt: skip
    # where most are sure of nothing, all thresholds are low: β = 1/4, M(1/4) = 1/7
    assert accepted(FlexSelector(0.7, 0.01), of_pairs([[0.7, 0.0]] + [[0.1, 0.0]] * 4)) == {
        (i, 0) for i in range(5)
    }


def test_free_takes_thresholds_from_mean_confidence_and_mass():
    # τ = (.8 + .6 + .7) / 3 = .7; mass .8 + .6 + .3 = 1.7 and .2 + .4 + .7 = 1.3: τ_1 = .535
    p = [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]
    assert accepted(FreeSelector(), of_pairs(p)) == {(0, 0), (2, 1)}
    p = [[0.8, 0.2], [0.44, 0.56], [0.3, 0.7]]  # τ = .687, mass 1.54 and 1.46: τ_1 = .651
    assert accepted(FreeSelector(), of_pairs(p)) == {(0, 0), (2, 1)}
    assert len(FreeSelector().select(posteriors([0.7] * 7)).index) == 7


def test_soft_weighs_by_a_gaussian_below_the_mean():
    p = np.array([0.9, 0.5, 0.3])
    found = SoftSelector().select(posteriors(p))
    mean, variance = p.mean(), p.var()
    assert found.index.tolist() == [0, 1, 2]
    assert found.weight == pytest.approx(
        [1, *np.exp(-((p[1:] - mean) ** 2) / (2 * variance))], rel=1e-6
    )


def test_class_top_keeps_the_shares_of_gold():
    given = of_pairs([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.45, 0.55]])
    assert accepted(ClassTopSelector((2, 1)), given) == {(0, 0), (1, 0), (3, 1)}
    assert accepted(ClassTopSelector((2, 1), 2.0, 0.5), given) == {(0, 0), (1, 0), (2, 0), (3, 1)}


def voted(*views, p=None):
    """Return posteriors of one row a triple from votes [text, graph, rules]."""
    text, graph, rules = np.array(views, dtype=float).T
    number = np.arange(len(views))
    p = np.full(len(views), 0.5) if p is None else np.asarray(p)
    return Posteriors(number, number * 0, number, p, text, graph, rules, number * 0)


def test_agreement_asks_every_view_that_speaks():
    nan = np.nan
    given = voted(
        [0.9, 0.8, nan], [0.9, 0.6, nan], [0.9, nan, nan], [0.7, 0.7, 0.7], [0.9, 0.9, 0.1],
        [nan, nan, nan], p=[0.5, 0.9, 0.9, 0.6, 0.9, 0.9],
    )  # fmt: skip
    assert AgreementSelector(0.7).select(given).index.tolist() == [3, 0]
    assert AgreementSelector(0.7, voters=3).select(given).index.tolist() == [3]
    assert AgreementSelector(0.7, voters=1).select(given).index.tolist() == [2, 3, 0]
    assert AgreementSelector(0.7, min_probability=0.55).select(given).index.tolist() == [3]
    found = AgreementSelector(0.7).select(given)
    assert found.weight.tolist() == [0.6, 0.5]
    assert set(found.reason[[1, 2, 4, 5]]) == {"too few views speak, or not all agree"}


vote = st.one_of(st.just(np.nan), st.sampled_from([0.1, 0.4, 0.6, 0.9]))


@given(st.lists(st.tuples(vote, vote, vote), min_size=1, max_size=20), st.integers(1, 3))
def test_agreement_accepts_no_less_where_a_view_is_surer(rows, voters):
    """Metamorphic: views that speak say more, and what was accepted still is."""
    views = np.array(rows)
    selector = AgreementSelector(0.5, voters)
    one = selector.select(voted(*views)).index
    other = selector.select(voted(*np.minimum(views + 0.1, 1))).index
    assert set(one.tolist()) <= set(other.tolist())
    naive = [
        i for i, row in enumerate(rows)
        if sum(v == v for v in row) >= voters and all(v >= 0.5 for v in row if v == v)
    ]  # fmt: skip
    assert sorted(one.tolist()) == naive


def test_the_curriculum_falls_linearly_to_the_target():
    wanted = [CurriculumSelector(0.9, 0.6, n, 4).wanted for n in (1, 2, 3, 4, 5)]
    assert wanted == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.6])
    assert CurriculumSelector(0.9, 0.6, 1, 1).wanted == 0.6
    given = posteriors(np.linspace(0.3, 1, 29))
    for number, target in enumerate((0.9, 0.8, 0.7, 0.6), 1):
        plain = PrecisionSelector(target, 0.3).select(given)
        found = CurriculumSelector(0.9, 0.6, number, 4, 0.3).select(given)
        assert found.index.tolist() == plain.index.tolist()


def test_conformal_accepts_from_the_certified_threshold_on():
    given = posteriors([0.7, 0.69, 0.9, 0.2])
    found = ConformalSelector(Certificate(0.7, 0.9, 0.1), 0.3).select(given)
    assert found.index.tolist() == [2, 0]
    assert found.reason.tolist() == [
        "precision 0.9 at confidence 0.9 from p 0.7 on",
        "precision 0.9 at confidence 0.9 is not certified",
        "precision 0.9 at confidence 0.9 from p 0.7 on", "p below 0.3",
    ]  # fmt: skip
    assert not len(ConformalSelector(Certificate(None, 0.9, 0.1)).select(given).index)


def test_a_cap_keeps_the_most_probable_with_their_weights():
    given, inner = posteriors([0.2, 0.9, 0.5, 0.7, 0.6]), SoftSelector()
    found, every = CappedSelector(inner, 0.5, 5).select(given), inner.select(given)
    assert found.index.tolist() == [1, 3]
    assert found.weight.tolist() == every.weight[:2].tolist()
    assert found.reason[[0, 2, 4]].tolist() == ["cap of 2 reached"] * 3
    assert every.reason[0] == "weighted by its probability"
    loose = CappedSelector(inner, 9.0, 5).select(given)
    assert loose.index.tolist() == every.index.tolist()


def test_one_factory_gives_each_selector_the_numbers_it_has():
    numbers = {"threshold": 0.7, "min_probability": 0.2, "target": 0.9, "ratio": 2.0}
    assert build_selector("fixed", **numbers) == FixedSelector(0.7)
    assert build_selector("flex", **numbers) == FlexSelector(0.7, 0.2)
    assert build_selector("precision", **numbers) == PrecisionSelector(0.9, 0.2)
    assert build_selector("class_top", counts=(1,), **numbers) == ClassTopSelector((1,), 2.0, 0.2)
    with pytest.raises(InputError, match="unknown; expected one of"):
        build_selector("oracle")


@pytest.mark.parametrize(
    "make",
    [
        lambda: AgreementSelector(0.0),
        lambda: AgreementSelector(0.5, 0),
        lambda: AgreementSelector(0.5, 4),
        lambda: AgreementSelector(0.5, 2, 0.0),
        lambda: CurriculumSelector(0.5, 0.6),
        lambda: CurriculumSelector(1.5, 0.6),
        lambda: CurriculumSelector(0.9, 0.0),
        lambda: CurriculumSelector(0.9, 0.6, 0, 3),
        lambda: ConformalSelector(Certificate(None, 0.9, 0.1), 0.0),
        lambda: CappedSelector(FixedSelector(), 0.0, 3),
        lambda: CappedSelector(FixedSelector(), 1.0, -3),
        lambda: PrecisionSelector(0.0),
        lambda: PrecisionSelector(1.5),
        lambda: PrecisionSelector(0.5, 0.0),
        lambda: BudgetSelector(0.0, 5),
        lambda: BudgetSelector(1.0, -1),
        lambda: BudgetSelector(1.0, 5, 2.0),
        lambda: FixedSelector(0.0),
        lambda: FlexSelector(1.1),
        lambda: FlexSelector(0.9, 0.0),
        lambda: FreeSelector(-1.0),
        lambda: SoftSelector(2.0),
        lambda: ClassTopSelector((1,), 0.0),
        lambda: ClassTopSelector((-1,)),
        lambda: ClassTopSelector((1,)).select(posteriors([0.5, 0.5])),
        lambda: posteriors([0.5, np.nan]),
        lambda: posteriors([1.5]),
        lambda: Posteriors(*[np.zeros(2)] * 7, np.zeros(3)),
    ],
)
def test_bad_input_is_an_error(make):
    with pytest.raises(InputError):
        make()
