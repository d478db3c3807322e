"""Every copy of a data root follows it."""

import pytest

from bevkd.engine.config import load_config
from bevkd.errors import DataError

CENTERPOINT = "mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d"


def values(node):
    if isinstance(node, dict):
        for value in node.values():
            yield from values(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from values(value)
    else:
        yield node


def strings(cfg):
    return [v for key in cfg for v in values(cfg[key]) if isinstance(v, str)]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "world" / "v1.0-mini").mkdir(parents=True)
    return tmp_path / "world"


def test_centerpoint_follows_everywhere(root, said):
    cfg = load_config(CENTERPOINT, {"data_root": str(root)})
    assert not [s for s in strings(cfg) if s.startswith("data/nuscenes")]
    assert cfg.train_dataloader.dataset.dataset.data_root == f"{root}/"
    assert cfg.val_evaluator.ann_file == f"{root}/nuscenes_infos_val.pkl"
    assert cfg.train_dataloader.dataset.dataset.metainfo.version == "v1.0-mini"
    steps = [step.type for step in cfg.train_dataloader.dataset.dataset.pipeline]
    assert "ObjectSample" not in steps
    assert "GlobalRotScaleTrans" in steps
    assert said == [f"ObjectSample is left out: its database {root}/nuscenes_dbinfos_train.pkl does not exist"]


def test_object_sample_stays_where_its_database_is(root):
    (root / "nuscenes_dbinfos_train.pkl").write_bytes(b"")
    cfg = load_config(CENTERPOINT, {"data_root": str(root)})
    steps = [step.type for step in cfg.train_dataloader.dataset.dataset.pipeline]
    assert "ObjectSample" in steps


def test_the_largest_version_wins(root):
    (root / "v1.0-trainval").mkdir()
    cfg = load_config(CENTERPOINT, {"data_root": str(root)})
    assert cfg.val_dataloader.dataset.metainfo.version == "v1.0-trainval"


def test_our_recipes_follow_too(root):
    cfg = load_config("configs/synthetic/unidistill_lidar_to_camera.py", {"data_root": str(root)})
    assert cfg.train_dataloader.dataset.data_root == cfg.val_evaluator.data_root == f"{root}/"
    assert cfg.model.teacher.config == "configs/synthetic/lidar_teacher.py"


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match="none is not a folder; expected one with the"):
        load_config(CENTERPOINT, {"data_root": str(tmp_path / "none")})


def test_a_root_without_tables_is_pointed_out(tmp_path, said):
    (tmp_path / "nuscenes_dbinfos_train.pkl").write_bytes(b"")
    load_config(CENTERPOINT, {"data_root": str(tmp_path)})
    assert said == [f"{tmp_path} has no v1.0-* tables: training works, evaluation will not"]
