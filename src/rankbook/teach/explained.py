"""What torch's errors mean to a learner, and what its calls do that learners take for others."""

from __future__ import annotations

__all__ = ["OF_CALLS", "OF_MESSAGES"]

OF_MESSAGES = {
    r"there is no such rank": "That rank is worked out wrongly. Look at the sign (who is to the "
    "left, who to the right), at the distance of this step, and whether % world_size is missing.",
    r"Pair is not connected": "A rank cannot send to itself, nor to one that has ended: src= and "
    "dst= name another rank.",
    r"invalid output tensor list": "The list needs a tensor for each rank before the call, which "
    "writes into them: [torch.empty_like(x) for _ in range(world_size)].",
    r"Expected parameter `\w+` of type torch\.Tensor": "A collective takes a tensor, and writes "
    "into it. It does not take None, a model, a dict, or a number such as .item() makes.",
    r"Expected parameter `\w+` of type List": "The collective takes a list with a tensor for each "
    "rank. list(x.chunk(world_size)) cuts a tensor into such a list.",
    r"same number of dimensions|each tensor to be equal size": "Tensors of different shapes cannot "
    "be put together as they are: flatten() each of them first.",
    r"'NoneType' object has no attribute 'wait'": "A call that blocks returns None, and there is "
    "nothing to wait for. With async_op=True it returns a handle.",
    r"is not initialized in the world group map|has no attribute 'allreduce'"
    r"|unhashable type: 'list' .*group=": "group= takes one process group, such as "
    'mesh.get_group("dp"); not a mesh, a name, a number, or a list.',
    r"Optional kwarg `mesh_dim` needs": "A mesh of several dimensions has a group along each of "
    'them. Name the dimension: mesh.get_group("dp").',
    r"Mesh dimension '\\?\w*' does not exist": "The mesh has no dimension of that name. Its "
    "names are those that it was given as mesh_dim_names; the message lists them.",
    r"Global rank \d+ is not part of group": "src= and dst= name a rank by its number among all "
    "ranks, also where group= is given. It has to be a member of that group.",
    r"a leaf Variable that requires grad": "torch does not let a parameter be changed in place, "
    "since it keeps account of it for the backward pass. Change its .grad, or its .data.",
    r"cannot access local variable": "On that rank nothing was ever assigned to the variable: the "
    "condition above it never held there.",
    r"tensors with different dtypes": "The tensors of a call have one dtype, on all ranks. "
    "torch.tensor(0) and torch.tensor(step) are int64, torch.zeros(1) is float32.",
    r"the written-to tensor refer to a single memory": "A tensor cannot be written into itself in "
    "another order. Write into a new one: torch.empty_like(…).",
    r"cannot unpack non-iterable": "Two things are taken out where one was put in. A list takes a "
    "pair in brackets of its own: started.append((parameter, handle)).",
    r"Must specify global_rank or group_rank": "The call lacks a rank: src=, which gives, for a "
    "broadcast, a scatter or a recv; dst=, which gets, for a reduce, a gather or a send.",
    r"scatter_list.* must be specified": "scatter deals out a list, a piece for each rank. To give "
    "the same to all, there is broadcast.",
    r"outputs\[0\]\.sizes|invalid tensor size at index|invalid input tensor list size": "Each "
    "piece of the list has the shape of the single tensor, and there is one for each rank: "
    "list(x.chunk(world_size)). chunk(n) makes n pieces, split(n) pieces of n numbers each.",
    r"(?:reduce_scatter|all_gather|scatter|all_to_all)\w*\(\) missing": "The call takes two "
    "things: the tensor or list that it writes into comes first, then what this rank gives.",
    r"'NoneType' object has no attribute '(?:append|extend)'": "append and extend change the list "
    "itself and return None: call them, and do not assign what they return.",
    r"'NoneType' object has no attribute '(?:copy_|add_|div_|mul_)'": "That is None so far, so "
    "there is nothing to write into: assign a tensor to it, with =.",
    r"values to unpack": "The function is to return as many things as its last line names, "
    "separated by commas and in that order.",
    r"ProcessGroup'? is not iterable|ProcessGroup' has no len": "A process group is no list of "
    "ranks. Ask the list with which it was made, or dist.get_process_group_ranks(group).",
    r"in->size == out->size": "Without sizes, all_to_all_single cuts both tensors into equal "
    "pieces, so they have to be equally long. Pass two lists: the sizes of what comes, and of what "
    "is sent.",
    r"incompatible function arguments": "torch was given an argument of a type that it does not "
    "take: a rank is an int (// divides to one), an operation is dist.ReduceOp.MAX or the like.",
}
"""By words of an error's message, what to say about it."""

OF_CALLS = {
    "MAX": "ReduceOp.MAX keeps the largest of the ranks' numbers in each place, and adds nothing. "
    "Without an operation, all_reduce adds.",
    "MIN": "ReduceOp.MIN keeps the smallest of the ranks' numbers in each place, and adds nothing. "
    "Without an operation, all_reduce adds.",
    "PRODUCT": "ReduceOp.PRODUCT multiplies the ranks' numbers in each place. Without an "
    "operation, all_reduce adds.",
    "AVG": "ReduceOp.AVG divides the sum by the number of ranks. Without an operation, all_reduce "
    "adds.",
    "broadcast": "dist.broadcast gives every rank the tensor of one rank, src. Nothing is added "
    "up, and what the others had is lost.",
    "scatter": "dist.scatter deals out the list of one rank, src. Nothing is added up, and nobody "
    "looks at the lists of the others.",
    "gather": "dist.gather collects the tensors of all ranks on one rank, dst. The others get "
    "nothing.",
    "all_gather": "dist.all_gather puts the tensors of all ranks beside each other, into a list. "
    "Nothing is added up.",
    "all_to_all_single": "dist.all_to_all_single sends a piece of each rank's tensor to each rank. "
    "Nothing is added up.",
    "reduce_scatter": "dist.reduce_scatter adds up, and leaves each rank one piece of the sum.",
    "all_reduce": "dist.all_reduce adds up the tensors of all ranks, place by place, and leaves "
    "the whole sum on each of them.",
}
"""By function of ``dist`` or operation of ``ReduceOp``: what it does."""
