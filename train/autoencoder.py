"""Train the mesh autoencoder on posed hands that are made on the fly; no corpus is needed.

    accelerate launch train/autoencoder.py
    accelerate launch train/autoencoder.py --config train/configs/autoencoder.yaml

The first is short and starts from the bundled weights; the second is a real training.
"""

import torch
from handdiff_training.flags import argument_parser, load_model, or_none, parse, run
from handdiff_training.hands import add_hand_flag, check_autoencoder, load_hand
from handdiff_training.loop import train
from handdiff_training.pictures import mesh_sheet
from handdiff_training.posed_hands import PosedHands

from hf_handdiff.devices import to_device
from hf_handdiff.models import MeshAutoencoder


class AutoencoderTask:
    """Reconstruct meshes in any pose, shape and rotation."""

    real_training = "accelerate launch train/autoencoder.py --config train/configs/autoencoder.yaml"

    def __init__(self, args):
        layer = load_hand(args)
        self.hands = PosedHands(layer)
        if args.init_from:
            self.model = load_model(MeshAutoencoder, args.init_from, "init_from")
            check_autoencoder(layer, self.model, "init_from")
        else:
            self.model = self._new_model(layer, args)
        # Unseen by training: its generators are seeded differently (see loop.step_generator).
        self.unseen = self.hands.vertices(2000, torch.Generator().manual_seed(987654321))

    def _new_model(self, layer, args):
        """One that begins as the principal components of many hands."""
        model = MeshAutoencoder.of_hand(layer, latent_tokens=args.latent_tokens, latent_channels=args.latent_channels)
        start = self.hands.vertices(args.principal_component_samples, torch.Generator().manual_seed(1))
        model.start_from_principal_components(start)
        return model

    def parameter_groups(self, learning_rate):
        """The linear branches start as principal components: steps of Adam's usual size would only blur them."""
        linear = [*self.model.encode_linear.parameters(), *self.model.decode_linear.parameters()]
        known = {id(p) for p in linear}
        rest = [p for p in self.model.parameters() if id(p) not in known]
        return [{"params": linear, "lr": 0.01 * learning_rate}, {"params": rest, "lr": learning_rate}]

    def batch(self, batch_size, generator):
        """(B, V, 3) m, wrist-relative."""
        return self.hands.vertices(batch_size, generator)

    def loss(self, model, batch, generator):
        """Mean vertex distance plus that of the joints, mm."""
        batch = to_device(batch, next(model.parameters()).device)
        error_mm = 1000 * (model(batch).float() - batch)
        vertex_mm = error_mm.norm(dim=-1).mean()
        joint_mm = self.model.joints_from_vertices(error_mm).norm(dim=-1).mean()
        return vertex_mm + 0.5 * joint_mm, {"vertex_mm": vertex_mm.detach(), "joint_mm": joint_mm.detach()}

    def validate(self, model):
        """Vertex and joint errors on unseen poses and shapes."""
        unseen = self.unseen.to(model.faces.device)
        rebuilt = torch.cat([model(part) for part in unseen.split(256)])
        distance_mm = 1000 * (rebuilt - unseen).norm(dim=-1)
        joints_mm = 1000 * model.joints_from_vertices(rebuilt - unseen).norm(dim=-1)
        figures = {
            "vertex_mm": distance_mm.mean().item(),
            "vertex_mm_p99": distance_mm.flatten()[:: max(1, distance_mm.numel() // 100000)].quantile(0.99).item(),
            "joint_mm": joints_mm.mean().item(),
        }
        return figures, mesh_sheet(unseen[:8].cpu(), rebuilt[:8].cpu())

    def save(self, model, folder):
        """Latent statistics are measured last, on the weights that are saved."""
        model.set_latent_statistics(self.hands.vertices(8000, torch.Generator().manual_seed(2)).to(model.faces.device))
        model.save_pretrained(folder)


def main(argv=None):
    """Parse the flags and train."""
    parser = argument_parser(__doc__, "autoencoder")
    parser.add_argument("--init_from", type=or_none, help="a MeshAutoencoder to go on from: folder, Hub id or bundled")
    add_hand_flag(parser)
    parser.add_argument("--latent_tokens", type=int, default=24)
    parser.add_argument("--latent_channels", type=int, default=4)
    parser.add_argument("--principal_component_samples", type=int, default=6000)
    args = parse(parser, argv)
    torch.manual_seed(args.seed)
    return train(AutoencoderTask(args), args)


if __name__ == "__main__":
    run(main)
