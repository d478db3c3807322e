"""BEVDepth's parts: what a camera's matrix says, where LiDAR points give depth, and the loss on it."""

import copy
import math

import numpy as np
import pytest
import torch
from detector_scenes import CAMERA, FOCAL, GRID, IMAGE, camera_config, camera_matrix, one_of_each, ring, sample
from mmdet3d.registry import MODELS

from bevkd.detectors import CameraBatch, LiftSplatEncoder
from bevkd.detectors.camera_rays import camera_numbers, stack_matrices
from bevkd.detectors.depth_loss import depth_loss, depth_targets
from bevkd.errors import DataError

FEATURE = (IMAGE[0] // 4, IMAGE[1] // 4)
DEPTH_NET = {"type": "CameraAwareDepthNet", "mid_channels": 8, "blocks": 1, "dilations": (1, 2, 1)}


def encoder(**changes) -> LiftSplatEncoder:
    torch.manual_seed(0)
    config = {**copy.deepcopy(CAMERA), "depth_net": DEPTH_NET, "depth_weight": 3.0, **changes}
    config.pop("type")
    return LiftSplatEncoder(GRID, **config)


def test_camera_numbers_by_hand():
    matrix = camera_matrix(math.pi / 2, (0.5, 1.5, 2.0))[None]  # looks along +y: u along +x, v along -z
    found = camera_numbers(stack_matrices([matrix], 1, 1), IMAGE)[0, 0]
    expected = [FOCAL / 64, 0, 0.5, FOCAL / 32, 0.5, *(1, 0, 0), *(0, 0, -1), *(0, 1, 0), *(0.5, 1.5, 2.0)]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mirrored", [False, True])
def test_camera_numbers_hold_the_whole_matrix(mirrored):
    rng = np.random.default_rng(3)
    affine = np.eye(4)
    affine[:2, :2] += 0.2 * rng.normal(size=(2, 2))
    if mirrored:
        affine[0, 0] *= -1
        affine[0, 2] = IMAGE[1] - 1
    matrices = 0.7 * np.stack([affine @ camera_matrix(a, rng.normal(size=3)) for a in rng.uniform(-3, 3, 5)])
    found = camera_numbers(stack_matrices([matrices], 1, 5), IMAGE)[0].double()
    fx, skew, cx, fy, cy = found[:, :5].T
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    k = torch.stack([fx * 64, skew * 64, cx * 64 - 0.5, zero, fy * 32, cy * 32 - 0.5, zero, zero, one], -1)
    rotation = found[:, 5:14].view(-1, 3, 3)
    assert (fx > 0).all()
    assert (fy > 0).all()
    torch.testing.assert_close(torch.linalg.det(rotation), -one if mirrored else one)
    product = 0.7 * k.view(-1, 3, 3) @ torch.cat((rotation, -rotation @ found[:, 14:, None]), -1)
    torch.testing.assert_close(product, torch.from_numpy(matrices[:, :3]), rtol=1e-5, atol=1e-4)


def test_depth_targets_by_hand():
    # The camera at the origin looks along +y. A point 3 m right, 12 m ahead, 3 m up is seen at u = 31.5 + 24 * 3 / 12 =
    # 37.5 and v = 9.5: column 9, row 2. Bins of 1 m from 1 m on: 12 m is bin 11.
    matrices = stack_matrices([camera_matrix(math.pi / 2)[None]], 1, 1)
    cloud = torch.tensor(
        [
            [3.0, 12.0, 3.0, 1, 0],
            [6.0, 24.0, 6.0, 1, 0],  # behind it on the same ray, too far for the bins
            [3.5, 14.0, 3.5, 1, 0],  # behind it, within them
            [0.75, 3.0, 0.75, 1, 0.05],  # before it, but of an older sweep
            [-3.0, -12.0, 3.0, 1, 0],  # behind the camera
            [0.0, 0.0, 0.0, 1, 0],  # in the camera
            [30.0, 12.0, 0.0, 1, 0],  # beside the image
            [0.0, 0.5, 0.0, 1, 0],  # nearer than the first bin
        ]
    )
    targets = depth_targets([cloud], matrices, (1.0, 17.0), 16, IMAGE, FEATURE)
    expected = torch.full((1, 1, *FEATURE), -1)
    expected[0, 0, 2, 9] = 11
    assert torch.equal(targets, expected)
    ends = torch.tensor([[0.0, 17.0, 0.0], [3.0, 16.999, 0.0], [0.0, 0.999, 0.0]])  # beyond, last bin, before the first
    last = depth_targets([ends], matrices, (1.0, 17.0), 16, IMAGE, FEATURE)
    assert last[last >= 0].tolist() == [15]
    again = depth_targets([torch.zeros(0, 5)], matrices, (1.0, 17.0), 16, IMAGE, FEATURE)
    assert torch.equal(again, torch.full_like(expected, -1))


def test_depth_targets_are_the_nearest_point_of_each_cell():
    generator = torch.Generator().manual_seed(0)
    clouds = [torch.randn(n, 3, generator=generator) * torch.tensor([8.0, 8, 2]) for n in (400, 150)]
    matrices = stack_matrices([ring(), ring()], 2, 6)
    targets = depth_targets(clouds, matrices, (1.0, 17.0), 32, IMAGE, FEATURE)
    expected = torch.full_like(targets, -1)
    for b, cloud in enumerate(clouds):
        for n in range(6):
            for point in sorted(
                cloud.double(), key=lambda p: -float((matrices[b, n] @ torch.cat((p, p.new_ones(1))))[2])
            ):
                u, v, d = (matrices[b, n] @ torch.cat((point, point.new_ones(1))))[:3].tolist()
                if not 1 <= d < 17:
                    continue
                row, column = math.floor((v / d + 0.5) / 4), math.floor((u / d + 0.5) / 4)
                if 0 <= row < FEATURE[0] and 0 <= column < FEATURE[1]:
                    expected[b, n, row, column] = int((d - 1) / 0.5)
    assert (expected >= 0).sum() > 100
    assert torch.equal(targets, expected)


def test_depth_loss_by_hand():
    depth = torch.full((1, 1, 2, 1, 2), 0.5)
    depth[0, 0, :, 0, 1] = torch.tensor([0.9, 0.1])
    targets = torch.tensor([[[[-1, 0]]]])
    expected = -math.log(0.9) - math.log(1 - 0.1)
    assert depth_loss(depth, targets).item() == pytest.approx(expected, rel=1e-5)
    assert depth_loss(depth, torch.full_like(targets, -1)).item() == 0.0
    generator = torch.Generator().manual_seed(1)
    depth = torch.rand(2, 3, 7, 4, 5, generator=generator).softmax(2).requires_grad_()
    targets = torch.randint(-1, 7, (2, 3, 4, 5), generator=generator)
    known = targets >= 0
    one_hot = torch.nn.functional.one_hot(targets.clamp(min=0), 7).movedim(-1, 2).float()
    plain = torch.nn.functional.binary_cross_entropy(depth, one_hot, reduction="none").sum(2)[known].mean()
    loss = depth_loss(depth, targets)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(*(torch.autograd.grad(value, depth)[0] for value in (loss, plain)))


def test_certain_and_wrong_stays_finite():
    depth = torch.tensor([0.0, 1.0]).view(1, 1, 2, 1, 1).requires_grad_()
    loss = depth_loss(depth, torch.zeros(1, 1, 1, 1, dtype=torch.long))
    assert loss.item() == 200.0


def test_the_loss_has_its_name_and_prediction_needs_no_points():
    config = camera_config()
    config["camera_encoder"] = {**CAMERA, "depth_net": DEPTH_NET, "depth_weight": 3.0}
    torch.manual_seed(0)
    model = MODELS.build(config).train()
    boxes, labels, cloud = one_of_each()
    inputs = {"imgs": torch.rand(1, 6, 3, *IMAGE), "points": [cloud]}
    samples = [sample(boxes, labels)]
    losses = model(inputs, samples, mode="loss")
    assert losses["loss_depth"].item() > 3.0
    assert sum("loss" in name for name in losses) == 13
    with pytest.raises(DataError, match=r"no 'points', expected them to supervise depth"):
        model({"imgs": inputs["imgs"]}, samples, mode="loss")
    assert len(model.eval()({"imgs": inputs["imgs"]}, samples, mode="predict")) == 1


def test_supervision_teaches_depth():
    model = encoder().train()
    batch = CameraBatch(torch.rand(1, 6, 3, *IMAGE), [ring()], points=[one_of_each()[2]])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
    history = []
    for _ in range(12):
        losses = {}
        model(batch, losses)
        optimizer.zero_grad()
        losses["loss_depth"].backward()
        optimizer.step()
        history.append(losses["loss_depth"].item())
    assert history[-1] < 0.75 * history[0]


@pytest.mark.parametrize("options", [{}, {"ground_z": -1.8, "normalise": True}])
def test_every_parameter_gets_a_gradient(options):
    model = encoder(**options).train()
    losses = {}
    low = model(CameraBatch(torch.randn(2, 6, 3, *IMAGE), [ring(), ring()], points=[one_of_each()[2]] * 2), losses)
    (low.square().sum() + losses["loss_depth"]).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_camera_matters():
    model = encoder().eval()
    images = torch.randn(1, 6, 3, *IMAGE)
    gates = []
    model.depth_net.depth_gate.register_forward_hook(lambda _m, _i, output: gates.append(output))
    for focal in (1.0, 1.5):
        zoom = np.diag([focal, focal, 1.0, 1.0])
        model(CameraBatch(images, [zoom @ ring()]))
    assert not torch.allclose(*gates)
