"""A reader of GLB files for tests: nodes, meshes, and vertices as a viewer would skin them, from the file alone."""

import json
import struct

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

_TYPES = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_COLUMNS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Glb:
    """A file, and its hands at any time of its animation; `time_s` None: as the nodes stand."""

    def __init__(self, path):
        data = path.read_bytes()
        magic, version, length = struct.unpack("<III", data[:12])
        assert (magic, version, length) == (0x46546C67, 2, len(data))
        size, kind = struct.unpack("<II", data[12:20])
        assert kind == 0x4E4F534A
        self.document = json.loads(data[20 : 20 + size])
        self.data = data[28 + size :]
        self.names = [node["name"] for node in self.document.get("nodes", [])]

    def array(self, number):
        accessor = self.document["accessors"][number]
        view = self.document["bufferViews"][accessor["bufferView"]]
        columns = _COLUMNS[accessor["type"]]
        numbers = np.frombuffer(
            self.data, _TYPES[accessor["componentType"]], accessor["count"] * columns, view["byteOffset"]
        )
        assert numbers.nbytes == view["byteLength"] and view["byteOffset"] % 4 == 0
        return numbers.reshape(-1, columns) if columns > 1 else numbers

    def node(self, name):
        return self.document["nodes"][self.names.index(name)]

    def mesh_of(self, name):
        (primitive,) = self.document["meshes"][self.node(name)["mesh"]]["primitives"]
        return primitive

    def faces_of(self, name):
        return self.array(self.mesh_of(name)["indices"]).reshape(-1, 3)

    def bones_of(self, name):
        """Names of the joints of a skin, in its order."""
        return [self.names[joint] for joint in self.document["skins"][self.node(name)["skin"]]["joints"]]

    def animated(self, node, path, time_s):
        """What an animation says of a node's property at a time, or None."""
        for animation in self.document.get("animations", []) if time_s is not None else []:
            for channel in animation["channels"]:
                if channel["target"] == {"node": node, "path": path}:
                    return self._sampled(animation["samplers"][channel["sampler"]], path, time_s)
        return None

    def _sampled(self, sampler, path, time_s):
        times, values = self.array(sampler["input"]).astype(float), self.array(sampler["output"]).astype(float)
        values = values.reshape(len(times), -1)
        time_s = np.clip(time_s, times[0], times[-1])
        if sampler["interpolation"] == "STEP":
            return values[np.searchsorted(times, time_s, side="right") - 1]
        if path == "rotation" and len(times) > 1:
            return Slerp(times, Rotation.from_quat(values))(time_s).as_quat()
        return np.array([np.interp(time_s, times, column) for column in values.T])

    def world(self, time_s=None):
        """Matrices (nodes, 4, 4) of all nodes."""
        nodes = self.document["nodes"]
        local, parents = [], {child: k for k, node in enumerate(nodes) for child in node.get("children", [])}
        for number, node in enumerate(nodes):
            values = {"rotation": [0, 0, 0, 1], "translation": [0, 0, 0], "scale": [1, 1, 1]}
            for path in values:
                moved = self.animated(number, path, time_s)
                values[path] = node.get(path, values[path]) if moved is None else moved
            matrix = np.eye(4)
            matrix[:3, :3] = Rotation.from_quat(values["rotation"]).as_matrix() * values["scale"]
            matrix[:3, 3] = values["translation"]
            local.append(matrix)

        def placed(number):
            return placed(parents[number]) @ local[number] if number in parents else local[number]

        return np.stack([placed(number) for number in range(len(nodes))])

    def rest_vertices(self, name):
        return self.array(self.mesh_of(name)["attributes"]["POSITION"]).astype(float)

    def skinned_vertices(self, name, time_s=None):
        """(V, 3) m of a skinned mesh, glTF axes."""
        number, primitive = self.names.index(name), self.mesh_of(name)
        node, attributes = self.document["nodes"][number], primitive["attributes"]
        vertices = self.rest_vertices(name)
        weights = self.animated(number, "weights", time_s)
        weights = self.document["meshes"][node["mesh"]].get("weights", []) if weights is None else weights
        for weight, target in zip(weights, primitive.get("targets", []), strict=True):
            vertices = vertices + weight * self.array(target["POSITION"])
        skin = self.document["skins"][node["skin"]]
        binds = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        bones = self.world(time_s)[skin["joints"]] @ binds
        homogeneous = np.concatenate([vertices, np.ones((len(vertices), 1))], axis=1)
        moved = np.zeros((len(vertices), 4))
        total = np.zeros(len(vertices))
        for key in [key for key in attributes if key.startswith("JOINTS_")]:
            joints, shares = self.array(attributes[key]), self.array(attributes[key.replace("JOINTS", "WEIGHTS")])
            for column in range(4):
                turned = np.einsum("vxy,vy->vx", bones[joints[:, column]], homogeneous)
                moved += shares[:, column, None] * turned
            total += shares.sum(axis=1)
        np.testing.assert_allclose(total, 1.0, atol=1e-6)
        return moved[:, :3]
