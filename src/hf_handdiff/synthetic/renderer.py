"""From meshes in camera axes to an image and a visibility buffer."""

from dataclasses import dataclass

import numpy as np

from hf_handdiff.synthetic.environment import Lighting
from hf_handdiff.synthetic.mesh import Mesh
from hf_handdiff.synthetic.rasterizer import NO_FACE, rasterize, rasterize_height, screen_points, vertex_normals
from hf_handdiff.synthetic.shading import SUPERSAMPLING, shade_image

SHADOW_MAP_SIZE = 160
SHADOW_RADIUS_M = 0.17
KEY_SHADOW_BIAS_M = 0.003


@dataclass
class VisibilityBuffer:
    """What each of the SUPERSAMPLING x SUPERSAMPLING samples of a pixel sees first.

    inverse_depth (S, S) 1/m, 0 for nothing; face_ids (S, S) into the scene's faces, NO_FACE for nothing;
    face_objects (F,) the object of each face; first_face (objects + 1,) where each object's faces begin.
    """

    inverse_depth: np.ndarray
    face_ids: np.ndarray
    face_objects: np.ndarray
    first_face: np.ndarray

    def object_ids(self) -> np.ndarray:
        """(S, S) object of every sample, -1 for nothing."""
        return np.where(self.face_ids >= 0, self.face_objects[self.face_ids], -1)


def render(
    meshes: list[Mesh],
    intrinsics_px: np.ndarray,
    background: np.ndarray,
    lighting: Lighting,
    focus_m: np.ndarray,
    noise: np.ndarray,
) -> tuple[np.ndarray, VisibilityBuffer]:
    """Render `meshes`, given in camera axes, over `background` (H, W, 3) float32 0..1.

    focus_m (3,) is where shadows are sharpest: the centre of the shadow maps. Returns the image (H, W, 3)
    float32 0..1 and the visibility buffer.
    """
    points = np.concatenate([mesh.points for mesh in meshes]).astype(np.float32)
    vertex_starts = np.cumsum([0] + [len(mesh.points) for mesh in meshes[:-1]])
    faces = np.concatenate([mesh.faces + start for mesh, start in zip(meshes, vertex_starts, strict=True)]).astype(
        np.int32
    )
    counts = [len(mesh.faces) for mesh in meshes]
    face_objects = np.repeat(np.arange(len(meshes), dtype=np.int32), counts)
    rest = np.concatenate([mesh.rest for mesh in meshes]).astype(np.float32)
    attributes = np.concatenate([mesh.attribute_rows() for mesh in meshes])
    table = np.stack([mesh.material.row() for mesh in meshes])
    normals = vertex_normals(points, faces)

    size = background.shape[0] * SUPERSAMPLING
    inverse_depth = np.zeros((size, size), np.float32)
    face_ids = np.full((size, size), NO_FACE, np.int32)
    screen = screen_points(points, intrinsics_px, SUPERSAMPLING)
    rasterize(screen, faces, True, inverse_depth, face_ids)

    casters = faces[np.repeat([mesh.casts_shadow for mesh in meshes], counts)]
    to_shadow, shadow_maps = _shadow_maps(points, casters, lighting, focus_m)
    image = shade_image(
        np.ascontiguousarray(background, np.float32),
        face_ids,
        inverse_depth,
        screen,
        faces,
        face_objects,
        points,
        normals,
        rest,
        attributes,
        table,
        noise,
        lighting.directions.astype(np.float32),
        lighting.colors.astype(np.float32),
        shadow_maps,
        to_shadow,
        lighting.ambient.astype(np.float32),
    )
    return image, VisibilityBuffer(inverse_depth, face_ids, face_objects, np.cumsum([0] + counts))


def _shadow_maps(
    points: np.ndarray, faces: np.ndarray, lighting: Lighting, focus_m: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Orthographic height maps (L, S, S) toward each light and the maps (L, 3, 4) that read them.

    The secondary lights are broad, so their maps use a part of the texels only: a coarser grid is a softer
    edge.
    """
    count = len(lighting.directions)
    to_shadow = np.empty((count, 3, 4), np.float32)
    shadow_maps = np.full((count, SHADOW_MAP_SIZE, SHADOW_MAP_SIZE), -1e9, np.float32)
    for light, direction in enumerate(lighting.directions):
        side = np.cross(direction, [0.0, 0.0, 1.0] if abs(direction[2]) < 0.9 else [1.0, 0.0, 0.0])
        side /= np.linalg.norm(side)
        size = SHADOW_MAP_SIZE if light == 0 else SHADOW_MAP_SIZE // 3
        texels_per_metre = 0.5 * size / SHADOW_RADIUS_M
        axes = np.stack([side, np.cross(direction, side), direction])
        scale = np.array([texels_per_metre, texels_per_metre, 1.0])
        to_shadow[light, :, :3] = axes * scale[:, None]
        to_shadow[light, :, 3] = -(axes @ focus_m) * scale + np.array([0.5 * size, 0.5 * size, 0.0])
        projected = points @ to_shadow[light, :, :3].T + to_shadow[light, :, 3]
        rasterize_height(projected, faces, shadow_maps[light, :size, :size])
        to_shadow[light, 2, 3] += KEY_SHADOW_BIAS_M if light == 0 else 2.0 * KEY_SHADOW_BIAS_M
    return to_shadow, shadow_maps
