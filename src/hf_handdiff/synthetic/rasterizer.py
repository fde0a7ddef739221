"""A small software rasteriser: projection to pixels, depth buffers, shadow maps.

Everything is compiled by numba and runs on one thread, so that a corpus needs no graphics driver and worker
processes do not fight for cores. Positions are metres in OpenCV camera axes (x right, y down, z away); pixels
have their origin at the outer corner of the top-left pixel.
"""

import numba
import numpy as np

NO_FACE = -1
NEAR_PLANE_M = 0.03


def project_points(points_m: np.ndarray, intrinsics_px: np.ndarray) -> np.ndarray:
    """Pinhole projection of `points_m` (..., 3) by `intrinsics_px` (3, 3) to pixels (..., 2)."""
    homogeneous = points_m @ intrinsics_px.T
    return homogeneous[..., :2] / homogeneous[..., 2:3]


def screen_points(points_m: np.ndarray, intrinsics_px: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Points (V, 3) in metres to (V, 3) float32: x and y in pixels times `scale`, and 1 / z.

    Points at or behind the near plane get 1 / z = 0, by which the rasteriser drops their faces.
    """
    depth = points_m[:, 2]
    inverse_depth = np.where(depth > NEAR_PLANE_M, 1.0 / np.maximum(depth, NEAR_PLANE_M), 0.0)
    screen = np.empty((len(points_m), 3), np.float32)
    focal = scale * intrinsics_px[[0, 1], [0, 1]]
    centre = scale * intrinsics_px[:2, 2]
    screen[:, :2] = points_m[:, :2] * focal * inverse_depth[:, None] + centre
    screen[:, 2] = inverse_depth
    return screen


@numba.njit(cache=True, fastmath=True)
def rasterize(screen, faces, cull_back_faces, inverse_depth, face_ids):
    """Draw triangles into `inverse_depth` (H, W) float32 and `face_ids` (H, W) int32, both in place.

    `screen` (V, 3) holds x, y in pixels and 1 / z; the largest 1 / z wins. Sample points are pixel centres.
    A face looks at the camera when its corners run counter-clockwise as seen in the image.
    """
    height, width = inverse_depth.shape
    for face in range(faces.shape[0]):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        za, zb, zc = screen[a, 2], screen[b, 2], screen[c, 2]
        if za <= 0.0 or zb <= 0.0 or zc <= 0.0:
            continue
        xa, ya, xb, yb, xc, yc = (
            screen[a, 0],
            screen[a, 1],
            screen[b, 0],
            screen[b, 1],
            screen[c, 0],
            screen[c, 1],
        )
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        if abs(area) < 1e-7 or (cull_back_faces and area > 0.0):
            continue
        left = max(int(np.ceil(min(xa, xb, xc) - 0.5)), 0)
        right = min(int(np.floor(max(xa, xb, xc) - 0.5)), width - 1)
        top = max(int(np.ceil(min(ya, yb, yc) - 0.5)), 0)
        bottom = min(int(np.floor(max(ya, yb, yc) - 0.5)), height - 1)
        scale = np.float32(1.0) / area
        step_b, step_c = (yc - ya) * scale, (ya - yb) * scale
        for y in range(top, bottom + 1):
            dx, dy = left + np.float32(0.5) - xa, y + np.float32(0.5) - ya
            weight_b = (dx * (yc - ya) - (xc - xa) * dy) * scale
            weight_c = ((xb - xa) * dy - dx * (yb - ya)) * scale
            for x in range(left, right + 1):
                weight_a = np.float32(1.0) - weight_b - weight_c
                if weight_a >= 0.0 and weight_b >= 0.0 and weight_c >= 0.0:
                    z = weight_a * za + weight_b * zb + weight_c * zc
                    if z > inverse_depth[y, x]:
                        inverse_depth[y, x] = z
                        face_ids[y, x] = face
                weight_b += step_b
                weight_c += step_c


@numba.njit(cache=True, fastmath=True)
def rasterize_height(points, faces, height_map):
    """Keep in `height_map` (S, S) float32 the largest third coordinate of triangles seen along that axis.

    `points` (V, 3): x and y in texels, and the height. This is an orthographic shadow map.
    """
    size = height_map.shape[0]
    for face in range(faces.shape[0]):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        xa, ya, xb, yb, xc, yc = (
            points[a, 0],
            points[a, 1],
            points[b, 0],
            points[b, 1],
            points[c, 0],
            points[c, 1],
        )
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        if abs(area) < 1e-7:
            continue
        left, right = max(int(min(xa, xb, xc)), 0), min(int(max(xa, xb, xc)) + 1, size - 1)
        top, bottom = max(int(min(ya, yb, yc)), 0), min(int(max(ya, yb, yc)) + 1, size - 1)
        scale = np.float32(1.0) / area
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                dx, dy = x + np.float32(0.5) - xa, y + np.float32(0.5) - ya
                weight_b = (dx * (yc - ya) - (xc - xa) * dy) * scale
                weight_c = ((xb - xa) * dy - dx * (yb - ya)) * scale
                weight_a = np.float32(1.0) - weight_b - weight_c
                if weight_a >= 0.0 and weight_b >= 0.0 and weight_c >= 0.0:
                    height = weight_a * points[a, 2] + weight_b * points[b, 2] + weight_c * points[c, 2]
                    if height > height_map[y, x]:
                        height_map[y, x] = height


@numba.njit(cache=True, fastmath=True)
def vertex_normals(points, faces):
    """Area-weighted unit normals (V, 3) float32 of the triangles `faces` (F, 3) over `points` (V, 3)."""
    normals = np.zeros((points.shape[0], 3), np.float32)
    for face in range(faces.shape[0]):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in (a, b, c):
            normals[corner, 0] += nx
            normals[corner, 1] += ny
            normals[corner, 2] += nz
    for vertex in range(points.shape[0]):
        x, y, z = normals[vertex, 0], normals[vertex, 1], normals[vertex, 2]
        length = np.sqrt(x * x + y * y + z * z) + np.float32(1e-20)
        normals[vertex, 0] /= length
        normals[vertex, 1] /= length
        normals[vertex, 2] /= length
    return normals
