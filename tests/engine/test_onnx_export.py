"""ONNX graphs of students, run with onnxruntime against the detector on scenes that the export never saw."""

import copy
import json

import pytest
import torch

import bevkd
from bevkd.distill.models import build_model
from bevkd.engine.export import export_student, graphs
from bevkd.engine.export.onnx_file import largest_difference, onnx_bytes
from bevkd.engine.export.student import file_cameras
from bevkd.errors import ConfigError
from tests.detectors import detector_scenes as scenes

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
AWARE = {"type": "CameraAwareDepthNet", "mid_channels": 16, "blocks": 1}


def detector(config):
    torch.manual_seed(0)
    model = build_model(copy.deepcopy(config), "model")
    for module in model.modules():  # fresh weights answer to every scene with nearly the same maps
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.1)
        elif hasattr(module, "weight"):
            torch.nn.init.kaiming_normal_(module.weight)
    return model.eval().requires_grad_(False)


def sample_of(**metainfo):
    from mmdet3d.structures import Det3DDataSample

    return Det3DDataSample(metainfo=metainfo)


def cameras():
    return torch.from_numpy(scenes.ring()), scenes.IMAGE


def run(content, inputs):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, inputs))), session.get_modelmeta()


@pytest.fixture(scope="module")
def pillars():
    model = detector(scenes.detector_config())
    return model, *onnx_bytes(graphs.make_graph(model), {"config": "c"})


def test_a_pillar_student_on_another_scene(pillars):
    model, content, difference = pillars
    assert difference < 1e-4
    _, _, cloud = scenes.one_of_each()
    voxels = model.lidar_encoder.pillars(cloud)
    inputs = {name: value.numpy() for name, value in zip(("voxels", "coords", "num_points"), voxels)}
    found, meta = run(content, inputs)
    expected = model({"points": [cloud]}, [sample_of()], mode="tensor")
    assert list(found) == [f"task{t}_{name}" for t in range(6) for name in expected[0]]
    assert expected[0]["reg"].std() > 0.1
    for t, task in enumerate(expected):
        for name, maps in task.items():
            torch.testing.assert_close(torch.from_numpy(found[f"task{t}_{name}"]), maps, rtol=1e-4, atol=1e-4)
    told = {key: json.loads(value) for key, value in meta.custom_metadata_map.items() if key != "config"}
    assert told["grid"] == {"x_range": [-16, 16], "y_range": [-8, 8], "cell": 1}
    assert told["classes"][0] == "car"
    assert told["tasks"][1] == ["truck", "construction_vehicle"]
    assert told["voxelization"]["voxel_size"] == [0.5, 0.5, 8]
    assert told["voxelization"]["max_points"] == 8
    assert told["normalisation_inside"]["scale"][3] == 255


def test_padding_pillars_change_nothing(pillars):
    model, content, _ = pillars
    voxels = model.lidar_encoder.pillars(scenes.one_of_each()[2])
    plain = {name: value.numpy() for name, value in zip(("voxels", "coords", "num_points"), voxels)}
    padded = {name: value.new_zeros(50, *value.shape[1:]) for name, value in zip(plain, voxels)}
    padded = {name: torch.cat((torch.from_numpy(plain[name]), padded[name])).numpy() for name in plain}
    before, after = run(content, plain)[0], run(content, padded)[0]
    for name in before:
        torch.testing.assert_close(torch.from_numpy(before[name]), torch.from_numpy(after[name]), rtol=0, atol=1e-6)
    nothing = {name: value[:0] for name, value in plain.items()}
    empty = model({"points": [torch.zeros(0, 5)]}, [sample_of()], mode="tensor")
    torch.testing.assert_close(torch.from_numpy(run(content, nothing)[0]["task0_reg"]), empty[0]["reg"])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"ground_z": -1.5, "normalise": True}, marks=pytest.mark.slow),
        {"ground_z": -1.5, "normalise": True, "depth_net": AWARE},
    ],
)
def test_a_camera_student_on_other_images(changes):
    config = scenes.detector_config(lidar_encoder=None, camera_encoder={**scenes.CAMERA, **changes})
    config["data_preprocessor"] = {"type": "Det3DDataPreprocessor", "mean": [1.0, 2, 3], "std": [4.0, 5, 6]}
    model = detector(config)
    content, difference = onnx_bytes(graphs.make_graph(model, cameras), {"config": "c"})
    assert difference < 1e-3
    images = torch.randn(1, 6, 3, *scenes.IMAGE, generator=torch.Generator().manual_seed(9))
    found, meta = run(content, {"images": images.numpy()})
    sample = sample_of(lidar2img=scenes.ring())
    for t, task in enumerate(model({"imgs": images}, [sample], mode="tensor")):
        for name, maps in task.items():
            assert maps.std() > 0.1
            torch.testing.assert_close(torch.from_numpy(found[f"task{t}_{name}"]), maps, rtol=1e-3, atol=1e-4)
    told = meta.custom_metadata_map
    assert json.loads(told["normalisation"]) == {"mean": [1, 2, 3], "std": [4, 5, 6], "colours": "RGB"}
    assert torch.equal(torch.tensor(json.loads(told["lidar2img"]), dtype=torch.float64), cameras()[0])
    assert json.loads(told["image_size"]) == list(scenes.IMAGE)


def _off(maps, by):
    """Maps whose difference is ``by``: of one where they are small, of their largest value where that is above one."""
    return maps + by * maps.abs().amax().clamp(min=1)


def test_a_graph_that_differs_is_refused(pillars, monkeypatch):
    model, content, _ = pillars
    graph = graphs.make_graph(model)
    monkeypatch.setattr("bevkd.engine.export.onnx_file._export", lambda *args: content)  # takes seconds
    assert largest_difference(content, graph) < 1e-4
    wrong = graphs.Example(graph.examples[0].inputs, tuple(_off(m, 0.01) for m in graph.examples[0].expected))
    changed = graphs.Graph(graph.module, graph.outputs, (graph.examples[1], wrong), graph.dynamic, graph.metadata)
    with pytest.raises(ConfigError, match=r"the ONNX graph differs from torch by 0\.0(1|099) in a map of the head"):
        onnx_bytes(changed, {})
    nan = graphs.Example(wrong.inputs, tuple(m * float("nan") for m in wrong.expected))
    changed = graphs.Graph(graph.module, graph.outputs, (graph.examples[1], nan), graph.dynamic, graph.metadata)
    with pytest.raises(ConfigError, match="differs from torch by nan"):
        onnx_bytes(changed, {})


@pytest.mark.parametrize(
    ("config", "found"),
    [(scenes.voxel_config, "a VoxelEncoder"), (scenes.fusion_config, r"a fusion \(ChannelAttentionFusion\)")],
)
def test_students_without_an_onnx_form_are_refused(config, found):
    if config is scenes.voxel_config:
        pytest.importorskip("spconv")
    with pytest.raises(ConfigError, match=f"the student has {found}, which has no ONNX form here, expected"):
        graphs.make_graph(detector(config()))
    with pytest.raises(ConfigError, match="the student is a Linear"):
        graphs.make_graph(torch.nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", "JSONDecodeError"),
        ('{"image_size": [4, 8]}', "KeyError: 'lidar2img'"),
        ('{"lidar2img": [[1, 2], [3, 4]], "image_size": [4, 8]}', r"lidar2img of shape \(2, 2\), expected \[N, 4, 4\]"),
    ],
)
def test_a_geometry_file(tmp_path, text, found):
    matrices, size = cameras()
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps({"lidar2img": matrices.tolist(), "image_size": size}))
    read = file_cameras(path)
    assert torch.equal(read[0], matrices)
    assert read[1] == size
    path.write_text(text)
    with pytest.raises(ConfigError, match=found):
        file_cameras(path)


def test_the_file_is_whole_and_an_older_one_is_removed_when_refused(tmp_path, monkeypatch):
    from mmengine.config import Config

    config = Config({"model": scenes.camera_config()}, filename=None)
    torch.save(detector(scenes.camera_config()).state_dict(), tmp_path / "a.pth")
    said = []
    files = export_student(config, tmp_path / "a.pth", tmp_path / "out", ("onnx",), cameras, said.append)
    assert [f.name for f in files] == ["student.py", "student.onnx"]
    assert said[0].startswith("onnx: largest difference to torch ")
    told = run(files[1].read_bytes(), {"images": torch.zeros(1, 6, 3, *scenes.IMAGE).numpy()})[1].custom_metadata_map
    assert told["bevkd_version"] == bevkd.__version__
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["student.onnx", "student.py"]
    content = files[1].read_bytes()
    monkeypatch.setattr("bevkd.engine.export.onnx_file._export", lambda *args: content)
    monkeypatch.setattr("bevkd.engine.export.onnx_file.TOLERANCE", -1.0)
    with pytest.raises(ConfigError, match="differs from torch"):
        export_student(config, tmp_path / "a.pth", tmp_path / "out", ("checkpoint", "onnx"), cameras, said.append)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["student.py"]
