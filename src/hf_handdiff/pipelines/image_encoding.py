"""The image encoder's part: from crops to 2D keypoints in their view frame and the conditions of stage 2."""

from dataclasses import dataclass

import torch

from hf_handdiff import camera
from hf_handdiff.devices import to_device
from hf_handdiff.models.hand_detector import HandDetector
from hf_handdiff.models.hand_framing import frame_around_keypoints
from hf_handdiff.models.image_encoder import HandImageEncoderOutput
from hf_handdiff.models.joint_denoiser import noise_of_score, score_of_noise
from hf_handdiff.models.keypoint_distribution import KeypointDistribution
from hf_handdiff.models.mesh_latent_denoiser import ImageConditions
from hf_handdiff.pipelines.doubts import keypoint_agreement
from hf_handdiff.pipelines.hand_side import side_score
from hf_handdiff.pipelines.image_processor import HandImageProcessor
from hf_handdiff.pipelines.inputs import HandRequest
from hf_handdiff.pipelines.second_look import look_again


@dataclass
class ImageEncoding:
    """What is known of B (right) hands before any sampling.

    Attributes:
        keypoints_px: (B, 21, 2) px of the (mirrored) image; NaN where not seen.
        scores: (B, 21) 0..1, 0 where not seen.
        distribution: of the keypoints, px; without meaning where not seen.
        view: the keypoints in their view frame; its `rotation` leads from the camera to the view. Its `scores` are how
            exact each point is (`score_of_noise`) where stage 1 reads that, else `scores`.
        view_distribution: `distribution` in the units of `view.points`.
        hand_score: (B,) 0..1, NaN without images.
        side_score: (B,) 0..1, likewise.
        keypoint_agreement: (B,) 0..1, of the caller's keypoints with the image; NaN where one of the two is missing.
        conditions: what stage 2 may see of them; on the encoder's device, all else here on the CPU.
        intrinsics: (B, 3, 3) px.
        crops: (B, 3) px; None without any image.
        encoded: the encoder's answer, whose feature map is sampled again for each hypothesis; None without images.
    """

    keypoints_px: torch.Tensor
    scores: torch.Tensor
    distribution: KeypointDistribution
    view: camera.KeypointView
    view_distribution: KeypointDistribution
    hand_score: torch.Tensor
    side_score: torch.Tensor
    keypoint_agreement: torch.Tensor
    conditions: ImageConditions
    intrinsics: torch.Tensor
    crops: torch.Tensor | None = None
    encoded: HandImageEncoderOutput | None = None


@torch.no_grad()
def encode_image(
    image_encoder,
    image_processor: HandImageProcessor,
    request: HandRequest,
    device: torch.device | None = None,
    hand_detector: HandDetector | None = None,
) -> ImageEncoding:
    """Run the image encoder over all crops of the request in one batch, unless there are no images.

    The caller's keypoints, where given, replace the estimate everywhere: for stage 1 and as the places at which
    stage 2 samples image features (points that the caller left out are sampled at the estimate). Where the hands were a
    moment ago is known, the encoder looks there at once; else it looks again where it is in doubt. The hand detector's
    network helps to tell the side.
    """
    encoded = crops = None
    if request.images is not None:
        crops = image_processor.crop(request.images, request.crops)
        crops = crops.to(device or image_encoder.device, image_encoder.dtype)
        frame = None
        if request.last_keypoints is not None:
            last = camera.pixels_to_crop(request.last_keypoints, request.crops)
            frame = frame_around_keypoints(last.to(crops.device))
        encoded = image_encoder(crops, frame=frame)
        if frame is None:
            encoded = look_again(image_encoder, crops, encoded)
    side = side_score(image_encoder, encoded, crops, hand_detector, len(request.handedness))
    return _encoding(image_encoder, encoded, request, side)


@torch.autocast("cpu", enabled=False)  # eight bits cannot tell neighbouring pixels apart
def _encoding(
    image_encoder, encoded: HandImageEncoderOutput | None, request: HandRequest, side: torch.Tensor
) -> ImageEncoding:
    distribution = None
    if request.keypoints is not None:
        keypoints, scores = request.keypoints, request.keypoint_scores
    else:
        keypoints = camera.crop_to_pixels(encoded.keypoints.float().cpu(), request.crops)
        scores = encoded.keypoint_scores.float().cpu()
        if encoded.distribution is not None:
            distribution = encoded.distribution.to("cpu", torch.float32).scaled(request.crops[:, 2])
    view = camera.view_from_keypoints(keypoints, scores, request.intrinsics)
    to_view = camera.view_jacobian(keypoints, view, request.intrinsics)
    if request.keypoint_cov is not None:
        distribution = KeypointDistribution.of_marginals(request.keypoint_cov)
    if distribution is None:  # nobody said more than the scores
        in_view = KeypointDistribution.independent(noise_of_score(view.scores))
        distribution = in_view.mapped(torch.linalg.inv(to_view))
    else:
        in_view = distribution.mapped(to_view)
        view.scores = torch.where(view.scores > 0, score_of_noise(in_view.noise), 0.0)
    hand_score = agreement = torch.full((len(keypoints),), torch.nan)
    if encoded is not None and request.keypoints is not None:
        agreement = keypoint_agreement(encoded, request)
    if encoded is None:
        conditions = keypoint_conditions(image_encoder.config, view)
    else:
        hand_score = encoded.hand_logit.float().sigmoid().cpu()
        conditions = image_conditions(image_encoder, encoded, keypoints, request.crops, request.intrinsics, view)
    return ImageEncoding(
        keypoints_px=keypoints,
        scores=scores,
        distribution=distribution,
        view=view,
        view_distribution=in_view,
        hand_score=hand_score,
        side_score=side,
        keypoint_agreement=agreement,
        conditions=conditions,
        intrinsics=request.intrinsics,
        crops=request.crops,
        encoded=encoded,
    )


@torch.autocast("cpu", enabled=False)
def stage2_conditions(
    image_encoder, encoding: ImageEncoding | None, joints: torch.Tensor | None
) -> ImageConditions | None:
    """What stage 2 sees of an image with each hypothesis.

    Where hypotheses differ in 2D, each one's conditions are taken at its own joints' projections: 2D points, and the
    image features under them, by which the image can judge the hypothesis.

    Args:
        image_encoder: the encoder.
        encoding: of B hands; None: nothing is known of an image.
        joints: (B, N, 21, 3) m, view frame, what stage 1 proposes; None: no joints are known.

    Returns:
        Conditions of B rows, for all hypotheses of an image, or of B N rows.
    """
    if encoding is None or joints is None or encoding.view_distribution.factors.shape[-1] == 0:
        return None if encoding is None else encoding.conditions
    count, view = joints.shape[1], encoding.view
    points = projections(joints, view)  # (B, N, 21, 2)
    conditions = encoding.conditions.repeat(count)
    conditions.keypoints = to_device(points.flatten(0, 1), conditions.keypoints.device)
    if encoding.encoded is not None:
        pixels = camera.view_to_pixels(points.flatten(1, 2), view, encoding.intrinsics)
        centre = encoding.encoded.frame.centre
        places = to_device(camera.pixels_to_crop(pixels, encoding.crops), centre.device).to(centre.dtype)
        features = image_encoder.sample_features(encoding.encoded, places).float()  # (B, N 21, C)
        conditions.point_features = features.unflatten(1, (count, -1)).flatten(0, 1)
    return conditions


def projections(joints: torch.Tensor, view: camera.KeypointView) -> torch.Tensor:
    """Where joints (B, N, 21, 3) m of the view frame are seen, once each hand stands where it fits the 2D points best.

    Returns:
        (B, N, 21, 2) in the units of `view.points`.
    """
    rays = view.rays_of(view.points)[:, None]
    place = camera.solve_translation(rays, joints, view.scores.square()[:, None])
    place = torch.cat([place[..., :2], place[..., 2:].clamp(0.15, 3.0)], dim=-1)
    seen = joints + place[..., None, :]
    tangents = seen[..., :2] / seen[..., 2:].clamp_min(0.05)
    return (tangents - view.middle[:, None, None]) / view.scale[:, None, None, None]


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
        view_middle=view.middle,
    )


def image_conditions(
    image_encoder, encoded, keypoints_px, crops, intrinsics, view: camera.KeypointView
) -> ImageConditions:
    """Sample the feature map at the keypoints and put everything that stage 2 sees of an image together.

    Gradients reach the encoder through the features and its 3D points, not through where they are taken.

    Args:
        image_encoder: the encoder that made `encoded`.
        encoded: its output for B crops.
        keypoints_px: (B, 21, 2) px; NaN rows are sampled at the encoder's own estimate.
        crops: (B, 3) px.
        intrinsics: (B, 3, 3) px.
        view: the keypoints in their view frame.

    Returns:
        Float32, on the device of `encoded`.
    """
    own = encoded.keypoints.detach().float()
    keypoints_px, crops, intrinsics, view = to_device((keypoints_px, crops, intrinsics, view), own.device)
    with torch.autocast(own.device.type, enabled=False):
        places = camera.pixels_to_crop(keypoints_px, crops)
        places = torch.where(torch.isfinite(places), places, own)
        features = image_encoder.sample_features(encoded, places.to(encoded.frame.centre.dtype))
        joints = _encoder_joints(encoded, crops, intrinsics, view)
    return ImageConditions(
        has_image=torch.ones(len(own), device=own.device),
        point_features=features.float(),
        global_features=encoded.global_features.float(),
        encoder_joints=joints,
        keypoints=view.points,
        keypoint_scores=view.scores,
        view_scale=view.scale,
        view_middle=view.middle,
    )


def _encoder_joints(encoded, crops, intrinsics, view: camera.KeypointView) -> torch.Tensor:
    """The encoder's 3D estimate (B, 21, 3) m in the view frame; its own frame looks at the middle of its square."""
    middle = camera.crop_to_pixels(encoded.frame.centre.detach().float()[:, None], crops)
    to_own = camera.rotation_to_axis(camera.rays_of_pixels(middle, intrinsics)[:, 0])
    return encoded.joints.float() @ to_own @ view.rotation.transpose(-1, -2)
