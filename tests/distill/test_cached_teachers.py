"""Cached teachers: the losses of the live one, under every augmentation that they accept, and a refusal else."""

import copy
import hashlib
import json

import numpy as np
import pytest
import torch
from cache_scenes import CPU, QUARTER, Field, Pointwise, augmented, quarter_turn, samples_of, write_cache
from distill_fakes import BOXES, GRID, FakeDetector
from method_scenes import WIDE, maps, random_boxes

from bevkd.distill import RDD, CachedDenseTeacher, CachedForegroundTeacher, Distiller, LiveTeacher, UniDistill
from bevkd.distill.bev.foreground import gaussian_mask
from bevkd.distill.cache.motion import Motion, mirror_channels
from bevkd.distill.cache.records import mask_cells
from bevkd.errors import ConfigError, DataError
from bevkd.structures import BEVGrid, nine_keypoints
from bevkd.structures.keypoints import MIRRORED_KEYPOINTS
from bevkd.structures.targets import Targets

TEACHERS = {"dense": CachedDenseTeacher, "foreground": CachedForegroundTeacher}
MIRRORS = [(True, False), (False, True), (True, True)]


def boxes_of(count, grid=GRID, seed=0):
    boxes = random_boxes(count, grid, seed)
    return torch.cat((boxes, torch.zeros(count, 9 - boxes.shape[1])), 1)


@pytest.fixture
def scene():
    """Inputs and samples of three frames, one of them empty."""
    torch.manual_seed(0)
    return {"image": torch.rand(3, 1, 24, 24)}, samples_of([boxes_of(6), torch.zeros(0, 9), BOXES.clone()])


def student_taps(grid=GRID, batch=3):
    torch.manual_seed(9)
    model = FakeDetector(grid=grid).eval()
    return LiveTeacher(model)({"image": torch.rand(batch, 1, *grid.shape)}, None, CPU)


def losses(teacher, inputs, samples, student=None, **weights):
    grid = teacher.grid or GRID
    theirs = teacher(inputs, samples, CPU)
    parts = UniDistill(**weights)(student or student_taps(), theirs, Targets.from_data_samples(samples, grid))
    return {name: value.item() for name, value in parts.items()}


@pytest.mark.parametrize("mode", TEACHERS)
def test_float32_without_augmentation_is_the_live_teacher(tmp_path, scene, mode):
    model = FakeDetector().eval()
    cache = write_cache(tmp_path, model, *scene, mode=mode)
    assert losses(TEACHERS[mode](cache), *scene) == pytest.approx(losses(LiveTeacher(model), *scene), rel=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_dtypes_are_close(tmp_path, scene, dtype):
    model = FakeDetector().eval()
    live = losses(LiveTeacher(model), *scene)
    for mode, teacher in TEACHERS.items():
        cache = write_cache(tmp_path / mode, model, *scene, mode=mode, dtype=dtype)
        assert losses(teacher(cache), *scene) == pytest.approx(live, rel=2e-3 if dtype == "float16" else 2e-2)


@pytest.mark.parametrize("mirrors", MIRRORS)
@pytest.mark.parametrize("mode", TEACHERS)
def test_mirrors(tmp_path, scene, mode, mirrors):
    """Feature and relation are those of an equivariant teacher; the head's signed channels are tested below."""
    model, (inputs, samples) = Pointwise().eval(), scene
    cached = TEACHERS[mode](write_cache(tmp_path, model, *scene, mode=mode))
    dims = [dim for dim, mirrored in ((3, mirrors[0]), (2, mirrors[1])) if mirrored]
    seen = {"image": inputs["image"].flip(dims)}, augmented(samples, *mirrors)
    live = losses(LiveTeacher(model), *seen, response=0)
    assert losses(cached, *seen, response=0) == pytest.approx(live, abs=1e-4)

    theirs, truth = cached(*seen, CPU)["head"], LiveTeacher(model)(*seen, CPU)["head"]
    mask = gaussian_mask(Targets.from_data_samples(seen[1], GRID))
    theirs = theirs.inside(mask) if mode == "foreground" else theirs
    where = mask[:, None] > 0
    flipped_x, flipped_y = mirrors
    for mine, true in zip(theirs, truth):
        true = {key: value.clone() for key, value in true.items()}
        for axis, flipped in ((0, flipped_x), (1, flipped_y)):
            if flipped:  # what the pointwise teacher, blind to directions, got wrong
                true["reg"][:, axis] = 1 - true["reg"][:, axis]
                true["vel"][:, axis] *= -1
                true["rot"][:, 1 - axis] *= -1
        for key in true:
            torch.testing.assert_close(mine[key] * where, true[key] * where, rtol=0, atol=1e-5)


def test_quarter_turns(tmp_path, scene):
    model, (inputs, samples) = Pointwise().eval(), scene
    cached = CachedForegroundTeacher(write_cache(tmp_path, model, *scene))
    seen = {"image": quarter_turn(inputs["image"])}, augmented(samples, angle=QUARTER)
    live = losses(LiveTeacher(model), *seen, response=0)
    assert losses(cached, *seen, response=0) == pytest.approx(live, abs=1e-4)


@pytest.mark.parametrize("mirror", [False, True])
def test_any_motion(tmp_path, mirror):
    """Boxes that stay inside: outside the grid a moved live map is zero, and the cache still knows the feature."""
    samples = samples_of([BOXES * 0.7 + torch.tensor([0, 0, 0, 0.5, 0.5, 0.5, 0, 0, 0]), BOXES[:1] * 0.5])
    model = Field()
    cached = CachedForegroundTeacher(write_cache(tmp_path, model, None, samples))
    seen = augmented(samples, mirror, False, angle=0.7, scale=1.1, shift=0.3)
    student = {"low": maps(GRID, 3), "high": maps(GRID, 5)}
    live = losses(LiveTeacher(model), None, seen, student, response=0)
    assert live["feature"] > 1
    assert losses(cached, None, seen, student, response=0) == pytest.approx(live, abs=1e-4)


def test_boxes_may_be_filtered_and_shuffled(tmp_path, scene):
    model, (inputs, samples) = FakeDetector().eval(), scene
    cached = CachedForegroundTeacher(write_cache(tmp_path, model, *scene))
    fewer = copy.deepcopy(samples)
    truth = fewer[0].gt_instances_3d
    truth.bboxes_3d, truth.labels_3d = truth.bboxes_3d[[4, 0, 3]], truth.labels_3d[[4, 0, 3]]
    assert losses(cached, inputs, fewer) == pytest.approx(losses(LiveTeacher(model), inputs, fewer), abs=1e-4)


def test_gradients_and_the_distiller(tmp_path, scene):
    torch.manual_seed(1)
    model, student = FakeDetector(), FakeDetector()
    cache = write_cache(tmp_path, model, *scene)
    grads, logged = [], []
    for teacher in (LiveTeacher(model), CachedForegroundTeacher(cache)):
        distiller = Distiller(copy.deepcopy(student), teacher, {"u": UniDistill()})
        total, log = distiller.parse_losses(distiller(*scene, mode="loss"))
        total.backward()
        grads.append([p.grad for p in distiller.student.parameters()])
        logged.append({name: float(value) for name, value in log.items()})
        assert copy.deepcopy(distiller).teacher is teacher
    assert logged[0] == pytest.approx(logged[1], rel=1e-6)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*grads))
    known = {"config": "teacher.py", "checkpoint": "teacher.pth", "sha256": "ab" * 32}
    assert distiller.teacher_info() == {**known, "settings": {"channels": 4}}


def test_a_hair_beyond_a_cell_edge_is_in_the_cache():
    edge = torch.tensor([[1.0, -2.5, 0, 0.6, 0.6, 1, 0]])  # the centre on the corner of four cells
    mirrored = edge * torch.tensor([-1.0, 1, 1, 1, 1, 1, 1])
    cells = mask_cells(edge, GRID)
    wanted = gaussian_mask(Targets([mirrored], [], GRID))[0].flip(1).flatten().nonzero()[:, 0]
    assert set(wanted.tolist()) <= set(cells.tolist())
    assert len(cells) == 4
    assert len(mask_cells(edge + 0.1, GRID)) == 1
    assert len(mask_cells(torch.zeros(0, 7), GRID)) == 0


def test_drawn_example_of_a_mirrored_box():
    box = torch.tensor([[0.0, 0, 0, 4, 2, 1, 0]])  # heading +x: front left, rear left, rear right, front right, ...
    mirrored = nine_keypoints(box)[0, list(MIRRORED_KEYPOINTS)] * torch.tensor([-1.0, 1])
    torch.testing.assert_close(nine_keypoints(torch.tensor([[0.0, 0, 0, 4, 2, 1, torch.pi]]))[0], mirrored)


def test_drawn_example_of_mirrored_channels():
    scale, shift = mirror_channels([{"heatmap": 1, "reg": 2, "rot": 2, "vel": 2}], (True, False))
    assert scale.tolist() == [1, -1, 1, 1, -1, -1, 1]
    assert shift.tolist() == [0, 1, 0, 0, 0, 0, 0]
    with pytest.raises(ConfigError, match=r"maps 'corner', which cannot be mirrored"):
        mirror_channels([{"heatmap": 1, "corner": 8}], (True, False))


def refusal(teacher, samples, inputs=None, kind=ConfigError):
    with pytest.raises(kind) as raised:
        losses(teacher, inputs, samples)
    return str(raised.value)


@pytest.mark.parametrize("change", [{"angle": 0.1}, {"scale": 1.05}, {"shift": 0.5}, {"angle": QUARTER}])
@pytest.mark.parametrize("mode", TEACHERS)
def test_motions_that_cells_do_not_survive_are_refused(tmp_path, scene, mode, change):
    teacher = TEACHERS[mode](write_cache(tmp_path, FakeDetector().eval(), *scene, mode=mode))
    found = refusal(teacher, augmented(scene[1], **change))
    assert found.startswith("sample t0 was rotated, scaled or shifted and")
    assert "expected BEVAugment with rotation=(0, 0)" in found


def test_a_grid_that_is_no_mirror_image_is_refused(tmp_path):
    samples = samples_of([boxes_of(4, WIDE)])
    model = Pointwise(grid=WIDE).eval()
    image = {"image": torch.rand(1, 1, *WIDE.shape)}
    for mode, teacher in TEACHERS.items():
        cached = teacher(write_cache(tmp_path / mode, model, image, samples, mode=mode))
        with pytest.raises(ConfigError, match=r"sample t0 was mirrored in x and the grid spans x \(-6.0, 12.0\) m"):
            cached(None, augmented(samples, True), CPU)
        cached(None, augmented(samples, False, True), CPU)


@pytest.mark.parametrize("mode", TEACHERS)
def test_a_box_that_is_not_in_the_cache_is_refused(tmp_path, scene, mode):
    teacher = TEACHERS[mode](write_cache(tmp_path, FakeDetector().eval(), *scene, mode=mode))
    samples = copy.deepcopy(scene[1])
    samples[2].gt_instances_3d.bboxes_3d.tensor[1, 0] += 0.5
    assert "box 1 of sample t2 at (-2.50, -2.50) m is none of its 2 boxes" in refusal(teacher, samples, kind=DataError)
    samples = samples_of([BOXES[:1], BOXES[:1], BOXES])
    assert "none of its 0 boxes" in refusal(teacher, samples[1:2], kind=DataError)


def test_samples_without_a_token_or_in_no_cache(tmp_path, scene):
    teacher = CachedForegroundTeacher(write_cache(tmp_path, FakeDetector().eval(), *scene))
    assert "sample x0 is none of the 3 in the cache" in refusal(teacher, samples_of([BOXES], "x"), kind=DataError)
    nameless = samples_of([BOXES])
    nameless[0].metainfo = {"lidar_path": "a"}
    assert "metainfo has ['lidar_path'], expected a 'token'" in refusal(teacher, nameless, kind=DataError)
    tilted = np.eye(4)
    tilted[0, 2] = 0.1
    with pytest.raises(ConfigError, match="about the z axis"):
        Motion.of({"token": "a", "bev_matrix": tilted})


STALE = [
    (
        {"teacher_sha256": "cd" * 32},
        r"has teacher_sha256 cdcdcdcdcdcd \(teacher.pth\), expected [0-9a-f]{12}: make the",
    ),
    ({"ann_sha256": "ef" * 32}, r"has ann_sha256 efefefefefef \(infos.pkl\), expected "),
    ({"mode": "dense"}, r"has mode dense, expected foreground"),
    ({"taps": {"low": "stem"}}, r"has taps \{'low': 'stem'\}, expected "),
    ({"format": 0}, r"has format 0, expected 2"),
    ({"grid": {"x_range": [-6.0, 6.0], "y_range": [-6.0, 6.0], "cell": 0.25}}, r"has grid \{.*0.25\}, expected"),
]


@pytest.mark.parametrize(("change", "found"), STALE, ids=[next(iter(change)) for change, _ in STALE])
def test_stale_caches_are_refused(tmp_path, scene, change, found):
    checkpoint, infos = tmp_path / "teacher.pth", tmp_path / "infos.pkl"
    checkpoint.write_bytes(b"weights")
    infos.write_bytes(b"infos")
    right = {"teacher_sha256": hashlib.sha256(b"weights").hexdigest()}
    model = FakeDetector().eval()
    expected = {"checkpoint": checkpoint, "ann_file": infos, "taps": model.default_taps, "grid": GRID}
    CachedForegroundTeacher(write_cache(tmp_path / "good", model, *scene, **right), **expected).load()
    cache = write_cache(tmp_path / "stale", model, *scene, **{**right, **change})
    with pytest.raises(ConfigError, match=found):
        CachedForegroundTeacher(cache, **expected).load()
    with pytest.raises(ConfigError, match=r"ann_file of the cached teacher names absent.pkl, which does not exist"):
        CachedForegroundTeacher(cache, ann_file="absent.pkl").load()


def test_the_distiller_compares_grids_taps_and_methods(tmp_path, scene):
    cache = write_cache(tmp_path, FakeDetector(), *scene)
    finer = FakeDetector(grid=BEVGrid((-6, 6), (-6, 6), 0.25))
    with pytest.raises(ConfigError, match=r"grids of student and teacher differ: cell 0.25 against 0.5"):
        Distiller(finer, CachedForegroundTeacher(cache), {"u": UniDistill()}).init_weights()
    with pytest.raises(
        ConfigError, match=r"'r' \(RDD\) reads whole maps of the teacher.*expected a CachedDenseTeacher"
    ):
        Distiller(FakeDetector(), CachedForegroundTeacher(cache), {"r": RDD()}).init_weights()
    with pytest.raises(ConfigError, match="legacy_axis_swap=True reads the teacher away from its boxes"):
        losses(CachedForegroundTeacher(cache), *scene, legacy_axis_swap=True)


def test_a_dense_cache_serves_every_method(tmp_path, scene):
    cache = write_cache(tmp_path, FakeDetector(), *scene, mode="dense")
    model = Distiller(FakeDetector(), CachedDenseTeacher(cache), {"r": RDD(), "u": UniDistill()})
    assert {"kd/r/feature", "kd/u/feature"} <= set(model(*scene, mode="loss"))


def test_incomplete_missing_and_foreign_files(tmp_path, scene):
    with pytest.raises(DataError, match=r"holds no cache.json, expected .* made by tools/cache_teacher.py"):
        CachedForegroundTeacher(tmp_path).load()
    cache = write_cache(tmp_path / "c", FakeDetector(), *scene, shards=3)
    shards = sorted(cache.glob("shard_*"))
    whole = shards[1].read_bytes()
    shards[1].unlink()
    with pytest.raises(DataError, match=r"holds 2 of 3 samples, expected all: run tools/cache_teacher.py again"):
        CachedForegroundTeacher(cache).load()
    for content in (b"", whole[: len(whole) // 2], b"not a shard at all"):
        shards[1].write_bytes(content)
        with pytest.raises(DataError, match=r"shard_000001.safetensors is corrupt"):
            CachedForegroundTeacher(cache).load()
    other = write_cache(tmp_path / "d", FakeDetector(), *scene, teacher_sha256="cd" * 32)
    shards[1].write_bytes((other / "shard_000000.safetensors").read_bytes())
    with pytest.raises(DataError, match=r"shard_000001.safetensors was made for another cache"):
        CachedForegroundTeacher(cache).load()
    (cache / "cache.json").write_text(json.dumps({"mode": "dense"}))
    with pytest.raises(DataError, match=r"cache.json is no cache description"):
        CachedForegroundTeacher(cache).load()


def test_a_flipped_bit_anywhere_in_a_shard_is_refused(tmp_path, scene):
    model = FakeDetector()
    clean = write_cache(tmp_path / "clean", model, *scene)
    expected = CachedForegroundTeacher(clean)(None, scene[1], CPU)
    content = (clean / "shard_000000.safetensors").read_bytes()
    cache = write_cache(tmp_path / "c", model, *scene)
    shard = cache / "shard_000000.safetensors"
    for place in np.random.default_rng(0).integers(0, len(content), 60):
        shard.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        try:
            found = CachedForegroundTeacher(cache)(None, scene[1], CPU)
        except DataError as error:
            assert str(shard) in str(error) or "is none of the" in str(error)  # a token's own letters  # noqa: PT017
            continue  # and else it was padding of the header, which nothing reads
        assert all(torch.equal(a, b) for a, b in zip(found["low"].samples, expected["low"].samples))
