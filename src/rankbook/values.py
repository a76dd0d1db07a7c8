"""Values sent between the notebook and the ranks: pickled, with tensors moved to the CPU.

The bytes travel inside messages that ipyparallel signs; nothing from another source is unpickled.
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
        name: Its name in an error.

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


class _Unpickler(pickle.Unpickler):
    """Notes the functions and classes that were sent by value."""

    def __init__(
        self, data: bytes | memoryview, made: list[Any], names: dict[str, Any] | None
    ) -> None:
        super().__init__(io.BytesIO(data))
        self._made = made
        self._names = names

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if name not in _MAKERS or not module.startswith("cloudpickle"):
            return found
        return self._noting(found, is_function=name == _FUNCTION)

    def _noting(self, make: Any, *, is_function: bool) -> Any:
        def noting(*args: Any) -> Any:
            if is_function and self._names is not None and args[1].get("__name__") == "__main__":
                code, _, *rest = args
                args = (code, self._names, *rest)
            value = make(*args)
            self._made.append(value)
            return value

        return noting


_FUNCTION = "_make_function"
_MAKERS = {_FUNCTION, "_make_skeleton_class"}
"""The functions of cloudpickle (2 and 3) that make a function or a class again."""


def loads(
    data: bytes | memoryview,
    made: list[Any] | None = None,
    names: dict[str, Any] | None = None,
) -> Any:
    """Undo :func:`dumps`.

    Args:
        data: Its result.
        made: Gets the functions and classes that were sent by value.
        names: What functions of ``__main__`` have as their globals; None: each value has its own.
    """
    return _Unpickler(data, [] if made is None else made, names).load()
