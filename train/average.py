"""Average the weights of two image encoders, one of which went on from the other, or of two networks of another kind.

    python train/average.py --older bundled --newer runs/image_encoder_photos/model --share 0.6 --out runs/averaged
    python train/average.py --network mesh_latent_denoiser --older bundled --newer runs/stage2/model --out runs/averaged

The average of two ends of one training is often better than either (Wortsman et al. 2022, arXiv 2203.05482), and nearer
to what stages that learned from the older one know. Heads that the newer one alone has are taken as they are. Calibrate
anew after it: an encoder's `keypoint_distribution.py`, and `handdiff evaluate --write-calibration`.
"""

from pathlib import Path

import torch
from handdiff_training.flags import FlagParser, load_model, run
from handdiff_training.loop import save_aside
from handdiff_training.terms import model_terms

from hf_handdiff.errors import InputError
from hf_handdiff.models import HandImageEncoder, JointDenoiser, MeshLatentDenoiser
from hf_handdiff.models.base import HandModel

_NETWORKS = {
    "image_encoder": HandImageEncoder,
    "joint_denoiser": JointDenoiser,
    "mesh_latent_denoiser": MeshLatentDenoiser,
}


@torch.no_grad()
def averaged(older: HandModel, newer: HandModel, share: float) -> HandModel:
    """`newer` itself, its weights changed in place to `share` (0..1) of its own and the rest of `older`'s.

    Raises:
        InputError: they are not of one shape.
    """
    before, after = older.state_dict(), newer.state_dict()
    missing = [name for name in before if name not in after or before[name].shape != after[name].shape]
    if missing:
        raise InputError(f"--older, --newer: expected networks of one shape, got different ones of {missing[0]}")
    for name, value in before.items():
        if value.is_floating_point():
            after[name].copy_(value.to(after[name]).lerp(after[name], share))
    newer.config.restricted_by = sorted({*model_terms(older), *model_terms(newer)}) or None
    return newer


def main(argv=None):
    """Parse the flags and write the average."""
    parser = FlagParser(__doc__)
    add = parser.add_argument
    add("--network", choices=_NETWORKS, default="image_encoder", help="kind of both (default: %(default)s)")
    add("--older", required=True, help="the one that the other began from: folder, Hub id or bundled")
    add("--newer", required=True, help="folder, Hub id or bundled")
    add("--share", type=float, default=0.5, help="of the newer one, 0 to 1 (default: %(default)s)")
    add("--half", action="store_true", help="store weights in float16: half the size, loaded as float32")
    add("--out", required=True)
    args = parser.parse_args(argv)
    if not 0 <= args.share <= 1:
        parser.error(f"--share: expected a number from 0 to 1, got {args.share}")
    network = _NETWORKS[args.network]
    older, newer = (load_model(network, getattr(args, name), name).float() for name in ("older", "newer"))
    model = averaged(older, newer, args.share)
    save_aside(Path(args.out), (model.half() if args.half else model).save_pretrained)
    print(f"written: {args.out}")


if __name__ == "__main__":
    run(main)
