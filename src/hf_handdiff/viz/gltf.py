"""glTF 2.0 files as one binary (GLB): the lists of a document and the numbers that they point to.

A small writer of our own: trimesh writes meshes but no skins, bones or animations, and pygltflib holds the JSON and
leaves views, accessors, their bounds and their alignment to the caller, which is most of what is here.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

VERTICES, INDICES = 34962, 34963
"""What a part of the buffer is for."""
_TYPES = {np.dtype("u1"): 5121, np.dtype("<u2"): 5123, np.dtype("<u4"): 5125, np.dtype("<f4"): 5126}
_MAGIC, _VERSION, _JSON_CHUNK, _BINARY_CHUNK = 0x46546C67, 2, 0x4E4F534A, 0x004E4942


class GltfDocument:
    """A glTF document that grows; equal numbers are stored once."""

    def __init__(self):
        self._lists: dict[str, list[dict[str, Any]]] = {}
        self._scene: list[int] = []
        self._data = bytearray()
        self._stored: dict[tuple, int] = {}

    def add(self, kind: str, **item: Any) -> int:
        """Append an item to one of the document's lists ("nodes", "meshes", ...); None values are left out.

        Returns:
            Its number in the list.
        """
        items = self._lists.setdefault(kind, [])
        items.append({name: value for name, value in item.items() if value is not None})
        return len(items) - 1

    def item(self, kind: str, number: int) -> dict[str, Any]:
        """An item that was added."""
        return self._lists[kind][number]

    def show(self, node: int) -> None:
        """Make a node a root of the scene."""
        self._scene.append(node)

    def accessor(
        self,
        values: np.ndarray,
        kind: str,
        target: int | None = None,
        bounds: bool = False,
        normalized: bool | None = None,
    ) -> int:
        """Store an array.

        Args:
            values: (n,) or (n, m); uint8, uint16, uint32 or float32 (float64 becomes float32). Rows of vertex
                attributes must be multiples of 4 bytes long.
            kind: "SCALAR", "VEC3", "VEC4" or "MAT4", by columns.
            target: `VERTICES`, `INDICES`, or None for what is no part of a mesh.
            bounds: tell the least and the largest values: glTF wants them of positions and of times.
            normalized: True: integers stand for 0..1.

        Returns:
            The number of the accessor.
        """
        values = np.asarray(values)
        values = np.ascontiguousarray(values, "<f4" if values.dtype.kind == "f" else values.dtype.newbyteorder("<"))
        data = values.tobytes()
        key = (data, values.dtype.str, kind, target, bounds, normalized)
        if key not in self._stored:
            self._data += bytes(-len(self._data) % 4)
            view = self.add("bufferViews", buffer=0, byteOffset=len(self._data), byteLength=len(data), target=target)
            self._data += data
            columns = values.reshape(len(values), -1)
            self._stored[key] = self.add(
                "accessors",
                bufferView=view,
                componentType=_TYPES[values.dtype],
                count=len(values),
                type=kind,
                normalized=normalized,
                min=columns.min(axis=0).tolist() if bounds else None,
                max=columns.max(axis=0).tolist() if bounds else None,
            )
        return self._stored[key]

    def to_bytes(self) -> bytes:
        """The GLB file."""
        from hf_handdiff import __version__

        document = {
            "asset": {"version": "2.0", "generator": f"hf_handdiff {__version__}"},
            "scene": 0,
            "scenes": [{"nodes": self._scene} if self._scene else {}],
            **self._lists,
        }
        data = bytes(self._data) + bytes(-len(self._data) % 4)
        if data:
            document["buffers"] = [{"byteLength": len(data)}]
        text = json.dumps(document, separators=(",", ":")).encode()
        chunks = [(_JSON_CHUNK, text + b" " * (-len(text) % 4))] + ([(_BINARY_CHUNK, data)] if data else [])
        body = b"".join(struct.pack("<II", len(chunk), kind) + chunk for kind, chunk in chunks)
        return struct.pack("<III", _MAGIC, _VERSION, 12 + len(body)) + body
