"""RDD: exact properties, a slow twin, and what must be refused."""

import math

import numpy as np
import pytest
import torch

from bevkd.distill import RDD, Distiller, LiveTeacher
from bevkd.distill.bev.proposals import crop, join_proposals, propose
from bevkd.errors import ConfigError
from bevkd.methods.rdd import disparity, normalise_channels, select_regions
from bevkd.structures.targets import Targets
from tests.distill.method_scenes import WIDE, head, maps
from tests.methods.tap_model import same_under_autocast

TARGETS = Targets([torch.zeros(0, 9)] * 2, [], WIDE)


def taps(seed, channels=6, heat=2.0):
    heads = head(WIDE, seed=seed)
    for task in heads:
        task["heatmap"], task["dim"] = task["heatmap"] * heat - 3, task["dim"] * 0.3 + 1
    return {"high": 4 * maps(WIDE, channels, seed=seed), "head": heads}


def quiet(seed):
    return taps(seed, heat=0.0)


def slow_softmax(column):
    values = np.exp(column / 4)
    return values / values.sum()


def slow_losses(student, teacher):
    """Region by region and location by location, in double precision."""
    regions = join_proposals(*(propose(t["head"], WIDE, 50, 0.1, "one") for t in (teacher, student)))
    crops = [crop(t["high"], regions.windows, 7).double().numpy() for t in (student, teacher)]
    heats = [
        torch.cat([task["heatmap"] for task in t["head"]], 1).sigmoid().double().numpy() for t in (student, teacher)
    ]
    distances, gaps = [], []
    for b in range(2):
        for r in range(regions.cells.shape[1]):
            if regions.valid[b, r]:
                gap = [
                    np.linalg.norm(slow_softmax(crops[0][b, r, :, i, j]) - slow_softmax(crops[1][b, r, :, i, j]))
                    for i in range(7)
                    for j in range(7)
                ]
                distances.append(np.mean(gap))
                row, column = divmod(int(regions.cells[b, r]), WIDE.shape[1])
                gaps.append(np.abs(heats[0][b, :, row, column] - heats[1][b, :, row, column]).sum())
    scaled = np.array(distances) / max(distances)
    middle = sorted(scaled)[(len(scaled) - 1) // 2]  # torch's median is the lower of the two
    chosen = scaled > middle + 0.1
    return [(chosen * values).sum() / len(scaled) for values in (np.array(distances), np.array(gaps))], chosen.mean()


# Exact properties.


def test_a_channels_sum_to_one_and_a_constant_changes_nothing():
    feature = 5 * maps(WIDE, 6)[:, None]
    normalised = normalise_channels(feature)
    torch.testing.assert_close(normalised.sum(2), torch.ones(2, 1, *WIDE.shape))
    torch.testing.assert_close(normalise_channels(feature + 7), normalised)


def test_b_worked_numbers():
    column = torch.tensor([4.0, 0, 0, 0]).view(1, 1, 4, 1, 1)
    normalised = normalise_channels(column)
    assert normalised.flatten().tolist() == pytest.approx([0.4754, 0.1749, 0.1749, 0.1749], abs=1e-4)
    assert disparity(normalised, torch.full_like(column, 0.25)).item() == pytest.approx(0.2602, abs=1e-4)


def test_c_a_student_that_is_the_teacher_has_no_loss():
    mine, theirs = taps(1), taps(1)
    mine["high"].requires_grad_()
    losses = RDD()(mine, theirs, TARGETS)
    assert {name: value.item() for name, value in losses.items()} == {"feature": 0, "logit": 0, "info/selected": 0}
    (losses["feature"] + losses["logit"]).backward()
    assert mine["high"].grad.isfinite().all()


def test_d_threshold_rule():
    valid = torch.ones(1, 3, dtype=torch.bool)
    distance = torch.tensor([[0.0, 0.2, 1.0]])
    assert select_regions(distance, valid, margin=0.1, centre=0.1).tolist() == [[0, 0, 1]]  # strictly greater
    assert select_regions(2 * distance, valid, margin=0.1, centre=0.1).tolist() == [[0, 0, 1]]  # scaled by the largest
    soft = select_regions(distance, valid, margin=0.1, centre=0.0, softness=0.5)
    assert soft.tolist() == [[0, pytest.approx(0.2), 1]]
    assert select_regions(distance, valid).tolist() == [[0, 0, 1]]  # the median is 0.2


@pytest.mark.parametrize("softness", [0.0, 0.5])
def test_the_choice_of_regions_passes_no_gradient(softness):
    distance = torch.tensor([[0.1, 0.2, 1.0]], requires_grad=True)
    assert not select_regions(distance, torch.ones(1, 3, dtype=torch.bool), softness=softness).requires_grad


def test_what_is_not_valid_neither_counts_nor_is_chosen():
    distance, valid = torch.tensor([[0.2, 0.4, 9.0], [0.6, 9.0, 1.0]]), torch.tensor([[1, 1, 0], [1, 0, 1]]).bool()
    assert select_regions(distance, valid).tolist() == [[0, 0, 0], [1, 0, 1]]  # 0.4 is the lower median of four
    nothing = select_regions(distance, torch.zeros_like(valid))
    assert nothing.tolist() == [[0, 0, 0]] * 2


def test_e_repeating_every_region_changes_nothing():
    mine, theirs = taps(1), taps(2)
    twice = [
        {
            "high": t["high"].repeat(2, 1, 1, 1),
            "head": [{k: m.repeat(2, 1, 1, 1) for k, m in h.items()} for h in t["head"]],
        }
        for t in (mine, theirs)
    ]
    again = RDD()(*twice, Targets(TARGETS.boxes * 2, [], WIDE))
    for name, value in RDD()(mine, theirs, TARGETS).items():
        torch.testing.assert_close(again[name], value)


def test_f_who_proposed_a_region_does_not_matter():
    mine, theirs = taps(1), taps(2)
    for task, other in zip(mine["head"], theirs["head"]):
        other["dim"] = task["dim"]  # equal windows
    losses, swapped = RDD()(mine, theirs, TARGETS), RDD()(theirs, mine, TARGETS)
    for name, value in losses.items():
        torch.testing.assert_close(swapped[name], value)
    assert losses["feature"] > 0


# Against the slow twin.


@pytest.mark.parametrize("seed", [1, 5])
def test_losses_agree_with_the_slow_twin(seed):
    student, teacher = taps(seed), taps(seed + 1)
    (feature, logit), selected = slow_losses(student, teacher)
    losses = RDD(feature=0.3, logit=0.7)(student, teacher, TARGETS)
    assert losses["feature"].item() == pytest.approx(0.3 * feature, rel=1e-4)
    assert losses["logit"].item() == pytest.approx(0.7 * logit, rel=1e-4)
    assert losses["info/selected"].item() == pytest.approx(selected)
    assert 0 < selected < 0.5


def test_a_cell_that_both_models_propose_has_the_teacher_s_window():
    student, teacher = taps(1), taps(2)
    for task, other in zip(student["head"], teacher["head"]):
        other["heatmap"], other["dim"] = task["heatmap"], task["dim"] + 1.5
    (feature, _), _ = slow_losses(student, teacher)
    assert RDD(feature=1)(student, teacher, TARGETS)["feature"].item() == pytest.approx(feature, rel=1e-4)


def test_gradients_are_right():
    feature = 4 * maps(WIDE, 3, seed=1)[:, :, :5, :5].double()
    theirs, windows = 4 * maps(WIDE, 3, seed=2)[:, :, :5, :5].double(), torch.tensor([[[0, 0, 3, 4]], [[2, 1, 5, 5]]])

    def distance(student):
        return disparity(*(normalise_channels(crop(f, windows, 3)) for f in (student, theirs)))

    assert torch.autograd.gradcheck(distance, (feature.requires_grad_(),))


def test_the_student_learns_from_its_heat_and_features_and_the_teacher_does_not():
    mine, theirs = taps(1), taps(2)
    leaves = [[t["high"].requires_grad_(), *(m["heatmap"].requires_grad_() for m in t["head"])] for t in (mine, theirs)]
    losses = RDD()(mine, theirs, TARGETS)
    (losses["feature"] + losses["logit"]).backward()
    assert all(leaf.grad.abs().sum() > 0 for leaf in leaves[0])
    assert all(leaf.grad is None for leaf in leaves[1])
    assert not losses["info/selected"].requires_grad


def test_no_proposal_from_either_model():
    mine, theirs = quiet(1), quiet(2)
    mine["high"].requires_grad_()
    losses = RDD()(mine, theirs, TARGETS)
    assert all(value == 0 for value in losses.values())
    (losses["feature"] + losses["logit"]).backward()
    assert mine["high"].grad.abs().sum() == 0


def test_proposals_of_one_model_alone():
    mine, theirs = taps(1), taps(2)
    assert RDD()(quiet(1), theirs, TARGETS)["feature"] > 0
    assert RDD()(mine, quiet(2), TARGETS)["feature"] > 0
    few = RDD(student_regions=0)(mine, theirs, TARGETS)["feature"]
    assert few != RDD()(mine, theirs, TARGETS)["feature"]


def test_narrow_students_learn_through_the_convolution():
    method = RDD(channels=(4, 6))
    losses = method(taps(1, channels=4), taps(2), TARGETS)
    losses["feature"].backward()
    assert all(p.grad.abs().sum() > 0 for p in method.parameters())
    assert method.adapter[0].kernel_size == (1, 1)


def test_a_weight_of_zero_leaves_its_part_out():
    assert list(RDD(logit=0)(taps(1), taps(2), TARGETS)) == ["feature", "info/selected"]
    assert list(RDD(feature=0)(taps(1), taps(2), TARGETS)) == ["logit", "info/selected"]


def test_centre_and_softness_reach_the_choice():
    mine, theirs = taps(1), taps(2)
    shares = [
        RDD(margin=0, **given)(mine, theirs, TARGETS)["info/selected"].item()
        for given in ({"centre": 1.0}, {"centre": 0.0}, {"centre": 0.0, "softness": 1.0})
    ]
    assert shares[:2] == [0, 1]
    assert 0 < shares[2] < 1


@pytest.mark.parametrize("who", [0, 1])
def test_nan_logits_show_in_the_loss(who):
    both = [taps(1), taps(2)]
    both[who]["head"][1]["heatmap"][1, 0, 3, 3] = math.nan
    assert RDD()(*both, TARGETS)["logit"].isnan()


def test_the_chosen_share_is_logged_and_not_added(detector, batch):
    model = Distiller(detector(0), LiveTeacher(detector(1)), {"rdd": RDD(threshold=0.0)})
    losses = model(*batch, mode="loss")
    assert {name for name in losses if "/" in name} == {"kd/rdd/feature", "kd/rdd/logit", "info/rdd/selected"}
    total, log = model.parse_losses(losses)
    parts = losses["task0.loss_heatmap"] + losses["kd/rdd/feature"] + losses["kd/rdd/logit"]
    torch.testing.assert_close(total, parts)
    assert 0 < log["info/rdd/selected"] < 1
    assert model.parse_losses({"info/my_loss/x": torch.tensor(2.0), "loss_y": torch.tensor(3.0)})[0] == 3


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"feature": -1}, "has feature -1, expected nothing negative"),
        ({"margin": -0.1}, "margin -0.1"),
        ({"feature": 0, "logit": 0}, "one of each positive"),
        ({"teacher_regions": 0, "student_regions": 0}, "one of each positive"),
        ({"temperature": 0}, "temperature 0"),
        ({"bins": 0}, "bins 0"),
        ({"threshold": 1.0}, "threshold 1.0"),
        ({"channels": (3, 0)}, r"RDD channels is \(3, 0\)"),
        ({"channels": (3, 2), "feature": 0}, "nothing would train"),
    ],
)
def test_bad_arguments_are_refused(arguments, found):
    with pytest.raises(ConfigError, match=found):
        RDD(**arguments)


def test_maps_and_heads_that_do_not_fit_are_refused():
    mine, theirs = taps(1), taps(2)
    with pytest.raises(ConfigError, match="expected equal channels or an adapter"):
        RDD()(taps(1, channels=4), theirs, TARGETS)
    with pytest.raises(ConfigError, match="RDD channels begin with 4"):
        RDD(channels=(4, 6))(mine, theirs, TARGETS)
    with pytest.raises(ConfigError, match=r"heads have \[1, 2\] \(student\) and \[2, 1\] classes by task"):
        RDD()(mine, {**theirs, "head": theirs["head"][::-1]}, TARGETS)
    with pytest.raises(ConfigError, match=r"expected both on the grid of \(16, 36\)"):
        RDD()(mine, {**theirs, "high": theirs["high"][..., ::2]}, TARGETS)


def test_a_student_that_is_its_teacher_can_only_stay(detector, batch):
    """With the same weights the features agree."""
    model = Distiller(detector(3), LiveTeacher(detector(3)), {"m": RDD()}).eval()
    assert all(value == 0 for name, value in model(*batch, mode="loss").items() if name.startswith("kd/"))


def test_without_adapters_autocast_changes_no_digit():
    """The loss part itself is never in half precision."""
    same_under_autocast(RDD(threshold=0.0))
