"""What stage 2 is given as its joint hypothesis while it trains."""

import torch

from handdiff_training.conditions import Conditions
from hf_handdiff.devices import to_device
from hf_handdiff.pipelines.sampling import sample_joints
from hf_handdiff.pipelines.schedulers import default_scheduler

JOINT_SOURCES = ("fresh", "one_sample", "noised_truth", "truth", "none")


class JointSource:
    """One joint hypothesis for each row of a batch.

    The default is `fresh`; the others are what it is compared with.

    - fresh: a sample of stage 1, drawn anew every time.
    - one_sample: one sample of stage 1 for each row of the cache, the same every time: its noise depends on the
      row and the seed alone. Made-up hands are never seen twice, so their one sample is a fresh one.
    - noised_truth: true joints and independent normal noise, for each joint as large as stage 1's errors are.
    - truth: true joints.
    - none: no joints at all; `known` is False.

    Args:
        kind: one of `JOINT_SOURCES`.
        stage1: the frozen `JointDenoiser`.
        num_steps: denoising steps of its samples.
        true_share: share of rows that get true joints, whatever the kind.
        num_rows: rows of the condition cache.
        seed: of the stored samples.
    """

    def __init__(self, kind: str, stage1, num_steps: int, true_share: float, num_rows: int, seed: int):
        self.kind, self.stage1 = kind, stage1
        self.num_steps, self.true_share = num_steps, true_share
        self.scheduler = default_scheduler()
        self.known = kind != "none"
        self.noise_std = torch.zeros(21)
        self.row_noise = None
        if kind == "one_sample":
            self.row_noise = torch.randn(num_rows, 21, 3, generator=torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def measure_errors(self, conditions: Conditions, generator: torch.Generator) -> None:
        """Set the size of `noised_truth`'s noise, m a coordinate, to the errors of stage 1 on `conditions`."""
        noise = torch.randn(conditions.joints.shape, generator=generator)
        error = self._samples(conditions, noise, "cpu") - conditions.joints
        self.noise_std = error.square().mean((0, 2)).sqrt()  # (21,), the wrist's is 0

    @torch.no_grad()
    def __call__(self, conditions: Conditions, generator: torch.Generator, device) -> torch.Tensor:
        """(B, 21, 3) m, wrist-relative, view frame; zeros if no joints are known. `conditions` are on the device."""
        count = len(conditions.joints)
        # Drawn whatever the kind, so that all that a step draws later is the same for every kind.
        noise = torch.randn(count, 1, 21, 3, generator=generator)[:, 0]
        truth = torch.rand(count, generator=generator) < self.true_share
        if self.kind == "none":
            return torch.zeros_like(conditions.joints)
        if self.kind == "truth":
            return conditions.joints
        if self.kind == "noised_truth":
            joints = conditions.joints + to_device(self.noise_std[:, None] * noise, device)
        else:
            noise = to_device(noise, device)
            if self.kind == "one_sample":
                self.row_noise = to_device(self.row_noise, device)
                stored = (conditions.row >= 0)[:, None, None]
                noise = torch.where(stored, self.row_noise[conditions.row.clamp_min(0)], noise)
            joints = self._samples(conditions, noise, device)
        truth = to_device(truth, device)
        return torch.where(truth[:, None, None], conditions.joints, joints)

    def _samples(self, conditions: Conditions, noise: torch.Tensor, device) -> torch.Tensor:
        image = conditions.image
        return sample_joints(
            self.stage1.to(device),
            self.scheduler,
            noise[:, None],
            image.keypoints,
            image.keypoint_scores,
            image.view_scale,
            self.num_steps,
            view_middle=image.view_middle,
        )[:, 0]
