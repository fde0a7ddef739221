"""Train stage 2, the mesh latent denoiser: one joint hypothesis and image conditions -> distribution of meshes.

The joints that it is given are fresh samples of the frozen stage 1 (`--joint_source fresh`) from the conditions' 2D
points, true ones with the noise that the encoder says they have: it learns what the image tells of depth. A share of
them are true joints, and a share of the conditions is dropped. `noised_truth` gives true joints with noise of the size
of stage 1's errors instead.
A share of every batch are hands made on the fly, without an image: there is no end of them. The autoencoder and
stage 1 stay as they are.

`--conditions` are what the image encoder said of a corpus, once. `--corpus` has it in the loop instead, on images that
are augmented anew in every step; with `--encoder_learning_rate` it learns too, and is saved in `image_encoder/`.

`--joint_source`, `--space`, `--deterministic` and `--start` make the variants that it is compared with (ablations/).

    accelerate launch train/stage2.py
    accelerate launch train/stage2.py --config train/configs/stage2.yaml --conditions CONDITIONS
    accelerate launch train/stage2.py --config train/configs/stage2.yaml --conditions none --corpus CORPUS \
        --image_encoder ENCODER

The first is short and starts from the bundled weights; the second is a real training.
"""

import dataclasses

import torch
from ablations.models import MeshRegressor, VertexSpace, sample_variant
from handdiff_training.backbones import use_gradient_checkpointing
from handdiff_training.conditions import ConditionData, Conditions, joined
from handdiff_training.flags import BUNDLED, argument_parser, load_model, or_none, parse, run, set_network_size
from handdiff_training.hands import add_hand_flag, check_autoencoder, check_meshes, load_hand
from handdiff_training.image_hands import EncoderAndDenoiser, ImageBatch, ImageHands, supervised_loss
from handdiff_training.joint_sources import JOINT_SOURCES, JointSource
from handdiff_training.loop import step_generator, train
from handdiff_training.pictures import skeleton_sheet
from handdiff_training.posed_hands import PosedHands
from handdiff_training.small_corpus import conditions_source, corpus_source
from handdiff_training.synthetic_views import synthetic_views

from hf_handdiff.devices import to_device
from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.metrics import pa_error
from hf_handdiff.models import (
    HandImageEncoder,
    JointDenoiser,
    MeshAutoencoder,
    MeshLatentDenoiser,
    MeshLatentDenoiserConfig,
)
from hf_handdiff.pipelines.sampling import empty_conditions, sample_joints
from hf_handdiff.pipelines.schedulers import default_scheduler

_MESHES_LOOKED_AT = 20


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
        self.encoder = self.images = self.conditions = self._unseen = None
        if args.corpus:
            self.encoder = load_model(HandImageEncoder, args.image_encoder, "image_encoder").eval()
            self.encoder.requires_grad_(args.encoder_learning_rate > 0)
            self.images = ImageHands(corpus_source(args.corpus), self.encoder, estimates=args.joint_source == "none")
            check_meshes(self.hands.layer, *self.images.some_meshes(), "corpus")
        else:
            source = conditions_source(args.conditions)
            self.conditions = ConditionData(source, "train")
            self._unseen = ConditionData(source, "validation").first(args.validation_samples)
            looked_at = self.conditions.first(_MESHES_LOOKED_AT)
            check_meshes(self.hands.layer, looked_at.vertices, looked_at.joints, "conditions")
        self.joints = JointSource(
            args.joint_source,
            self.stage1,
            args.joint_sampling_steps,
            args.true_joints_share,
            num_rows=len(self.images or self.conditions),
            seed=args.seed,
        )
        begins = not args.init_from and args.start == "joint_denoiser"
        start = self._many_hands() if begins or args.space == "vertices" else None
        # In the latent loss each dimension counts as much as it moves the vertices.
        self.space, self.latent_weight = self.autoencoder, _latent_weight(self.autoencoder)
        if args.space == "vertices":
            self.space = VertexSpace.of_hands(start.vertices, self.autoencoder)
            self.latent_weight = torch.ones(self.space.latent_shape)
        self.denoiser = self.model = self._model(args, start)
        self.learns_to_see = args.encoder_learning_rate > 0
        if self.learns_to_see:
            self.model = EncoderAndDenoiser(self.encoder, self.denoiser)
            self.also_saved = {"image_encoder": lambda folder: self.encoder.save_pretrained(folder)}
            if args.gradient_checkpointing:
                use_gradient_checkpointing(self.encoder)
        if args.joint_source == "noised_truth":
            generator = step_generator(args.seed, 0, 0)
            self.joints.measure_errors(self._first_conditions(generator), generator)

    @property
    def networks(self) -> list[torch.nn.Module]:
        """What computes the most, for torch.compile."""
        return [self.denoiser] if self.encoder is None else [self.denoiser, self.encoder.backbone]

    @property
    def may_leave_parameters_unused(self) -> bool:
        """Backbones of others have parameters that a map does not depend on; heads, where nothing supervises them."""
        return self.learns_to_see

    def _many_hands(self):
        return synthetic_views(self.hands, 6000, torch.Generator().manual_seed(1), with_vertices=True)

    def _model(self, args, start):
        """The network: a saved one, or a new one that begins as `--start` says."""
        network = MeshRegressor if args.deterministic else MeshLatentDenoiser
        if args.init_from:
            model = load_model(network, args.init_from, "init_from")
            read = (model.config.point_feature_size, model.config.global_feature_size)
            if read != self._feature_sizes():
                raise InputError(
                    f"--init_from: expected a network that reads point and global features of the sizes "
                    f"{self._feature_sizes()}, as the image encoder gives them, got one for {read}"
                )
            return model
        points, whole = self._feature_sizes()
        config = MeshLatentDenoiserConfig(
            hidden_size=args.hidden_size,
            num_blocks=args.num_blocks,
            latent_tokens=self.space.latent_shape[0],
            latent_channels=self.space.latent_shape[1],
            point_feature_size=points,
            global_feature_size=whole,
        )
        model = network(config)
        if args.start == "joint_denoiser":
            with torch.no_grad():
                model.start_from_joint_denoiser(self.stage1, start.joints, self.space.encode(start.vertices))
        return model

    def _feature_sizes(self) -> tuple[int, int]:
        if self.encoder is not None:
            return self.encoder.config.point_feature_size, self.encoder.config.global_feature_size
        features = self.conditions.first(1).image
        return features.point_features.shape[-1], features.global_features.shape[-1]

    def _first_conditions(self, generator) -> Conditions:
        """Of so many rows that errors can be measured on them."""
        if self.images is None:
            return self.batch(2048, generator)
        parts = [self.batch(64, generator) for _ in range(8)]
        whole = self.images.conditions(self.encoder, parts[0], generator)
        for part in parts[1:]:
            whole = joined(whole, self.images.conditions(self.encoder, part, generator))
        return whole

    def parameter_groups(self, learning_rate):
        """All alike; an encoder that learns has a rate of its own."""
        groups = [{"params": list(self.denoiser.parameters()), "lr": learning_rate}]
        if self.learns_to_see:
            seeing = [p for p in self.encoder.parameters() if p.requires_grad]
            groups.append({"params": seeing, "lr": self.args.encoder_learning_rate})
        return groups

    def batch(self, batch_size, generator):
        """Conditions of rendered images and of synthetic views, shuffled; of images the crops, to be looked at."""
        synthetic = int(batch_size * self.args.synthetic_share)
        source = self.conditions if self.images is None else self.images
        seen = source.sample(batch_size - synthetic, generator)
        made_up, order = self._synthetic(synthetic, generator), torch.randperm(batch_size, generator=generator)
        return joined(seen, made_up, order) if self.images is None else ImageBatch(*seen, made_up, order)

    def _synthetic(self, count, generator) -> Conditions:
        views = synthetic_views(self.hands, count, generator, with_vertices=True)
        image = empty_conditions(self.denoiser.config, count)
        view = views.view
        image.keypoints, image.keypoint_scores = view.points, view.scores
        image.view_scale, image.view_middle = view.scale, view.middle
        no_row = torch.full((count,), -1)
        return Conditions(image, views.joints, views.vertices, views.view.scores > 0.5, no_row)

    def loss(self, model, batch, generator):
        """`_denoising_loss`, of an encoder that learns also its own."""
        device = next(model.parameters()).device
        batch = to_device(batch, device)
        if self.learns_to_see:
            return model(lambda networks: self._loss_of_both(networks, batch, generator))
        if self.images is not None:
            batch = self.images.conditions(self.encoder.to(device), batch, generator)
        return self._denoising_loss(model, batch, generator)

    def _loss_of_both(self, networks: EncoderAndDenoiser, batch: ImageBatch, generator):
        encoded = networks.encode(batch.crops)
        conditions = self.images.conditions(networks.image_encoder, batch, generator, encoded)
        loss, figures = self._denoising_loss(networks.mesh_latent_denoiser, conditions, generator)
        if self.args.encoder_loss_weight == 0:
            return loss, figures
        seeing, terms = supervised_loss(encoded, batch.crops)
        told = {f"encoder_{name}": terms[name] for name in ("keypoints", "joints")}
        return loss + self.args.encoder_loss_weight * seeing, {**figures, **told}

    def _denoising_loss(self, model, batch: Conditions, generator):
        """Mean squared error of the clean latent, weighted as it moves vertices, and of the decoded vertices."""
        truth, count = batch.vertices, len(batch.joints)
        device = truth.device
        self.autoencoder.to(device)
        self.space.to(device)
        joints = self.joints(batch, generator, device)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            clean = self.space.encode(truth)
        times = torch.randint(self.scheduler.config.num_train_timesteps, (count,), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        use_joints = (torch.rand(count, generator=generator) >= self.args.joints_dropout) & self.joints.known
        conditions_used = torch.rand(count, generator=generator) >= self.args.conditions_dropout
        image_used = torch.rand(count, generator=generator) >= self.args.image_dropout
        drawn = (times, noise, use_joints, conditions_used, image_used, self.latent_weight)
        times, noise, use_joints, conditions_used, image_used, latent_weight = to_device(drawn, device)
        image = dataclasses.replace(batch.image, has_image=batch.image.has_image * image_used)
        if self.args.deterministic:
            predicted = model(image, conditions_used).float()
        else:
            noisy = self.scheduler.add_noise(clean, noise, times)
            predicted = model(noisy, times, joints, image, use_joints, conditions_used).float()
        error = predicted - clean
        latent_loss = (latent_weight * error.square()).mean()
        rows = slice(0, self.args.decoded_rows)
        with torch.autocast(device.type, enabled=False):
            offset = self.space.decode(predicted[rows]) - truth[rows]
        vertex_loss = (offset / self.autoencoder.config.vertex_scale).square().mean()
        joint_offset = self.autoencoder.joints_from_vertices(offset)
        joint_loss = (joint_offset / self.autoencoder.config.vertex_scale).square().mean()
        loss = latent_loss + self.args.vertex_weight * (vertex_loss + joint_loss)
        return loss, {
            "latent": latent_loss.detach(),
            "vertex_mm": 1000 * offset.detach().norm(dim=-1).mean(),
        }

    def validate(self, model):
        """PA errors of single samples, the mean of 20 and the best of 20 through the whole cascade."""
        device = next(model.parameters()).device
        conditions = to_device(self._unseen_conditions(device), device)
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
            self.denoiser, self.space.to(device), self.scheduler, noise, given, image, num_steps=5
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
        return figures, skeleton_sheet(conditions.joints[:8].cpu(), joints[:8].cpu())

    def _unseen_conditions(self, device) -> Conditions:
        """Those of hands that are never trained on; of an encoder that learns they are made anew."""
        if self._unseen is not None and not self.learns_to_see:
            return self._unseen
        self._unseen = self.images.unseen(self.encoder.to(device), self.args.validation_samples)
        return self._unseen

    @staticmethod
    def _figures(prefix, samples, truth, figures):
        single = 1000 * pa_error(samples, truth[:, None].expand_as(samples))
        figures[f"{prefix}mean_of_20_mm"] = 1000 * pa_error(samples.mean(1), truth).mean().item()
        figures[f"{prefix}single_mm"] = single.mean().item()
        figures[f"{prefix}best_of_20_mm"] = single.amin(1).mean().item()
        figures[f"{prefix}mpjpe_mm"] = 1000 * (samples.mean(1) - truth).norm(dim=-1).mean().item()

    def save(self, model, folder):
        """Weights and config; the vertex space too, where the network works in it."""
        self.denoiser.save_pretrained(folder)
        if isinstance(self.space, VertexSpace):
            self.space.save(folder)


def _latent_weight(autoencoder: MeshAutoencoder) -> torch.Tensor:
    """(T, C) with mean 1: the variance that each normalised latent stands for."""
    std = torch.tensor(autoencoder.config.latent_std).view(autoencoder.latent_shape)
    return std.square() / std.square().mean()


def _spread_mm(samples: torch.Tensor) -> float:
    offsets = samples - samples.mean(1, keepdim=True)
    return 1000 * offsets.square().sum(-1).mean().sqrt().item()


def parse_flags(argv=None):
    """The flags of this script."""
    parser = argument_parser(__doc__, "stage2")
    add = parser.add_argument
    add_hand_flag(parser)
    add("--conditions", type=or_none, help="folder of encode_corpus.py, Hub id, or small; this or --corpus")
    add("--corpus", type=or_none, help="images in place of --conditions: folder of Parquet shards, Hub id, or small")
    add("--image_encoder", default=BUNDLED, help="that looks at --corpus: folder, Hub id or bundled")
    add("--encoder_learning_rate", type=float, default=0.0, help="of that encoder; 0: it stays as it is")
    add("--encoder_loss_weight", type=float, default=0.1, help="weight of its own loss, that of image_encoder.py")
    add("--gradient_checkpointing", action="store_true", help="of its backbone, if that is one of transformers: less "
        "memory, more time")  # fmt: skip
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
    _check_source(args, parser)
    if args.deterministic and (args.joint_source != "none" or args.start != "scratch"):
        parser.error("--deterministic: expected with it --joint_source none --start scratch")
    return args


def _check_source(args, parser) -> None:
    """Refuse flags of images and of a cache of conditions that do not go together."""
    if args.conditions and args.corpus:
        parser.error("--corpus: trains from images in place of --conditions; give --conditions none with it")
    if not (args.conditions or args.corpus):
        parser.error("--conditions or --corpus is needed, on the command line or in the file of --config")
    for flag in ("encoder_learning_rate", "encoder_loss_weight"):
        if not 0 <= getattr(args, flag) < float("inf"):
            parser.error(f"--{flag}: expected 0 or more, got {getattr(args, flag)}")
    if args.encoder_learning_rate and not args.corpus:
        parser.error("--encoder_learning_rate: expected with --corpus alone; conditions are what an encoder once said")
    if args.gradient_checkpointing and not args.encoder_learning_rate:
        parser.error("--gradient_checkpointing: expected with an encoder that learns (--encoder_learning_rate)")
    if args.corpus and int(args.train_batch_size * args.synthetic_share) >= args.train_batch_size:
        parser.error(f"--synthetic_share: expected room for images of --corpus, got {args.synthetic_share}")


def main(argv=None):
    """Parse the flags and train."""
    args = parse_flags(argv)
    torch.manual_seed(args.seed)
    return train(Stage2Task(args), args)


if __name__ == "__main__":
    run(main)
