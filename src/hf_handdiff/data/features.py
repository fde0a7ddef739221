"""The schemas of this package's data sets: corpora of images, and what the frozen image encoder said of a corpus.

A row of a corpus is one crop with one right hand, or with none.
What a data set does not tell is NaN, such as `visible_share` in FreiHAND. `vertices_m`, `pose_rad`, `shape` and
`translation_m` belong to the hand of the data set: the open hand in the synthetic corpus, MANO's in FreiHAND and
HO3D. Both have 778 vertices, but not the same ones.
"""

from datasets import Array2D, Features, Image, List, Sequence, Value

from hf_handdiff.data.photo_feature import CheckedPhoto
from hf_handdiff.hand.topology import NUM_JOINTS, NUM_ROTATIONS, NUM_SHAPE

NUM_VERTICES = 778
UNKNOWN_SKIN_TONE = -1.0
"""Where a row does not know its tone."""

CORPUS_FEATURES = Features(
    {
        "image": Image(),  # the crop, JPEG or PNG bytes
        "has_hand": Value("bool"),  # where false, all labels but intrinsics_px are zero
        "keypoints_2d_px": Array2D((NUM_JOINTS, 2), "float32"),  # origin at the outer corner of the top-left pixel
        "keypoints_visible": Sequence(Value("bool"), length=NUM_JOINTS),
        "joints_m": Array2D((NUM_JOINTS, 3), "float32"),  # camera axes: x right, y down, z away
        "vertices_m": Array2D((NUM_VERTICES, 3), "float32"),  # camera axes
        "intrinsics_px": Array2D((3, 3), "float32"),  # of the crop
        "pose_rad": Array2D((NUM_ROTATIONS, 3), "float32"),  # axis-angle, global rotation first, into camera axes
        "shape": Sequence(Value("float32"), length=NUM_SHAPE),
        "translation_m": Sequence(Value("float32"), length=3),  # layer(pose_rad, shape) + translation_m = vertices_m
        "visible_share": Value("float32"),  # of the hand's own silhouette, 0..1
        "skin_tone": Value("float32"),  # 0 lightest .. 1 darkest; -1 where it is not known
        "sample_id": Value("string"),
    }
)

LOADED_FEATURES = Features({**CORPUS_FEATURES, "image": CheckedPhoto()})
"""What `load_corpus` gives: the same columns, whose images are decoded with care."""


def condition_features(
    point_feature_size: int = 64, global_feature_size: int = 256, num_vertices: int = 778
) -> Features:
    """The schema of a data set of conditions: what the frozen image encoder said of a crop with a hand, and the truth.

    All is in the view frame of the estimated keypoints (`hf_handdiff.camera.view_from_keypoints`), points relative to
    the wrist. What is large is float16.

    Args:
        point_feature_size: image features a keypoint, of the image encoder.
        global_feature_size: image features of the whole crop, of the image encoder.
        num_vertices: of the mesh.
    """
    return Features(
        {
            "keypoints": Array2D((21, 2), "float32"),  # in units of which the hand's box is 2 wide
            "keypoint_scores": List(Value("float32"), length=21),  # 0..1
            "view_scale": Value("float32"),  # tangent of the half angle that the keypoints span
            "view_middle": List(Value("float32"), length=2),  # tangents of their middle
            "point_features": Array2D((21, point_feature_size), "float16"),
            "global_features": List(Value("float16"), length=global_feature_size),
            "encoder_joints_m": Array2D((21, 3), "float32"),  # the encoder's own estimate
            "joints_m": Array2D((21, 3), "float32"),  # the truth, here and below
            "vertices_m": Array2D((num_vertices, 3), "float16"),
            "keypoints_visible": List(Value("bool"), length=21),
        }
    )


CONDITION_FEATURES = condition_features()
"""That of the bundled image encoder."""
