"""The seed API in one process: world size 1, no launcher."""

from __future__ import annotations

import atexit
import dataclasses
import inspect
import logging
import os
import signal
import socket
import sys
import threading
import time
import types
import warnings

import psutil
import pytest
import torch
import torch.distributed as dist
from processes import wait_until

from rankbook.distributed import devices, environment, init_utils, rendezvous, stores, teardown
from rankbook.distributed.devices import check_backend, pick_device
from rankbook.distributed.init_utils import (
    DistInfo,
    destroy_global_state,
    get_local_rank_preinit,
    get_local_world_size_preinit,
    get_rank_safe,
    get_world_size_safe,
    initialize_distributed,
)
from rankbook.errors import (
    BackendError,
    DeviceError,
    EnvironmentVariableError,
    InputError,
    RendezvousError,
)

CPU = torch.device("cpu")
PREFIXES = ("SLURM_", "OMPI_", "TORCHELASTIC_", "GLOO_", "NCCL_", "MASTER_", "PMIX_")
NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """No launcher before, no process group after, and Ctrl+C as in a terminal."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [*os.environ]:
        if name in NAMES or name.startswith(PREFIXES):
            monkeypatch.delenv(name)
    yield
    destroy_global_state()
    rendezvous.forget()
    signal.signal(signal.SIGINT, handler)
    assert not dist.is_initialized()


def gpus(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)


def launch(**changes):
    return dataclasses.replace(environment.Launch("torchrun", 0, 4, 0, 4, one_host=True), **changes)


# --- the contract --------------------------------------------------------------------------------


def test_signatures_are_those_of_the_upstream():
    assert [*inspect.signature(initialize_distributed).parameters] == ["backend", "timeout_minutes"]
    assert inspect.signature(initialize_distributed).parameters["timeout_minutes"].default == 1
    fields = [field.name for field in dataclasses.fields(DistInfo)]
    assert fields == ["backend", "rank", "world_size", "device", "is_main"]


def test_without_a_launcher_this_is_rank_0_of_1():
    assert initialize_distributed("gloo") == DistInfo("gloo", 0, 1, CPU, is_main=True)
    assert dist.get_world_size() == 1


def test_a_single_rank_opens_nothing_but_loopback():
    initialize_distributed(backend="gloo", timeout_minutes=1)
    dist.new_group([0])
    addresses = {c.laddr.ip for c in psutil.Process().net_connections("inet")}
    assert addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_the_sockets_go_soon_after_the_group():
    def sockets():
        return {(c.laddr, c.raddr) for c in psutil.Process().net_connections("inet")}

    others = sockets()
    initialize_distributed("gloo")
    opened = sockets() - others
    assert opened
    destroy_global_state()
    deadline = time.monotonic() + 5
    assert stores.poll(lambda: not opened & sockets(), deadline)


def test_getters_answer_before_during_and_after_a_group(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("LOCAL_RANK", "0")
    for _ in range(2):
        assert (get_rank_safe(), get_world_size_safe()) == (0, 1)
        assert (get_local_rank_preinit(), get_local_world_size_preinit()) == (0, 1)
        initialize_distributed("gloo")


def test_getters_read_the_variables_of_slurm(monkeypatch):
    for name, value in {
        "PROCID": "3",
        "NTASKS": "8",
        "LOCALID": "1",
        "NTASKS_PER_NODE": "2",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert (get_rank_safe(), get_world_size_safe()) == (3, 8)
    assert (get_local_rank_preinit(), get_local_world_size_preinit()) == (1, 2)


def test_getters_name_a_bad_variable(monkeypatch):
    monkeypatch.setenv("RANK", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for getter in (get_rank_safe, get_world_size_safe, get_local_rank_preinit):
        with pytest.raises(EnvironmentVariableError, match="RANK='x'"):
            getter()


def test_an_unknown_local_world_size_is_an_error(monkeypatch):
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EnvironmentVariableError, match="LOCAL_WORLD_SIZE"):
        get_local_world_size_preinit()


# --- a group that exists already -----------------------------------------------------------------


def test_a_second_initialisation_warns_about_the_present_backend(caplog):
    first = initialize_distributed("gloo")
    with caplog.at_level(logging.WARNING):
        assert initialize_distributed("nccl", timeout_minutes=7) == first
    assert "backend gloo, not nccl" in caplog.text


def test_a_second_initialisation_with_the_same_backend_logs_nothing(caplog):
    initialize_distributed("gloo")
    with caplog.at_level(logging.WARNING):
        initialize_distributed("GLOO")
    assert not caplog.records


def test_a_group_made_by_init_process_group_is_taken_and_destroyed():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    assert initialize_distributed("gloo") == DistInfo("gloo", 0, 1, CPU, is_main=True)
    destroy_global_state()
    assert not dist.is_initialized()


# --- backends and devices ------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["gloo", "GLOO", "cpu:gloo", "cpu:gloo,cuda:gloo"])
def test_the_backend_reported_is_the_real_one(backend):
    info = initialize_distributed(backend)
    assert info.backend == dist.get_backend() == backend.lower()


@pytest.mark.parametrize("backend", ["glo", "", None, 3, "undefined", "fake", "cpu:", "a:b:c"])
def test_an_unknown_backend_is_refused_with_the_available_ones(backend):
    with pytest.raises(BackendError, match=r"which has .*'gloo'"):
        initialize_distributed(backend)
    assert not dist.is_initialized()


@pytest.mark.parametrize("backend", ["nccl", "cpu:gloo,cuda:nccl"])
def test_nccl_without_a_gpu_is_refused(monkeypatch, backend):
    gpus(monkeypatch, 0)
    with pytest.raises(DeviceError, match=r"needs a GPU for every rank.*use 'gloo'"):
        initialize_distributed(backend)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Connection closed by peer\nframe #0", "(Connection closed by peer): initialise again"),
        (
            (
                "NCCL error in: NCCLUtils.cpp:77, unhandled system error, NCCL version 2.28.9\n"
                "ncclSystemError: System call or external library call failed or device error.\n"
                "Last error:\nError while creating shared memory segment /dev/shm/nccl-OL3 "
                "(size 33030528), error: No space left on device (28)\nException raised from"
            ),
            (
                "(Error while creating shared memory segment /dev/shm/nccl-OL3 (size 33030528), "
                "error: No space left on device (28)): make /dev/shm larger"
            ),
        ),
        (
            (
                "NCCL error in: NCCLUtils.cpp:94, invalid usage\nLast error:\n"
                "Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1b000\n"
            ),
            "(Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1b000): initialise",
        ),
        ("NCCL error in: NCCLUtils.cpp:94\nLast error:\n", "(NCCL error in: NCCLUtils.cpp:94): in"),
    ],
)
def test_ranks_that_cannot_be_connected_are_told_in_the_words_of_nccl(said, words):
    assert devices.why_not_connected(RuntimeError(said)).startswith(words)


def test_torch_ends_no_process_after_a_timeout_unless_it_was_set(monkeypatch):
    names = [
        f"TORCH_NCCL_{name}"
        for name in ("ASYNC_ERROR_HANDLING", "DUMP_ON_TIMEOUT", "ENABLE_MONITORING")
    ]
    for name in names[:2]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(names[2], "1")
    with warnings.catch_warnings():
        devices.survive_timeouts()
        warnings.warn("barrier(): using the device under current context. You can", stacklevel=1)
    assert [os.environ[name] for name in names] == ["0", "0", "1"]


def test_gpus_that_only_nvml_counts_are_left_alone(monkeypatch):
    """It counts them where CUDA cannot start, because the driver is too old for this torch, say."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("gloo", launch(local_rank=3)) == CPU
    assert initialize_distributed("gloo").device == CPU
    with pytest.raises(DeviceError, match="needs a GPU for every rank"):
        check_backend("nccl")


@pytest.mark.skipif(dist.is_nccl_available(), reason="this torch has NCCL")
def test_nccl_that_this_build_lacks_is_refused(monkeypatch):
    gpus(monkeypatch, 1)
    with pytest.raises(BackendError, match="not in this build"):
        initialize_distributed("nccl")


@pytest.mark.parametrize(
    ("count", "backend", "changes", "device"),
    [
        (0, "gloo", {}, "cpu"),
        (4, "gloo", {"local_rank": 3}, "cuda:3"),
        (4, "nccl", {"local_rank": 3}, "cuda:3"),
        (8, "cpu:gloo,cuda:nccl", {"local_rank": 3}, "cuda:3"),
        (4, "cpu:gloo", {"local_rank": 3}, "cpu"),
        (3, "gloo", {"local_rank": 0}, "cpu"),
        (3, "gloo", {"local_rank": 3}, "cpu"),
        (1, "nccl", {"local_rank": 3, "own_gpus": True}, "cuda:0"),
        (1, "gloo", {"local_rank": 3, "own_gpus": True}, "cuda:0"),
        (2, "nccl", {"local_rank": 1, "local_world_size": None}, "cuda:1"),
        (2, "gloo", {"local_rank": 1, "local_world_size": None}, "cpu"),
        (4, "gloo", {"local_rank": 1, "local_world_size": None}, "cuda:1"),
        (2, "gloo", {"world_size": 1, "local_world_size": 1, "local_rank": 1}, "cuda:1"),
    ],
)
def test_the_device_of_a_rank(monkeypatch, count, backend, changes, device):
    gpus(monkeypatch, count)
    assert pick_device(backend, launch(**changes)) == torch.device(device)


@pytest.mark.parametrize("local_rank", [0, 2])
def test_nccl_with_too_few_gpus_fails_on_every_rank_of_the_host(monkeypatch, local_rank):
    gpus(monkeypatch, 2)
    with pytest.raises(
        DeviceError, match=f"LOCAL_RANK={local_rank} of 4 .* 2 GPUs: start at most 2"
    ):
        pick_device("nccl", launch(local_rank=local_rank))


@pytest.mark.parametrize("backend", ["nccl", "gloo"])
def test_ranks_that_share_gpus_take_turns_on_them(monkeypatch, backend):
    gpus(monkeypatch, 3)
    with monkeypatch.context() as undone:
        undone.setenv("NCCL_MULTI_RANK_GPU_ENABLE", "")
        undone.delenv("NCCL_MULTI_RANK_GPU_ENABLE")
        devices.share_gpus(shared=True)
        given = [pick_device(backend, launch(local_rank=rank)) for rank in range(4)]
        assert [str(device) for device in given] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
        assert [devices.ranks_on(device, 4) for device in given] == [2, 1, 1, 2]
        assert os.environ["NCCL_MULTI_RANK_GPU_ENABLE"] == "1"
        devices.share_gpus(shared=False)
        assert "NCCL_MULTI_RANK_GPU_ENABLE" not in os.environ
    assert devices.ranks_on(torch.device("cuda", 0), 4) == 1


def test_what_a_person_has_set_for_nccl_stays_when_gpus_are_not_shared(monkeypatch):
    monkeypatch.setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1")
    devices.share_gpus(shared=False)
    assert os.environ["NCCL_MULTI_RANK_GPU_ENABLE"] == "1"


def test_nccl_can_be_allowed_to_share_a_gpu(monkeypatch):
    gpus(monkeypatch, 2)
    monkeypatch.setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1")
    assert pick_device("nccl", launch(local_rank=3)) == torch.device("cuda:1")


def test_check_backend_answers_as_torch_writes_it():
    assert check_backend(" Gloo ") == "gloo"


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf"), "1", None, True, 1e300])
def test_an_invalid_timeout_is_refused(minutes):
    with pytest.raises(InputError, match="timeout_minutes="):
        initialize_distributed("gloo", minutes)


# --- failing halfway -----------------------------------------------------------------------------


def test_a_failed_initialisation_leaves_no_group(monkeypatch):
    real = dist.init_process_group

    def make_then_fail(*args, **kwargs):
        real(*args, **kwargs)
        raise RuntimeError("peer went away\nwith a C++ stack")

    hook = sys.excepthook
    monkeypatch.setattr(dist, "init_process_group", make_then_fail)
    with pytest.raises(RendezvousError, match=r"1 ranks \(peer went away\)"):
        initialize_distributed("gloo")
    assert not dist.is_initialized()
    assert sys.excepthook is hook
    assert "GLOO_SOCKET_IFNAME" not in os.environ
    monkeypatch.undo()
    assert initialize_distributed("gloo").world_size == 1


def test_a_failed_initialisation_does_not_raise_torchs_group_count(monkeypatch):
    """A rank that is new counts from 0; the others must name their next group as it does."""
    import torch.distributed.distributed_c10d as c10d

    def fail(*_args, **_kwargs):
        c10d._world.group_count += 1
        raise RuntimeError("a peer died")

    monkeypatch.setattr(dist, "init_process_group", fail)
    with pytest.raises(RendezvousError, match="a peer died"):
        initialize_distributed("gloo")
    assert c10d._world.group_count == 0


def test_ctrl_c_during_initialisation_leaves_no_group(monkeypatch):
    real = dist.init_process_group

    def make_then_interrupt(*args, **kwargs):
        real(*args, **kwargs)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(dist, "init_process_group", make_then_interrupt)
    with pytest.raises(KeyboardInterrupt):
        initialize_distributed("gloo")
    assert not dist.is_initialized()


# --- destroying ----------------------------------------------------------------------------------


def test_destroying_without_a_group_does_nothing():
    destroy_global_state()
    destroy_global_state()


def test_the_environment_and_hook_are_put_back():
    hook = sys.excepthook
    for _ in range(3):
        initialize_distributed("gloo")
        destroy_global_state()
    assert sys.excepthook is hook
    assert "GLOO_SOCKET_IFNAME" not in os.environ


def test_an_interface_chosen_by_the_user_stays(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", stores.loopback_interface())
    initialize_distributed("gloo")
    destroy_global_state()
    assert os.environ["GLOO_SOCKET_IFNAME"] == stores.loopback_interface()


def test_the_exit_hook_is_registered_once(monkeypatch):
    registered = []
    monkeypatch.setattr(init_utils, "_exit_hook_registered", False)
    monkeypatch.setattr(atexit, "register", registered.append)
    for _ in range(3):
        initialize_distributed("gloo")
        destroy_global_state()
    assert registered.count(destroy_global_state) == 1


@pytest.fixture
def sigint_handler():
    """A handler of our own, which must be found again."""

    def handler(signum, frame):
        raise AssertionError("SIGINT came through")

    before = signal.signal(signal.SIGINT, handler)
    yield handler
    signal.signal(signal.SIGINT, before)


def interrupted_destroy(monkeypatch, *, fail):
    real = dist.destroy_process_group

    def destroy():
        real()
        os.kill(os.getpid(), signal.SIGINT)
        if fail:
            raise RuntimeError("torch failed")

    monkeypatch.setattr(dist, "destroy_process_group", destroy)


def test_sigint_is_ignored_and_its_handler_restored(monkeypatch, sigint_handler):
    initialize_distributed("gloo")
    interrupted_destroy(monkeypatch, fail=False)
    destroy_global_state()
    assert signal.getsignal(signal.SIGINT) is sigint_handler


def test_sigint_is_restored_when_destroy_raises(monkeypatch, sigint_handler):
    initialize_distributed("gloo")
    interrupted_destroy(monkeypatch, fail=True)
    with pytest.raises(RuntimeError, match="torch failed"):
        destroy_global_state()
    assert signal.getsignal(signal.SIGINT) is sigint_handler


def test_a_group_is_destroyed_from_another_thread(sigint_handler):
    initialize_distributed("gloo")
    thread = threading.Thread(target=destroy_global_state)
    thread.start()
    thread.join(10)
    assert not dist.is_initialized()
    assert signal.getsignal(signal.SIGINT) is sigint_handler


def test_a_destroy_that_hangs_is_abandoned_with_a_warning(monkeypatch, caplog):
    initialize_distributed("gloo")
    real, release = dist.destroy_process_group, threading.Event()

    def hang():
        release.wait(10)
        real()

    monkeypatch.setattr(dist, "destroy_process_group", hang)
    monkeypatch.setattr(teardown, "SECONDS", 0.05)
    started = time.monotonic()
    for _ in range(2):
        destroy_global_state()
    assert time.monotonic() - started < 1
    assert caplog.text.count("was not destroyed within 0.05 s") == 2
    with pytest.raises(RendezvousError, match=r"still being destroyed after 0\.06 s"):
        initialize_distributed("gloo", 0.001)
    release.set()
    assert initialize_distributed("cpu:gloo").backend == "cpu:gloo"


def test_a_group_is_destroyed_where_no_thread_can_be_started(monkeypatch):
    """As at exit of Python 3.12."""

    def start(self):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    initialize_distributed("gloo")
    monkeypatch.setattr(teardown._Leaving, "start", start)
    destroy_global_state()
    assert not dist.is_initialized()


def test_a_destroy_during_an_initialisation_gives_up_with_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(teardown, "SECONDS", 0.05)
    with init_utils._lock:
        thread = threading.Thread(target=destroy_global_state)
        thread.start()
        thread.join(10)
    assert "interrupt it first" in caplog.text


@pytest.mark.parametrize("fails", [False, True])
def test_deepep_buffers_are_freed_first_and_never_stop_the_destroy(monkeypatch, caplog, fails):
    class Buffer:
        explicitly_destroy = True

        def destroy(self):
            assert dist.is_initialized()
            if fails:
                raise RuntimeError("no buffer")

    module = types.ModuleType("megatron.core.transformer.moe.fused_a2a")
    module._buffer = Buffer()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    initialize_distributed("gloo")
    destroy_global_state()
    assert module._buffer is None
    assert not dist.is_initialized()
    assert ("could not free" in caplog.text) is fails


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12 and later
def test_a_forked_child_leaves_its_parents_group_alone():
    initialize_distributed("gloo")
    child = os.fork()
    if child == 0:
        destroy_global_state()
        os._exit(42 if dist.is_initialized() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


# --- where ranks meet ----------------------------------------------------------------------------


def test_a_hosted_store_listens_on_one_address():
    url = rendezvous.host()
    port = int(url.rpartition(":")[2])
    # The sockets of an earlier test's group may still be closing.
    here = [c.laddr for c in psutil.Process().net_connections("inet") if not c.raddr]
    assert [address.ip for address in here if address.port == port] == ["127.0.0.1"]
    rendezvous.forget()


def test_another_place_closes_the_hosted_store():
    url = rendezvous.host()
    rendezvous.use("file:///tmp/elsewhere", 1)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=1)


def test_hosting_on_an_address_of_another_host_is_refused():
    with pytest.raises(InputError, match=r"cannot listen on '192\.0\.2\.1'"):
        rendezvous.host("192.0.2.1")


@pytest.mark.parametrize("url", ["http://x:1", "file:", "tcp://host", "/store", ""])
def test_a_place_that_is_no_file_or_tcp_url_is_refused(url):
    with pytest.raises(InputError, match="write file:///path or tcp://address:port"):
        rendezvous.use(url, 1)


def test_a_temporary_place_is_forgotten_after_its_block():
    with rendezvous.at("tcp://127.0.0.1:1234", 3):
        assert rendezvous.port() == 1234
    assert rendezvous.port() == 0


def test_a_meeting_file_that_cannot_be_written_is_an_error(monkeypatch, tmp_path):
    two_ranks(monkeypatch)
    rendezvous.use(f"file://{tmp_path}/missing/store", 1)
    with pytest.raises(InputError, match=r"missing/store' \(No such file"):
        initialize_distributed("gloo")


def two_ranks(monkeypatch, **environ):
    defaults = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"}
    for name, value in {**defaults, **environ}.items():
        monkeypatch.setenv(name, value)


def test_the_missing_rank_is_named(monkeypatch, tmp_path):
    two_ranks(monkeypatch, WORLD_SIZE="4")
    rendezvous.use(f"file://{tmp_path}/store", 1)
    with pytest.raises(RendezvousError) as raised:
        initialize_distributed("gloo", 0.003)
    assert str(raised.value).startswith("ranks 0, 2 and 3 of 4 did not arrive within 0.18 s: ")


def test_ranks_that_gave_up_are_told_apart_from_ranks_that_never_came(monkeypatch, tmp_path):
    rendezvous.use(f"file://{tmp_path}/store", 1)
    for rank, says in (("1", "ranks 0 and 2"), ("2", "rank 0")):
        two_ranks(monkeypatch, WORLD_SIZE="3", RANK=rank, LOCAL_RANK=rank)
        with pytest.raises(RendezvousError, match=f"^{says} of 3 did not arrive") as raised:
            initialize_distributed("gloo", 0.002)
    assert "rank 1 of 3 came and gave up" in str(raised.value)


def test_an_address_where_nothing_listens_is_an_error(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    two_ranks(monkeypatch, MASTER_PORT=str(port))
    with pytest.raises(RendezvousError, match=f"rank 0 did not arrive: .*127.0.0.1:{port} .*refus"):
        initialize_distributed("gloo", 0.003)


def test_a_port_where_another_program_listens_is_an_error(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        two_ranks(monkeypatch, MASTER_PORT=str(server.getsockname()[1]))
        with pytest.raises(RendezvousError, match="does not answer as a TCPStore"):
            initialize_distributed("gloo", 0.005)


def test_a_taken_port_is_an_error(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        two_ranks(monkeypatch, RANK="0", LOCAL_RANK="0", MASTER_PORT=str(port))
        with pytest.raises(EnvironmentVariableError, match=f"MASTER_PORT={port} .*in use"):
            initialize_distributed("gloo", 0.005)


@pytest.mark.parametrize("place", ["file", "nobody listens", "something else listens", "hosted"])
def test_ctrl_c_ends_the_wait_for_the_other_ranks(monkeypatch, tmp_path, place):
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    if place != "something else listens":
        server.close()
    two_ranks(monkeypatch, MASTER_PORT=str(port))
    if place == "file":
        rendezvous.use(f"file://{tmp_path}/store", 1)
    elif place == "hosted":
        rendezvous.use(rendezvous.host(), 1)
    sent = []

    def interrupt():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.3, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        initialize_distributed("gloo", 0.5)
    assert time.monotonic() - sent[0] < 0.2
    timer.join()
    # What connects ends soon, also while what it is connected to says nothing: it would end the
    # process with SIGABRT if it came back from C++ while Python finalizes.
    names = lambda: {thread.name for thread in threading.enumerate()}  # noqa: E731
    wait_until(lambda: "rankbook-connect" not in names(), timeout=10)
    server.close()
    assert not dist.is_initialized()


@pytest.mark.parametrize(
    ("found", "one_host", "addresses"),
    [
        (["127.0.1.1"], True, ["127.0.1.1"]),
        (["127.0.1.1"], False, ["10.0.0.7"]),
        (["10.1.2.3"], False, ["10.1.2.3", "10.0.0.7"]),
    ],
)
def test_the_addresses_of_rank_0_are_chosen_by_how_its_name_resolves(
    monkeypatch, found, one_host, addresses
):
    monkeypatch.setattr(stores, "resolve", lambda name: found)
    monkeypatch.setattr(stores, "outbound_address", lambda: "10.0.0.7")
    assert stores.own_addresses("node1", one_host=one_host) == addresses


def test_an_ipv4_address_is_preferred():
    assert stores.resolve("localhost")[0] == "127.0.0.1"
    assert stores.resolve("::1") == ["::1"]


def test_an_interrupt_while_torch_makes_the_group_leaves_none(monkeypatch):
    real = dist.distributed_c10d._update_default_pg

    def interrupted(group):
        monkeypatch.setattr(dist.distributed_c10d, "_update_default_pg", real)
        raise KeyboardInterrupt

    monkeypatch.setattr(dist.distributed_c10d, "_update_default_pg", interrupted)
    with pytest.raises(KeyboardInterrupt):
        initialize_distributed("gloo")
    assert not dist.is_initialized()
    initialize_distributed("gloo")
    dist.barrier()
