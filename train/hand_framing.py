"""Train the image encoder's framing pass: where in a crop the hand is, how large and how it is turned.

It may run before, after or beside image_encoder.py, which trains the rest and leaves this part alone.

    accelerate launch train/hand_framing.py --config train/configs/hand_framing.yaml --corpus CORPUS \
        --image_encoder runs/image_encoder/model

A share of every batch are photos (`--photos`, a corpus of label_photos.py), no source of them more than its cap.
Without a flag it trains shortly, from the bundled encoder on a small corpus.
"""

import numpy as np
import torch
from handdiff_training.cpu_depthwise import use_quick_backward
from handdiff_training.encoding import framing_of
from handdiff_training.flags import argument_parser, load_model, needed, parse, run
from handdiff_training.image_batches import CorpusBatches
from handdiff_training.loop import train
from handdiff_training.photos import Photos, add_photo_flags, joined
from handdiff_training.small_corpus import corpus_source
from PIL import Image, ImageDraw

from hf_handdiff.data.augmentation import augment_batch
from hf_handdiff.devices import to_device
from hf_handdiff.models.hand_framing import HandFrame, HandFramingNet, frame_around_keypoints
from hf_handdiff.models.image_encoder import HandImageEncoder


def framing_loss(raw: torch.Tensor, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Shift in sides of the true square, log of the side, and the angle, which counts less the more the palm is
    foreshortened (seen end-on, a hand has no direction in the picture); and the coarse keypoints.

    Args:
        raw: (B, 47) of `HandFramingNet`.
        batch: of `augment_batch`, or with photos; images without a hand do not count, and photos count as their labels
            agree.
    """
    truth = frame_around_keypoints(batch["keypoints"])
    has_hand = batch["has_hand"].float()
    if "keypoint_weight" in batch:
        has_hand = has_hand * batch["keypoint_weight"].mean(1)
    total = has_hand.sum().clamp_min(1.0)
    points = batch["keypoints"]
    palm = (points[:, 5:18:4].mean(1) - points[:, 0]).norm(dim=-1)
    certainty = (palm / (0.3 * truth.side)).clamp(max=1.0)
    direction = torch.stack([truth.angle.cos(), truth.angle.sin()], -1)
    shift = ((raw[:, :2] + 0.5 - truth.centre) / truth.side[:, None]).abs().sum(-1)
    scale = (raw[:, 2] - truth.side.log()).abs()
    turn = (raw[:, 3:5] - direction).square().sum(-1) * certainty
    coarse = (HandFramingNet.coarse_keypoints(raw) - points).abs().sum(-1).mean(-1) / truth.side
    values = {"shift": shift, "scale": scale, "turn": turn, "coarse": coarse}
    terms = {name: (value * has_hand).sum() / total for name, value in values.items()}
    loss = 2.0 * terms["shift"] + 2.0 * terms["scale"] + terms["turn"] + 4.0 * terms["coarse"]
    return loss, {name: value.detach() for name, value in terms.items()}


class HandFramingTask:
    """Find the turned square."""

    real_training = (
        "accelerate launch train/hand_framing.py --config train/configs/hand_framing.yaml --corpus CORPUS "
        "--image_encoder runs/image_encoder/model"
    )

    def __init__(self, args):
        self.args = args
        self.encoder = load_model(HandImageEncoder, args.image_encoder, "image_encoder")
        self.model = self.encoder.framing.to(memory_format=torch.channels_last)
        corpus = corpus_source(args.corpus)
        self.corpus = CorpusBatches(corpus, "train")
        self.unseen = CorpusBatches(corpus, args.validation_split, limit=args.num_validation_images)
        self.photos = Photos(args.photos, args.photo_source_cap) if args.photos else None
        if args.quick_cpu_backward:
            use_quick_backward(self.model)

    def parameter_groups(self, learning_rate):
        """A smaller rate for the trunk, which starts from the landmark network."""
        trunk = list(self.model.trunk.parameters())
        head = [*self.model.reduce.parameters(), *self.model.hidden.parameters(), *self.model.out.parameters()]
        return [
            {"params": head, "lr": learning_rate},
            {"params": trunk, "lr": learning_rate * self.args.pretrained_lr_factor},
        ]

    def batch(self, batch_size, generator):
        """Rows drawn with replacement, in crops of any turn, tight and loose, and as whole images; and photos."""
        augmentation = framing_of(self.encoder)
        num_photos = round(batch_size * self.args.photo_share) if self.photos else 0
        index = torch.randint(len(self.corpus), (batch_size - num_photos,), generator=generator)
        renders = augment_batch(self.corpus.rows(index), generator, augmentation)
        return joined(renders, self.photos.draw(num_photos, generator, augmentation)) if num_photos else renders

    def loss(self, model, batch, generator):
        """See `framing_loss`."""
        device = next(model.parameters()).device
        batch = to_device(batch, device)
        pixels = batch["pixel_values"].contiguous(memory_format=torch.channels_last)
        return framing_loss(model(pixels), batch)

    def validate(self, model):
        """`frame_figures` on unseen images, and on photos of unseen sources."""
        augmentation = framing_of(self.encoder)
        generator = torch.Generator().manual_seed(20240607)
        batches = [augment_batch(rows, generator, augmentation) for rows in self.unseen.in_order()]
        frames = self._frames(model, batches)
        figures = frame_figures(*frames)
        if self.photos:
            photos = self._frames(model, self.photos.unseen(generator, augmentation))
            figures |= {f"photos_{name}": value for name, value in frame_figures(*photos).items()}
        return figures, frame_sheet(batches[0]["pixel_values"][batches[0]["has_hand"]], *frames)

    def _frames(self, model, batches) -> tuple[HandFrame, HandFrame]:
        """What is found in the crops that show a hand, and the truth, on the CPU."""
        raw, points = [], []
        for batch in batches:
            hand = batch["has_hand"]
            raw.append(model(batch["pixel_values"][hand].to(self.encoder.device)).cpu())
            points.append(batch["keypoints"][hand])
        return model.decode(torch.cat(raw)), frame_around_keypoints(torch.cat(points))

    def save(self, model, folder):
        """The whole encoder, with this part trained."""
        self.encoder.save_pretrained(folder)


def frame_figures(found: HandFrame, truth: HandFrame) -> dict[str, float]:
    """Median, 90th percentile and mean of the errors of angle (deg), shift (sides) and scale (log), and the share of
    frames from which the landmark pass hardly finds the hand: turned by over 45 deg, or off by over a third."""
    difference = found.angle - truth.angle
    errors = {
        "angle_deg": torch.atan2(difference.sin(), difference.cos()).abs().rad2deg(),
        "shift_share": (found.centre - truth.centre).norm(dim=-1) / truth.side,
        "scale_log": (found.side / truth.side).log().abs(),
    }
    figures = {}
    for name, values in errors.items():
        figures[f"{name}_median"] = values.median().item()
        figures[f"{name}_p90"] = values.quantile(0.9).item()
        figures[f"{name}_mean"] = values.mean().item()
    lost = (errors["angle_deg"] > 45) | (errors["shift_share"] > 1 / 3)
    figures["lost_%"] = 100 * lost.float().mean().item()
    return figures


def frame_sheet(pixels: torch.Tensor, found: HandFrame, truth: HandFrame, columns: int = 8) -> Image.Image:
    """Crops with the true square (green), the found one (red), each with its upper side thick; the first 32 frames."""
    shown, size = min(len(pixels), 32), pixels.shape[-1]
    sheet = Image.new("RGB", (columns * size, -(-shown // columns) * size))
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]).expand(len(found.side), 5, 2)
    outlines = [(found.from_square(corners), (255, 40, 40)), (truth.from_square(corners), (0, 255, 0))]
    for index in range(shown):
        array = (255 * pixels[index]).round().to(torch.uint8).permute(1, 2, 0).numpy()
        picture = Image.fromarray(np.ascontiguousarray(array))
        draw = ImageDraw.Draw(picture)
        for outline, colour in outlines:
            points = [tuple(point) for point in (size * outline[index]).tolist()]
            draw.line(points, fill=colour)
            draw.line(points[:2], fill=colour, width=4)
        sheet.paste(picture, (index % columns * size, index // columns * size))
    return sheet


def main(argv=None):
    """Parse the flags and train."""
    parser = argument_parser(__doc__, "hand_framing")
    add = parser.add_argument
    add("--corpus", help="folder of Parquet shards, Hub id, or small")
    add("--image_encoder", help="encoder whose framing pass is trained: folder, Hub id or bundled")
    add("--validation_split", default="validation")
    add("--num_validation_images", type=int, default=512)
    add_photo_flags(parser)
    add("--pretrained_lr_factor", type=float, default=0.3, help="rate of the trunk over that of the head")
    add("--quick_cpu_backward", action="store_true", help="see cpu_depthwise.py; for CPUs with bfloat16 units")
    args = parse(parser, argv)
    needed(args, parser, "corpus", "image_encoder")
    torch.manual_seed(args.seed)
    return train(HandFramingTask(args), args)


if __name__ == "__main__":
    run(main)
