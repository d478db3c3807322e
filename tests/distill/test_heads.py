"""Head maps of all tasks side by side."""

import torch
from method_scenes import WIDE, head

from bevkd.distill.bev.heads import join_head


def test_keys_stand_in_one_order_whatever_the_head_s():
    tasks = head(WIDE, tasks=(1, 2))
    turned = [dict(reversed(task.items())) for task in tasks]
    for one, other in zip(join_head(tasks, "student")[:2], join_head(turned, "teacher")[:2]):
        assert torch.equal(one, other)
    heat, regression, channels = join_head(tasks, "student")
    assert torch.equal(heat[:, 1:], tasks[1]["heatmap"])
    assert torch.equal(regression[:, 0:3], tasks[0]["dim"])  # the first key by name
    assert [list(task) for task in channels] == [sorted(task) for task in tasks]


def test_half_precision_is_joined_in_float32_and_double_stays():
    for dtype, wide in ((torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64,) * 2):
        joined = join_head([{key: value.to(dtype) for key, value in task.items()} for task in head(WIDE)], "student")
        assert joined[0].dtype == joined[1].dtype == wide
