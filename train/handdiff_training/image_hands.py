"""Hands of a corpus for training stage 2 from images: augmented crops, and what an encoder in the loop says of them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from handdiff_training.conditions import Conditions, joined
from handdiff_training.encoder_loss import LossWeights, encoder_loss, seen_in_squares
from handdiff_training.encoding import conditions_of_batch, conditions_of_encoded, framing_of, pixels_of
from handdiff_training.image_batches import CorpusBatches
from handdiff_training.loop import step_generator
from hf_handdiff.data.augmentation import augment_batch
from hf_handdiff.errors import InputError
from hf_handdiff.models import HandImageEncoder, MeshLatentDenoiser
from hf_handdiff.models.image_encoder import HandImageEncoderOutput

UNSEEN_BATCH = 64
_PROBED = 16
_LOSS_WEIGHTS = LossWeights(presence=0.0, side=0.0)  # every crop shows a hand, and a right one


@dataclass
class ImageBatch:
    """Crops with hands and made-up hands, in the order in which their conditions are joined.

    Attributes:
        crops: of `augment_batch`; all show a hand.
        row: (C,) int64, of the corpus.
        made_up: M hands without an image.
        order: (C + M,) int64 permutation.
    """

    crops: dict[str, torch.Tensor]
    row: torch.Tensor
    made_up: Conditions
    order: torch.Tensor


class ImageHands:
    """The hands of a corpus, read as images.

    Args:
        corpus: folder or Hub id.
        image_encoder: says how large crops are.
        estimates: see `conditions_of_batch`.

    Raises:
        InputError: the corpus cannot be used, shows no hand, or has hands without meshes.
    """

    def __init__(self, corpus: str, image_encoder: HandImageEncoder, estimates: bool):
        self._seen = CorpusBatches(corpus, "train", with_vertices=True)
        self._unseen = CorpusBatches(corpus, "validation", with_vertices=True)
        self._with_hand = torch.tensor(self._seen.column("has_hand")).nonzero()[:, 0]
        if len(self._with_hand) == 0:
            raise InputError(f"--corpus: expected images of hands, got {corpus} without one")
        self._seen.with_meshes(self._with_hand[:_PROBED])  # others are looked at as they are drawn
        self._unseen.with_meshes(range(min(_PROBED, len(self._unseen))))
        self._augmentation = framing_of(image_encoder)
        self._estimates = estimates

    def __len__(self):
        return len(self._seen)

    def some_meshes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Vertices (n, V, 3) and joints (n, 21, 3), m, camera frame, of the first hands."""
        rows = self._seen.with_meshes(self._with_hand[:_PROBED])
        return rows["vertices_m"], rows["joints_m"]

    def sample(self, count: int, generator: torch.Generator) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Augmented crops of rows drawn with replacement, all of which show a hand, and the rows (count,)."""
        rows = self._with_hand[torch.randint(len(self._with_hand), (count,), generator=generator)]
        return augment_batch(self._seen.with_meshes(rows), generator, self._augmentation), rows

    def conditions(
        self,
        image_encoder: HandImageEncoder,
        batch: ImageBatch,
        generator: torch.Generator,
        encoded: HandImageEncoderOutput | None = None,
    ) -> Conditions:
        """Those of a batch on the encoder's device; `encoded`: what the encoder said of the crops, if it did."""
        if encoded is None:
            with torch.no_grad():
                encoded = image_encoder(pixels_of(batch.crops, image_encoder))
        seen = conditions_of_encoded(image_encoder, encoded, batch.crops, generator, self._estimates)
        seen.row = batch.row
        return joined(seen, batch.made_up, batch.order)

    @torch.no_grad()
    def unseen(self, image_encoder: HandImageEncoder, count: int) -> Conditions:
        """Conditions of the first `count` hands of the validation split, as encode_corpus.py makes them."""
        parts, found = [], 0
        for number, start in enumerate(range(0, len(self._unseen), UNSEEN_BATCH)):
            rows = np.arange(start, min(start + UNSEEN_BATCH, len(self._unseen)))
            generator = step_generator(0, number, 0)
            crops = augment_batch(self._unseen.with_meshes(rows), generator, self._augmentation)
            parts.append(conditions_of_batch(image_encoder, crops, generator, estimates=self._estimates))
            found += len(parts[-1].joints)
            if found >= count:
                break
        whole = parts[0]
        for part in parts[1:]:
            whole = joined(whole, part)
        return whole.first(count)


class EncoderAndDenoiser(nn.Module):
    """An image encoder that learns with stage 2, and stage 2's network: one module to Accelerate, called once a step.

    The framing pass and the heads that tell of the encoder's doubts (distribution, side, presence) stay as they are:
    they are trained by themselves. So do the statistics of batch norms, as in evaluation: a batch of stage 2 is small,
    and two processes would have different ones.
    """

    def __init__(self, image_encoder: HandImageEncoder, mesh_latent_denoiser: MeshLatentDenoiser):
        super().__init__()
        self.image_encoder, self.mesh_latent_denoiser = image_encoder, mesh_latent_denoiser
        fixed = [image_encoder.framing, image_encoder.presence_head]
        self._told = [head for head in (image_encoder.distribution_head, image_encoder.side_head) if head is not None]
        for module in (*fixed, *self._told):
            module.requires_grad_(False)

    def forward(self, function):
        """`function(self)`: the whole of a loss, so that DDP, which looks at calls of this module, sees all of it."""
        return function(self)

    def train(self, mode: bool = True):
        """As of any module, but for what stays as it is."""
        super().train(mode)
        for module in self.image_encoder.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        for head in self._told:
            head.eval()  # dropout
        return self

    def encode(self, crops: dict[str, torch.Tensor]) -> HandImageEncoderOutput:
        """What the encoder says of crops, at the squares that it finds in them; gradients go through the last look."""
        pixels = pixels_of(crops, self.image_encoder)
        with torch.no_grad():
            frame = self.image_encoder.find_frame(pixels)
        return self.image_encoder(pixels, frame=frame)


def supervised_loss(
    encoded: HandImageEncoderOutput, crops: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss of image_encoder.py on crops that the encoder has looked at, so that its points do not drift."""
    return encoder_loss(*seen_in_squares(encoded, crops), _LOSS_WEIGHTS)
