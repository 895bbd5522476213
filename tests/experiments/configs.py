"""Where the configurations of tables are, and how tests name them."""

from __future__ import annotations

from pathlib import Path

from experiments.jobs import CONFIGS
from tests.conftest import ROOT

PATHS = sorted(CONFIGS.glob("**/*.yaml"))
DEMO = ROOT / "relgnn" / "loop" / "demo.yaml"


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"
