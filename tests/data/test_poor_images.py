"""Effects that need the pixels alone: what they do to a picture, and that points keep their place."""

import pytest
import torch

from hf_handdiff.data.poor_images import compress, defocus, lower_resolution, shake


def spot(count=6, side=64, at=(32, 32)):
    """Black pictures with a white square of 5 px round the pixel `at`."""
    images = torch.zeros(count, 3, side, side)
    images[:, :, at[0] - 2 : at[0] + 3, at[1] - 2 : at[1] + 3] = 1.0
    return images


def centre_and_spread(images):
    """Mean place (B, 2) of the light, and its variance (B, 2) along the two main axes, largest last."""
    weight = images.mean(1)
    axis = torch.arange(images.shape[-1], dtype=torch.float32)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    places = torch.stack([x, y], -1)
    weight = weight / weight.sum((1, 2), keepdim=True)
    centre = (weight[..., None] * places).sum((1, 2))
    offset = places - centre[:, None, None]
    covariance = torch.einsum("bhw,bhwi,bhwj->bij", weight, offset, offset)
    return centre, torch.linalg.eigvalsh(covariance)


EFFECTS = {
    "shake": (shake, (6.0, 14.0)),
    "defocus": (defocus, (2.0, 4.5)),
    "low resolution": (lower_resolution, (0.25, 0.5)),
    "compression": (compress, (10, 30)),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_effects_change_what_they_shall_and_keep_points_in_place(name):
    effect, amount = EFFECTS[name]
    images = spot()
    before = images.clone()
    changed = effect(images, 1.0, amount, torch.Generator().manual_seed(0))
    assert changed is images, "in place"
    assert ((changed - before).abs().amax((1, 2, 3)) > 0.05).all() and changed.min() > -1e-5 and changed.max() < 1.01
    centre, _ = centre_and_spread(changed.clamp(0, 1))
    tolerance = 1.0 if name == "low resolution" else 0.5  # of pixels as wide as four
    torch.testing.assert_close(centre, torch.full_like(centre, 32.0), atol=tolerance, rtol=0)
    unchanged = effect(spot(), 0.0, amount, torch.Generator().manual_seed(0))
    assert torch.equal(unchanged, before)
    some = effect(spot(200, 24, (12, 12)), 0.3, amount, torch.Generator().manual_seed(0))
    share = ((some - spot(200, 24, (12, 12))).abs().amax((1, 2, 3)) > 0.01).float().mean()
    assert 0.2 < share < 0.4


def test_shaken_pictures_are_longer_along_one_line_and_unfocused_ones_round():
    _, lengths = centre_and_spread(shake(spot(), 1.0, (14.0, 14.0), torch.Generator().manual_seed(0)))
    assert (lengths[:, 1] > lengths[:, 0] + 10.0).all()
    torch.testing.assert_close(lengths[:, 1], torch.full((6,), 2.0 + 14.0**2 / 12), atol=3.0, rtol=0)
    _, lengths = centre_and_spread(defocus(spot(), 1.0, (4.0, 4.0), torch.Generator().manual_seed(0)))
    torch.testing.assert_close(lengths, torch.full((6, 2), 2.0 + 4.0**2 / 4), atol=0.8, rtol=0)
