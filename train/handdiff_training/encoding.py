"""What the image encoder says of the images of a corpus, as conditions; and giving it a further head."""

import dataclasses

import numpy as np
import torch
from tqdm.auto import tqdm

from handdiff_training.conditions import Conditions, write_conditions
from handdiff_training.image_batches import CorpusBatches
from handdiff_training.loop import step_generator
from handdiff_training.terms import data_terms, model_terms
from hf_handdiff.camera import crop_to_pixels, view_from_keypoints
from hf_handdiff.data.augmentation import FRAMING, AugmentationConfig, augment_batch
from hf_handdiff.devices import to_device
from hf_handdiff.errors import InputError
from hf_handdiff.models import HandImageEncoder
from hf_handdiff.models.image_encoder import HandImageEncoderOutput
from hf_handdiff.models.joint_denoiser import score_of_noise
from hf_handdiff.pipelines.image_encoding import image_conditions


@torch.no_grad()
def conditions_of_batch(
    image_encoder: HandImageEncoder,
    batch: dict[str, torch.Tensor],
    generator: torch.Generator,
    half: bool = False,
    estimates: bool = False,
) -> Conditions:
    """Conditions and ground truth, in the view frame, of those crops of an augmented batch that show a hand.

    Of an encoder that tells the distribution of its keypoints, the stages behind it see points that were drawn from it.
    To learn from, they get those draws that hit the truth, but for the noise that each point has by itself: what is
    likely, given points, is learned from right points. With `estimates` the estimates are kept, for networks that get
    one estimate an image and have to learn by themselves how it errs.

    The batch may be on the CPU; the answer is on the encoder's device.
    """
    hands = batch["has_hand"]
    device = next(image_encoder.parameters()).device
    batch = to_device({name: value[hands] for name, value in batch.items()}, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        encoded = image_encoder(pixels_of(batch, image_encoder))
    return conditions_of_encoded(image_encoder, encoded, batch, generator, estimates)


def pixels_of(batch: dict[str, torch.Tensor], image_encoder: HandImageEncoder) -> torch.Tensor:
    """The crops (B, 3, S, S) of an augmented batch as the encoder takes them."""
    dtype = next(image_encoder.parameters()).dtype
    return batch["pixel_values"].to(dtype).contiguous(memory_format=torch.channels_last)


def conditions_of_encoded(
    image_encoder: HandImageEncoder,
    encoded: HandImageEncoderOutput,
    batch: dict[str, torch.Tensor],
    generator: torch.Generator,
    estimates: bool = False,
) -> Conditions:
    """`conditions_of_batch` of what the encoder has said of crops that all show a hand.

    Gradients reach the encoder through its features and its 3D points alone: 2D points, what is told of their noise,
    and the view frame, in which the truth is too, are taken as they are.

    Args:
        image_encoder: the encoder.
        encoded: its output for B crops.
        batch: of `augment_batch`, on the encoder's device.
        generator: on the CPU.
        estimates: see `conditions_of_batch`.

    Returns:
        B rows, float32, on the encoder's device.
    """
    size = batch["pixel_values"].shape[-1]
    truth, intrinsics = batch["joints_m"], batch["intrinsics_px"]
    crops = torch.stack([truth.new_full((len(truth),), value) for value in (size / 2, size / 2, size)], dim=-1)
    with torch.no_grad(), torch.autocast(truth.device.type, enabled=False):
        keypoints = crop_to_pixels(encoded.keypoints.float(), crops)
        scores = encoded.keypoint_scores.float()
        if encoded.distribution is not None:
            noise = encoded.distribution.scaled(crops[:, 2]).noise.float()  # (B, 21) px
            if not estimates:
                keypoints = _as_if_drawn(crop_to_pixels(batch["keypoints"].float(), crops), noise, generator)
            extent = (keypoints.amax(1) - keypoints.amin(1)).amax(-1, keepdim=True) / 2
            scores = score_of_noise(noise / extent)
        view = view_from_keypoints(keypoints, scores, intrinsics)
        wrist, to_view = truth[:, :1], view.rotation.transpose(-1, -2)
        joints, vertices = ((points - wrist) @ to_view for points in (truth, batch["vertices_m"]))
    return Conditions(
        image=image_conditions(image_encoder, encoded, keypoints, crops, intrinsics, view),
        joints=joints,
        vertices=vertices,
        visible=batch["keypoints_visible"],
    )


def _as_if_drawn(truth: torch.Tensor, noise: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """True points (B, 21, 2) px with their own noise (B, 21) px."""
    drawn = to_device(torch.randn(truth.shape, generator=generator), truth.device)
    return truth + noise[..., None] * drawn


def framing_of(image_encoder: HandImageEncoder) -> AugmentationConfig:
    """`FRAMING` in crops of the encoder's size."""
    return dataclasses.replace(FRAMING, size=image_encoder.config.image_size)


def encode_split(
    image_encoder: HandImageEncoder,
    corpus,
    split: str,
    out,
    *,
    out_split: str | None = None,
    estimates: bool = False,
    passes: int = 1,
    skip: int = 0,
    num_samples: int | None = None,
    half: bool = False,
    batch_size: int = 64,
    seed: int = 0,
) -> None:
    """Write what the encoder says of a split of a corpus to a data set of conditions.

    Args:
        image_encoder: frozen.
        corpus: folder or Hub id.
        split: of the corpus.
        out: folder of the conditions.
        out_split: their split; None: `split`.
        estimates: see `conditions_of_batch`.
        passes: augmented passes over the corpus.
        skip, num_samples: leave out the first; use so many of the others, None: all.
        half: run the encoder in bfloat16.
        batch_size: images a step; the augmentation depends on it.
        seed: of the augmentation.

    Raises:
        InputError: the corpus or the folder cannot be used.
    """
    image_encoder = image_encoder.to(memory_format=torch.channels_last)
    batches = CorpusBatches(corpus, split, with_vertices=True)
    stop = len(batches) if num_samples is None else min(len(batches), skip + num_samples)
    rows = np.tile(np.arange(skip, stop), passes)
    if len(rows) == 0:
        raise InputError(f"--skip: expected fewer than the {len(batches)} rows of {corpus}, got {skip}")
    settings = {"passes": passes, "skip": skip, "estimates": estimates, "seed": seed, "batch_size": batch_size}
    restricted_by = sorted({*data_terms(corpus, split), *model_terms(image_encoder)})
    if restricted_by:
        settings["restricted_by"] = restricted_by
    with write_conditions(out, out_split or split, **settings) as writer:
        for number, start in enumerate(tqdm(range(0, len(rows), batch_size), unit="batch")):
            raw = batches.with_meshes(rows[start : start + batch_size])
            generator = step_generator(seed, number, 0)
            seen = augment_batch(raw, generator, framing_of(image_encoder))
            writer.add(conditions_of_batch(image_encoder, seen, generator, half, estimates))


def with_new_head(encoder: HandImageEncoder, **fields) -> HandImageEncoder:
    """The same encoder with an untrained head more; `fields` of its config say which."""
    new = HandImageEncoder(type(encoder.config).from_dict({**encoder.config.to_dict(), **fields}))
    new.load_state_dict(encoder.state_dict(), strict=False)
    return new.eval()
