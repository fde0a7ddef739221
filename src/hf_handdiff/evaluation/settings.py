"""What decides the numbers of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from hf_handdiff.hand.topology import OTHER

BEST_OF = (1, 5, 10, 20, 50)


@dataclass(frozen=True)
class EvaluationSettings:
    """What decides the numbers of a run; a folder of results belongs to one of these.

    Attributes:
        predictor: what was evaluated, e.g. a checkpoint's name and the digest of its files.
        data: name of the data set, or its Hub id.
        split: its split.
        num_hypotheses: N.
        seed: of the hypotheses and of the prior control.
        options: whatever else the predictor was given.
        predicted_mesh, true_mesh: whose vertices prediction and truth have, `topology.OPEN_HAND` or another name
            of a mesh there; None: not known, and taken for the other's.
    """

    predictor: str
    data: str
    split: str
    num_hypotheses: int
    seed: int = 0
    options: str = ""
    predicted_mesh: str | None = None
    true_mesh: str | None = None

    @property
    def same_vertices(self) -> bool:
        """Whether predicted and true meshes can be compared vertex by vertex."""
        if None in (self.predicted_mesh, self.true_mesh):
            return True
        return self.predicted_mesh == self.true_mesh != OTHER

    def best_of(self) -> list[int]:
        """The n of best-of-n that this run can tell."""
        return sorted({n for n in (*BEST_OF, self.num_hypotheses) if n <= self.num_hypotheses})
