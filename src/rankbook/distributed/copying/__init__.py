"""Copying the variables of one rank to another that has taken a place in its process groups.

Everything is copied by value, in one pickle, so that an optimizer still refers to the parameters of
its model (``pickling``). What belongs to a place among the ranks is that of the new place
afterwards: process groups, device meshes, samplers (``places``). Wrappers are made again around
what was copied, without a collective (``restoring``, ``sharding``). What is sharded comes without
its values: they are in a checkpoint (``checkpoints``).
"""

from rankbook.distributed.copying.digests import digest
from rankbook.distributed.copying.pickling import Copied, dump
from rankbook.distributed.copying.restoring import load

__all__ = ["Copied", "digest", "dump", "load"]
