"""The image encoder's part: from crops to 2D keypoints in their view frame and the conditions of stage 2."""

from dataclasses import dataclass

import torch

from hf_handdiff import camera
from hf_handdiff.models.mesh_latent_denoiser import ImageConditions
from hf_handdiff.pipelines.image_processor import HandImageProcessor
from hf_handdiff.pipelines.inputs import HandRequest


@dataclass
class ImageEncoding:
    """What is known of B (right) hands before any sampling.

    Attributes:
        keypoints_px: (B, 21, 2) px of the (mirrored) image; NaN where not seen.
        scores: (B, 21) 0..1, 0 where not seen.
        view: the keypoints in their view frame; its `rotation` leads from the camera to the view.
        hand_score: (B,) 0..1, NaN without images.
        conditions: what stage 2 may see of them.
    """

    keypoints_px: torch.Tensor
    scores: torch.Tensor
    view: camera.KeypointView
    hand_score: torch.Tensor
    conditions: ImageConditions


@torch.no_grad()
def encode_image(
    image_encoder, image_processor: HandImageProcessor, request: HandRequest, device: torch.device | None = None
) -> ImageEncoding:
    """Run the image encoder over all crops of the request in one batch, unless there are no images.

    The caller's keypoints, where given, replace the estimate everywhere: for stage 1 and as the places at which
    stage 2 samples image features (points that the caller left out are sampled at the estimate).
    """
    encoded = None
    if request.images is not None:
        crops = image_processor.crop(request.images, request.crops)
        encoded = image_encoder(crops.to(device or image_encoder.device, image_encoder.dtype))
    if request.keypoints is not None:
        keypoints, scores = request.keypoints, request.keypoint_scores
    else:
        keypoints = camera.crop_to_pixels(encoded.keypoints.float().cpu(), request.crops)
        scores = encoded.keypoint_scores.float().cpu()
    view = camera.view_from_keypoints(keypoints, scores, request.intrinsics)
    hand_score = torch.full((len(keypoints),), torch.nan)
    if encoded is None:
        conditions = keypoint_conditions(image_encoder.config, view)
    else:
        hand_score = encoded.hand_logit.float().sigmoid().cpu()
        conditions = image_conditions(image_encoder, encoded, keypoints, request.crops, request.intrinsics, view)
    return ImageEncoding(keypoints, scores, view, hand_score, conditions)


def keypoint_conditions(config, view: camera.KeypointView) -> ImageConditions:
    """The conditions where there are 2D keypoints and no image; config: the image encoder's."""
    batch, joints = view.points.shape[:2]
    return ImageConditions(
        has_image=torch.zeros(batch),
        point_features=torch.zeros(batch, joints, config.point_feature_size),
        global_features=torch.zeros(batch, config.global_feature_size),
        encoder_joints=torch.zeros(batch, joints, 3),
        keypoints=view.points,
        keypoint_scores=view.scores,
        view_scale=view.scale,
    )


def image_conditions(
    image_encoder, encoded, keypoints_px, crops, intrinsics, view: camera.KeypointView
) -> ImageConditions:
    """Sample the feature map at the keypoints and put everything that stage 2 sees of an image together.

    Args:
        image_encoder: the encoder that made `encoded`.
        encoded: its output for B crops.
        keypoints_px: (B, 21, 2) px; NaN rows are sampled at the encoder's own estimate.
        crops: (B, 3) px.
        intrinsics: (B, 3, 3) px.
        view: the keypoints in their view frame.
    """
    own = encoded.keypoints.float().cpu()
    places = camera.pixels_to_crop(keypoints_px, crops)
    places = torch.where(torch.isfinite(places), places, own)
    features = image_encoder.sample_features(encoded, places.to(encoded.frame.centre))
    return ImageConditions(
        has_image=torch.ones(len(own)),
        point_features=features.float().cpu(),
        global_features=encoded.global_features.float().cpu(),
        encoder_joints=_encoder_joints(encoded, crops, intrinsics, view),
        keypoints=view.points,
        keypoint_scores=view.scores,
        view_scale=view.scale,
    )


def _encoder_joints(encoded, crops, intrinsics, view: camera.KeypointView) -> torch.Tensor:
    """The encoder's 3D estimate (B, 21, 3) m in the view frame; its own frame looks at the middle of its square."""
    middle = camera.crop_to_pixels(encoded.frame.centre.float().cpu()[:, None], crops)
    to_own = camera.rotation_to_axis(camera.rays_of_pixels(middle, intrinsics)[:, 0])
    return encoded.joints.float().cpu() @ to_own @ view.rotation.transpose(-1, -2)
