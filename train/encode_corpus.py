"""Run the frozen image encoder over an augmented corpus once and keep what it said, for stages 1 and 2.

    python train/encode_corpus.py --corpus corpora/synthetic --image_encoder runs/hand_framing/model \
        --out corpora/conditions

Best are samples that the image encoder was *not* trained on (another seed, or `--skip`): on those that it was trained
on its errors are smaller than on new images, and the stages behind it learn to trust it too much.
"""

import argparse

import numpy as np
import torch
from handdiff_training.conditions import Conditions, ConditionWriter
from handdiff_training.image_batches import CorpusBatches
from handdiff_training.loop import step_generator
from tqdm.auto import tqdm

from hf_handdiff.camera import crop_to_pixels, view_from_keypoints
from hf_handdiff.data.augmentation import FRAMING, augment_batch, whole_image_batch
from hf_handdiff.models import HandImageEncoder
from hf_handdiff.pipelines.image_encoding import image_conditions


@torch.no_grad()
def conditions_of_batch(
    image_encoder: HandImageEncoder, batch: dict[str, torch.Tensor], half: bool = False
) -> Conditions:
    """Conditions and ground truth, in the view frame, of those crops of an augmented batch that show a hand."""
    batch = {name: value[batch["has_hand"]] for name, value in batch.items()}
    parameter = next(image_encoder.parameters())
    pixels = batch["pixel_values"].to(parameter.device, parameter.dtype)
    with torch.autocast(parameter.device.type, torch.bfloat16, enabled=half):
        encoded = image_encoder(pixels.contiguous(memory_format=torch.channels_last))
    size = batch["pixel_values"].shape[-1]
    crops = torch.tensor([size / 2, size / 2, size], dtype=torch.float32).expand(len(batch["joints_m"]), 3)
    keypoints = crop_to_pixels(encoded.keypoints.float().cpu(), crops)
    view = view_from_keypoints(keypoints, encoded.keypoint_scores.float().cpu(), batch["intrinsics_px"])
    wrist = batch["joints_m"][:, :1]
    to_view = view.rotation.transpose(-1, -2)
    return Conditions(
        image=image_conditions(image_encoder, encoded, keypoints, crops, batch["intrinsics_px"], view),
        joints=(batch["joints_m"] - wrist) @ to_view,
        vertices=(batch["vertices_m"] - wrist) @ to_view,
        visible=batch["keypoints_visible"],
    )


def main(argv=None):
    """Parse the flags and write the cache."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--corpus", required=True, help="folder or Hub id of a corpus")
    add("--split", default="train")
    add("--image_encoder", required=True, help="folder of the trained HandImageEncoder")
    add("--out", required=True)
    add("--out_split", help="name of the split in --out; default: --split")
    add("--plain", action="store_true", help="images as they are, as handdiff evaluate sees them: for scoring")
    add("--passes", type=int, default=1, help="augmented passes over the corpus")
    add("--skip", type=int, default=0, help="leave out the first samples")
    add("--num_samples", type=int, help="use this many samples; default: all")
    add("--half", action="store_true", help="run the encoder in bfloat16: twice as fast on CPUs that have it")
    add("--batch_size", type=int, default=64)
    add("--seed", type=int, default=0)
    args = parser.parse_args(argv)

    image_encoder = HandImageEncoder.from_pretrained(args.image_encoder).eval().to(memory_format=torch.channels_last)
    batches = CorpusBatches(args.corpus, args.split, with_vertices=True)
    stop = len(batches) if args.num_samples is None else min(len(batches), args.skip + args.num_samples)
    rows = np.tile(np.arange(args.skip, stop), args.passes)
    writer = ConditionWriter(args.out, args.out_split or args.split)
    starts = range(0, len(rows), args.batch_size)
    for number, start in enumerate(tqdm(starts, unit="batch")):
        raw = batches.rows(rows[start : start + args.batch_size])
        seen = (
            whole_image_batch(raw) if args.plain else augment_batch(raw, step_generator(args.seed, number, 0), FRAMING)
        )
        writer.add(conditions_of_batch(image_encoder, seen, args.half))
    writer.close(**{key: value for key, value in vars(args).items() if value is not None})


if __name__ == "__main__":
    main()
