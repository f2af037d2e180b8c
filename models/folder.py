"""A model's folder: what lies in it, whether it is whole, and what it needs.

Owns the manifest (`athena-model.json`: name, training cut-off, SHA-256 of every file) and every check that
can be made before a weight is read: transformers loads truncated, altered and foreign files without a word.
Refuses to know torch; shapes are read from the safetensors headers.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from core import formats
from core.errors import ModelError
from core.files import replacing, storage_errors, write_atomic

MANIFEST = "athena-model.json"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER = "tokenizer.json"
HEAD = "action_head.safetensors"
ARCHITECTURE = "OlmoeForCausalLM"
NANO_FOLDER = Path(__file__).with_name("nano")
"""The small model that Athena ships."""

KNOWN_CUTOFFS: Mapping[str, date] = {
    "allenai/OLMoE-1B-7B-0924": date(2024, 9, 1),
    "allenai/OLMoE-1B-7B-0924-SFT": date(2024, 9, 1),
    "allenai/OLMoE-1B-7B-0924-Instruct": date(2024, 9, 1),
}
"""Published models. No exact cut-off is given for their texts (arXiv 2409.02060); the month in which they
came out is a bound that cannot be too early."""

_SHAPES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "num_experts",
    "num_experts_per_tok",
)
"""What a config must say itself: transformers fills gaps with the shape of 13.4 billion weights."""

_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_EMBEDDING = "model.embed_tokens.weight"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_REPAIR = "Install Athena again, or download the model again with `athena model download`."
_EXPERT = re.compile(r"\.mlp\.experts\.")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder that holds a whole OLMoE, checked. `training_cutoff` is None only where nobody has said it."""

    path: Path
    name: str
    config: Mapping[str, Any]
    weights: tuple[Path, ...]
    training_cutoff: date | None
    about: Mapping[str, Any] = field(default_factory=dict)

    def weight_counts(self) -> tuple[int, int]:
        """(all weights of the backbone, those that one token passes through), from the headers."""
        total = experts = 0
        for name, count in self._tensor_sizes().items():
            total += count
            experts += count if _EXPERT.search(name) else 0
        share = self.config["num_experts_per_tok"] / self.config["num_experts"]
        return total, total - experts + round(experts * share)

    def backbone_hash(self) -> str:
        """SHA-256 over the weights' files, from the manifest or else computed (10 s for 14 GB)."""
        listed = self.about.get("files", {})
        parts = [listed.get(path.name) or sha256(path) for path in self.weights]
        return parts[0] if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()

    def _tensor_sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for path in self.weights:
            for name, entry in read_header(path).items():
                if name != "__metadata__":
                    count = 1
                    for extent in entry["shape"]:
                        count *= extent
                    sizes[name] = count
        return sizes


def open_folder(
    path: Path, *, training_cutoff: date | None = None, name: str | None = None
) -> ModelFolder:
    """The checked folder; `training_cutoff` and `name` are used where its manifest has none.

    Raises: ModelError for a missing folder, another architecture, pickled weights, and files that are
    missing, truncated or not what the manifest says, and a manifest of another version than is read.
    """
    if not path.is_dir():
        raise ModelError(
            f"there is no model folder {path}.",
            "Give a folder with config.json, *.safetensors and tokenizer.json as olmoe.model_path, or "
            "leave it out for the small model that is shipped.",
        )
    if (path / MANIFEST).exists():
        formats.MODEL.check_in(_read_json(path / MANIFEST), path / MANIFEST)
    config = _read_json(path / CONFIG)
    _check_architecture(path, config)
    weights = _weight_files(path)
    if not (path / TOKENIZER).exists():
        raise ModelError(f"{path} has no {TOKENIZER}.", _REPAIR)
    about = _read_manifest(path, (CONFIG, TOKENIZER, *(file.name for file in weights)))
    for file in weights:
        _check_tensors(file, read_header(file), config)
    _check_size(path, config, weights)
    for listed, digest in about.get("files", {}).items():
        _check_file(path / listed, digest)
    called = about.get("name") or name or path.name
    told = about.get("training_cutoff")
    cutoff = date.fromisoformat(told) if told else training_cutoff or KNOWN_CUTOFFS.get(called)
    return ModelFolder(path, called, config, weights, cutoff, about)


def _check_size(path: Path, config: Mapping[str, Any], weights: Sequence[Path]) -> None:
    """A config that describes far more weights than there are would be built before anybody missed them.

    Raises: ModelError for more than twice as many, and for more heads than the hidden size has room for.
    """
    there = sum(
        math.prod(entry["shape"])
        for file in weights
        for name, entry in read_header(file).items()
        if name != "__metadata__"
    )
    shape = {name: config[name] for name in _SHAPES}
    experts = shape["num_hidden_layers"] * shape["num_experts"] * 3 * shape["intermediate_size"]
    told = shape["hidden_size"] * (shape["vocab_size"] + experts)
    if told > 2 * there or shape["num_attention_heads"] > shape["hidden_size"]:
        said = ", ".join(f"{name} {each:,}" for name, each in shape.items())
        raise ModelError(
            f"{path / CONFIG} describes at least {told:,} weights ({said}), and {there:,} are there.",
            _REPAIR,
        )


def resolve(chosen: str | Path | None) -> Path | str:
    """A folder, or a hub id for what looks like one and is no folder; None is the shipped model."""
    if chosen is None:
        return NANO_FOLDER
    path = Path(chosen)
    if not path.exists() and _HUB_ID.fullmatch(str(chosen)):
        return str(chosen)
    return path


def download(model_id: str, target: Path | None = None) -> Path:
    """Fetch a model's safetensors, configs and tokenizer from the hub, without code and without pickles.

    Without a target the hub's own cache holds them. Raises: ModelError with the way to do it offline.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        found = snapshot_download(
            model_id,
            allow_patterns=["*.safetensors", "*.safetensors.index.json", "config.json", TOKENIZER],
            local_dir=target,
        )
    except (OSError, HFValidationError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"{model_id} could not be fetched: {type(error).__name__}: {reason}",
            "Offline: run `athena model download` where the hub can be reached, copy the folder here and "
            "set olmoe.model_path to it; or leave olmoe.model_path out for the small model.",
        ) from None
    return Path(found)


def write_manifest(
    folder: Path, *, name: str, training_cutoff: date | None, more: Mapping[str, Any] | None = None
) -> Path:
    """Write the manifest over all files that lie in the folder; last of all, so that a folder whose
    writing was interrupted does not pass for a whole one. Raises: StorageError."""
    files = {
        path.name: sha256(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix in {".safetensors", ".json"} and path.name != MANIFEST
    }
    about = {
        formats.KEY: formats.MODEL.version,
        "name": name,
        "training_cutoff": training_cutoff.isoformat() if training_cutoff else None,
        **(more or {}),
        "files": files,
    }
    target = folder / MANIFEST
    write_atomic(target, (json.dumps(about, indent=2) + "\n").encode())
    return target


def write_folder(folder: Path, files: Mapping[str, bytes | Callable[[Path], None]]) -> None:
    """Write files: bytes, or what a function writes to the path that it is given.

    All are written out beside their places before the first takes its place, so that a disk that is full
    leaves the folder as it was. Raises: StorageError.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for name, content in files.items():
            temporary = stack.enter_context(replacing(folder / name))
            if callable(content):
                content(temporary)
            else:
                temporary.write_bytes(content)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())


def remove(path: Path) -> None:
    """Delete a file that may be there. Raises: StorageError."""
    with storage_errors(path):
        path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """SHA-256 of a file. Raises: ModelError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.", _REPAIR) from None


def read_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file, once the file is as long as it says.

    Source: the safetensors format, version 1 (8 bytes of length, JSON, then the tensors).
    Raises: ModelError for a file that is missing, truncated or something else.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, 100_000_000):
                raise ValueError("no header")
            header: dict[str, Any] = json.loads(file.read(length))
        entries = [each for name, each in header.items() if name != "__metadata__"]
        ends = [int(each["data_offsets"][1]) for each in entries]
        if not all(isinstance(extent, int) for each in entries for extent in each["shape"]):
            raise ValueError("no shapes")
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.", _REPAIR) from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{path} is truncated or no safetensors file ({error}).", _REPAIR
        ) from None
    needed = 8 + length + max(ends, default=0)
    if size != needed:
        raise ModelError(
            f"{path} is truncated or altered: {size} bytes, {needed} expected.", _REPAIR
        )
    return header


def available_bytes(root: Path = Path("/")) -> int | None:
    """Memory that is free for this process: the machine's, or less where a container (cgroup) has a limit
    of its own; None where that cannot be told. `root` is where /proc and /sys are found."""
    meminfo = root / "proc/meminfo"
    if meminfo.exists():
        found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
        told = [int(found[1]) * 1024] if found else []
        told += [free for free in (_cgroup_free(root / place) for place in _CGROUPS) if free >= 0]
        return min(told, default=None)
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


_CGROUPS = ("sys/fs/cgroup", "sys/fs/cgroup/memory")
_CGROUP_FILES = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def _cgroup_free(folder: Path) -> int:
    """What a container may still take, -1 where it has no limit. Cached files give way, so they count as
    free. Source: the kernel's cgroup-v2.rst and cgroup-v1/memory.rst."""
    for limit_name, used_name in _CGROUP_FILES:
        try:
            limit = int((folder / limit_name).read_text())
            used = int((folder / used_name).read_text())
            stat = (folder / "memory.stat").read_text()
        except (OSError, ValueError):  # another version of cgroups, or "max"
            continue
        cached = re.search(r"^(?:total_)?inactive_file (\d+)$", stat, re.MULTILINE)
        return max(0, limit - used + (int(cached[1]) if cached else 0))
    return -1


def _check_architecture(path: Path, config: Mapping[str, Any]) -> None:
    names = config.get("architectures")
    names = names if isinstance(names, list) else []
    if ARCHITECTURE not in names or config.get("model_type") != "olmoe":
        found = ", ".join(map(str, names)) or str(config.get("model_type"))
        raise ModelError(
            f"{path} holds {found}, not {ARCHITECTURE}.",
            "Athena runs OLMoE models only: choose one.",
        )
    unsaid = [key for key in _SHAPES if type(config.get(key)) is not int or config[key] < 1]
    if unsaid:
        raise ModelError(
            f"{path / CONFIG} does not say {', '.join(unsaid)} in whole numbers above 0.", _REPAIR
        )
    if config["num_experts_per_tok"] > config["num_experts"]:
        raise ModelError(
            f"{path / CONFIG} asks {config['num_experts_per_tok']} of {config['num_experts']} experts.",
            _REPAIR,
        )


def _check_tensors(file: Path, header: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Numbers of a kind that Athena computes with, and the vocabulary that the config names."""
    for name, entry in header.items():
        if name != "__metadata__" and entry.get("dtype") not in _FLOATS:
            raise ModelError(
                f"{name} in {file} has the dtype {entry.get('dtype')}; Athena reads float and bfloat16.",
                "Choose a model that is not quantised.",
            )
    wanted = [config["vocab_size"], config["hidden_size"]]
    if _EMBEDDING in header and header[_EMBEDDING]["shape"] != wanted:
        raise ModelError(
            f"{_EMBEDDING} in {file} has the shape {header[_EMBEDDING]['shape']}, {wanted} by its config.",
            "The files are of two models, or damaged: install or download it again.",
        )


def _weight_files(path: Path) -> tuple[Path, ...]:
    if (path / WEIGHTS).exists():
        return (path / WEIGHTS,)
    if (path / INDEX).exists():
        index = _read_json(path / INDEX)
        places = index.get("weight_map")
        names = sorted(set(map(str, places.values()))) if isinstance(places, dict) else []
        if not names or not all(map(_is_plain, names)):
            raise ModelError(f"{path / INDEX} does not say which files hold the weights.", _REPAIR)
        return tuple(path / name for name in names)
    pickled = sorted(each.name for each in path.iterdir() if each.suffix in {".bin", ".pt", ".pth"})
    if pickled:
        raise ModelError(
            f"{path} holds pickled weights ({pickled[0]}), which can run code and are not loaded.",
            "Convert them to safetensors, or download a model that has them.",
        )
    raise ModelError(f"{path} has no {WEIGHTS}.", _REPAIR)


def _is_plain(name: str) -> bool:
    """A file of this folder, and no way out of it."""
    return bool(name) and Path(name).name == name


def _read_manifest(path: Path, needed: Sequence[str]) -> dict[str, Any]:
    """The manifest, {} without one. One that does not vouch for every needed file vouches for none."""
    manifest = path / MANIFEST
    if not manifest.exists():
        return {}
    about = _read_json(manifest)
    files, cutoff = about.get("files"), about.get("training_cutoff")
    if (
        not isinstance(about.get("name"), str)
        or not isinstance(files, dict)
        or not all(isinstance(each, str) and _is_plain(name) for name, each in files.items())
    ):
        raise ModelError(f"{manifest} does not name the model and its files.", _REPAIR)
    unlisted = [name for name in needed if name not in files]
    if unlisted:
        raise ModelError(f"{manifest} has no SHA-256 of {unlisted[0]}.", _REPAIR)
    try:
        date.fromisoformat(cutoff) if cutoff else None
    except (TypeError, ValueError):
        raise ModelError(
            f"{manifest} says {cutoff!r} as training_cutoff, which is no date.", _REPAIR
        ) from None
    return about


def _check_file(path: Path, digest: str) -> None:
    found = sha256(path)
    if found != digest:
        raise ModelError(
            f"{path} is not the file that its manifest names: SHA-256 {found[:12]}, "
            f"expected {digest[:12]}.",
            _REPAIR,
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path.parent} has no {path.name}.", _REPAIR) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read: {error}.", _REPAIR) from None
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds no JSON object.", _REPAIR)
    return found
