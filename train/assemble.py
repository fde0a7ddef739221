"""Put the trained models together as one checkpoint of the cascade.

    python train/assemble.py --out checkpoints/mine --half \
        --image_encoder runs/image_encoder/model --joint_denoiser runs/stage1/model \
        --mesh_autoencoder runs/autoencoder/model --mesh_latent_denoiser runs/stage2/model

Then fit the uncertainty on validation data:

    handdiff evaluate --checkpoint checkpoints/mine --data CORPUS --split validation --write-calibration --out runs/fit
"""

from pathlib import Path

import torch
from handdiff_training.flags import BUNDLED, FlagParser, load_model, run
from handdiff_training.loop import save_aside

from hf_handdiff import (
    CascadedHandPipeline,
    HandDetector,
    HandImageEncoder,
    JointDenoiser,
    MeshAutoencoder,
    MeshLatentDenoiser,
)
from hf_handdiff.hub.terms import terms_of_folder
from hf_handdiff.pipelines.schedulers import default_scheduler


def main(argv=None):
    """Parse the flags and write the checkpoint."""
    parser = FlagParser(__doc__)
    add = parser.add_argument
    for name in ("image_encoder", "joint_denoiser", "mesh_autoencoder", "mesh_latent_denoiser"):
        add(f"--{name}", default=BUNDLED, help="the trained model: folder, Hub id or bundled")
    add(
        "--hand_detector",
        help="folder (scripts/convert_palm_detection.py), Hub id or bundled; default: none",
    )
    add("--num_inference_steps", type=int, default=10, help="default of stage 1")
    add("--num_mesh_inference_steps", type=int, default=5, help="default of stage 2")
    add("--guidance_scale", type=float, default=1.0)
    add("--joint_noise_scale", type=float, default=1.0, help="spread of stage 1's hypotheses")
    add("--half", action="store_true", help="store weights in float16: half the size, loaded as float32")
    add("--out", required=True)
    args = parser.parse_args(argv)

    pipeline = CascadedHandPipeline(
        image_encoder=load_model(HandImageEncoder, args.image_encoder, "image_encoder"),
        joint_denoiser=load_model(JointDenoiser, args.joint_denoiser, "joint_denoiser"),
        mesh_autoencoder=load_model(MeshAutoencoder, args.mesh_autoencoder, "mesh_autoencoder"),
        mesh_latent_denoiser=load_model(MeshLatentDenoiser, args.mesh_latent_denoiser, "mesh_latent_denoiser"),
        joint_scheduler=default_scheduler(),
        mesh_scheduler=default_scheduler(),
        num_inference_steps=args.num_inference_steps,
        num_mesh_inference_steps=args.num_mesh_inference_steps,
        guidance_scale=args.guidance_scale,
        joint_noise_scale=args.joint_noise_scale,
        hand_detector=load_model(HandDetector, args.hand_detector, "hand_detector") if args.hand_detector else None,
    )
    if args.half:
        pipeline.to(torch.float16)

    save_aside(Path(args.out), pipeline.save_pretrained)
    size = sum(file.stat().st_size for file in Path(args.out).rglob("*") if file.is_file())
    print(f"{args.out}: {size / 1e6:.1f} MB")
    terms = terms_of_folder(Path(args.out))
    if terms:
        print(f"learned from {', '.join(terms)}: their terms govern the weights, and the card of a push says so")


if __name__ == "__main__":
    run(main)
