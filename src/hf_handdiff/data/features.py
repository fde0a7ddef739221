"""The schema that every corpus of this package has: one row is one crop with one right hand, or with none.

What a data set does not tell is NaN, such as `visible_share` in FreiHAND. `vertices_m`, `pose_rad`, `shape` and
`translation_m` belong to the hand of the data set: the open hand in the synthetic corpus, MANO's in FreiHAND and
HO3D. Both have 778 vertices, but not the same ones.
"""

from datasets import Array2D, Features, Image, Sequence, Value

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
