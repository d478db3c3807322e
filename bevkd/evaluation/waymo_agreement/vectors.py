"""Official numbers for scenes: computed in the official environment, packed as small test vectors, read back.

A vector folder holds ``scenes.zip`` (the official package's own serialized Objects, two files a scene),
``official.json`` (AP, APH and APL of every breakdown), ``official_counts.npz`` (true positives, false positives, false
negatives and weighted precisions at every score cut-off), the two configurations and the official field numbers.
"""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np

from bevkd.errors import DataError

from .columns import Scene
from .environment import run_official

METRICS = {"detection": ("ap", "aph"), "let": ("apl", "ap", "aph")}
CURVES = ("counts", "precision_heading", "precision_longitudinal")
DESCRIPTIONS = ("detection_config.txtpb", "let_config.txtpb", "descriptors.json")


def write_official(python: Path, scenes: list[Scene], folder: Path) -> None:
    """Write the scenes as ``NAME.pd.bin`` and ``NAME.gt.bin`` into ``folder``, by the official package's own writer."""
    columns = {f"{scene.name}/{k}": v for scene in scenes for k, v in scene.columns().items()}
    np.savez(folder / "scenes.npz", **columns)
    run_official(python, "official_run.py", "write", folder / "scenes.npz", folder)


def copy_pair(python: Path, predictions: Path, ground_truth: Path, folder: Path) -> None:
    """Take two Objects files, cut down to what the official op takes (float32), as the one scene of ``folder``."""
    for path, side in ((predictions, "pd"), (ground_truth, "gt")):
        try:
            shutil.copyfile(path, folder / f"files.{side}.bin")
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); expected an Objects file") from None
    run_official(python, "official_run.py", "fit", folder)


def evaluate_official(python: Path, folder: Path) -> None:
    """Every pair of files in ``folder`` -> ``official.npz`` beside them."""
    run_official(python, "official_run.py", "evaluate", folder)


def pack(python: Path, folder: Path, target: Path) -> None:
    """``folder`` as :func:`evaluate_official` left it -> the vector folder ``target``."""
    target.mkdir(parents=True, exist_ok=True)
    run_official(python, "official_run.py", "describe", target)
    official = np.load(folder / "official.npz")
    names = [str(name) for name in official["scenes"]]
    with zipfile.ZipFile(target / "scenes.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in names:
            for side in ("pd", "gt"):
                # A fixed date, so that the same scenes make the same bytes.
                info = zipfile.ZipInfo(f"{name}.{side}.bin", (2020, 1, 1, 0, 0, 0))
                content = (folder / info.filename).read_bytes()
                archive.writestr(info, content, zipfile.ZIP_DEFLATED, 9)
    curves = {f"{m}.{c}": official[f"{m}.{c}"] for m in METRICS for c in CURVES}
    np.savez_compressed(target / "official_counts.npz", **{k: _small(v) for k, v in curves.items()})
    (target / "official.json").write_text(_table_text(official, names))


def _small(values: np.ndarray) -> np.ndarray:
    return values.astype(np.int16) if values.dtype == np.int32 else values


def _table_text(official, names: list[str]) -> str:
    """JSON with one line a scene."""
    parts = []
    for metric, columns in METRICS.items():
        rows = []
        for i, name in enumerate(names):
            numbers = {c: [float(f"{x:.9g}") for x in official[f"{metric}.{c}"][i]] for c in columns}
            rows.append(f"   {json.dumps(name)}: {json.dumps(numbers, separators=(',', ':'))}")
        breakdowns = json.dumps([str(b) for b in official[f"{metric}.breakdowns"]])
        body = ",\n".join(rows)
        parts.append(f' "{metric}": {{\n  "breakdowns": {breakdowns},\n  "scenes": {{\n{body}\n  }}\n }}')
    return "{\n" + ",\n".join(parts) + "\n}\n"
