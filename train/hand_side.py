"""Train what the image encoder says of the side: is this a right hand, as it was told, or the mirror image of one.

Everything else of the encoder stays as it is. It looks once at augmented images of right hands and at their mirror
images, and the head learns to tell the two apart, on renders and on labelled photos (`--photos`, a corpus of
label_photos.py).

    accelerate launch train/hand_side.py --config train/configs/hand_side.yaml --corpus CORPUS --photos PHOTOS \
        --image_encoder runs/keypoint_distribution/model

Without a flag it trains shortly, from the bundled encoder on a small corpus.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from handdiff_training.encoding import with_new_head
from handdiff_training.flags import argument_parser, load_model, needed, or_none, parse, run
from handdiff_training.image_batches import CorpusBatches
from handdiff_training.loop import step_generator, train
from handdiff_training.small_corpus import corpus_source
from tqdm.auto import tqdm

from hf_handdiff.data.augmentation import FRAMING, augment_batch, whole_image_batch
from hf_handdiff.models import HandImageEncoder

_ROWS = 32


class HandSideTask:
    """Tell right hands from their mirror images."""

    real_training = (
        "accelerate launch train/hand_side.py --config train/configs/hand_side.yaml --corpus CORPUS "
        "--photos PHOTOS --image_encoder runs/keypoint_distribution/model"
    )

    def __init__(self, args):
        self.args = args
        encoder = load_model(HandImageEncoder, args.image_encoder, "image_encoder").eval()
        if encoder.side_head is None:
            encoder = with_new_head(encoder, side_hidden_size=args.hidden_size)
        self.encoder = encoder.to(memory_format=torch.channels_last)
        corpus = corpus_source(args.corpus)
        seen = {"renders": (CorpusBatches(corpus, "train", limit=args.num_samples), args.passes)}
        unseen = {"renders": CorpusBatches(corpus, args.validation_split, limit=args.num_validation_images)}
        if args.photos:
            photos = (CorpusBatches(args.photos, split, flag="--photos") for split in ("train", "validation"))
            seen["photos"], unseen["photos"] = (next(photos), args.photo_passes), next(photos)
        self.seen = torch.cat([self._both_sides(data, passes, augmented=True) for data, passes in seen.values()])
        self.unseen = {name: self._both_sides(data, 1, augmented=False) for name, data in unseen.items()}
        self.model = encoder.side_head
        self.model.set_input_statistics(self.seen.flatten(0, 1))

    def _both_sides(self, data: CorpusBatches, passes: int, augmented: bool) -> torch.Tensor:
        crops_of = self._augmented if augmented else (lambda rows, number: whole_image_batch(rows))
        return both_sides(self.encoder, data, passes, crops_of, self.args.mixed_precision == "bf16")

    def _augmented(self, rows: dict, number: int) -> dict:
        return augment_batch(rows, step_generator(self.args.seed, number, 0), FRAMING)

    def parameter_groups(self, learning_rate):
        """All alike."""
        return [{"params": list(self.model.parameters()), "lr": learning_rate}]

    def batch(self, batch_size, generator):
        """Descriptors of hands drawn with replacement, right and mirrored ones: (B, 2, D)."""
        return self.seen[torch.randint(len(self.seen), (batch_size // 2,), generator=generator)]

    def loss(self, model, batch, generator):
        """Cross-entropy of the side."""
        logits = model(batch.to(next(model.parameters()).device).flatten(0, 1)).view(-1, 2)
        right = torch.tensor([1.0, 0.0], device=logits.device).expand_as(logits)
        return F.binary_cross_entropy_with_logits(logits, right), {
            "accuracy": ((logits > 0) == (right > 0)).float().mean().item()
        }

    def validate(self, model):
        """Wrong sides that are noticed and false alarms on plain images that are never trained on, in %."""
        figures = {}
        model.eval()
        for name, descriptors in self.unseen.items():
            logits = model(descriptors.to(next(model.parameters()).device).flatten(0, 1)).view(-1, 2)
            figures |= {f"{name}_{key}": value for key, value in side_figures(logits).items()}
        model.train()
        return figures, None

    def save(self, model, folder):
        """The whole encoder, with this part trained."""
        self.encoder.eval().save_pretrained(folder)


def side_figures(logits: torch.Tensor) -> dict[str, float]:
    """Of (N, 2) logits of right hands and of their mirror images: % noticed and % false alarms at a score of a half,
    and % noticed where 3 % of the alarms are false."""
    right, mirrored = logits.sigmoid().T
    strict = right.quantile(0.03)
    return {
        "noticed_%": 100 * (mirrored < 0.5).float().mean().item(),
        "false_alarms_%": 100 * (right < 0.5).float().mean().item(),
        "noticed_at_3_%": 100 * (mirrored < strict).float().mean().item(),
    }


@torch.no_grad()
def both_sides(
    encoder: HandImageEncoder,
    data: CorpusBatches,
    passes: int,
    crops_of: Callable[[dict, int], dict],
    half: bool = False,
) -> torch.Tensor:
    """What the encoder knows of the hands of a corpus and of their mirror images.

    Args:
        encoder: frozen.
        data: images of right hands.
        passes: over the corpus.
        crops_of: (rows, number of the batch) -> a batch with `pixel_values` and `has_hand`.
        half: run the encoder in bfloat16.

    Returns:
        (N, 2, D) descriptors.
    """
    found = []
    index = np.tile(np.arange(len(data)), passes)
    for number, start in enumerate(tqdm(range(0, len(index), _ROWS), unit="batch", desc="encoding")):
        batch = crops_of(data.rows(index[start : start + _ROWS]), number)
        pixels = batch["pixel_values"][batch["has_hand"]].to(encoder.device, encoder.dtype)
        both = torch.stack([pixels, pixels.flip(-1)], 1).flatten(0, 1)
        with torch.autocast(encoder.device.type, torch.bfloat16, enabled=half):
            descriptors = encoder(both.contiguous(memory_format=torch.channels_last)).keypoint_descriptors
        found.append(descriptors.float().cpu().view(-1, 2, descriptors.shape[-1]))
    return torch.cat(found)


def main(argv=None):
    """Parse the flags and train."""
    parser = argument_parser(__doc__, "hand_side")
    add = parser.add_argument
    add("--corpus", help="folder of Parquet shards, Hub id, or small")
    add("--photos", type=or_none, help="corpus of label_photos.py; default: none")
    add("--image_encoder", help="encoder that gets the head: folder, Hub id or bundled")
    add("--num_samples", type=int, default=2000, help="renders that it learns from")
    add("--passes", type=int, default=1, help="so often each render is augmented")
    add("--photo_passes", type=int, default=1, help="so often each photo is augmented")
    add("--validation_split", default="validation")
    add("--num_validation_images", type=int, default=600)
    add("--hidden_size", type=int, default=64, help="of a new head")
    args = parse(parser, argv)
    needed(args, parser, "corpus", "image_encoder")
    torch.manual_seed(args.seed)
    return train(HandSideTask(args), args)


if __name__ == "__main__":
    run(main)
