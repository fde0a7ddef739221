"""Train stage 2, the mesh latent denoiser: one joint hypothesis and image conditions -> distribution of meshes.

The joints that it is given are fresh samples of the frozen stage 1 (`--joint_source fresh`) from the conditions' 2D
points, true ones with the noise that the encoder says they have: it learns what the image tells of depth. A share of
them are true joints, and a share of the conditions is dropped. `noised_truth` gives true joints with noise of the size
of stage 1's errors instead.
A share of every batch are hands made on the fly, without an image: there is no end of them. The image encoder, the
autoencoder and stage 1 stay as they are.

`--joint_source`, `--space`, `--deterministic` and `--start` make the variants that it is compared with (ablations/).

    accelerate launch train/stage2.py
    accelerate launch train/stage2.py --config train/configs/stage2.yaml --conditions CONDITIONS

The first is short and starts from the bundled weights; the second is a real training.
"""

import torch
from ablations.models import MeshRegressor, VertexSpace, sample_variant
from handdiff_training.conditions import ConditionData, Conditions
from handdiff_training.flags import argument_parser, load_model, or_none, parse, run, set_network_size
from handdiff_training.hands import add_hand_flag, check_autoencoder, check_meshes, load_hand
from handdiff_training.joint_sources import JOINT_SOURCES, JointSource
from handdiff_training.loop import step_generator, train
from handdiff_training.pictures import skeleton_sheet
from handdiff_training.posed_hands import PosedHands
from handdiff_training.small_corpus import conditions_source
from handdiff_training.synthetic_views import synthetic_views

from hf_handdiff.evaluation.metrics import pa_error
from hf_handdiff.models import JointDenoiser, MeshAutoencoder, MeshLatentDenoiser, MeshLatentDenoiserConfig
from hf_handdiff.models.mesh_latent_denoiser import ImageConditions
from hf_handdiff.pipelines.sampling import empty_conditions, sample_joints
from hf_handdiff.pipelines.schedulers import default_scheduler


class Stage2Task:
    """Denoise mesh latents, given joints and the image's conditions."""

    real_training = (
        "accelerate launch train/stage2.py --config train/configs/stage2.yaml --conditions CONDITIONS "
        "--joint_denoiser runs/stage1/model --mesh_autoencoder runs/autoencoder/model"
    )

    def __init__(self, args):
        self.args = args
        self.scheduler = default_scheduler()
        self.joint_scheduler = default_scheduler()
        self.stage1 = load_model(JointDenoiser, args.joint_denoiser, "joint_denoiser").eval().requires_grad_(False)
        self.autoencoder = load_model(MeshAutoencoder, args.mesh_autoencoder, "mesh_autoencoder")
        self.autoencoder.eval().requires_grad_(False)
        self.hands = PosedHands(load_hand(args))
        check_autoencoder(self.hands.layer, self.autoencoder, "mesh_autoencoder")
        source = conditions_source(args.conditions)
        self.conditions = ConditionData(source, "train")
        self.unseen = ConditionData(source, "validation")
        looked_at = self.conditions.first(20)
        check_meshes(self.hands.layer, looked_at.vertices, looked_at.joints, "conditions")
        self.joints = JointSource(
            args.joint_source,
            self.stage1,
            args.joint_sampling_steps,
            args.true_joints_share,
            num_rows=len(self.conditions),
            seed=args.seed,
        )
        start = synthetic_views(self.hands, 6000, torch.Generator().manual_seed(1), with_vertices=True)
        # In the latent loss each dimension counts as much as it moves the vertices.
        self.space, self.latent_weight = self.autoencoder, _latent_weight(self.autoencoder)
        if args.space == "vertices":
            self.space = VertexSpace.of_hands(start.vertices, self.autoencoder)
            self.latent_weight = torch.ones(self.space.latent_shape)
        self.model = self._model(args, start)
        if args.joint_source == "noised_truth":
            generator = step_generator(args.seed, 0, 0)
            self.joints.measure_errors(self.batch(2048, generator), generator)

    def _model(self, args, start):
        """The network: a saved one, or a new one that begins as `--start` says."""
        network = MeshRegressor if args.deterministic else MeshLatentDenoiser
        if args.init_from:
            return load_model(network, args.init_from, "init_from")
        features = self.conditions.first(1).image
        config = MeshLatentDenoiserConfig(
            hidden_size=args.hidden_size,
            num_blocks=args.num_blocks,
            latent_tokens=self.space.latent_shape[0],
            latent_channels=self.space.latent_shape[1],
            point_feature_size=features.point_features.shape[-1],
            global_feature_size=features.global_features.shape[-1],
        )
        model = network(config)
        if args.start == "joint_denoiser":
            with torch.no_grad():
                model.start_from_joint_denoiser(self.stage1, start.joints, self.space.encode(start.vertices))
        return model

    def parameter_groups(self, learning_rate):
        """All alike."""
        return [{"params": list(self.model.parameters()), "lr": learning_rate}]

    def batch(self, batch_size, generator):
        """Conditions of rendered images and of synthetic views, shuffled."""
        synthetic = int(batch_size * self.args.synthetic_share)
        rendered = self.conditions.sample(batch_size - synthetic, generator)
        return _joined(rendered, self._synthetic(synthetic, generator), torch.randperm(batch_size, generator=generator))

    def _synthetic(self, count, generator) -> Conditions:
        views = synthetic_views(self.hands, count, generator, with_vertices=True)
        image = empty_conditions(self.model.config, count)
        view = views.view
        image.keypoints, image.keypoint_scores = view.points, view.scores
        image.view_scale, image.view_middle = view.scale, view.middle
        no_row = torch.full((count,), -1)
        return Conditions(image, views.joints, views.vertices, views.view.scores > 0.5, no_row)

    def loss(self, model, batch, generator):
        """Mean squared error of the clean latent, weighted as it moves vertices, and of the decoded vertices."""
        device = next(model.parameters()).device
        self.autoencoder.to(device)
        self.space.to(device)
        count = len(batch.joints)
        joints = self.joints(batch, generator, device).to(device)
        truth = batch.vertices.to(device)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            clean = self.space.encode(truth)
        times = torch.randint(self.scheduler.config.num_train_timesteps, (count,), generator=generator)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        use_joints = (torch.rand(count, generator=generator) >= self.args.joints_dropout) & self.joints.known
        conditions_used = torch.rand(count, generator=generator) >= self.args.conditions_dropout
        batch.image.has_image *= torch.rand(count, generator=generator) >= self.args.image_dropout
        image, conditions_used = batch.image.to(device), conditions_used.to(device)
        if self.args.deterministic:
            predicted = model(image, conditions_used).float()
        else:
            noisy = self.scheduler.add_noise(clean, noise, times.to(device))
            predicted = model(noisy, times.to(device), joints, image, use_joints.to(device), conditions_used).float()
        error = predicted - clean
        latent_loss = (self.latent_weight.to(device) * error.square()).mean()
        rows = slice(0, self.args.decoded_rows)
        with torch.autocast(device.type, enabled=False):
            offset = self.space.decode(predicted[rows]) - truth[rows]
        vertex_loss = (offset / self.autoencoder.config.vertex_scale).square().mean()
        joint_offset = self.autoencoder.joints_from_vertices(offset)
        joint_loss = (joint_offset / self.autoencoder.config.vertex_scale).square().mean()
        loss = latent_loss + self.args.vertex_weight * (vertex_loss + joint_loss)
        return loss, {
            "latent": latent_loss.item(),
            "vertex_mm": 1000 * offset.detach().norm(dim=-1).mean().item(),
        }

    def validate(self, model):
        """PA errors of single samples, the mean of 20 and the best of 20 through the whole cascade."""
        conditions = self.unseen.first(self.args.validation_samples)
        device = next(model.parameters()).device
        generator = torch.Generator().manual_seed(1)
        count = len(conditions.joints)
        image = conditions.image
        hypotheses = sample_joints(
            self.stage1.to(device),
            self.joint_scheduler,
            torch.randn(count, 20, 21, 3, generator=generator),
            image.keypoints,
            image.keypoint_scores,
            image.view_scale,
            10,
            view_middle=image.view_middle,
        )
        noise = torch.randn(count, 20, *self.space.latent_shape, generator=generator)
        given = hypotheses if self.joints.known else None
        vertices, joints = sample_variant(
            model, self.space.to(device), self.scheduler, noise, given, image, num_steps=5
        )
        figures = {}
        for name, answer in (("stage1_mean_of_20", hypotheses.mean(1)), ("rough", image.encoder_joints)):
            figures[f"{name}_mm"] = 1000 * pa_error(answer, conditions.joints).mean().item()
            figures[f"{name}_mpjpe_mm"] = 1000 * (answer - conditions.joints).norm(dim=-1).mean().item()
        self._figures("", joints, conditions.joints, figures)
        figures["mesh_mean_of_20_mm"] = 1000 * pa_error(vertices.mean(1), conditions.vertices).mean().item()
        figures["spread_stage1_mm"] = _spread_mm(hypotheses)
        figures["spread_stage2_mm"] = _spread_mm(joints)
        hidden = ~conditions.visible
        figures["hidden_joint_mm"] = 1000 * (joints.mean(1) - conditions.joints).norm(dim=-1)[hidden].mean().item()
        return figures, skeleton_sheet(conditions.joints[:8], joints[:8])

    @staticmethod
    def _figures(prefix, samples, truth, figures):
        single = 1000 * pa_error(samples, truth[:, None].expand_as(samples))
        figures[f"{prefix}mean_of_20_mm"] = 1000 * pa_error(samples.mean(1), truth).mean().item()
        figures[f"{prefix}single_mm"] = single.mean().item()
        figures[f"{prefix}best_of_20_mm"] = single.amin(1).mean().item()
        figures[f"{prefix}mpjpe_mm"] = 1000 * (samples.mean(1) - truth).norm(dim=-1).mean().item()

    def save(self, model, folder):
        """Weights and config; the vertex space too, where the network works in it."""
        model.save_pretrained(folder)
        if isinstance(self.space, VertexSpace):
            self.space.save(folder)


def _latent_weight(autoencoder: MeshAutoencoder) -> torch.Tensor:
    """(T, C) with mean 1: the variance that each normalised latent stands for."""
    std = torch.tensor(autoencoder.config.latent_std).view(autoencoder.latent_shape)
    return std.square() / std.square().mean()


def _joined(one: Conditions, other: Conditions, order: torch.Tensor) -> Conditions:
    """The rows of both, in the given order."""
    image = {k: torch.cat([v, vars(other.image)[k]])[order] for k, v in vars(one.image).items()}
    fields = ("joints", "vertices", "visible", "row")
    return Conditions(
        ImageConditions(**image), *(torch.cat([getattr(one, f), getattr(other, f)])[order] for f in fields)
    )


def _spread_mm(samples: torch.Tensor) -> float:
    offsets = samples - samples.mean(1, keepdim=True)
    return 1000 * offsets.square().sum(-1).mean().sqrt().item()


def parse_flags(argv=None):
    """The flags of this script."""
    parser = argument_parser(__doc__, "stage2")
    add = parser.add_argument
    add_hand_flag(parser)
    add("--conditions", default="corpora/conditions", help="folder of encode_corpus.py, Hub id, or small")
    add("--joint_denoiser", default="runs/stage1/model", help="frozen stage 1: folder, Hub id or bundled")
    add("--mesh_autoencoder", default="runs/autoencoder/model", help="frozen: folder, Hub id or bundled")
    add("--hidden_size", type=int, help="of a new network, as stage 1 has it: it starts from that; default: 704")
    add("--num_blocks", type=int, help="likewise; default: 4")
    add("--joint_sampling_steps", type=int, default=4, help="denoising steps of the fresh samples of stage 1")
    add("--true_joints_share", type=float, default=0.1, help="share of samples that get true joints")
    add("--joints_dropout", type=float, default=0.1, help="share of samples that see no joints")
    add("--image_dropout", type=float, default=0.1, help="share of samples that see 2D keypoints and no image")
    add(
        "--conditions_dropout", type=float, default=0.1, help="share of samples that see neither image nor 2D keypoints"
    )
    add("--synthetic_share", type=float, default=0.4, help="share of each batch that is made on the fly")
    add("--vertex_weight", type=float, default=1.0, help="weight of the loss on decoded vertices and joints")
    add("--decoded_rows", type=int, default=128, help="rows of each batch that are decoded for that loss")
    add("--validation_samples", type=int, default=500)
    add("--init_from", type=or_none, help="a MeshLatentDenoiser to go on from: folder, Hub id or bundled")
    add("--joint_source", choices=JOINT_SOURCES, default="fresh", help="see joint_sources.py; none: a single stage")
    add("--space", choices=["latent", "vertices"], default="latent", help="what is diffused")
    add("--deterministic", action="store_true", help="a regressor without noise, time and joints: one answer")
    add("--start", choices=["joint_denoiser", "scratch"], default="joint_denoiser", help="what a new network begins as")
    args = parse(parser, argv)
    set_network_size(args, parser)
    if args.deterministic and (args.joint_source != "none" or args.start != "scratch"):
        parser.error("--deterministic: expected with it --joint_source none --start scratch")
    return args


def main(argv=None):
    """Parse the flags and train."""
    args = parse_flags(argv)
    torch.manual_seed(args.seed)
    return train(Stage2Task(args), args)


if __name__ == "__main__":
    run(main)
