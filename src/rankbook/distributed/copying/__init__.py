"""Copying the variables of one rank to another that has joined its process groups.

Everything is copied by value, in one pickle, so that an optimizer still refers to the parameters of
its model (``pickling``). Objects that depend on the rank (process groups, device meshes, samplers)
become those of the new rank (``places``, ``kept``). Wrappers are made again around the copies,
without a collective (``restoring``, ``sharding``). Sharded objects come without their values, which
a checkpoint has (``checkpoints``).
"""

from rankbook.distributed.copying.digests import digest
from rankbook.distributed.copying.pickling import Copied, dump
from rankbook.distributed.copying.restoring import load

__all__ = ["Copied", "digest", "dump", "load"]
