"""Where the model computes: which device, and how much memory is free there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from core.errors import ModelError

if TYPE_CHECKING:
    import torch

OLDEST_TORCH = 2


def import_torch() -> ModuleType:
    """torch, once it is known to be there and new enough. Raises: ModelError."""
    cure = 'Install it: pip install "torch>=2.6,<2.14".'
    try:
        import torch
    except ImportError as error:
        raise ModelError(f"torch cannot be imported: {error}.", cure) from None
    check_torch_version(str(torch.__version__))
    return torch


def check_torch_version(version: str) -> None:
    """Raises: ModelError for a torch before 2."""
    major = version.partition(".")[0]
    if not major.isdigit() or int(major) < OLDEST_TORCH:
        raise ModelError(
            f"torch is {version}; {OLDEST_TORCH}.0 is the oldest that works.",
            'Install a newer one: pip install "torch>=2.6,<2.14".',
        )


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """So many threads of torch within the block; what the process had set is set again."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def count_fused_steps() -> None:
    """Let fused optimizers count the weights that they change, as all others do.

    torch keeps a version of every tensor that each change in place raises; its fused optimizers leave it as
    it was (torch 2.13), so that nobody could tell old weights from new. More than once does no harm.
    """
    global _hooked  # noqa: PLW0603 - torch's hook is the process's too
    if _hooked:
        return
    from torch.optim.optimizer import register_optimizer_step_post_hook

    register_optimizer_step_post_hook(_count)
    _hooked = True


_hooked = False


def _count(optimizer: torch.optim.Optimizer, *_: object) -> None:
    from torch.autograd.graph import increment_version

    for group in optimizer.param_groups:
        if group.get("fused"):
            for parameter in group["params"]:
                if parameter.grad is not None:
                    increment_version(parameter)


def pick_device(name: str) -> torch.device:
    """The device of a name; `auto` is the first GPU, else the CPU.

    Raises: ModelError when it is not there.
    """
    import_torch()
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    cure = "Set olmoe.device to auto, cpu or cuda:0."
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelError(f"olmoe.device is {name!r}, which is no device.", cure) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"{name} is not there: {torch.cuda.device_count()} GPUs are.", cure)
    if device.type not in {"cpu", "cuda", "mps"}:
        raise ModelError(f"olmoe.device is {name!r}, which Athena does not use.", cure)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ModelError("mps is not there.", cure)
    return device


def free_bytes(name: str, machine_bytes: int | None) -> int | None:
    """Free memory of a device; `machine_bytes` is the machine's own."""
    device = pick_device(name)
    if device.type != "cuda":
        return machine_bytes
    import torch

    free: int = torch.cuda.mem_get_info(device)[0]
    return free


def experts_implementation() -> str:
    """How training computes the experts' products: grouped where this torch can, else expert by expert."""
    import torch

    return "grouped_mm" if hasattr(torch.nn.functional, "grouped_mm") else "eager"
