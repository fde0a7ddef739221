"""Posed hands fitted to 3D joints, 2D points or meshes by Levenberg and Marquardt's method, many hands at a time.

Every hand has its own damping and accepts or refuses its own steps: its answer does not depend on the others.

Benchmark: hands settle after five to ten iterations. From joints and 2D points in float32, on one busy CPU core (the
best of 30 calls), one hand takes 8 ms, one of 20 takes 1.9 ms and one of 64 takes 1.5 ms; three iterations from a warm
start take 1.5, 0.8 and 0.4 ms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import roma
import torch

from hf_handdiff.hand.fit_terms import (
    FINGERS,
    LIMIT_STD_RAD,
    NUM_PLACED,
    NUM_POSED,
    JointTerm,
    LimitTerm,
    PriorTerm,
    RayTerm,
    coordinates_first,
)
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.pose_prior import PosePrior, load_pose_prior
from hf_handdiff.hand.posed_points import HandState, PointModel, orthonormal
from hf_handdiff.hand.topology import NUM_ROTATIONS, NUM_SHAPE

DEFAULT_JOINT_STD_M = 0.01
_FIRST_DAMPING, _DAMPING_DOWN, _DAMPING_UP = 1e-2, 0.15, 10.0
_LARGEST_DAMPING = 1e4
_SETTLED = (3e-4, 1e-6)
"""A hand is done when its cost, in squared standard deviations, sinks by less than this and this share of it."""
_RIDGE = 1e-6
_LARGEST_STARTING_LOG_SIZE = 0.3
_STARTING_DEPTHS_M = (0.15, 3.0)


@dataclass
class FittedHand:
    """Fitted right hands.

    Attributes:
        state: the parameters, as the iterations hold them.
        joints: ``(B, 21, 3)`` metres, relative to the wrist, scaled.
        cost: ``(B,)``: the sum of squares, in standard deviations, of all terms.
    """

    state: HandState
    joints: torch.Tensor
    cost: torch.Tensor

    @property
    def pose(self) -> torch.Tensor:
        """``(B, 16, 3)`` axis-angle, radians, the global rotation first."""
        return torch.cat([roma.rotmat_to_rotvec(self.state.turn)[:, None], self.state.fingers], dim=1)

    @property
    def rotations(self) -> torch.Tensor:
        """``(B, 16, 3, 3)``, the global rotation first."""
        return torch.cat([self.state.turn[:, None], roma.rotvec_to_rotmat(self.state.fingers)], dim=1)

    @property
    def betas(self) -> torch.Tensor:
        """``(B, 10)``."""
        return self.state.shape

    @property
    def hand_scale(self) -> torch.Tensor:
        """``(B,)``: the size of the hand about its wrist; 1 is the layer's."""
        return self.state.log_size[:, 0].exp()

    @property
    def translation(self) -> torch.Tensor:
        """``(B, 3)`` metres, the wrist in the camera frame; means something only where 2D points were given."""
        return self.state.place


@dataclass
class _Linear:
    """The problem round a state: Hessian, half gradient, and what is needed to compare costs."""

    hessian: torch.Tensor  # (B, P, P)
    gradient: torch.Tensor  # (B, P)
    cost: torch.Tensor  # (B,) all terms but the 2D points
    points: torch.Tensor  # (B, 3, K)
    ray_residual: torch.Tensor | None = None  # (B, 2, 21)
    ray_weights: torch.Tensor | None = None  # (B, 1, 21)


def _merged(function, *several):
    """A state or linearisation whose tensors are ``function`` of those of several."""
    values = ({name: value for name, value in vars(one).items()} for one in several)
    first, *others = values
    return type(several[0])(
        **{name: None if v is None else function(v, *(o[name] for o in others)) for name, v in first.items()}
    )


def _rows(these, rows: torch.Tensor):
    """The ``rows`` (indices) of a state or linearisation."""
    return _merged(lambda x: x[rows], these)


def _where(rows: torch.Tensor, these, others):
    """Of two states or linearisations one in the ``rows`` ``(B,)`` bool and the other elsewhere."""
    return _merged(lambda x, y: torch.where(rows.view(-1, *[1] * (x.ndim - 1)), x, y), these, others)


def _replaced(these, rows: torch.Tensor, others):
    """A state or linearisation with the ``rows`` (indices) replaced."""
    return _merged(lambda x, y: x.index_copy(0, rows, y), these, others)


@dataclass
class FitProblem:
    """The terms of a fit.

    Attributes:
        model: the points that are compared: the joints, or all vertices.
        joints: 3D targets of the points, or None.
        rays: 2D targets of the points (joints), or None.
        prior: on fingers, shape and size; its size says whether the place of the wrist is sought.
        limits: of the finger joints.
    """

    model: PointModel
    joints: JointTerm | None
    rays: RayTerm | None
    prior: PriorTerm
    limits: LimitTerm

    def linearise(self, state: HandState) -> _Linear:
        """The problem round a state."""
        posed = self.model.pose(state)
        gradient, cost = self.prior.gradient(state)
        hessian = self.prior.precision.expand(len(cost), -1, -1).clone()
        linear = _Linear(hessian, gradient, cost, posed.points)
        if self.joints is not None:
            products = self.joints.products(posed)
            hessian[:, :NUM_POSED, :NUM_POSED] += products[:, :-1, :-1]
            gradient[:, :NUM_POSED] += products[:, -1, :-1]
            linear.cost = cost + products[:, -1, -1]
        penalty = self.limits.penalty(posed)
        if penalty is not None:
            blocks = hessian[:, FINGERS, FINGERS].unflatten(1, (15, 3)).unflatten(3, (15, 3))
            blocks.diagonal(dim1=1, dim2=3).add_(penalty.hessian.permute(0, 2, 3, 1))
            gradient[:, FINGERS] += penalty.gradient
            linear.cost = linear.cost + penalty.cost
        if self.rays is not None:
            residual, depth = self.rays.residuals(posed, state.place)
            weights = self.rays.weights(residual)
            products = self.rays.products(posed, residual, depth, weights)
            hessian += products[:, :-1, :-1]
            gradient += products[:, -1, :-1]
            linear.ray_residual, linear.ray_weights = residual, weights
        return linear

    def cost(self, linear: _Linear, weights: torch.Tensor | None) -> torch.Tensor:
        """``(B,)`` at a state, its 2D points weighted as given."""
        return linear.cost if self.rays is None else linear.cost + self.rays.cost(linear.ray_residual, weights)

    def rows(self, rows: torch.Tensor) -> FitProblem:
        """The problem of some hands."""
        joints, rays = (None if term is None else term.rows(rows) for term in (self.joints, self.rays))
        return replace(self, joints=joints, rays=rays)

    def solve(self, state: HandState, num_iterations: int) -> tuple[HandState, _Linear]:
        """Iterate until every hand has settled, or so many times.

        A step that does not lower a hand's cost is refused and the next one is shorter; a hand whose cost hardly sinks
        any more is done and stays as it is, whatever the others of the batch still do.
        """
        linear = self.linearise(state)
        return self._iterate(state, linear, torch.full_like(linear.cost, _FIRST_DAMPING), num_iterations)

    def _iterate(self, state, linear: _Linear, damping: torch.Tensor, num_iterations: int):
        done = torch.zeros_like(linear.cost, dtype=torch.bool)
        for iteration in range(num_iterations):
            damped = linear.hessian.clone()
            damped.diagonal(dim1=1, dim2=2).mul_(1 + damping[:, None]).add_(_RIDGE)
            factor, _ = torch.linalg.cholesky_ex(damped)
            trial = state.stepped(-torch.cholesky_solve(linear.gradient[..., None], factor)[..., 0])
            tried = self.linearise(trial)
            # under the same weights: with this, the robust cost goes down too
            before = self.cost(linear, linear.ray_weights)
            gain = before - self.cost(tried, linear.ray_weights)
            better = (gain > 0) & ~done
            damping = torch.where(gain > 0, damping * _DAMPING_DOWN, damping * _DAMPING_UP)
            done = done | (better & (gain < _SETTLED[0] + _SETTLED[1] * before)) | (damping > _LARGEST_DAMPING)
            if better.all():
                state, linear = trial, tried
            elif better.any():
                state, linear = _where(better, trial, state), _where(better, tried, linear)
            busy = len(done) - int(done.sum())
            if busy == 0:
                break
            if busy <= len(done) // 2:  # go on with those alone
                rows = (~done).nonzero()[:, 0]
                some_state, some = _rows(state, rows), _rows(linear, rows)
                rest = num_iterations - iteration - 1
                some_state, some = self.rows(rows)._iterate(some_state, some, damping[rows], rest)
                return _replaced(state, rows, some_state), _replaced(linear, rows, some)
        return state, linear


# ------------------------------------------------------------------------------------------------ starts


def mean_hands(prior: PosePrior, count: int, like: torch.Tensor) -> HandState:
    """The prior's mean hand, ``count`` times."""
    return HandState(
        turn=torch.eye(3, dtype=like.dtype, device=like.device).expand(count, 3, 3),
        fingers=prior.mean.to(like).view(1, NUM_ROTATIONS - 1, 3).expand(count, -1, -1),
        shape=like.new_zeros(count, NUM_SHAPE),
        log_size=like.new_zeros(count, 1),
        place=like.new_tensor([0.0, 0.0, 0.5]).expand(count, 3),
    )


def aligned_start(model: PointModel, prior: PosePrior, target: torch.Tensor, information: torch.Tensor) -> HandState:
    """The prior's mean hand, turned and scaled upon 3D targets ``(B, 3, 21)`` by Kabsch's method."""
    state = mean_hands(prior, len(target), target)
    points = model.pose(mean_hands(prior, 1, target)).points  # (1, 3, 21)
    weights = information.diagonal(dim1=1, dim2=2).view(-1, 3, target.shape[-1]).sum(1, keepdim=True).clamp_min(0)
    weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-12)
    source = points - (weights * points).sum(-1, keepdim=True)
    centred = target - (weights * target).sum(-1, keepdim=True)
    left, _, right = torch.linalg.svd((weights * centred) @ source.mT)
    left = torch.cat([left[..., :2], left[..., 2:] * torch.det(left @ right).view(-1, 1, 1)], dim=-1)
    state.turn = left @ right
    squares = [(weights * x.square()).sum((1, 2)).clamp_min(1e-8) for x in (centred, source)]
    log_size = 0.5 * (squares[0] / squares[1]).log()
    state.log_size = log_size.clamp(-_LARGEST_STARTING_LOG_SIZE, _LARGEST_STARTING_LOG_SIZE)[:, None]
    return state


def placed(state: HandState, points: torch.Tensor, rays: RayTerm) -> HandState:
    """A state whose joints ``(B, 3, 21)`` project on the 2D points, as nearly as linear least squares bring them."""
    matrix = points.new_zeros(len(points), 4, 2, 21)
    matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, 2] = 1, 1, -rays.rays
    matrix[:, 3] = rays.rays * points[:, 2:] - points[:, :2]
    matrix = matrix.flatten(2)
    products = (matrix @ rays.information) @ matrix.mT
    normal, right = products[:, :3, :3], products[:, :3, 3]
    scale = normal.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)[:, None]
    ridge = 1e-6 * torch.eye(3, dtype=points.dtype, device=points.device)
    right = right / scale + 1e-6 * points.new_tensor([0.0, 0.0, 0.5])
    place = torch.linalg.solve_ex(normal / scale[..., None] + ridge, right[..., None])[0][..., 0]
    place[:, 2].clamp_(*_STARTING_DEPTHS_M)
    return HandState(state.turn, state.fingers, state.shape, state.log_size, place)


# ------------------------------------------------------------------------------------------------ the fit


@torch.no_grad()
def fit_posed_hand(
    layer: HandLayer,
    target_joints: torch.Tensor | None = None,
    joint_information: torch.Tensor | None = None,
    rays: torch.Tensor | None = None,
    ray_information: torch.Tensor | None = None,
    *,
    prior: PosePrior | None = None,
    initial: FittedHand | HandState | None = None,
    num_iterations: int = 10,
    prior_strength: float = 1.0,
    limit_std: float = LIMIT_STD_RAD,
    model: PointModel | None = None,
) -> FittedHand:
    """The most likely right hands under a prior, given where their joints are and where they are seen.

    Global rotation, 15 finger rotations, shape, size and, with ``rays``, the place of the wrist are sought.  The
    arithmetic is that of the targets' dtype and device; nothing is checked (see ``fitting.fit_hand``), no graph made.

    Args:
        layer: the hand.
        target_joints: ``(B, 21, 3)`` metres; the fitted hand's wrist is at 0.
        joint_information: the inverse covariance of the targets in 1/m², ``(B, 21, 3, 3)`` of each joint or full
            ``(B, 63, 63)``; zeros where a joint is not known.  None: ``DEFAULT_JOINT_STD_M`` each.
        rays: ``(B, 21, 2)`` tangents x / z, y / z of 2D points.
        ray_information: in 1/tangent², ``(B, 21, 2, 2)`` or full ``(B, 42, 42)``; zeros where a point was not seen.
        prior: on finger poses; None: the package's.
        initial: where to start; None: the mean hand upon ``target_joints``, which then must be given.
        num_iterations: at the most; each is one solution of the normal equations.
        prior_strength: what the prior's precision is multiplied by.
        limit_std: radians beyond a joint limit that cost as much as one standard deviation.
        model: what ``PointModel.of_joints(layer, dtype)`` gives, to use it again.

    Returns:
        A :class:`FittedHand`.
    """
    prior = load_pose_prior() if prior is None else prior
    like = rays if target_joints is None else target_joints
    model = PointModel.of_joints(layer, like.dtype) if model is None else model
    joint_term = ray_term = None
    if target_joints is not None:
        if joint_information is None:
            eye = torch.eye(63, dtype=like.dtype, device=like.device)
            joint_information = (DEFAULT_JOINT_STD_M**-2 * eye).expand(len(like), 63, 63)
        else:
            joint_information = coordinates_first(joint_information, 3)
        joint_term = JointTerm(target_joints.mT, joint_information)
    if rays is not None:
        ray_term = RayTerm(rays.mT, coordinates_first(ray_information, 2))
    if initial is None:
        state = aligned_start(model, prior, joint_term.target, joint_information)
        state = state if ray_term is None else placed(state, model.pose(state).points, ray_term)
    else:
        state = initial.state if isinstance(initial, FittedHand) else initial
    size = NUM_POSED if ray_term is None else NUM_PLACED
    prior_term = PriorTerm(prior, size, like, prior_strength)
    problem = FitProblem(model, joint_term, ray_term, prior_term, LimitTerm(like, limit_std))
    state, linear = problem.solve(state, num_iterations)
    state.turn = orthonormal(state.turn)
    return FittedHand(state, linear.points.mT.contiguous(), problem.cost(linear, linear.ray_weights))
