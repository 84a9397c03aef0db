"""Whether the tensors of a job can be on a device of this machine, and what to do if not."""

from __future__ import annotations

from .errors import InputError


def device_fault(device: object) -> str | None:
    """Return why a device cannot be used here and what to do instead; None if it can be used.

    Parameters
    ----------
    device : object
        Name of a device, or a ``torch.device``. For ``"cpu"`` torch is not imported.
    """
    if isinstance(device, str) and device == "cpu":
        return None
    import torch

    try:
        wanted = torch.device(device) if isinstance(device, (str, torch.device)) else None
    except RuntimeError:
        wanted = None
    if wanted is None:
        return "It is no device of torch: use cpu or cuda."
    if wanted.type == "cpu":
        return None
    if wanted.type == "meta":
        return "A tensor on it holds no values: use cpu or cuda."
    if wanted.type == "cuda" and (fault := _cuda_fault(wanted.index)):
        return fault
    try:
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:  # the latter from builds without the device
        return f"It cannot hold a tensor here ({' '.join(str(error).split())[:80]}): use cpu."
    return None


def check_device(device: object, *, function: str) -> None:
    """Raise if a device cannot be used here.

    Parameters
    ----------
    device : object
        See :func:`device_fault`.
    function : str
        Name of the calling function, for the message.

    Raises
    ------
    InputError
    """
    if fault := device_fault(device):
        raise InputError(
            f"{function}: device must be a device of this machine, got '{device}'. {fault}"
        )


def _cuda_fault(index: int | None) -> str | None:
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return (
            f"This torch ({torch.__version__}) is built without CUDA: use cpu, or install a torch "
            "with CUDA (https://pytorch.org/get-started)."
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        return "No CUDA GPU was found: use cpu, or see whether nvidia-smi lists one."
    if index is not None and index >= count:
        last = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0"
        return f"This machine has {count} CUDA GPU{'s' * (count > 1)}: use {last}."
    return None
