"""Train what the image encoder believes of its keypoints: their distribution over the whole hand.

Everything else of the encoder stays as it is. It looks once at augmented images that it was not trained on, and the
head learns, by their likelihood, how far and in which ways the keypoints were off. At last its standard deviations are
scaled so that on plain validation images the regions that should hold nine in ten points do.

    accelerate launch train/keypoint_distribution.py --config train/configs/keypoint_distribution.yaml --corpus CORPUS \
        --image_encoder runs/image_encoder/model

Without a flag it trains shortly, from the bundled encoder on a small corpus.
"""

import numpy as np
import torch
from handdiff_training.encoding import framing_of, with_new_head
from handdiff_training.flags import argument_parser, load_model, needed, parse, run
from handdiff_training.image_batches import CorpusBatches
from handdiff_training.loop import step_generator, train
from handdiff_training.small_corpus import corpus_source
from tqdm.auto import tqdm

from hf_handdiff.data.augmentation import augment_batch, whole_image_batch
from hf_handdiff.devices import to_device
from hf_handdiff.models import HandImageEncoder
from hf_handdiff.models.keypoint_distribution import KeypointDistribution

CALIBRATED_SHARE = 0.9
_ROWS = 64


class KeypointDistributionTask:
    """Tell how keypoints err."""

    real_training = (
        "accelerate launch train/keypoint_distribution.py --config train/configs/keypoint_distribution.yaml "
        "--corpus CORPUS --image_encoder runs/image_encoder/model"
    )

    def __init__(self, args):
        self.args = args
        encoder = load_model(HandImageEncoder, args.image_encoder, "image_encoder").eval()
        if encoder.distribution_head is None:
            heads = {"keypoint_factors": args.keypoint_factors, "distribution_hidden_size": args.hidden_size}
            encoder = with_new_head(encoder, **heads)
        self.encoder = encoder.to(memory_format=torch.channels_last)
        corpus = corpus_source(args.corpus)
        seen = CorpusBatches(corpus, "train")
        rows = np.tile(np.arange(len(seen)), args.passes)[: args.num_samples]
        self.seen = errors_of(encoder, seen, rows, args.seed, augmented=True)
        unseen = CorpusBatches(corpus, args.validation_split, limit=args.num_validation_images)
        self.unseen = errors_of(encoder, unseen, np.arange(len(unseen)), args.seed, augmented=False)
        self.model = encoder.distribution_head
        self.model.set_input_statistics(self.seen[0])

    def parameter_groups(self, learning_rate):
        """All alike."""
        return [{"params": list(self.model.parameters()), "lr": learning_rate}]

    def batch(self, batch_size, generator):
        """Descriptors and errors of rows drawn with replacement."""
        rows = torch.randint(len(self.seen[0]), (batch_size,), generator=generator)
        return [values[rows] for values in self.seen]

    def loss(self, model, batch, generator):
        """Negative log-likelihood a hand."""
        device = next(model.parameters()).device
        descriptors, errors = to_device(batch, device)
        loss = -model(descriptors).log_likelihood(errors).mean()
        return loss, {"likelihood": -loss.detach()}

    def validate(self, model):
        """Likelihood and what the regions hold on plain images that are never trained on."""
        device = next(model.parameters()).device
        descriptors, errors = (values.to(device) for values in self.unseen)
        model.eval()
        distribution = model(descriptors)
        model.train()
        likelihood = distribution.log_likelihood(errors).mean().item()
        held = {f"held_by_{share:.0%}": region_share(distribution, errors, share) for share in (0.5, 0.8, 0.9)}
        return {"likelihood": likelihood, "scale": calibrated_scale(distribution, errors), **held}, None

    def save(self, model, folder):
        """The whole encoder, with this part trained and calibrated."""
        self.encoder.eval()
        device = next(model.parameters()).device
        descriptors, errors = (values.to(device) for values in self.unseen)
        with torch.no_grad():
            self.encoder.config.distribution_scale = calibrated_scale(model.eval()(descriptors), errors)
        self.encoder.save_pretrained(folder)


@torch.no_grad()
def errors_of(encoder, corpus: CorpusBatches, rows: np.ndarray, seed: int, augmented: bool):
    """What the encoder says of images and by how much it errs.

    Returns:
        Descriptors (N, D) of the head, and errors truth - estimate (N, 21, 2) in units of the square.
    """
    descriptors, errors = [], []
    for number, start in enumerate(tqdm(range(0, len(rows), _ROWS), unit="batch", desc="encoding")):
        raw = corpus.rows(rows[start : start + _ROWS])
        if augmented:
            batch = augment_batch(raw, step_generator(seed, number, 0), framing_of(encoder))
        else:
            batch = whole_image_batch(raw, encoder.config.image_size)
        hands = batch["has_hand"]
        pixels = batch["pixel_values"][hands].contiguous(memory_format=torch.channels_last)
        encoded = encoder(pixels.to(encoder.device, encoder.dtype))
        truth = batch["keypoints"][hands].to(encoder.device).float()
        descriptors.append(encoded.keypoint_descriptors.float().cpu())
        errors.append((encoded.frame.to_square(truth) - encoded.frame.to_square(encoded.keypoints)).float().cpu())
    return torch.cat(descriptors), torch.cat(errors)


def _squared_distance(distribution: KeypointDistribution, errors: torch.Tensor) -> torch.Tensor:
    """(B, 21) of each point under its marginal."""
    solved = torch.linalg.solve(distribution.covariance(), errors[..., None])
    return (errors[..., None] * solved).sum((-2, -1))


def region_share(distribution: KeypointDistribution, errors: torch.Tensor, share: float) -> float:
    """How many points the regions hold that should hold `share` of them, if errors were normal."""
    radius = -2 * np.log(1 - share)
    return (_squared_distance(distribution, errors) < radius).float().mean().item()


def calibrated_scale(distribution: KeypointDistribution, errors: torch.Tensor) -> float:
    """What standard deviations are to be multiplied by so that `CALIBRATED_SHARE` of the points are where it says."""
    reached = np.quantile(_squared_distance(distribution, errors).cpu().numpy(), CALIBRATED_SHARE)
    return float(np.sqrt(reached / (-2 * np.log(1 - CALIBRATED_SHARE))))


def main(argv=None):
    """Parse the flags and train."""
    parser = argument_parser(__doc__, "keypoint_distribution")
    add = parser.add_argument
    add("--corpus", help="folder of Parquet shards, Hub id, or small")
    add("--image_encoder", help="encoder that gets the head: folder, Hub id or bundled")
    add("--num_samples", type=int, default=12_000, help="augmented images that it learns from")
    add("--passes", type=int, default=1, help="so often each image may be among them")
    add("--validation_split", default="validation")
    add("--num_validation_images", type=int, default=1000)
    add("--keypoint_factors", type=int, default=6, help="ways of erring together, of a new head")
    add("--hidden_size", type=int, default=256, help="of a new head")
    args = parse(parser, argv)
    needed(args, parser, "corpus", "image_encoder")
    torch.manual_seed(args.seed)
    return train(KeypointDistributionTask(args), args)


if __name__ == "__main__":
    run(main)
