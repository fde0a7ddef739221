"""Train stage 1, the joint denoiser: 2D keypoints -> distribution of 3D joints.

Hands are made on the fly, with 2D points that are exact but for a known noise: in the pipeline each hypothesis draws
its points from what the image encoder believes. With `--conditions` (see encode_corpus.py) a share of every batch are
rendered hands, with the noise that the encoder tells of their points.

    accelerate launch train/stage1.py
    accelerate launch train/stage1.py --config train/configs/stage1.yaml --conditions CONDITIONS

The first is short and starts from the bundled weights; the second is a real training.
"""

import argparse

import torch
from handdiff_training.conditions import ConditionData
from handdiff_training.flags import argument_parser, load_model, or_none, parse, run, set_network_size
from handdiff_training.hands import add_hand_flag, load_hand
from handdiff_training.loop import train
from handdiff_training.pictures import skeleton_sheet
from handdiff_training.posed_hands import PosedHands
from handdiff_training.small_corpus import conditions_source
from handdiff_training.synthetic_views import synthetic_views

from hf_handdiff.devices import to_device
from hf_handdiff.evaluation.metrics import pa_error
from hf_handdiff.hand.topology import JOINT_PARENTS
from hf_handdiff.models import JointDenoiser, JointDenoiserConfig
from hf_handdiff.pipelines.sampling import sample_joints
from hf_handdiff.pipelines.schedulers import default_scheduler

_PARENTS = torch.tensor(JOINT_PARENTS[1:])  # of each joint but the wrist


class Stage1Task:
    """Denoise joints, given 2D conditions."""

    real_training = "accelerate launch train/stage1.py --config train/configs/stage1.yaml --conditions CONDITIONS"

    def __init__(self, args):
        self.args = args
        self.hands = PosedHands(load_hand(args))
        self.scheduler = default_scheduler()
        if args.init_from:
            self.model = load_model(JointDenoiser, args.init_from, "init_from")
        else:
            config = JointDenoiserConfig(
                hidden_size=args.hidden_size, num_blocks=args.num_blocks, consistency=args.consistency
            )
            self.model = JointDenoiser(config)
        source = conditions_source(args.conditions)
        self.conditions = ConditionData(source, "train") if source else None
        self.unseen_conditions = ConditionData(source, "validation") if source else None
        self.unseen = synthetic_views(self.hands, args.validation_samples, torch.Generator().manual_seed(987654321))

    def parameter_groups(self, learning_rate):
        """All alike."""
        return [{"params": list(self.model.parameters()), "lr": learning_rate}]

    def batch(self, batch_size, generator):
        """(points, scores, scale, middle, joints m)."""
        from_images = int(batch_size * self.args.encoded_share) if self.conditions else 0
        synthetic = synthetic_views(self.hands, batch_size - from_images, generator)
        view = synthetic.view
        parts = [(view.points, view.scores, view.scale, view.middle, synthetic.joints)]
        if from_images:
            conditions = self.conditions.sample(from_images, generator)
            image = conditions.image
            seen = (image.keypoints, image.keypoint_scores, image.view_scale, image.view_middle)
            parts.append((*seen, conditions.joints))
        return [torch.cat(field) for field in zip(*parts, strict=True)]

    def loss(self, model, batch, generator):
        """Mean squared error of the clean joints: its minimiser is the posterior mean that DDIM assumes."""
        config, device = self.model.config, next(model.parameters()).device
        points, scores, scale, middle, joints = to_device(batch, device)
        clean = joints / config.joint_scale
        size = len(clean)
        times = torch.randint(self.scheduler.config.num_train_timesteps, (size,), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        conditioned = torch.rand(size, generator=generator) >= self.args.condition_dropout
        times, noise, conditioned, parents = to_device((times, noise, conditioned, _PARENTS), device)
        noisy = self.scheduler.add_noise(clean, noise, times)
        predicted = model(noisy, times, points, scores, scale, conditioned, middle).float()
        error = predicted - clean
        bones = (error[:, 1:] - error[:, parents]).square().mean()
        loss = error.square().mean() + self.args.bone_weight * bones
        return loss, {"joint_mm": 1000 * config.joint_scale * error.detach().norm(dim=-1).mean()}

    def validate(self, model):
        """PA error of single samples, the mean of 20 and the best of 20, on synthetic views and on real conditions."""
        figures = {}
        view, joints = self.unseen.view, self.unseen.joints
        known = (view.points, view.scores, view.scale, view.middle)
        samples = self._validate(model, "synthetic", known, joints, figures)
        if self.unseen_conditions:
            conditions = self.unseen_conditions.first(self.args.validation_samples)
            image = conditions.image
            known = (image.keypoints, image.keypoint_scores, image.view_scale, image.view_middle)
            self._validate(model, "images", known, conditions.joints, figures)
        return figures, skeleton_sheet(joints[:8], samples[:8].cpu())

    def _validate(self, model, name, known, joints, figures):
        device = next(model.parameters()).device
        noise = torch.randn(len(joints), 20, 21, 3, generator=torch.Generator().manual_seed(1)).to(device)
        points, scores, scale, middle, joints = (x.to(device) for x in (*known, joints))
        samples = sample_joints(
            model, self.scheduler, noise, points, scores, scale, num_steps=10, view_middle=middle
        )  # (B, 20, 21, 3)
        single = 1000 * pa_error(samples, joints[:, None].expand_as(samples))  # (B, 20)
        figures[f"{name}_mean_of_20_mm"] = (1000 * pa_error(samples.mean(1), joints)).mean().item()
        figures[f"{name}_single_mm"] = single.mean().item()
        figures[f"{name}_best_of_20_mm"] = single.amin(1).mean().item()
        spread = (samples - samples.mean(1, keepdim=True)).square().sum(-1).mean((1, 2)).sqrt()
        error = (samples.mean(1) - joints).square().sum(-1).mean(1).sqrt()
        figures[f"{name}_spread_over_error"] = (spread.square().mean().sqrt() / error.square().mean().sqrt()).item()
        return samples

    def save(self, model, folder):
        """Weights and config."""
        model.save_pretrained(folder)


def main(argv=None):
    """Parse the flags and train."""
    parser = argument_parser(__doc__, "stage1")
    add = parser.add_argument
    add_hand_flag(parser)
    add("--hidden_size", type=int, help="of a new network; default: 704")
    add("--num_blocks", type=int, help="of a new network; default: 4")
    add(
        "--consistency",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="a new network moves its joints towards the rays of sure points",
    )
    add("--condition_dropout", type=float, default=0.05, help="share of samples that see no 2D conditions")
    add("--bone_weight", type=float, default=0.5, help="weight of the loss on bone vectors")
    add(
        "--conditions",
        type=or_none,
        help="the encoder's answers: folder of encode_corpus.py, Hub id, or small",
    )
    add("--encoded_share", type=float, default=0.4, help="share of each batch that comes from --conditions")
    add("--validation_samples", type=int, default=1000)
    add("--init_from", type=or_none, help="a JointDenoiser to go on from: folder, Hub id or bundled")
    args = parse(parser, argv)
    set_network_size(args, parser)
    torch.manual_seed(args.seed)
    return train(Stage1Task(args), args)


if __name__ == "__main__":
    run(main)
