"""The scene of a photo: all of its hands in one camera frame, from what a pipeline answered for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hf_handdiff.camera import photo_intrinsics
from hf_handdiff.errors import InputError
from hf_handdiff.hand.mesh_kinds import known_faces
from hf_handdiff.images import ImageInput, load_image
from hf_handdiff.pipelines.defaults import HAND_LENGTH_RANGE_M
from hf_handdiff.pipelines.metric_size import hand_lengths
from hf_handdiff.pipelines.outputs import HandPipelineOutput
from hf_handdiff.scene.candidates import Candidate, answer_of, hypotheses_of
from hf_handdiff.scene.contact import LOG_RATIOS, Choices, choose_pair
from hf_handdiff.scene.order import order_costs
from hf_handdiff.scene.penetration import ClosedFaces
from hf_handdiff.viz.rig import HandRig, make_rig

if TYPE_CHECKING:
    from hf_handdiff.hand import HandLayer
    from hf_handdiff.pipelines import CascadedHandPipeline


@dataclass(frozen=True)
class SceneHand:
    """One hand of a scene, in the camera frame (x right, y down, z away).

    Attributes:
        index: its row in the pipeline's output.
        handedness: "left" or "right".
        joints: (21, 3) m.
        vertices: (V, 3) m.
        translation: (3,) m, the wrist.
        joint_std: (21,) m, expected error of the joints relative to the wrist; of the answer, also where a hypothesis
            stands in its place.
        metric_scale: by what the lengths that the networks estimated were multiplied, the hand's own size included.
        hypothesis: number of the hypothesis that was chosen; None: the answer.
        parameters: global_orient (3,), hand_pose (15, 3), betas (10,), hand_scale, as for `hand.posed_hand`; None where
            the answer has none.
        penetration: m, how deep it and another hand go into each other.
    """

    index: int
    handedness: str
    joints: np.ndarray
    vertices: np.ndarray
    translation: np.ndarray
    joint_std: np.ndarray
    metric_scale: float
    hypothesis: int | None
    parameters: dict[str, np.ndarray] | None
    penetration: float

    def rig(self, layer: HandLayer) -> HandRig | None:
        """The hand with bones, in its place; None without parameters. `layer`: the right hand that they are of."""
        if self.parameters is None:
            return None
        rows = (np.asarray(self.parameters[name])[None] for name in ("global_orient", "hand_pose", "betas"))
        size = np.array([self.parameters["hand_scale"]])
        return make_rig(layer, *rows, size, self.handedness, self.translation[None])


@dataclass(frozen=True)
class SceneContact:
    """Two hands whose boxes meet.

    Attributes:
        hands: their numbers in the scene.
        penetration_before: m, how deep the answers went into each other.
        penetration: m, how deep what was chosen does.
        depth_ratio: by what the second's distance over the first's was multiplied; 1: neither was moved.
    """

    hands: tuple[int, int]
    penetration_before: float
    penetration: float
    depth_ratio: float


@dataclass(frozen=True)
class HandScene:
    """The hands of one photo.

    Attributes:
        hands: in the order of the pipeline's output.
        intrinsics: (3, 3) px, the camera of the photo.
        faces: (F, 3), as in the pipeline's output: of a left hand the other way round.
        contacts: the pairs of hands whose boxes meet.
    """

    hands: list[SceneHand]
    intrinsics: np.ndarray
    faces: np.ndarray
    contacts: list[SceneContact] = field(default_factory=list)


def predict_scene(
    pipeline: CascadedHandPipeline,
    image: ImageInput,
    intrinsics=None,
    boxes="detect",
    hand_length_m=None,
    **options: Any,
) -> HandScene:
    """Find the hands of a photo and make its scene.

    Args:
        pipeline: what answers.
        image: path, PIL.Image or (H, W, 3) uint8 RGB array.
        intrinsics: (3, 3) px; None: `camera.photo_intrinsics`, whose guess all places depend on.
        boxes: (B, 4) xyxy px round the hands, with their sides in `handedness`; "detect": all that are found.
        hand_length_m: see `make_scene`.
        **options: further arguments of the pipeline.

    Raises:
        InputError: as the pipeline; no hand was found, among others.
    """
    pixels = load_image(image, "image")
    camera = photo_intrinsics(*pixels.shape[:2]) if intrinsics is None else np.asarray(intrinsics, dtype=np.float64)
    options = {"fit": "all", **options, "output_type": "np", "return_dict": True}
    if isinstance(boxes, str):
        output = pipeline(pixels, boxes=boxes, intrinsics=camera, **options)
    else:
        count = len(boxes)
        cameras = np.broadcast_to(camera, (count, *camera.shape[-2:]))
        output = pipeline([pixels] * count, boxes=boxes, intrinsics=cameras, **options)
    return make_scene(pipeline, output, camera.reshape(3, 3), hand_length_m=hand_length_m)


def make_scene(
    pipeline: CascadedHandPipeline,
    output: HandPipelineOutput,
    intrinsics,
    rows=None,
    hand_length_m: float | None = None,
    one_person: bool = True,
    part_hands: bool = True,
) -> HandScene:
    """All hands of a photo in its camera frame, each in its place.

    One photo does not tell how large a hand is, and a hand that is taken for larger is taken to be farther away. The
    hands of one person are alike: all of them get one length, the mean of what was estimated for each (or
    `hand_length_m`), and whatever is in metres, places included, is multiplied by one factor a hand. So depths of hands
    agree with each other, and the projection does not change. Where a photo shows hands of a child and of an adult, say
    so by `one_person=False`: each keeps its own estimate.

    Where two hands run into each other, the likeliest pair of their answers and hypotheses, and of depths, is chosen
    that does not (`scene.contact`): one hand moves away from the camera and the other towards it by a few per cent. At
    the same time they grow and shrink by as much, so that both are seen at the same pixels; with a length that is given
    they keep it exactly. Hands whose boxes do not meet are left as they are. Of three hands in a heap, those of
    the earlier pairs stay as they were chosen.

    Args:
        pipeline: what answered; its hand is what the parameters are of.
        output: of a call with `intrinsics`; best with `fit="all"`, without which hypotheses that are chosen have no
            parameters.
        intrinsics: (3, 3) px, the camera of the photo, as given to the pipeline.
        rows: which hands of the output belong to the photo; None: all.
        hand_length_m: length of every hand, from the wrist joint to the tip of the middle finger; see the pipeline.
        one_person: whether all hands get one length.
        part_hands: whether hands that run into each other are parted; False: they keep their answers, and `contacts`
            says how deep they go.

    Raises:
        InputError: the output is of a call without intrinsics or without meshes, or an argument is none.
    """
    camera = _checked_camera(intrinsics)
    if output.mean_translation is None or output.mean_vertices is None:
        raise InputError("output: expected meshes, of a call with the photo's intrinsics; a scene needs one camera")
    numbers = list(range(len(output.handedness))) if rows is None else [int(row) for row in rows]
    tensors = HandPipelineOutput(**{name: _tensor(value) for name, value in output.items()})
    output = output.finish("np", True)
    layer = None if output.hand_pose is None and output.hypothesis_parameters is None else pipeline.hand_layer
    lengths = hand_lengths(tensors, layer).double().numpy()[numbers]
    # lengths that were given to the pipeline are not to be touched either
    known = hand_length_m is not None or (
        output.metric_scale is not None and any(output.metric_scale[row] != 1.0 for row in numbers)
    )
    common = _common_lengths(lengths, hand_length_m, one_person)
    closed = ClosedFaces.of(known_faces(output.faces), output.mean_vertices.shape[1])
    answers = [
        answer_of(output, row, float(length / own), closed)
        for row, length, own in zip(numbers, common, lengths, strict=True)
    ]

    def candidates(number: int) -> list[Candidate]:
        if not part_hands:
            return []
        length = float(common[number]) if one_person or hand_length_m is not None else None
        return hypotheses_of(output, numbers[number], answers[number], length, camera, layer)

    def ratio_costs(first: int, second: int) -> np.ndarray:
        pair = answers[first], answers[second]
        return order_costs(pair, (stds[first], stds[second]), camera, LOG_RATIOS)

    stds = np.sqrt(np.trace(output.keypoint_cov[numbers].astype(np.float64), axis1=-2, axis2=-1))
    hands, contacts = _without_penetration(answers, candidates, ratio_costs, known)
    depths = [max((pair.penetration for pair in contacts if k in pair.hands), default=0.0) for k in range(len(hands))]
    scene_hands = [
        _scene_hand(output, row, hand, depth) for row, hand, depth in zip(numbers, hands, depths, strict=True)
    ]
    return HandScene(scene_hands, camera, np.asarray(output.faces), contacts)


def _without_penetration(answers: list[Candidate], hypotheses: Callable, ratio_costs: Callable, keep_size: bool):
    """The hands (and the `SceneContact`s) that stand for the answers.

    Args:
        answers: of all hands.
        hypotheses: number of a hand -> its candidates.
        ratio_costs: numbers of two hands -> costs of `LOG_RATIOS`.
        keep_size: see `Candidate.moved`.
    """
    hands, contacts = list(answers), []
    settled = [False] * len(hands)
    known: dict[int, list[Candidate]] = {}

    def choices_of(number: int) -> list[Candidate]:
        if settled[number]:
            return [hands[number]]
        if number not in known:
            known[number] = hypotheses(number)
        return [hands[number], *known[number]]

    for i in range(len(hands)):
        for j in range(i + 1, len(hands)):
            choices = partial(lambda i, j: Choices(choices_of(i), choices_of(j), ratio_costs(i, j)), i, j)
            pair = choose_pair(hands[i], hands[j], choices, keep_size)
            if pair is None:
                continue
            hands[i], hands[j] = pair.first, pair.second
            settled[i] = settled[j] = True
            contacts.append(SceneContact((i, j), pair.penetration_before, pair.penetration, pair.ratio))
    return hands, contacts


def _scene_hand(output: HandPipelineOutput, row: int, hand: Candidate, penetration: float) -> SceneHand:
    before = 1.0 if output.metric_scale is None else float(output.metric_scale[row])
    return SceneHand(
        index=row,
        handedness=output.handedness[row],
        joints=hand.joints,
        vertices=hand.vertices,
        translation=hand.place,
        joint_std=hand.factor * output.joint_std[row].astype(np.float64),
        metric_scale=before * hand.factor,
        hypothesis=hand.hypothesis,
        parameters=hand.parameters,
        penetration=penetration,
    )


def _common_lengths(lengths: np.ndarray, hand_length_m: float | None, one_person: bool) -> np.ndarray:
    """(B,) m, what hands of estimated lengths (B,) m become."""
    if hand_length_m is None:
        return np.full(len(lengths), lengths.mean()) if one_person and len(lengths) else lengths
    low, high = HAND_LENGTH_RANGE_M
    if isinstance(hand_length_m, bool) or not isinstance(hand_length_m, (int, float, np.number)):
        raise InputError(f"hand_length_m: expected a number, metres, got {hand_length_m!r}")
    if not low <= hand_length_m <= high:
        raise InputError(f"hand_length_m: expected metres from {low:g} to {high:g}, got {hand_length_m!r}")
    return np.full(len(lengths), float(hand_length_m))


def _checked_camera(intrinsics) -> np.ndarray:
    if isinstance(intrinsics, torch.Tensor):
        intrinsics = intrinsics.detach().cpu().numpy()
    try:
        camera = np.asarray(intrinsics, dtype=np.float64)
    except (TypeError, ValueError):
        camera = np.zeros(0)
    if camera.shape != (3, 3) or not np.isfinite(camera).all():
        raise InputError("intrinsics: expected the photo's camera, finite numbers of shape (3, 3)")
    return camera


def _tensor(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value
