"""What other packages warn of is silent, what anyone else warns of is not."""

import warnings

import pytest

from bevkd.structures.quiet import quieten

SILENT = [
    ("dir_offset and dir_limit_offset will be depressed and be incorporated", UserWarning, "mmdet3d.models.heads"),
    ('DeprecationWarning: pos_bboxes is deprecated, please use "pos_priors" instead', UserWarning, "mmdet.models"),
    ("To copy construct from a tensor, it is recommended to", UserWarning, "mmdet3d.models.task_modules"),
    ("torch.meshgrid: in an upcoming release, it will be required", UserWarning, "torch.functional"),
    ("`torch.cuda.amp.custom_bwd(args...)` is deprecated.", FutureWarning, "spconv.pytorch.functional"),
    ("pkg_resources is deprecated as an API.", UserWarning, "mmengine.utils"),
]
SHOWN = [
    ("a user's own warning", UserWarning, "__main__"),
    ("this argument is deprecated", UserWarning, "users_package.heads"),
    ("a class has no sample", UserWarning, "mmdet3d.datasets"),
    ("predictions for a part of the frames", UserWarning, "bevkd.evaluation.waymo_metrics.checks"),
    ("this loader makes 4 workers", UserWarning, "torch.utils.data.dataloader"),
]


@pytest.mark.parametrize(("message", "category", "module"), SILENT + SHOWN)
def test_only_what_nobody_can_change_is_silent(message, category, module):
    with warnings.catch_warnings(record=True) as shown:
        warnings.resetwarnings()
        warnings.simplefilter("default")
        quieten()
        warnings.warn_explicit(message, category, "file.py", 1, module=module, registry={})
    assert len(shown) == ((message, category, module) in SHOWN)
