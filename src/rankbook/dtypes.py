"""Names of torch's dtypes, without torch."""

from __future__ import annotations

__all__ = ["python_name"]

_BY_CPP_NAME = {
    "BFloat16": "bfloat16",
    "Bool": "bool",
    "Byte": "uint8",
    "Char": "int8",
    "ComplexDouble": "complex128",
    "ComplexFloat": "complex64",
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "Int": "int32",
    "Long": "int64",
    "Short": "int16",
}


def python_name(name: str) -> str:
    """Python's name of a dtype that C++ calls ``name``: ``Float`` is ``float32``.

    Newer ones (``Float8_e5m2`` …) differ only in capitals.
    """
    return _BY_CPP_NAME.get(name, name.lower())
