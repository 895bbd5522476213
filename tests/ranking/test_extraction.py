from __future__ import annotations

import pytest

from relgnn.ranking.extraction import set_scores

# spans and kinds of both entities, and the relation
KILL = ((0, 2, "Peop"), (5, 6, "Peop"), "Kill")
LIVE = ((0, 2, "Peop"), (8, 9, "Loc"), "Live_In")
WORK = ((0, 2, "Peop"), (3, 4, "Org"), "Work_For")


def test_a_worked_example() -> None:
    truth = [{KILL, LIVE}, {WORK}, set()]
    said = [
        {KILL, ((0, 2, "Peop"), (8, 10, "Loc"), "Live_In")},  # the second with a wrong boundary
        {((0, 2, "Org"), (3, 4, "Org"), "Work_For")},  # a wrong kind
        {KILL},  # true, but of another sentence
    ]
    # one hit of four said and three true: Kill has 1 of 2 said and of 1 true
    found = set_scores(truth, said, ["Kill", "Live_In", "Work_For"])
    assert found == pytest.approx(
        {"precision": 1 / 4, "recall": 1 / 3, "micro_f1": 2 / 7, "macro_f1": (2 / 3) / 3}
    )


def test_labels_that_do_not_count_are_left_out() -> None:
    found = set_scores([{KILL, LIVE}], [{KILL, WORK}], ["Kill"])
    assert found == {"precision": 1.0, "recall": 1.0, "micro_f1": 1.0, "macro_f1": 1.0}
    # of a relation whose ends are turned round nothing is right
    assert set_scores([{LIVE}], [{(LIVE[1], LIVE[0], LIVE[2])}], ["Live_In"])["micro_f1"] == 0


def test_nothing_said_and_nothing_true() -> None:
    assert set_scores([set()], [set()], ["Kill"])["micro_f1"] == 0
