"""Mean and covariance of finger poses, for ``hand/assets/pose_prior.npz``.

    python scripts/build_pose_prior.py

They are those of the recorded poses of ``hand/assets/recorded_poses.npz``, without the held-out signers, together with
``NUM_SAMPLED`` poses of the pose sampler; it takes seconds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from hf_handdiff.files import replace_file
from hf_handdiff.hand.pose_prior import POSE_PRIOR_PATH
from hf_handdiff.hand.poses import sample_poses
from hf_handdiff.hand.recorded_poses import recorded_poses

NUM_SAMPLED = 6000


def moments() -> tuple[np.ndarray, np.ndarray]:
    """The mean ``(45,)`` and the covariance ``(45, 45)`` of axis-angle finger poses, radians."""
    sampled = sample_poses(NUM_SAMPLED, torch.Generator().manual_seed(0))
    fingers = torch.cat([recorded_poses("train"), sampled])[:, 1:].double().flatten(1)
    return fingers.mean(0).numpy(), torch.cov(fingers.T).numpy()


def main() -> None:
    """Compute and write."""
    parser = argparse.ArgumentParser(description="Mean and covariance of finger poses.")
    parser.add_argument("--out", type=Path, default=POSE_PRIOR_PATH)
    out = parser.parse_args().out
    mean, covariance = moments()
    with replace_file(out) as path:
        np.savez_compressed(path, mean=mean.astype(np.float32), covariance=covariance.astype(np.float32))
    print(f"{out.name}: {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
