"""A finished loop again from its votes, with something changed: only graph models are trained.

The judges' votes of every round are on disk, and what follows from them is cheap: weighing, choice,
and the M step. So an ablation need not train the judges again. From the second round on the votes
are those of judges that knew what the *original* run had accepted; a replay that accepts otherwise
is an approximation there, and exact in the first round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from relgnn.config import Config, make_config
from relgnn.errors import InputError
from relgnn.loop.estep import EStep, Judgement
from relgnn.loop.opened import open_run
from relgnn.loop.pseudo import Pseudo, Role
from relgnn.loop.records import RoundTable
from relgnn.loop.rounds import VERDICTS, Loop, Round
from relgnn.loop.verdicts import Verdicts
from relgnn.loop.views import Before, Fused
from relgnn.loop.votes import Votes
from relgnn.loop.world import World
from relgnn.text.evidence import Evidence, PairFeatures, pool_evidence


@dataclass(frozen=True)
class Variant:
    """What a replay changes.

    Args:
        overrides: `key=value` of the configuration: selector, losses, weights, rounds. What the
            judges were trained by has no effect any more.
        without: views that have no say.
        calibrated: False takes P(given | views) for the probability of being true.
        noise: share of the accepted triples whose tail becomes any entity.
        taught: False teaches nothing of what was read, as round 0.
    """

    overrides: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    calibrated: bool = True
    noise: float = 0.0
    taught: bool = True


class KeptRounds:
    """What the judges of a finished run read and said, from disk, for all of its replays.

    Args:
        world: the run's surroundings.
        folder: of the run.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self.e_step, self.folder = EStep(world), folder
        # as many rounds as most rows have: each holds its votes and the numbers of its sentences
        self.round = lru_cache(maxsize=2)(self._round)

    def _round(self, number: int) -> tuple[Votes, Evidence, PairFeatures]:
        """A round's votes, and the evidence that they are about."""
        votes = Votes.load(self.folder / "rounds" / str(number))
        evidence = self.e_step.evidence_with(votes.proposed)
        features = pool_evidence(self.e_step.world.sentences, evidence, self.e_step.vectors)
        return votes, evidence, features


class ReplayedEStep(EStep):
    """An E step that has its votes from disk.

    Args:
        world: with the variant's configuration.
        kept: the run whose votes they are.
        variant: what is changed.
    """

    def __init__(self, world: World, kept: KeptRounds, variant: Variant) -> None:
        self.world, self.kept, self.variant = world, kept, variant
        self.linked = kept.e_step.linked

    def run(self, round_: int, pseudo: Pseudo, before: Before | None = None) -> Judgement:
        """Weigh a round's votes; `pseudo` was known to other judges and changes nothing."""
        votes, evidence, features = self.kept.round(round_)
        missing = set(self.variant.without) - votes.by_view.keys()
        if missing or not votes.by_view.keys() - set(self.variant.without):
            raise InputError(
                f"{self.kept.folder}: round {round_} has the views {', '.join(votes.by_view)}; "
                "leave out some of them, not all"
            )
        kept = {n: x for n, x in votes.by_view.items() if n not in self.variant.without}
        return self._fused(replace(votes, by_view=kept), evidence, features, before)

    def _weighed(self, votes: Votes, before: Before | None) -> dict[str, Fused]:
        found = super()._weighed(votes, before)
        if self.variant.calibrated:
            return found
        return {name: replace(view, p=view.g) for name, view in found.items()}


class ReplayedLoop(Loop):
    """A loop over replayed votes: of its rounds only the last one's graph model is trained.

    So no round is dropped for being worse on valid. With a warm start all are trained, each from
    the one before, and may be. A round is under the verdicts that the source's began under.

    Args:
        world: with the variant's configuration and a folder of its own.
        e_step: gives the votes.
    """

    def __init__(self, world: World, e_step: ReplayedEStep) -> None:
        super().__init__(world)
        self._e_step, self.source = e_step, e_step.kept.folder
        self.variant = e_step.variant

    def run(self) -> list[Round]:
        """The last round; all of them where each starts from the one before."""
        if not self.variant.taught:
            return [self.m_step.run(0, Pseudo.none(), None, None)]
        if self.config.warm_start:
            return super().run()
        pseudo, edge_text = Pseudo.none(), None
        for number in range(1, self.config.rounds + 1):
            pseudo, edge_text = self._judge(number, pseudo)
        return [self.m_step.run(self.config.rounds, pseudo, edge_text, None)]

    def in_force(self, number: int) -> Verdicts:
        """The verdicts that the source's round began under."""
        return Verdicts.load(self.source / "rounds" / str(number) / VERDICTS)

    def _hear(self, number: int) -> Verdicts:
        return self.in_force(number)

    def _leave_text_model(self, number: int, judgement: Judgement, previous: Pseudo) -> None:
        """A replay's judges are the source's, whose text model is there."""

    def _taught(
        self, table: RoundTable, connected: np.ndarray, told: np.ndarray, verdicts: Verdicts
    ) -> Pseudo:
        taught = super()._taught(table, connected, told, verdicts)
        if not self.variant.noise:
            return taught
        rng, graph = self.world.runtime.rng("noise of a replay"), self.world.graph
        typed = np.flatnonzero(taught.role == Role.ACCEPTED)
        wrong = rng.choice(typed, round(self.variant.noise * len(typed)), replace=False)
        tails = taught.triples[:, 2].copy()
        tails[wrong] = rng.integers(0, graph.num_entities, len(wrong))
        return taught.with_column(2, tails)


class Replay:
    """Replays of one finished run, with the weight decay that valid chose there.

    Args:
        folder: of the run.

    Raises:
        InputError: it is no finished run with a loop, or was made before votes were kept.
    """

    def __init__(self, folder: Path) -> None:
        run = open_run(folder)
        self.folder, self.world = folder, run.world
        decay = run.fitted.weight_decay
        if decay is not None:
            config = make_config(
                run.world.config.model_dump(mode="json"), [f"train.weight_decay={decay}"], "replay"
            )
            self.world = replace(run.world, config=config)
        if self.world.config.loop is None or not (folder / "rounds/1/votes.safetensors").is_file():
            raise InputError(
                f"{folder}: has no votes of a loop; run a configuration with a section loop anew"
            )

    @cached_property
    def _kept(self) -> KeptRounds:
        return KeptRounds(self.world, self.folder)

    def run(self, variant: Variant, folder: Path) -> list[Round]:
        """The rounds of a variant.

        Args:
            variant: what is changed.
            folder: of the replay; must be new.

        Raises:
            InputError: an override is wrong, or names more rounds than there are votes of.
        """
        config = self.configured(variant.overrides)
        loop = config.loop
        assert loop is not None
        there = len(list((self.folder / "rounds").glob("*/votes.safetensors")))
        if loop.rounds > there:
            raise InputError(
                f"{self.folder}: has votes of {there} rounds, and {loop.rounds} are asked for; run "
                "it with more rounds"
            )
        world = replace(self.world, config=config, folder=folder, resume=False)
        e_step = ReplayedEStep(world, self._kept, variant)
        return ReplayedLoop(world, e_step).run()

    def configured(self, overrides: Sequence[str]) -> Config:
        """The run's configuration with changes."""
        return make_config(self.world.config.model_dump(mode="json"), overrides, "replay")
