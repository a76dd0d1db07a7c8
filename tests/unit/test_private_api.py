"""What we use of ipyparallel, ipykernel, IPython and torch that they do not promise to keep.

A test that fails here says what has gone, and which of our files must find another way.
"""

from __future__ import annotations

import ast
import inspect
import multiprocessing.forkserver
import multiprocessing.util  # noqa: F401 - they are looked up by name
import pickle
import re
import sys
import time
import warnings
from datetime import timedelta
from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from packaging.version import Version
from processes import wait_until
from steps import SOON

import rankbook
from rankbook.engine.cells.script import below_torch

SOURCE = Path(rankbook.__file__).parent
sys.path += [  # as debugpy does
    f"{folder}/_vendored/pydevd" for folder in find_spec("debugpy").submodule_search_locations
]

CLIENT = "ipyparallel.client.client.Client"
CLUSTER = "ipyparallel.cluster.cluster.Cluster"
LAUNCHER = "ipyparallel.cluster.launcher.LocalProcessLauncher"
ENGINE = "ipyparallel.engine.app.IPEngine"
KERNEL = "ipykernel.ipkernel.IPythonKernel"
SHELL = "ipykernel.zmqshell.ZMQInteractiveShell"
HOOK = "ipykernel.displayhook.ZMQShellDisplayHook"
PUBLISHER = "ipykernel.zmqshell.ZMQDisplayPublisher"
CONTROLLER = "ipyparallel.controller.app.IPController"
COMM = "ipykernel.comm.comm.BaseComm"
QUEUE = "zmq.devices.ThreadMonitoredQueue"
ASYNCIO = "asyncio"
HANDLE = "asyncio.Handle"
LOOP = "asyncio.SelectorEventLoop"
FORKSERVER = "multiprocessing.forkserver"
PROCESSES = "multiprocessing.util"
PDB = "pdb.Pdb"
WARNINGS = "warnings"
TRACING = "pydevd_tracing.TracingFunctionHolder"
C10D = "torch.distributed.distributed_c10d"
C10D_IN_C = "torch._C._distributed_c10d"
LIBRARY = "torch.library.Library"
GRAPH = "torch.fx.GraphModule"
FUNCTION = "_pytest.python.Function"
AUTOGRAD = "torch._C._autograd"
ASSERTIONS = "_pytest.assertion"
PATHS = "_pytest.pathlib"
SHOWN = "_pytest._code.code"
OPERATOR = "torch._ops.OpOverload"
WAITED = "torch.distributed._functional_collectives.AsyncCollectiveTensor"
TORCH = "torch"
UTILS = "torch.utils"
MODES = "torch.overrides"
DISPATCH = "torch.utils._python_dispatch"
TORCH_IN_C = "torch._C"
WORK = "torch.distributed.distributed_c10d.Work"
WORLD = "torch.distributed.distributed_c10d._World"
DDP = "torch.nn.parallel.distributed.DistributedDataParallel"
PARALLEL = "torch.nn.parallel.distributed"
DIST = "torch.distributed"
MEETING = "torch.distributed.rendezvous"
GROUP = "torch.distributed.distributed_c10d.ProcessGroup"
REDUCER = "torch._C._distributed_c10d.Reducer"
MODULE = "torch.nn.Module"
FSDP = "torch.distributed.fsdp.FSDPModule"
FSDP_1 = "torch.distributed.fsdp._runtime_utils"
FSDP_1_FLAT = "torch.distributed.fsdp._flat_param"
FSDP_1_MADE = "torch.distributed.fsdp._init_utils"
TENSOR = "torch.Tensor"
FSDP_STATE = "torch.distributed.fsdp._fully_shard._fsdp_state.FSDPState"
FSDP_GROUP = "torch.distributed.fsdp._fully_shard._fsdp_param_group.FSDPParamGroup"
FSDP_PARAMETER = "torch.distributed.fsdp._fully_shard._fsdp_param.FSDPParam"
DTENSOR = "torch.distributed.tensor.DTensor"
MESH = "torch.distributed.device_mesh.DeviceMesh"
SCALER = "torch.amp.GradScaler"
ZERO = "torch.distributed.optim.ZeroRedundancyOptimizer"
REPLICATE = "torch.distributed._composable.replicate"
SCHEDULE = "torch.distributed.pipelining.schedules.PipelineScheduleSingle"
SCHEDULES = "torch.distributed.pipelining.schedules.PipelineScheduleMulti"
STORAGE = "torch.UntypedStorage"
LOADERS = "torch.utils.data.dataloader"
LOADER = "torch.utils.data.DataLoader"
LOADING = f"{LOADERS}._MultiProcessingDataLoaderIter"

# (class or module, name, the room of ours that uses it)
USES = [
    (WARNINGS, "_formatwarnmsg_impl", "engine"),
    (CLIENT, "_config", "cluster"),
    (CLIENT, "_control_socket", "cluster"),
    (CLIENT, "_control_stream", "cluster"),
    (CLIENT, "_dispatch_single_reply", "cluster"),
    (CLIENT, "_engines", "cluster"),
    (CLIENT, "_io_loop", "cluster"),
    (CLIENT, "_notification_handlers", "cluster"),
    (CLIENT, "_query_stream", "cluster"),
    (CLIENT, "_registration_callbacks", "cluster"),
    (CLIENT, "_unregister_engine", "cluster"),
    (CLIENT, "_update_engines", "cluster"),
    (CLUSTER, "cluster_id", "cluster"),
    (CLUSTER, "engines", "cluster"),
    (CLUSTER, "load_profile", "cluster"),
    (CLUSTER, "profile_dir", "cluster"),
    (CLUSTER, "send_engines_connection_env", "cluster"),
    (LAUNCHER, "_popen_process", "cluster"),
    (LAUNCHER, "_start_waiting", "cluster"),
    (LAUNCHER, "get_env", "cluster"),
    (LAUNCHER, "notify_start", "cluster"),
    (LAUNCHER, "output_file", "cluster"),
    (ENGINE, "enable_nanny", "cluster"),
    (ENGINE, "id", "cluster"),
    (ENGINE, "_signal_stop", "engine"),
    (ENGINE, "start_heartbeat", "engine"),
    (CONTROLLER, "init_schedulers", "cluster"),
    (CONTROLLER, "mq_class", "cluster"),
    (COMM, "_reply_subshell_for", "widgets"),
    (QUEUE, "_in_prefix", "cluster"),
    (QUEUE, "connect_mon", "cluster"),
    (KERNEL, "control_stream", "engine"),
    (KERNEL, "control_thread", "engine"),
    (KERNEL, "dispatch_control", "engine"),
    (KERNEL, "set_parent", "engine"),
    (SHELL, "_showtraceback", "engine"),
    (SHELL, "InteractiveTB", "engine"),
    (SHELL, "run_cell_async", "engine"),
    (SHELL, "should_run_async", "engine"),
    (HOOK, "finish_displayhook", "engine"),
    (HOOK, "quiet", "engine"),
    (PUBLISHER, "_thread_local", "engine"),
    (ASYNCIO, "_enter_task", "engine"),
    (ASYNCIO, "_leave_task", "engine"),
    (ASYNCIO, "_set_running_loop", "engine"),
    (HANDLE, "_callback", "engine"),
    (HANDLE, "_context", "engine"),
    (LOOP, "_scheduled", "engine"),
    (LOOP, "_selector", "engine"),
    (PROCESSES, "_finalizer_registry", "engine"),
    (FORKSERVER, "_forkserver", "engine"),
    (f"{FORKSERVER}._forkserver", "_forkserver_alive_fd", "engine"),
    (f"{FORKSERVER}._forkserver", "_forkserver_pid", "engine"),
    (PDB, "_getval", "engine"),
    (TRACING, "_warn", "engine"),
    (C10D, "_abort_process_group", "engine"),
    (C10D, "_get_default_store", "engine"),
    (C10D, "_new_process_group_helper", "engine"),
    (C10D, "_world", "engine"),
    (C10D, "Work", "calls"),
    (WORK, "_get_op_type", "calls"),
    (TORCH_IN_C, "Future", "calls"),
    (TORCH_IN_C, "_collect_all", "calls"),
    (WORLD, "pg_group_ranks", "engine"),
    (WORLD, "pg_names", "engine"),
    (C10D, "_new_process_group_helper", "calls"),
    (C10D, "_resolve_process_group", "calls"),
    (C10D, "_world", "calls"),
    (C10D, "_set_pg_timeout", "engine"),
    (WORLD, "pg_group_ranks", "calls"),
    (WORLD, "pg_names", "calls"),
    (TORCH_IN_C, "_AutoDispatchBelowADInplaceOrView", "calls"),
    (TORCH_IN_C, "_ExcludeDispatchKeyGuard", "calls"),
    (TORCH_IN_C, "_TorchDispatchModeKey", "calls"),
    (TORCH_IN_C, "_get_dispatch_mode", "calls"),
    (TORCH_IN_C, "_len_torch_dispatch_stack", "calls"),
    (TORCH_IN_C, "DispatchKey", "calls"),
    (TORCH_IN_C, "DispatchKeySet", "calls"),
    (TORCH, "_C", "calls"),
    (LIBRARY, "_destroy", "calls"),
    (LIBRARY, "_destroy", "engine"),
    (TORCH, "_tensor_str", "engine"),
    (TORCH, "_GLOBAL_DEVICE_CONTEXT", "engine"),
    (AUTOGRAD, "_disable_profiler", "engine"),
    (AUTOGRAD, "_profiler_enabled", "engine"),
    (AUTOGRAD, "_top_saved_tensors_default_hooks", "engine"),
    (AUTOGRAD, "_pop_saved_tensors_default_hooks", "engine"),
    (MODES, "_get_current_function_mode_stack", "engine"),
    (MODES, "_pop_mode", "engine"),
    (DISPATCH, "_get_current_dispatch_mode_stack", "engine"),
    (DISPATCH, "_pop_mode", "engine"),
    (UTILS, "_device", "engine"),
    (UTILS, "_python_dispatch", "engine"),
    (GRAPH, "_lineno_map", "calls"),
    (GRAPH, "_prologue_start", "calls"),
    (OPERATOR, "_handle", "calls"),
    (OPERATOR, "_op", "calls"),
    (f"{OPERATOR}Packet", "_op", "calls"),
    (TORCH_IN_C, "_after_ADInplaceOrView_keyset", "calls"),
    (TORCH_IN_C, "_dispatch_keys", "calls"),
    (f"{TORCH_IN_C}._autograd", "_profiler_enabled", "calls"),
    (f"{TORCH_IN_C}._functorch", "maybe_current_level", "calls"),
    (WAITED, "trigger_wait", "calls"),
    (C10D_IN_C, "_dump_fr_trace", "engine"),
    (AUTOGRAD, "_profiler_enabled", "engine"),
    (TORCH, "_C", "engine"),
    (ASSERTIONS, "pytest_runtest_protocol", "testing"),
    (PATHS, "import_path", "testing"),
    (SHOWN, "ExceptionChainRepr", "testing"),
    (SHOWN, "ReprEntryNative", "testing"),
    (SHOWN, "ReprFileLocation", "testing"),
    (SHOWN, "ReprTraceback", "testing"),
    (FUNCTION, "_fixtureinfo", "testing"),
    (DDP, "_build_debug_param_to_name_mapping", "distributed"),
    (DDP, "_build_params_for_reducer", "distributed"),
    (DDP, "_comm_hooks", "distributed"),
    (DDP, "_ddp_init_helper", "distributed"),
    (DDP, "_get_ddp_logging_data", "distributed"),
    (DDP, "_has_rebuilt_buckets", "distributed"),
    (DDP, "_join_config", "distributed"),
    (DDP, "_static_graph_delay_allreduce_enqueued", "distributed"),
    (PARALLEL, "_get_default_group", "distributed"),
    (DIST, "_compute_bucket_assignment_by_size", "distributed"),
    (DIST, "_register_comm_hook", "distributed"),
    (MEETING, "_create_c10d_store", "distributed"),
    ("torch.distributed.rpc", "_init_counter", "distributed"),
    ("torch.distributed.rpc.api", "_all_gather_sequence_id", "distributed"),
    ("torch.distributed.rpc.api", "_all_gather_sequence_id_to_states", "distributed"),
    ("torch.distributed.rpc.api", "_finalize_shutdown", "distributed"),
    (GROUP, "_device_types", "distributed"),
    (GROUP, "_get_backend", "distributed"),
    (GROUP, "_id", "distributed"),
    (GROUP, "_register_backend", "distributed"),
    (GROUP, "_set_group_name", "distributed"),
    (REDUCER, "_check_reducer_finalized", "distributed"),
    (REDUCER, "_get_zeros_like_grad_buckets", "distributed"),
    (REDUCER, "_push_all_rebuilt_params", "distributed"),
    (REDUCER, "_rebuild_buckets", "distributed"),
    (REDUCER, "_remove_autograd_hooks", "distributed"),
    (REDUCER, "_set_static_graph", "distributed"),
    (REDUCER, "_update_process_group", "distributed"),
    (MODULE, "_forward_pre_hooks", "distributed"),
    (TENSOR, "_backward_hooks", "distributed"),
    (TENSOR, "_post_accumulate_grad_hooks", "distributed"),
    (TENSOR, "_version", "distributed"),
    (FSDP_1, "_all_fsdp_states", "distributed"),
    (FSDP_1, "_exec_order_data", "distributed"),
    (FSDP_1_MADE, "_unshard_params_ctx", "distributed"),
    (FSDP_1, "_post_backward_callback_queued", "distributed"),
    (FSDP_1, "_post_backward_called", "distributed"),
    (FSDP_1, "_post_backward_hook_state", "distributed"),
    (FSDP_1, "_unshard_event", "distributed"),
    (FSDP_1_FLAT, "_saved_grad_shard", "distributed"),
    (FSDP_1_MADE, "_handle", "distributed"),
    (FSDP_STATE, "_modules", "distributed"),
    (FSDP, "_get_fsdp_state", "distributed"),
    (FSDP_STATE, "_auto_reshard_after_forward", "distributed"),
    (FSDP_STATE, "_comm_ctx", "distributed"),
    (FSDP_STATE, "_fsdp_param_group", "distributed"),
    (FSDP_STATE, "_fsdp_param_groups", "distributed"),
    (FSDP_STATE, "_is_root", "distributed"),
    (FSDP_STATE, "_mp_policy", "distributed"),
    (FSDP_STATE, "_state_ctx", "distributed"),
    (FSDP_STATE, "_states_to_backward_prefetch", "distributed"),
    (FSDP_STATE, "_states_to_forward_prefetch", "distributed"),
    (FSDP_STATE, "_training_state", "distributed"),
    (FSDP_GROUP, "_all_gather_comm", "distributed"),
    (FSDP_GROUP, "_all_gather_result", "distributed"),
    (FSDP_GROUP, "_all_reduce_hook", "distributed"),
    (FSDP_GROUP, "_all_reduce_state", "distributed"),
    (FSDP_GROUP, "_partial_reduce_output", "distributed"),
    (FSDP_GROUP, "_partial_reduce_output_layout", "distributed"),
    (FSDP_GROUP, "_post_forward_indices", "distributed"),
    (FSDP_GROUP, "_post_reduce_event", "distributed"),
    (FSDP_GROUP, "_reduce_scatter_comm", "distributed"),
    (FSDP_GROUP, "_reshard_after_forward_event", "distributed"),
    (FSDP_GROUP, "_to_sharded", "distributed"),
    (FSDP_PARAMETER, "_orig_size", "distributed"),
    (FSDP_PARAMETER, "_spmd_mesh", "distributed"),
    (FSDP_PARAMETER, "_unsharded_param", "distributed"),
    (DTENSOR, "_local_tensor", "distributed"),
    (DTENSOR, "__create_write_items__", "distributed"),
    (DTENSOR, "__create_chunk_list__", "distributed"),
    (DTENSOR, "_op_dispatcher", "distributed"),
    (TORCH, "_C", "distributed"),
    (TORCH_IN_C, "_current_graph_task_id", "distributed"),
    ("torch.autograd.Variable", "_execution_engine", "distributed"),
    (MESH, "_coordinate_on_dim", "distributed"),
    (REPLICATE, "_ReplicateState", "distributed"),
    (f"{REPLICATE}._ReplicateState", "_ddp", "distributed"),
    (SCALER, "_per_optimizer_states", "distributed"),
    (ZERO, "_optim_constructor", "distributed"),
    (ZERO, "_optim_defaults", "distributed"),
    (ZERO, "_overlap_with_ddp", "distributed"),
    (SCHEDULE, "_internal_losses", "distributed"),
    (SCHEDULE, "_stage", "distributed"),
    (SCHEDULES, "_stages", "distributed"),
    (STORAGE, "_cdata", "distributed"),
    (TENSOR, "_version", "teach"),
    (LOADERS, "_BaseDataLoaderIter", "distributed"),
    (LOADER, "_index_sampler", "distributed"),
    (LOADER, "_iterator", "engine"),
    (LOADERS, "_MultiProcessingDataLoaderIter", "engine"),
    (LOADING, "_shutdown", "engine"),
    (LOADING, "_worker_pids_set", "engine"),
    (LOADING, "_workers", "engine"),
    (LOADERS, "_utils", "engine"),
    ("torch.utils.data._utils.signal_handling", "_remove_worker_pids", "engine"),
    ("multiprocessing.process.BaseProcess", "_target", "distributed"),
    (C10D, "_get_default_store", "distributed"),
    (C10D, "_new_process_group_helper", "distributed"),
    (C10D, "_new_group_with_tag", "distributed"),
    (C10D, "_register_process_group", "distributed"),
    (C10D, "_resolve_process_group", "distributed"),
    (C10D, "_set_pg_timeout", "distributed"),
    (C10D, "_unregister_all_process_groups", "distributed"),
    (C10D, "_unregister_process_group", "distributed"),
    (C10D, "_update_default_pg", "distributed"),
    (C10D, "_world", "distributed"),
]

# (class, method, arguments that we call it with, the room of ours that does)
CALLS = [
    (CLIENT, "_dispatch_single_reply", ["msg"], "cluster"),
    (ENGINE, "_signal_stop", ["sig", "frame"], "engine"),
    (KERNEL, "dispatch_control", ["msg"], "engine"),
    (KERNEL, "set_parent", ["ident", "parent", "channel"], "engine"),
    (SHELL, "_showtraceback", ["etype", "evalue", "stb"], "engine"),
    (COMM, "_reply_subshell_for", ["data", "default"], "widgets"),
    (QUEUE, "connect_mon", ["addr"], "cluster"),
    (HOOK, "finish_displayhook", [], "engine"),
    (HOOK, "quiet", [], "engine"),
    (ASSERTIONS, "pytest_runtest_protocol", ["item"], "testing"),
    (PATHS, "import_path", ["path", "mode", "root", "consider_namespace_packages"], "testing"),
]

# Since which version of what a name is there; before, we do without.
SINCE = {"_reply_subshell_for": ("ipykernel", "7.4")}

# What some torch has in the place of another name, or not yet: the code asks whether it is there.
ASKED_FOR = {
    "_fsdp_param_group",
    "_fsdp_param_groups",
    "_partial_reduce_output_layout",
    "_prologue_start",
    "_spmd_mesh",
}

# Of the standard library: documented, or as stable as if they were.
STANDARD = {"_exit", "_current_exceptions", "_current_frames", "_getframe"}

# What we set on objects of others, and what IPython asks objects of ours for.
OUR_MARKS = {"_rankbook_agent", "_render_traceback_"}


def skip_before_it_came(name):
    package, since = SINCE.get(name, ("torch", "0"))
    if Version(version(package)) < Version(since):
        pytest.skip(f"came with {package} {since}")


def find(dotted):
    with warnings.catch_warnings():  # of what torch calls deprecated in its own modules
        warnings.simplefilter("ignore")
        try:  # a function of the package may have the same name as the module
            return import_module(dotted)
        except ModuleNotFoundError:
            module, _, name = dotted.rpartition(".")
            return getattr(import_module(module), name)


_PACKAGES = (
    "asyncio.",
    "ipyparallel",
    "ipykernel",
    "IPython",
    "_pytest",
    "torch.",
    "multiprocessing.",
)


def has(cls, name):
    """Whether a class or module has a name: as an attribute, a trait, or set on its instances."""
    sets = re.compile(rf"self\.{name}(: [^=\n]+)? = ")
    if inspect.ismodule(cls) and cls.__name__.startswith("torch.distributed.fsdp."):
        # Its functions set what the older FSDP knows on an object that they are given.
        return re.search(rf"\b\w+\.{name}(: [^=\n]+)? = ", inspect.getsource(cls)) is not None
    return hasattr(cls, name) or any(
        sets.search(inspect.getsource(import_module(base.__module__)))
        for base in getattr(cls, "__mro__", ())
        if base.__module__.startswith(_PACKAGES)
    )


def users(name, room):
    """Our files that use a name: what to change if it goes."""
    word = re.compile(rf"\b{name}\b")
    return [
        f"src/rankbook/{path.relative_to(SOURCE)}"
        for path in files(room)
        if word.search(path.read_text())
    ]


def files(room):
    """The modules of a room, those in its own rooms too; "." has only what stands beside them."""
    folder = SOURCE / room
    return sorted(folder.glob("*.py") if room == "." else folder.rglob("*.py"))


@pytest.mark.parametrize(("dotted", "name", "room"), USES)
def test_every_private_name_that_rankbook_uses_still_exists(dotted, name, room):
    skip_before_it_came(name)
    if name in ASKED_FOR and not has(find(dotted), name):
        pytest.skip("this torch does without it")
    assert has(find(dotted), name), (
        f"{dotted} has no {name} any more; {users(name, room)} must find another way"
    )


@pytest.mark.parametrize(("dotted", "name", "arguments", "room"), CALLS)
def test_every_private_function_still_takes_the_arguments_that_rankbook_gives(
    dotted, name, arguments, room
):
    skip_before_it_came(name)
    method = getattr(find(dotted), name)
    taken = [parameter for parameter in inspect.signature(method).parameters if parameter != "self"]
    assert taken == arguments, (
        f"{dotted}.{name} takes {taken} now; {users(name, room)} give it {arguments}"
    )


def test_a_client_still_closes_itself_where_we_keep_it_from_that():
    source = inspect.getsource(find(CLIENT))
    assert '_notification_handlers["shutdown_notification"] =' in source.replace("'", '"'), (
        "cluster/transport/wire.py must notice in another way that the hub ends"
    )


@pytest.mark.parametrize(("name", "room"), [use[1:] for use in USES])
def test_we_still_use_what_is_listed(name, room):
    assert users(name, room), f"nothing in src/rankbook/{room} uses {name}: take it off the list"


def is_ours(node):
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


def private_names_of_others(tree):
    """Names with one underscore that are imported, or those of something that is not ``self``."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Attribute) and not is_ours(node.value):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith("rankbook"):
            names = [alias.name for alias in node.names]
        yield from (n for n in names if n.startswith("_") and not n.startswith("__"))


def names_of_our_own(tree):
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.AnnAssign, ast.Assign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id
                elif isinstance(target, ast.Attribute) and is_ours(target.value):
                    yield target.attr


@pytest.mark.parametrize(
    "room",
    [
        *("calls", "cluster", "diagnosis", "display", "distributed", "engine", "magics"),
        *("sessions", "testing", "widgets", "."),
    ],
)
def test_every_private_name_that_we_use_is_listed(room):
    trees = {path: ast.parse(path.read_text()) for path in files(room)}
    ours = {name for tree in trees.values() for name in names_of_our_own(tree)}
    known = ours | STANDARD | OUR_MARKS | {name for _, name, its in USES if room in (its, ".")}
    unlisted = {
        f"{path.name}: {name}"
        for path, tree in trees.items()
        for name in private_names_of_others(tree)
        if name not in known
    }
    assert not unlisted, "list them in USES, with their class and where we use them"


def test_options_of_the_controller_are_still_options():
    from rankbook.cluster.launchers.forking import CONTROLLER_OPTIONS

    controller = find(CONTROLLER)
    classes = {cls.__name__: cls for cls in (controller, *controller().classes)}
    for option in CONTROLLER_OPTIONS:
        owner, _, name = option.partition(".")
        assert name in classes[owner].class_trait_names(config=True), (
            f"ipcontroller has no option {option} any more; cluster/launchers/forking.py gives it"
        )


@pytest.mark.parametrize(
    "source",
    [
        "from torch.distributed import _x",
        "import torch\ntorch._x()",
        "torch._x = 1",
        "a = torch._x = 1",
    ],
)
def test_a_private_name_is_found_however_it_is_used(source):
    tree = ast.parse(source)
    assert set(private_names_of_others(tree)) == {"_x"}
    assert "_x" not in set(names_of_our_own(tree))


def test_a_removed_private_name_is_noticed():
    assert has(find(CLIENT), "_control_stream")
    assert not has(find(CLIENT), "_never_was_there")
    assert not has(find(SHELL), "_never_was_there")
    assert not has(find(C10D), "_never_was_there")


# -- torch -----------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch):
    """Counts the groups that torch makes in the one function that we watch."""
    module = find(C10D)
    make, made = module._new_process_group_helper, []

    def counted(*args, **kwargs):
        made.append(args)
        return make(*args, **kwargs)

    monkeypatch.setattr(module, "_new_process_group_helper", counted)
    return made


@pytest.fixture
def world(calls):
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_torch_makes_the_stores_in_which_ranks_meet_where_we_stand_in():
    module = import_module("torch.distributed.rendezvous")
    taken = [*inspect.signature(module._create_c10d_store).parameters]
    assert taken[:5] == ["hostname", "port", "rank", "world_size", "timeout"]
    tree = ast.parse(inspect.getsource(module))
    made = [
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"_create_c10d_store", "FileStore"}
    ]
    assert sorted(made) == ["FileStore", "_create_c10d_store", "_create_c10d_store"], (
        "distributed/by_hand.py must find where torch meets by env://, tcp:// and file://"
    )
    assert module.default_pg_timeout.total_seconds() > 0


def test_torch_makes_every_group_in_one_function(world, calls):
    assert len(calls) == 1, "engine/group/sockets.py must find gloo's sockets in another way"
    dist.new_group([0])
    assert len(calls) == 2


def test_the_world_still_knows_groups_and_their_ranks(world):
    world = find(C10D)._world
    group = dist.new_group([0])
    for each in (dist.group.WORLD, group):
        assert world.pg_names[each] == each.group_name
        assert list(world.pg_group_ranks[each]) == [0]


def test_the_hook_that_torch_puts_around_another_is_still_known(monkeypatch, request):
    def hook(*_):
        pass

    monkeypatch.setattr(sys, "excepthook", hook)
    request.getfixturevalue("world")
    assert sys.excepthook is not hook
    found = below_torch(sys.excepthook)
    assert found is hook, "engine/cells/script.py must find a script's own hook in another way"


def test_the_flight_recorder_still_says_what_we_read(world):
    room = SOURCE / "engine" / "looking"
    files = [room / f"{name}.py" for name in ("recorder", "flight", "history")]
    source = "".join(path.read_text() for path in files)
    options = dict.fromkeys(("includeCollectives", "includeStackTraces", "onlyActive"), False)
    assert all(f"{name}=" in source for name in options)
    read = set(re.findall(r'entry\["(\w+)"\]', source))
    assert {"collective_seq_id", "retired", "time_discovered_completed_ns"} <= read
    dist.all_reduce(torch.ones(2))

    def last():
        dump = find(C10D_IN_C)._dump_fr_trace(**options | {"includeCollectives": True})
        return pickle.loads(dump)["entries"][-1]  # noqa: S301 - torch made it just now

    wait_until(lambda: last()["retired"] is True, SOON)
    entry = last()
    assert read <= entry.keys()
    assert entry["profiling_name"] == "gloo:all_reduce"
    assert entry["process_group"][0] == dist.group.WORLD.group_name
    assert abs(entry["time_created_ns"] - time.time_ns()) < 60e9


def test_without_its_entries_the_recorder_still_says_how_far_each_group_is(world):
    dump = partial(
        find(C10D_IN_C)._dump_fr_trace,
        includeCollectives=False,
        includeStackTraces=False,
        onlyActive=False,
    )
    before = dump()
    assert dump() == before
    dist.all_reduce(torch.ones(2))
    assert dump() != before, "engine/looking/recorder.py has to notice news in another way"


def test_torch_waits_for_blocking_collectives_where_we_note_it():
    tree = ast.parse(inspect.getsource(import_module(C10D)))
    waits = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "wait"
        and not (isinstance(node.func.value, ast.Name) and "store" in node.func.value.id)
    ]
    assert len(waits) > 10
    assert not any(node.args or node.keywords for node in waits), (
        "calls/blocking.py must hand on what torch gives to wait"
    )


def test_the_waits_of_a_handle_can_be_replaced(world):
    work = find(C10D + ".Work")
    theirs = vars(work)["wait"]
    handle = dist.all_reduce(torch.ones(2), async_op=True)
    try:
        work.wait = lambda its: (its, "waited")
        assert handle.wait() == (handle, "waited")
    finally:
        work.wait = theirs
    assert theirs.__get__(handle, work)() is True


def test_what_a_handle_is_for_is_told_by_torch_s_numbers(world):
    from rankbook.calls.blocking import _OF_TWO

    handles = [dist.irecv(torch.ones(2)), dist.all_reduce(torch.ones(2), async_op=True)]
    assert [its._get_op_type() in _OF_TWO for its in handles] == [True, False]
    with pytest.raises(RuntimeError):
        handles[0].wait(timedelta(milliseconds=1))


def test_the_waits_of_a_future_can_be_replaced():
    cls = find(TORCH_IN_C + ".Future")
    theirs = vars(cls)["wait"]
    future = torch.futures.Future()
    future.set_result(7)
    try:
        cls.wait = lambda its: (its, "waited")
        assert future.wait() == (future, "waited")
    finally:
        cls.wait = theirs
    assert theirs.__get__(future, cls)() == 7


def test_a_group_is_aborted_without_being_named():
    taken = inspect.signature(find(C10D)._abort_process_group).parameters.values()
    assert all(parameter.default is not parameter.empty for parameter in taken)
