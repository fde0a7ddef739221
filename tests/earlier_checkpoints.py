"""Mesh autoencoders as earlier versions saved them: with the triangles of any hand, and no word of whose they are."""

import json

from safetensors.torch import load_file, save_file


def save_with_triangles(autoencoder, faces, folder):
    """Save `autoencoder` with the triangles (F, 3) into `folder`."""
    autoencoder.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors") | {"faces": faces.clone()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    new = ("hand", "topology", "restricted_by")
    (folder / "config.json").write_text(json.dumps({name: value for name, value in config.items() if name not in new}))
