"""Joints of the hand: names, tree, and the orders that other hand models use.

The 21 joints of this package always come in the order of FreiHAND and MediaPipe: the wrist, then four
joints for each of thumb, index, middle, ring and little finger, the tip last.  MANO and HO3D keep other
orders; their joints are reordered here and nowhere else.
"""

from __future__ import annotations

NUM_JOINTS = 21
NUM_ROTATIONS = 16
"""Rotations that pose a hand: the global one (at the wrist) and three for each finger."""

NUM_SHAPE = 10
"""Shape components of a hand."""

FINGER_NAMES = ("thumb", "index", "middle", "ring", "little")

JOINT_NAMES = ("wrist",) + tuple(f"{finger}_{number}" for finger in FINGER_NAMES for number in (1, 2, 3, 4))

FINGERS = {finger: tuple(range(1 + 4 * i, 5 + 4 * i)) for i, finger in enumerate(FINGER_NAMES)}
"""The four joints of each finger, from the palm to the tip."""

FINGERTIPS = tuple(joints[-1] for joints in FINGERS.values())

JOINT_PARENTS = (-1,) + tuple(0 if joint == joints[0] else joint - 1 for joints in FINGERS.values() for joint in joints)

BONES = tuple((parent, joint) for joint, parent in enumerate(JOINT_PARENTS) if parent >= 0)
"""The 20 bones as (parent joint, child joint), ordered by their child."""

MANO_FINGER_NAMES = ("index", "middle", "little", "ring", "thumb")
"""MANO's order of the fingers: rotation 1 + 3 f + k turns bone k of finger f."""

MANO_FINGERS = {finger: tuple(range(1 + 3 * i, 4 + 3 * i)) for i, finger in enumerate(MANO_FINGER_NAMES)}
"""The three rotations (and MANO joints) of each finger, from the palm outwards."""

MANO_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)

FINGERTIP_VERTICES = {"thumb": 744, "index": 320, "middle": 443, "ring": 554, "little": 671}
"""Vertices of the open hand (778 vertices) at the fingertips: where smplx looks for MANO's."""

MANO_FINGERTIP_VERTICES = {"thumb": 744, "index": 320, "middle": 443, "ring": 555, "little": 672}
"""Vertices of MANO's mesh at the fingertips, as FreiHAND annotates them; smplx takes 554 and 671, their neighbours."""

OPEN_HAND = "open hand"
MANO = "MANO"
USERS_HAND = "the user's hand"
OTHER = "other"
"""Names of meshes: the first two have 778 vertices, but vertex 100 of one is not the place on the skin of vertex 100 of
the other.  The third is a hand whose file the user gave and whose mesh has other sizes.  Of the last nothing is known:
no mesh is the same as it, not even another one of that name."""

MANO_TO_JOINTS = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
"""``mano[MANO_TO_JOINTS]`` is in our order, where ``mano`` holds MANO's 16 joints followed by the tips of
thumb, index, middle, ring and little finger."""

HO3D_TO_JOINTS = MANO_TO_JOINTS
"""HO3D stores its 21 joints in MANO's order with the tips of thumb, index, middle, ring, little behind."""

JOINTS_TO_MANO = tuple(MANO_TO_JOINTS.index(joint) for joint in range(NUM_JOINTS))
"""The inverse of ``MANO_TO_JOINTS``."""


def mirror_points(points):
    """Mirror metric points, turning a right hand into a left one and back.

    Args:
        points: ``(..., 3)`` tensor or array, metres, wrist-relative or in camera axes.

    Returns:
        The same points with the sign of x changed, as a new tensor or array of the same type.
    """
    mirrored = points.clone() if hasattr(points, "clone") else points.copy()
    mirrored[..., 0] = -mirrored[..., 0]
    return mirrored


def mirror_pixels(points, width):
    """Mirror pixel coordinates of an image that is mirrored left to right: x becomes ``width - x``.

    Args:
        points: ``(..., 2)`` tensor or array, pixels, origin at the outer corner of the top-left pixel.
        width: width of the image in pixels.

    Returns:
        The mirrored points, of the same type.
    """
    mirrored = points.clone() if hasattr(points, "clone") else points.copy()
    mirrored[..., 0] = width - mirrored[..., 0]
    return mirrored


def mirror_rotations(axis_angle):
    """Mirror rotation vectors by the plane x = 0: what turns a right hand's pose into a left hand's.

    Args:
        axis_angle: ``(..., 3)`` tensor or array, radians.

    Returns:
        The mirrored rotation vectors: y and z change their sign.
    """
    mirrored = axis_angle.clone() if hasattr(axis_angle, "clone") else axis_angle.copy()
    mirrored[..., 1:] = -mirrored[..., 1:]
    return mirrored
