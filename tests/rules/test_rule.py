"""Rules as text: what is written is read back, and what a person writes is taken or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relgnn.errors import InputError
from relgnn.rules.rule import Rule, read_rules, write_rules

RELATIONS = ("born in", "/people/person (x)", "r,2", "_is-a")

rules = st.builds(
    Rule,
    st.integers(0, 3),
    st.lists(st.integers(0, 7), min_size=1, max_size=3).map(tuple),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(0, 99),
    st.integers(0, 99),
)


@given(st.lists(rules, max_size=4))
def test_written_rules_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, all_: list[Rule]
) -> None:
    path = tmp_path_factory.mktemp("rules") / "rules.tsv"
    write_rules(path, all_, RELATIONS)
    assert read_rules(path, RELATIONS) == all_


def written(tmp_path: Path, text: str) -> list[Rule]:
    path = tmp_path / "own.txt"
    path.write_text(text, encoding="utf-8")
    return read_rules(path, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("text", "head", "body"),
    [
        ("a(x, y) <- b(x, y)", 0, (1,)),
        ("a(x, y) <- b(y, x)", 0, (4,)),
        ("a(X,Y) <- b(X,Z), c(Z,Y)", 0, (1, 2)),
        ("a(me, you) <- c(it, you), b(it, me)", 0, (4, 2)),
        ("c(x, y) <- a(z, x), b(w, z), c(w, y)", 2, (3, 4, 2)),
    ],
)
def test_a_person_writes_atoms_in_any_order(
    tmp_path: Path, text: str, head: int, body: tuple[int, ...]
) -> None:
    assert written(tmp_path, f"# mine\n\n0.9\t{text}\n") == [Rule(head, body, 0.9, 0.9)]
    assert written(tmp_path, text) == [Rule(head, body, 1.0, 1.0)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a(x, y)", "expected 'r\\(x, y\\) <- s\\(x, z\\), t\\(z, y\\)'"),
        ("a(x, y) <- d(x, y)", "relation 'd' is not in the data"),
        ("a(x, y) <- b(x, z)", "the body is no path"),
        ("a(x, y) <- b(x, y), c(x, y)", "the body is no path"),
        ("a(x, y) <- b(x, z), b(z, w), b(w, v), b(v, y)", "the body is no path of 1 to 3"),
        ("a(x, y) <- b(x, x), c(x, y)", "the body is no path"),
        ("a(x, x) <- b(x, x)", "its two variables must differ"),
        ("a(x, y), b(x, y) <- c(x, y)", "expected one atom before"),
        ("a(x, y) <- b x y", "expected atoms such as"),
        ("a(x, y) <- ", "the body is no path"),
        ("often\ta(x, y) <- b(x, y)", "'often' is no confidence"),
        ("1.5\ta(x, y) <- b(x, y)", "confidence 1.5: expected a number from 0 to 1"),
    ],
)
def test_what_is_no_rule_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        written(tmp_path, f"a(x, y) <- b(x, y)\n{text}")
    assert "own.txt line 2: " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the rules"):
        read_rules(tmp_path / "none.txt", RELATIONS)
