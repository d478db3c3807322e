"""Shards of a teacher cache: safetensors files of whole samples, each sample with its checksum."""

from __future__ import annotations

import json
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from bevkd.errors import DataError

PATTERN = "shard_*.safetensors"
_OPEN = 16  # files held open; one holds some fifty to two hundred samples
_REMEDY = "remove it and run tools/cache_teacher.py again, which makes what is missing"


def encode_shard(samples: Mapping[str, Mapping[str, Tensor]], key: str) -> bytes:
    """The bytes of a shard.

    Args:
        samples: token -> part -> tensor.
        key: digest of the cache's key.
    """
    tensors = {f"{token}/{part}": t.contiguous() for token, parts in samples.items() for part, t in parts.items()}
    sums = {token: checksum(parts) for token, parts in samples.items()}
    return save(tensors, {"key": key, "checksums": json.dumps(sums)})


def checksum(parts: Mapping[str, Tensor]) -> int:
    """CRC-32 over names, dtypes, shapes and bytes of one sample."""
    value = 0
    for name in sorted(parts):
        tensor = parts[name].contiguous()
        value = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.view(-1).view(torch.uint8).numpy().data, value)
    return value


class ShardReader:
    """Samples of a cache folder by token. Shards are mapped into memory, and a sample's checksum is tested when read.

    Args:
        folder: with the shards.
        key: digest that each must carry.

    Raises:
        DataError: a shard that is corrupt or belongs to another cache, naming the file.
    """

    def __init__(self, folder: str | Path, key: str) -> None:
        self.folder = Path(folder)
        self._files: OrderedDict[Path, Any] = OrderedDict()
        self._places: dict[str, tuple[Path, int]] = {}
        for path in sorted(self.folder.glob(PATTERN)):
            metadata = self._open(path).metadata() or {}
            try:
                sums = json.loads(metadata["checksums"])
            except (KeyError, ValueError, AttributeError) as error:
                raise DataError(f"{path} has no checksums, expected a shard of a teacher cache; {_REMEDY}") from error
            if metadata.get("key") != key:
                raise DataError(f"{path} was made for another cache than {self.folder}; {_REMEDY}")
            self._places.update((token, (path, value)) for token, value in sums.items())

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, token: str) -> bool:
        return token in self._places

    def read(self, token: str) -> dict[str, Tensor]:
        """The parts of one sample, on the CPU.

        Raises:
            DataError: a token that the cache does not have, or a corrupt shard.
        """
        if token not in self._places:
            raise DataError(f"sample {token} is none of the {len(self)} in the cache {self.folder}")
        path, expected = self._places[token]
        file = self._open(path)
        try:
            parts = {n.rpartition("/")[2]: file.get_tensor(n) for n in self._names(file, token)}
        except (SafetensorError, RuntimeError) as error:
            raise DataError(f"{path} is corrupt at sample {token} ({error}); {_REMEDY}") from error
        if (found := checksum(parts)) != expected:
            raise DataError(
                f"{path} is corrupt: sample {token} has CRC {found:08x}, expected {expected:08x}; {_REMEDY}"
            )
        return parts

    @staticmethod
    def _names(file: Any, token: str) -> list[str]:
        return [name for name in file.keys() if name.rpartition("/")[0] == token]  # noqa: SIM118 (no mapping)

    def _open(self, path: Path) -> Any:
        if path not in self._files:
            try:
                self._files[path] = safe_open(path, "pt")
            except (SafetensorError, OSError) as error:
                raise DataError(f"{path} is corrupt ({error}); {_REMEDY}") from error
            if len(self._files) > _OPEN:
                self._files.popitem(last=False)
        self._files.move_to_end(path)
        return self._files[path]
