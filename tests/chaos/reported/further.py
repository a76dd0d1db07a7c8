"""Kinds of any of these that were added later."""

from __future__ import annotations

from reported.kind import ALL, BUT_FIRST, FIRST, LAST, SECOND, Reported
from reported.preludes import FSDP

HANGS = [
    Reported(
        "a metric computed by the main process",
        "Lightning-AI/torchmetrics#938",
        """
class Accuracy:
    def __init__(self):
        self.correct, self.total = torch.tensor(0.0), torch.tensor(0.0)
    def update(self, preds, target):
        self.correct += (preds == target).sum()
        self.total += target.numel()
    def compute(self):
        sums = []
        for state in (self.correct, self.total):
            gathered = [torch.zeros_like(state) for _ in range(dist.get_world_size())]
            dist.all_gather(gathered, state)  # *
            sums.append(torch.stack(gathered).sum())
        return (sums[0] / sums[1]).item()
metric = Accuracy()
metric.update(torch.tensor([1, 0, 1]), torch.tensor([1, 1, 1]))
if dist.get_rank() == 0:
    print(f"test accuracy: {metric.compute():.3f}")
""",
        "missing_rank",
        BUT_FIRST,
        "all_gather",
    ),
    Reported(
        "gather_object in the main process",
        "huggingface/accelerate#2733",
        """
texts = [f"answer {i} of rank {dist.get_rank()}" for i in range(2)]
if dist.get_rank() == 0:
    outputs = [None] * dist.get_world_size()
    dist.gather_object(texts, outputs, dst=0)  # *
    print(outputs[0])
""",
        "missing_rank",
        BUT_FIRST,
        "gather",
    ),
    Reported(
        "a rank without metrics leaves early",
        "bo-ke/llm-internal-medicine#45",
        """
def gather_and_aggregate(metrics):
    if not metrics:
        return {}
    gathered = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, metrics)  # *
    return {name: values for part in gathered for name, values in part.items()}
layers = [] if rank == world_size - 1 else ["layer.0"]
aggregated = gather_and_aggregate({name: 0.5 for name in layers})
""",
        "missing_rank",
        LAST,
        "gather",
    ),
    Reported(
        "a rank without gradients leaves the clipping",
        "NVIDIA/Model-Optimizer#1621",
        """
def clip_grad_norm_(parameters, max_norm):
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return torch.tensor(0.0)
    total = torch.stack([g.norm() ** 2 for g in grads]).sum()
    dist.all_reduce(total, op=dist.ReduceOp.SUM)  # *
    for g in grads:
        g.mul_(torch.clamp(max_norm / (total.sqrt() + 1e-6), max=1.0))
    return total.sqrt()
expert = torch.nn.Linear(4, 4)
if rank != 0:
    expert(torch.ones(2, 4)).sum().backward()
clip_grad_norm_(expert.parameters(), 1.0)
""",
        "missing_rank",
        FIRST,
        "all_reduce",
    ),
    Reported(
        "each rank decides by a reduced loss whether to save",
        "pytorch/pytorch#77562",
        """
def save(weights):
    shards = [torch.empty(4) for _ in range(dist.get_world_size())]
    dist.all_gather(shards, weights)  # *
best, weights = 1.0, torch.ones(4)
for epoch in range(3):
    total = torch.tensor(1.0)
    dist.reduce(total, dst=0)
    loss = total.item() / dist.get_world_size()
    if loss < best:
        best = loss
        save(weights)
    dist.barrier()  # *
""",
        "mismatch",
        FIRST,
        "all_gather",
    ),
    Reported(
        "a checkpoint when training fails",
        "Lightning-AI/pytorch-lightning#6430",
        """
def fit():
    for batch in range(3):
        if rank == world_size - 1 and batch == 1:
            raise RuntimeError("CUDA out of memory")  # *
        dist.all_reduce(torch.ones(2))
try:
    fit()
except RuntimeError:
    path = ["last.ckpt"]
    dist.broadcast_object_list(path, src=0)
    raise
""",
        "raised",
        LAST,
        "CUDA out of memory",
    ),
    Reported(
        "shapes that do not match on one rank",
        "pytorch/torchtitan#1790",
        """
def forward(x, y):
    if x.shape[2:] != y.shape[2:]:
        print(f"RANK {torch.distributed.get_rank()}: SPATIAL DIM MISMATCH!")
        raise ValueError(f"{x.shape[2:]=}, {y.shape[2:]=}")  # *
    return torch.cat([x, y], dim=1)
y = torch.ones(1, 2, 3 if rank == 0 else 4, 4)
out = forward(torch.ones(1, 2, 4, 4), y)
dist.all_reduce(out)
""",
        "raised",
        FIRST,
        "ValueError",
    ),
    Reported(
        "a batch of messages with one more on one side",
        "NVIDIA/nccl#2130",
        """
x, y = torch.ones(1), torch.zeros(1)
if rank == 0:
    ops = [dist.P2POp(dist.isend, x, 1), dist.P2POp(dist.irecv, y, 1)]
elif rank == 1:
    ops = [dist.P2POp(dist.irecv, y, 0)]
if rank < 2:
    for work in dist.batch_isend_irecv(ops):
        work.wait()  # *
""",
        "missing_rank",
        SECOND,
        "recv",
    ),
    Reported(
        "ranks that agree on failures too late",
        "huggingface/trl#6862",
        """
def compute_loss(batch):
    if rank == world_size - 1:
        raise ValueError("image tokens do not match")  # *
    loss = batch.mean()
    dist.all_reduce(loss)
    return loss
forward_error = None
try:
    loss = compute_loss(torch.ones(4))
except ValueError as e:
    forward_error = e
failed = torch.tensor([float(forward_error is not None)])
failed_anywhere = [torch.zeros(1) for _ in range(dist.get_world_size())]
dist.all_gather(failed_anywhere, failed)
if forward_error is not None:
    raise forward_error
""",
        "raised",
        LAST,
        "ValueError",
    ),
    Reported(
        "an expert's path that depends on its tokens",
        "vllm-project/vllm#43547",
        """
def combine(hidden, tokens):
    if tokens == 0:
        parts = [torch.empty_like(hidden) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, hidden)  # *
        return torch.stack(parts).sum(0)
    dist.all_reduce(hidden)  # *
    return hidden
combine(torch.ones(14, 8), tokens=0 if rank == world_size - 1 else 14)
""",
        "mismatch",
        LAST,
        "all_gather",
    ),
    Reported(
        "a backward without tokens",
        "NVIDIA-NeMo/Automodel#1365",
        """
class Copy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()
    @staticmethod
    def backward(ctx, grad):
        dist.all_reduce(grad)  # *
        return grad
weight = torch.ones(3, requires_grad=True)
tokens = torch.ones(0 if rank == 0 else 4, 3)
bias = torch.zeros((), requires_grad=True)
loss = (tokens @ Copy.apply(weight)).sum() if len(tokens) else bias * 0.0
loss.backward()
""",
        "missing_rank",
        FIRST,
        "all_reduce",
    ),
    Reported(
        "the optimizer's state gathered on one rank",
        "EleutherAI/bergson#380",
        FSDP
        + """
optimizer = torch.optim.Adam(net.parameters())
net(torch.ones(2, 8)).sum().backward()
optimizer.step()
def save_optimizer_state(optimizer):
    return {
        i: {k: v.full_tensor() if hasattr(v, "full_tensor") else v for k, v in state.items()}  # *
        for i, state in enumerate(optimizer.state.values())
    }
if dist.get_rank() == 0:
    save_optimizer_state(optimizer)
""",
        "missing_rank",
        BUT_FIRST,
        "all_gather",
    ),
    Reported(
        "a model saved by the main process",
        "kyuz0/amd-strix-halo-llm-finetuning#6",
        FSDP
        + """
import io
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
net(torch.ones(2, 8)).sum().backward()
is_main = dist.get_rank() == 0
if is_main:
    state = get_model_state_dict(net, options=StateDictOptions(full_state_dict=True))  # *
    torch.save(state, io.BytesIO())
""",
        "missing_rank",
        BUT_FIRST,
        "gather",
    ),
    Reported(
        "experts and data in two groups, in two orders",
        "NVIDIA/Megatron-LM#5749",
        """
experts = dist.new_group(list(range(world_size)))
data = dist.new_group(list(range(world_size)))
tokens, grads = torch.ones(world_size), torch.ones(4)
def dispatch():
    dist.all_to_all_single(torch.empty_like(tokens), tokens, group=experts)  # *
def reduce():
    dist.all_reduce(grads, group=data)  # *
for step in (reduce, dispatch) if rank == 0 else (dispatch, reduce):
    step()
""",
        "mismatch",
        ALL,
        "all_to_all",
    ),
    Reported(
        "a save in the middle of others' steps",
        "huggingface/accelerate#3250",
        """
def get_state_dict(weights):
    full = [torch.empty_like(p) for p in weights for _ in range(dist.get_world_size())]
    for i, p in enumerate(weights):
        n = dist.get_world_size()
        dist.all_gather(full[i * n : (i + 1) * n], p)  # *
    return full
weights = [torch.ones(3), torch.ones(2)]
for step in range(6):
    dist.all_reduce(torch.ones(3))  # *
    if step == 4 and dist.get_rank() == 0:
        get_state_dict(weights)
""",
        "mismatch",
        FIRST,
        "all_gather",
    ),
]
