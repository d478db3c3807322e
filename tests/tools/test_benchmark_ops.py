"""The benchmark judges before it times, and its table says what was missed."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import table
from benchmarks.determinism import repeatable
from benchmarks.harness import OURS, Candidate, Row, measure
from benchmarks.peers import conch, lift_splat
from benchmarks.peers.v2_style import Ranks
from benchmarks.run import Report, run_families
from bevkd.errors import ConfigError, DataError

CPU = torch.device("cpu")


def _right(value):
    assert value == 1, "wrong sum"


def _row(*candidates: Candidate) -> Row:
    return Row("bev_pool", "B=1, drawn", 1000, list(candidates))


def _spin(steps: int):
    def run() -> int:
        for _ in range(steps):
            pass
        return 1

    return run


def test_a_wrong_candidate_gets_no_time():
    result = measure(_row(Candidate(OURS, _spin(10), _right), Candidate("peer", lambda: 2, _right)), 1, 3, 1e9, CPU)
    assert set(result.timings) == {OURS}
    assert result.failures == {"peer": "wrong sum"}
    assert result.ratio("peer") is None


def test_ratio_is_that_of_the_medians_and_the_slower_peer_reads_above_one():
    row = _row(Candidate(OURS, _spin(2_000), _right), Candidate("peer", _spin(400_000), _right))
    result = measure(row, 1, 7, 1e9, CPU)
    assert result.ratio("peer") > 10
    assert result.floor_ms == pytest.approx(1e-3)
    assert result.as_dict()["ratio_of_medians"]["peer"] == pytest.approx(result.ratio("peer"), abs=1e-3)


def test_an_implementation_that_wanders_is_not_repeatable():
    generator = torch.Generator().manual_seed(0)
    assert repeatable(Candidate("fixed", lambda: (torch.ones(3), [torch.zeros(2)]), _right), CPU)
    assert not repeatable(Candidate("random", lambda: torch.rand(3, generator=generator), _right), CPU)


def _report(ratio: float) -> Report:
    result = measure(
        _row(Candidate(OURS, _spin(10), _right), Candidate("LSS in torch", _spin(10), _right)), 1, 1, 1e9, CPU
    )
    result.timings["LSS in torch"].wall = ratio * result.timings[OURS].wall
    machine = {"hardware": "Some CPU, 2 cores", "bevkd": "0.1", "date": "2026-01-02T03:04:05"}
    return Report(machine, {"bev_pool": [result]}, {"bev_pool": {"bev_pool, B=1, drawn": True}})


@pytest.mark.parametrize(("ratio", "mark"), [(25.0, "reached"), (12.5, "MISSED")])
def test_table_marks_goals(ratio, mark):
    assert f"LSS in torch {ratio}x (>= 20: {mark})" in table.to_markdown(_report(ratio))


def test_readme_table_is_made_of_the_result_files(tmp_path):
    (path,) = table.write_results(_report(25.0), tmp_path / "results")
    assert path.name == "bev_pool_0.1_Some-CPU-2-cores.json"
    assert json.loads(path.read_text())["results"][0]["op"] == "bev_pool"
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- benchmark_ops: begin -->\nold\n<!-- benchmark_ops: end -->\nafter\n")
    table.renew_readme(readme, path.parent)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| bev_pool | B=1, drawn | 1 |" in text
    assert "Some CPU, 2 cores, 2026-01-02" in text
    with pytest.raises(DataError, match="no pair of markers"):
        table.renew_readme(path, path.parent)


def test_wrong_requests_are_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        run_families([], "cpu", [0], 1)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="finds no GPU"):
            run_families([], "cuda", [1], 1)


@pytest.mark.parametrize("by", ["cell", "pixel"])
def test_ranks_of_the_v2_peer_cut_the_points_into_runs_of_one_key(by):
    generator = torch.Generator().manual_seed(0)
    cell = torch.randint(-1, 12, (1, 2, 3, 4, 5), generator=generator, dtype=torch.int32)
    depth, feat = torch.rand(1, 2, 3, 4, 5, generator=generator), torch.rand(1, 2, 4, 5, 6, generator=generator)
    ranks = Ranks.of(cell, by)
    assert ranks.length.sum() == (cell >= 0).sum()
    assert (ranks.length > 0).all()
    key = getattr(ranks, by)
    for start, length in zip(ranks.start.tolist(), ranks.length.tolist()):
        assert len(set(key[start : start + length].tolist())) == 1
    rows = depth.flatten()[ranks.point.long()][:, None] * feat.flatten(0, 3)[ranks.pixel.long()]
    out = torch.zeros(12, 6).index_add(0, ranks.cell.long(), rows)
    assert torch.allclose(out, lift_splat.index_add(depth, feat, cell, (3, 4)).reshape(12, 6), atol=1e-5)


def test_peers_of_pooling_agree():
    generator = torch.Generator().manual_seed(0)
    cell = torch.randint(-1, 12, (2, 2, 3, 4, 5), generator=generator, dtype=torch.int32)
    cell[1] = torch.where(cell[1] >= 0, cell[1] + 12, cell[1])
    depth, feat = (torch.rand(2, 2, 3, 4, 5, generator=generator), torch.rand(2, 2, 4, 5, 6, generator=generator))
    peers = [f(depth, feat, cell, (3, 4)) for f in (lift_splat.index_add, lift_splat.sort_and_prefix_sum)]
    assert torch.allclose(*peers, atol=1e-4)


def test_conch_is_given_intervals_of_equal_cell():
    """Its kernel needs a GPU; in its place one that follows its signature, sample by sample and row by row."""

    def kernel(rows, where, starts, lengths, samples, levels, height, width):
        out = rows.new_zeros(samples, levels, height, width, rows.shape[1])
        for start, length in zip(starts.tolist(), lengths.tolist()):
            y, x, z, sample = where[start].tolist()
            out[sample, z, y, x] = rows[start : start + length].sum(0)
        return out

    generator = torch.Generator().manual_seed(0)
    cell = torch.randint(-5, 2 * 3 * 4, (2, 1, 6, 3, 2), generator=generator).clamp(min=-1)
    cell[0] = torch.where(cell[0] >= 0, cell[0] % 12, -1)
    cell[1] = torch.where(cell[1] >= 0, cell[1] % 12 + 12, -1)
    depth = torch.rand(cell.shape, generator=generator)
    feat = torch.rand(2, 1, 3, 2, 5, generator=generator)
    found = conch.pool(kernel)(depth, feat, Ranks.of(cell, "cell"), (3, 4))
    torch.testing.assert_close(found, lift_splat.index_add(depth, feat, cell, (3, 4)))
