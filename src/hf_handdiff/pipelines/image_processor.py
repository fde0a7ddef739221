"""Photos of hands to the crops that the image encoder takes, and its points back to pixels of the photos."""

import torch
from transformers.image_processing_base import BatchFeature, ImageProcessingMixin

from hf_handdiff.camera import crop_image, crop_to_pixels
from hf_handdiff.errors import InputError
from hf_handdiff.pipelines.inputs import check_request, mirror_pixels


class HandImageProcessor(ImageProcessingMixin):
    """The image processor of [`HandImageEncoder`], saved with a checkpoint as `image_processor/`.

    Example:
        >>> processor = HandImageProcessor.from_pretrained(checkpoint, subfolder="image_processor")
        >>> batch = processor("photo.jpg", handedness="left")
        >>> keypoints = image_encoder(batch["pixel_values"]).keypoints
        >>> processor.to_pixels(keypoints, batch)  # (1, 21, 2) px of the photo

    Args:
        image_size: side of the crops in px.
    """

    model_input_names = ["pixel_values"]

    def __init__(self, image_size: int = 224, **kwargs):
        super().__init__(**kwargs)
        if isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < 1:
            raise InputError(f"image_size: expected a whole number of at least 1, got {image_size!r}")
        self.image_size = image_size

    def __call__(self, images, boxes=None, handedness="right") -> BatchFeature:
        """Load, mirror left hands, crop.

        Args:
            images: one or a list: path, PIL.Image or (H, W, 3) uint8 RGB array.
            boxes: (B, 4) xyxy px round the hands; None: the whole image is the crop.
            handedness: "left" or "right", or one an image.

        Returns:
            pixel_values (B, 3, S, S) float32 in 0..1 of right hands, and for the way back crops (B, 3), centre x, y and
            side in px of the mirrored images, widths (B,) px of the images, is_left (B,) bool.

        Raises:
            InputError: a bad argument, named in one sentence.
        """
        request = check_request(images, handedness, boxes)
        return BatchFeature(
            {
                "pixel_values": self.crop(request.images, request.crops),
                "crops": request.crops,
                "widths": request.widths,
                "is_left": request.is_left,
            }
        )

    def crop(self, images, crops: torch.Tensor) -> torch.Tensor:
        """Squares of images (H, W, 3) uint8 RGB, crops (B, 3) px -> (B, 3, S, S) float32 in 0..1; black outside."""
        pairs = zip(images, crops, strict=True)
        return torch.stack([crop_image(image, crop.numpy(), self.image_size) for image, crop in pairs])

    def to_pixels(self, points: torch.Tensor, batch: BatchFeature) -> torch.Tensor:
        """Points (B, K, 2) in crop units -> px of the images that `batch` was made of."""
        pixels = crop_to_pixels(points.float().cpu(), batch["crops"])
        return mirror_pixels(pixels, batch["widths"], batch["is_left"])
