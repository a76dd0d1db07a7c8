"""Values on their way between the notebook and the ranks: pickled, tensors by way of the CPU.

The bytes travel inside messages that ipyparallel signs; nothing from anyone else is unpickled.
"""

from __future__ import annotations

import io
import pickle
import sys
from typing import Any

import cloudpickle

from rankbook.errors import InputError

__all__ = ["dumps", "loads"]


class _Pickler(cloudpickle.Pickler):
    """Moves GPU tensors to the CPU: the notebook's process must never initialise CUDA."""

    def reducer_override(self, obj: Any) -> Any:
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(obj, torch.Tensor) and obj.is_cuda:
            return obj.detach().cpu().__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        return super().reducer_override(obj)


def dumps(value: Any, name: str) -> bytes:
    """Pickle a value.

    Args:
        value: Anything; functions and classes of a notebook travel by value.
        name: What to call it in an error.

    Raises:
        InputError: It cannot be pickled.
    """
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    except Exception as error:  # noqa: BLE001 - __reduce__ can raise anything
        raise InputError(
            f"{name!r} ({type(value).__name__}) cannot be sent, it does not pickle: "
            f"{' '.join(str(error).split())}. Send what it is made from."
        ) from None
    return buffer.getvalue()


def loads(data: bytes | memoryview) -> Any:
    """Undo :func:`dumps`."""
    return pickle.loads(data)  # noqa: S301 - see the module's docstring
