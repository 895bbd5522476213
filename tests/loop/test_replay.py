"""A loop again from its votes: unchanged it is the run, and each change does what it says."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from relgnn.config import load_config
from relgnn.data.graph import is_in
from relgnn.errors import InputError
from relgnn.loop.extend import extend
from relgnn.loop.ledger import Ledger
from relgnn.loop.pseudo import Role
from relgnn.loop.records import RoundTable, read_round
from relgnn.loop.replay import Replay, Variant
from relgnn.loop.rounds import Round
from relgnn.loop.run import run
from relgnn.posterior.pu import unlabelled_probability
from relgnn.training import load_tensors, module_tensors
from tests.loop.test_verdicts import line


@pytest.fixture(scope="module")
def replay(own_run: Path) -> Replay:
    return Replay(own_run)


def rounds(replay: Replay, folder: Path, variant: Variant) -> tuple[list[Round], RoundTable]:
    found = replay.run(variant, folder)
    return found, read_round(folder / "rounds" / "1", replay.world.graph)


@pytest.fixture(scope="module")
def unchanged(
    replay: Replay, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Round], RoundTable]:
    return rounds(replay, tmp_path_factory.mktemp("replay"), Variant())


def test_without_a_change_it_is_the_run(
    unchanged: tuple[list[Round], RoundTable], replay: Replay, own_run: Path
) -> None:
    found, table = unchanged
    original = read_round(own_run / "rounds" / "1", replay.world.graph)
    for name in ("triples", "p", "p_text", "p_graph", "accepted"):
        np.testing.assert_array_equal(getattr(table, name), getattr(original, name))
    assert table.evidence == original.evidence
    kept = load_tensors(own_run / f"rounds/{found[-1].number}/checkpoint.safetensors")[0]
    for name, tensor in module_tensors(found[-1].fitted.model).items():
        np.testing.assert_array_equal(tensor, kept[name])


@pytest.mark.parametrize("view", ["text", "graph"])
def test_a_view_without_a_say(
    view: str, replay: Replay, tmp_path: Path, unchanged: tuple[list[Round], RoundTable]
) -> None:
    _, table = rounds(replay, tmp_path, Variant(without=(view,)))
    assert np.isnan(getattr(table, f"p_{view}")).all()
    other = {"text": "graph", "graph": "text"}[view]
    np.testing.assert_array_equal(table.p, getattr(table, f"p_{other}"))
    np.testing.assert_array_equal(getattr(table, f"p_{other}"), getattr(unchanged[1], f"p_{other}"))
    assert (table.p != unchanged[1].p).any()


def test_without_calibration_what_is_given_stands_for_what_is_true(
    replay: Replay, tmp_path: Path, unchanged: tuple[list[Round], RoundTable]
) -> None:
    _, table = rounds(replay, tmp_path, Variant(calibrated=False))
    c = table.label_frequency["fused"]
    np.testing.assert_allclose(unlabelled_probability(table.p, c), unchanged[1].p)


def test_overrides_choose_otherwise(
    replay: Replay, tmp_path: Path, unchanged: tuple[list[Round], RoundTable]
) -> None:
    changed = Variant(("loop.selector=budget", "loop.budget=0.1"))
    found, table = rounds(replay, tmp_path, changed)
    np.testing.assert_array_equal(table.p, unchanged[1].p)
    budget = int(0.1 * len(replay.world.graph.train))
    assert 0 < (table.accepted > 0).sum() <= budget


def test_noise_moves_tails(replay: Replay, tmp_path: Path) -> None:
    everything = ("loop.selector=fixed", "loop.threshold=0.01", "loop.connect=1")
    clean, _ = rounds(replay, tmp_path / "clean", Variant(everything))
    noisy, _ = rounds(replay, tmp_path / "noisy", Variant(everything, noise=0.5))
    relations = replay.world.graph.num_relations
    one, other = (x[-1].pseudo.triples for x in (clean, noisy))
    typed = one[:, 1] < relations
    np.testing.assert_array_equal(one[:, :2], other[:, :2])
    moved = one[:, 2] != other[:, 2]
    assert not moved[~typed].any()
    assert 0.3 < moved[typed].mean() <= 0.5


def test_taught_nothing_it_is_round_0(replay: Replay, own_run: Path, tmp_path: Path) -> None:
    (found,) = replay.run(Variant(taught=False), tmp_path)
    assert found.number == 0 and not len(found.pseudo)
    kept = load_tensors(own_run / "rounds/0/checkpoint.safetensors")[0]
    for name, tensor in module_tensors(found.fitted.model).items():
        np.testing.assert_array_equal(tensor, kept[name])


@pytest.fixture(scope="module")
def heard(own_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The run with a second round, and triples that a person said something of before it: accepted
    without having been, and rejected where round 1 had accepted it."""
    folder = Path(shutil.copytree(own_run, tmp_path_factory.mktemp("heard") / "run"))
    graph = Replay(own_run).world.graph
    table = read_round(folder / "rounds" / "1", graph)
    new = ~is_in(table.triples, graph.filter_triples("test"))
    rows = [np.flatnonzero(new & where)[0] for where in (table.accepted == 0, table.accepted > 0)]
    Ledger(folder / "ledger").add_verdicts(
        [
            line(triple, verdict)
            for verdict, row in zip(("accept", "reject"), rows, strict=True)
            for triple in [
                (graph.entities[h], graph.relations[r], graph.entities[t])
                for h, r, t in table.triples[[row]].tolist()
            ]
        ]
    )
    run(extend(folder, ["loop.rounds=2"]), folder, resume=True)
    return folder, table.triples[rows]


def test_a_replayed_round_hears_what_people_said_to_the_run(
    heard: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    source, said = heard
    replay = Replay(source)
    found = replay.run(Variant(("loop.rounds=2",)), tmp_path)[-1]
    own, other = (
        read_round(folder / "rounds" / "2", replay.world.graph) for folder in (source, tmp_path)
    )
    for name in ("triples", "p", "accepted"):
        np.testing.assert_array_equal(getattr(own, name), getattr(other, name))
    taught = found.pseudo.of(Role.ACCEPTED).triples
    assert is_in(said, taught).tolist() == [True, False]
    kept = load_tensors(source / "rounds/2/checkpoint.safetensors")[0]
    for name, tensor in module_tensors(found.fitted.model).items():
        np.testing.assert_array_equal(tensor, kept[name])


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        (Variant(without=("rules",)), "has the views text, graph; leave out some"),
        (Variant(without=("text", "graph")), "leave out some of them, not all"),
        (Variant(("loop.rounds=3",)), "has votes of 1 rounds, and 3 are asked for"),
        (Variant(("loop.selector=none",)), "loop.selector"),
    ],
)
def test_what_cannot_be_replayed(
    variant: Variant, said: str, replay: Replay, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        replay.run(variant, tmp_path / "replay")


def test_a_run_without_votes_is_refused(own_run: Path, tmp_path: Path) -> None:
    shutil.copytree(own_run, tmp_path / "run")
    (tmp_path / "run/rounds/1/votes.safetensors").unlink()
    with pytest.raises(InputError, match="has no votes of a loop"):
        Replay(tmp_path / "run")


def test_the_weight_decay_that_valid_chose_is_kept_and_replayed(
    own_config: Path, tmp_path: Path
) -> None:
    config = load_config(own_config, ["train.weight_decay=[0.0, 5.0]", "loop.rounds=2"])
    metrics = run(config, tmp_path / "run")
    chosen = [entry["weight_decay"] for entry in metrics["rounds"]]
    assert set(chosen) <= {0.0, 5.0} and len(chosen) == metrics["round"] + 1
    for number, decay in enumerate(chosen):
        path = tmp_path / f"run/rounds/{number}/checkpoint.safetensors"
        assert load_tensors(path)[1] == {"weight_decay": decay}
    assert Replay(tmp_path / "run").world.config.train.weight_decay == chosen[-1]
