"""tools/export_student.py as a user calls it: a distiller's checkpoint in, a student alone out."""

import copy
import json
import re
import runpy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope

from bevkd.engine import register_all
from bevkd.structures.checkpoint import load_state_dict, load_weights
from bevkd.structures.sums import sha256

ROOT = Path(__file__).resolve().parents[2]
CAMERA, PILLAR = "configs/synthetic/unidistill_lidar_to_camera.py", "configs/rdd/pillar_synthetic.py"
VOXEL = "configs/rdd/voxel_xxs_synthetic.py"
EXPORT, TEST = ROOT / "tools" / "export_student.py", ROOT / "tools" / "test.py"


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run a tool in this process; returns exit code, stdout and stderr."""
    monkeypatch.chdir(ROOT)

    def run(path, *words):
        monkeypatch.setattr("sys.argv", [str(path), *map(str, words)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(path), run_name="__main__")
        return left.value.code, *capsys.readouterr()

    return run


def distiller_of(path: str):
    """The distiller of a recipe with random weights and statistics; its teacher is never loaded."""
    from bevkd.distill.models import build_model

    register_all()
    torch.manual_seed(0)
    config = Config.fromfile(ROOT / path)
    model = build_model(config.model, path)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.1)
    return config, model.eval()


@pytest.fixture
def saved(tmp_path):
    def save(path: str):
        config, model = distiller_of(path)
        checkpoint = tmp_path / "distiller.pth"
        torch.save({"state_dict": model.state_dict()}, checkpoint)
        return config, model, checkpoint

    return save


def dataset_of(config, root):
    from bevkd.datasets.nuscenes import NuScenesBEVDataset

    options = config.test_dataloader.dataset.to_dict()
    options.pop("type")
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        return NuScenesBEVDataset(**{**options, "data_root": str(root)})


def predictions(model, config, root):
    dataset = dataset_of(config, root)
    with torch.no_grad():
        return model.test_step(pseudo_collate([dataset[0], dataset[1]]))


def same(found, expected):
    assert len(found) == len(expected) == 2
    for a, b in zip(found, expected):
        for key in ("scores_3d", "labels_3d"):
            assert torch.equal(a.pred_instances_3d[key], b.pred_instances_3d[key])
        assert torch.equal(a.pred_instances_3d.bboxes_3d.tensor, b.pred_instances_3d.bboxes_3d.tensor)
    assert sum(len(a.pred_instances_3d) for a in found) > 20


@pytest.mark.parametrize("recipe", [CAMERA, PILLAR])
def test_the_student_predicts_as_the_distiller_bit_for_bit(recipe, tool, saved, tmp_path, tiny_nuscenes_readonly):
    from bevkd.distill.models import build_model

    config, distiller, checkpoint = saved(recipe)
    out = tmp_path / "out"
    code, said, err = tool(EXPORT, recipe, checkpoint, "--out", out, "--data-root", tiny_nuscenes_readonly)
    assert code == 0, err
    assert sorted(p.name for p in out.iterdir()) == [
        "student.pth", "student.pth.sha256", "student.py", "student.safetensors",
    ]  # fmt: skip
    assert all(name in said for name in ("student.pth (", "student.safetensors (", "student.py ("))
    own = Config.fromfile(out / "student.py")
    assert own.model.type == "BEVDetector"
    assert "teacher" not in (out / "student.py").read_text().lower().replace(recipe, "")
    assert not {"train_dataloader", "train_cfg", "optim_wrapper"} & set(own)
    expected = predictions(distiller, config, tiny_nuscenes_readonly)
    for name in ("student.pth", "student.safetensors"):
        student = build_model(Config.fromfile(out / "student.py").model, "student")
        load_weights(student, out / name)  # strict
        same(predictions(student.eval(), own, tiny_nuscenes_readonly), expected)
    content = torch.load(out / "student.pth", weights_only=True)
    assert content["meta"]["sha256"] == sha256(checkpoint)
    assert not [key for key in content["state_dict"] if key.startswith(("student.", "methods."))]


def test_safetensors_tells_where_it_is_from(tool, saved, tmp_path):
    from safetensors import safe_open

    import bevkd

    _, distiller, checkpoint = saved(PILLAR)
    assert tool(EXPORT, PILLAR, checkpoint, "--out", tmp_path / "out", "--format", "safetensors")[0] == 0
    with safe_open(tmp_path / "out" / "student.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata == {
        "format": "pt", "config": PILLAR, "sha256": sha256(checkpoint), "bevkd_version": bevkd.__version__,
    }  # fmt: skip
    state = distiller.student.state_dict()
    found = load_state_dict(tmp_path / "out" / "student.safetensors")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())
    assert not (tmp_path / "out" / "student.pth").exists()


@pytest.mark.slow
def test_what_was_written_is_scored_by_the_test_tool(tool, saved, tmp_path, tiny_nuscenes_readonly):
    """With the ONNX graph of the cameras of the first test sample beside it."""
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    out, scores = tmp_path / "out", []
    config, distiller, checkpoint = saved(CAMERA)
    words = ["--data-root", tiny_nuscenes_readonly, "--format", "checkpoint", "onnx"]
    code, said, _ = tool(EXPORT, CAMERA, checkpoint, "--out", out, *words)
    assert code == 0
    assert re.search(r"^onnx: largest difference to torch \d\S* over 36 maps$", said, re.MULTILINE)
    batch = pseudo_collate([dataset_of(config, tiny_nuscenes_readonly)[0]])
    data = distiller.student.data_preprocessor(batch, False)
    with torch.no_grad():
        expected = distiller(data["inputs"], data["data_samples"], mode="tensor")
    session = onnxruntime.InferenceSession(out / "student.onnx", providers=["CPUExecutionProvider"])
    (heat,) = session.run(["task0_heatmap"], {"images": data["inputs"]["imgs"].numpy()})
    torch.testing.assert_close(torch.from_numpy(heat), expected[0]["heatmap"], rtol=0, atol=1e-3)
    text = (out / "student.py").read_text()
    for config, file in ((CAMERA, checkpoint), (out / "student.py", out / "student.pth")):
        assert tool(TEST, config, file, "--data-root", tiny_nuscenes_readonly)[0] == 0
        scores.append(json.loads((file.parent / "metrics.json").read_text()))
    assert scores[0] == scores[1]
    assert (out / "student.py").read_text() == text


def test_a_bare_student_s_checkpoint_and_config_do_too(tool, saved, tmp_path):
    _, distiller, _ = saved(PILLAR)
    bare = tmp_path / "bare.pth"
    torch.save(distiller.student.state_dict(), bare)
    for config in (PILLAR, "configs/synthetic/lidar_pillar_coarse.py"):
        assert tool(EXPORT, config, bare, "--out", tmp_path / "out", "--format", "checkpoint")[0] == 0
        found = load_state_dict(tmp_path / "out" / "student.pth")
        assert all(torch.equal(found[key], value) for key, value in distiller.student.state_dict().items())


def test_a_voxel_student_has_no_onnx_form_and_keeps_its_sparse_weights(tool, saved, tmp_path):
    pytest.importorskip("spconv")
    pytest.importorskip("onnxscript")
    _, distiller, checkpoint = saved(VOXEL)
    out = tmp_path / "out"
    code, _, err = tool(EXPORT, VOXEL, checkpoint, "--out", out, "--format", "checkpoint", "onnx")
    assert code == 2
    assert re.fullmatch(r"error: the student has a VoxelEncoder, which has no ONNX form here, expected .*\n", err)
    assert not list(out.iterdir())
    assert tool(EXPORT, VOXEL, checkpoint, "--out", out)[0] == 0
    for name in ("student.pth", "student.safetensors"):
        found = load_state_dict(out / name)
        assert all(torch.equal(found[key], value) for key, value in distiller.student.state_dict().items())
        load_weights(copy.deepcopy(distiller.student), out / name)


def test_bad_input_is_one_sentence_and_nothing_is_written(tool, saved, tmp_path):
    _, _, checkpoint = saved(PILLAR)
    methods = tmp_path / "methods.pth"
    torch.save({"state_dict": {"methods.rdd.scale": torch.ones(3)}}, methods)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(b"\x40\0\0\0\0\0\0\0{")
    out = tmp_path / "out"
    cases = {
        "holds no student: none of its 1 keys (methods.rdd.scale) belongs to a BEVDetector": [PILLAR, methods],
        "does not fit BEVDetector": [CAMERA, checkpoint],
        "config nothere.py does not exist": ["nothere.py", checkpoint],
        "nothere.pth is missing": [PILLAR, "nothere.pth"],
        "'model' of configs/_base_/runtime.py is None": ["configs/_base_/runtime.py", checkpoint],
        "cut.safetensors is truncated or no safetensors file": [PILLAR, cut],
        "--out /proc/nowhere cannot be written": [PILLAR, checkpoint, "--out", "/proc/nowhere"],
    }
    for sentence, words in cases.items():
        code, _, err = tool(EXPORT, *words[:2], *(words[2:] or ["--out", out]))
        assert code == 2, sentence
        assert sentence in err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert not out.exists() or not list(out.iterdir())
