"""What every sample of a split shares: the hand, the light environments, the noise."""

from dataclasses import dataclass, field

import numpy as np
import torch

from hf_handdiff.hand.poses import default_sampler
from hf_handdiff.synthetic.environment import ENVIRONMENT_SPLITS, Environment, load_environments
from hf_handdiff.synthetic.hand_mesh import RenderHand
from hf_handdiff.synthetic.shading import noise_volume

POSE_BLOCK = 1000
RECORDED_SHARE = 0.25
CLOSED_KINDS = {"fist": 0.45, "curled": 0.55}
GRIP_KINDS = {"pinch": 0.5, "grasp": 0.5}


@dataclass
class SamplePoses:
    """Poses (16, 3) that a sample may use, without global rotation: of its hand and of a second one; a closed hand's,
    a fist or curled fingers; and a grip's, thumb and fingers opposed."""

    own: np.ndarray
    other: np.ndarray
    closed: np.ndarray
    grip: np.ndarray


@dataclass
class SceneAssets:
    """Loaded once a process, read-only.

    No two splits share anything that a model could learn by heart: `split` enters every sample's random
    stream, and it names the light environments (`environment.ENVIRONMENT_SPLITS`), the band of hand shapes
    (`shapes.BANDS`) and the recorded signers (`hand.recorded_poses.RECORDED_SPLITS`) that its samples draw from.
    """

    split: str
    hand: RenderHand
    environments: list[Environment]
    noise: np.ndarray
    _pose_block: tuple[tuple[int, int], np.ndarray] | None = field(default=None, repr=False)

    @classmethod
    def load(cls, split: str = "train") -> "SceneAssets":
        """The assets of `split`: "train", "validation" or "test"."""
        if split not in ENVIRONMENT_SPLITS:
            raise ValueError(f"split must be one of {sorted(ENVIRONMENT_SPLITS)}, got {split!r}")
        return cls(split, RenderHand(), load_environments(ENVIRONMENT_SPLITS[split]), noise_volume())

    def random_stream(self, seed: int, index: int, *purpose: int) -> np.random.Generator:
        """The generator that sample `index` of `seed` draws everything from; another one for another `purpose`."""
        return np.random.default_rng([seed, self._split_number(), index, *purpose])

    def poses(self, seed: int, index: int) -> SamplePoses:
        """The poses of sample `index`.

        The sampler is made for thousands at a time, so poses are drawn in blocks of POSE_BLOCK indices,
        each from its own stream: which poses a sample gets does not depend on what was made before it.
        """
        block = index // POSE_BLOCK
        if self._pose_block is None or self._pose_block[0] != (seed, block):
            state = np.random.SeedSequence([seed, self._split_number(), block, POSE_BLOCK]).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(state[0] >> 1))

            def draw(recorded_share: float, kinds: dict[str, float] | None) -> np.ndarray:
                poses = default_sampler().sample(POSE_BLOCK, generator, recorded_share, self.split, kinds)
                return poses.numpy().astype(np.float32)

            drawn = [draw(*of) for of in ((RECORDED_SHARE, None), (RECORDED_SHARE, None), (0.0, CLOSED_KINDS))]
            self._pose_block = (seed, block), np.stack([*drawn, draw(0.0, GRIP_KINDS)], axis=1)
        return SamplePoses(*self._pose_block[1][index % POSE_BLOCK])

    def _split_number(self) -> int:
        return sorted(ENVIRONMENT_SPLITS).index(self.split)
