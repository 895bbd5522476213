"""The notebook runs from its first cell to its last, and shows what it says it shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

PATH = ROOT / "docs" / "quickstart.ipynb"


def test_what_is_committed_has_no_outputs_to_grow_stale() -> None:
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (not cell.outputs and cell.execution_count is None)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Its cells of code with what they put out, in a process without network or data folders."""
    folder = tmp_path_factory.mktemp("quickstart")
    notebook = nbformat.read(PATH, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RELGNN_CACHE", str(folder / "cache"))
        patch.setenv("RELGNN_DATA", str(folder))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("TMPDIR", str(folder))
        patch.setenv("PIP_NO_INDEX", "1")
        client = NotebookClient(
            notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cells: list[Any], start: str) -> str:
    """What the one cell printed whose source has `start`."""
    [cell] = [cell for cell in cells if start in cell.source]
    return "".join(out.text for out in cell.outputs if out.output_type == "stream")


def test_installing_does_nothing_where_relgnn_is(executed: list[Any]) -> None:
    assert "%pip install" in executed[0].source and not executed[0].outputs


def test_the_loop_raises_what_it_is_measured_by(executed: list[Any]) -> None:
    shown = printed(executed, 'metrics["rounds"]:\n')
    before, after = (
        dict(re.findall(r"([a-z]+) (0\.\d{3})", line)) for line in shown.splitlines()
    )  # fmt: skip
    assert shown.startswith("round 0: all ") and before.keys() == after.keys()
    assert before.keys() >= {"all", "feature", "corpus", "none"}
    assert float(after["all"]) > float(before["all"]) + 0.05
    assert float(after["corpus"]) > float(before["corpus"]) + 0.05


def test_a_picture_is_shown(executed: list[Any]) -> None:
    [cell] = [cell for cell in executed if "Image(" in cell.source]
    [shown] = cell.outputs
    assert len(shown.data["image/png"]) > 10_000


def test_what_was_accepted_has_its_sentence_and_its_precision(executed: list[Any]) -> None:
    lines = printed(executed, "History(folder)").splitlines()
    triples = [line for line in lines if re.search(r"\(p .*, text .*, graph .*\)$", line)]
    sentences = [line for line in lines if line.startswith("    “") and line.endswith(".”")]
    assert len(triples) == 5 and sentences and "None" not in "".join(lines)
    told = printed(executed, "precision =")
    [promised] = re.findall(r"promised precision (0\.\d\d)", told)
    [real] = re.findall(r"in the data set (0\.\d\d)", told)
    # the text beside it says which of the two is the higher
    assert float(promised) == pytest.approx(0.85, abs=0.01)
    assert 0.3 < float(real) < float(promised)


def test_answers_come_with_reasons(executed: list[Any]) -> None:
    lines = printed(executed, "opened.predict(").splitlines()
    answers = [line for line in lines if not line.startswith(" ")]
    assert len(answers) == 5 and any(line.startswith("Spanish: 0.") for line in answers)
    reasons = lines[lines.index(next(x for x in answers if x.startswith("Spanish"))) + 1 :]
    assert reasons and "Spanish" in reasons[0]


def test_a_text_is_read(executed: list[Any]) -> None:
    lines = printed(executed, "opened.extract(").splitlines()
    found = {line.rpartition(":")[0] for line in lines}
    assert len(lines) == 5 and "Uganda – borders – Kenya" in found


def test_the_map_leads_to_it() -> None:
    assert "docs/quickstart.ipynb" in Path(ROOT / "README.md").read_text(encoding="utf-8")
