"""What we use of ipyparallel, ipykernel and IPython that they do not promise to keep.

A test that fails here says what has gone, and which of our files must find another way.
"""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

import rankbook

SOURCE = Path(rankbook.__file__).parent

CLIENT = "ipyparallel.client.client.Client"
CLUSTER = "ipyparallel.cluster.cluster.Cluster"
LAUNCHER = "ipyparallel.cluster.launcher.LocalProcessLauncher"
ENGINE = "ipyparallel.engine.app.IPEngine"
KERNEL = "ipykernel.ipkernel.IPythonKernel"
SHELL = "ipykernel.zmqshell.ZMQInteractiveShell"
HOOK = "ipykernel.displayhook.ZMQShellDisplayHook"
PUBLISHER = "ipykernel.zmqshell.ZMQDisplayPublisher"
CONTROLLER = "ipyparallel.controller.app.IPController"
QUEUE = "zmq.devices.ThreadMonitoredQueue"

# (class, name, the room of ours that uses it)
USES = [
    (CLIENT, "_config", "cluster"),
    (CLIENT, "_control_socket", "cluster"),
    (CLIENT, "_control_stream", "cluster"),
    (CLIENT, "_dispatch_single_reply", "cluster"),
    (CLIENT, "_engines", "cluster"),
    (CLIENT, "_io_loop", "cluster"),
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
    (LAUNCHER, "work_dir", "cluster"),
    (ENGINE, "enable_nanny", "cluster"),
    (ENGINE, "id", "cluster"),
    (ENGINE, "start_heartbeat", "engine"),
    (CONTROLLER, "init_schedulers", "cluster"),
    (CONTROLLER, "mq_class", "cluster"),
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
    (HOOK, "semicolon_at_end_of_expression", "engine"),
    (PUBLISHER, "register_hook", "engine"),
]

# (class, method, arguments that we call it with, the room of ours that does)
CALLS = [
    (CLIENT, "_dispatch_single_reply", ["msg"], "cluster"),
    (KERNEL, "dispatch_control", ["msg"], "engine"),
    (KERNEL, "set_parent", ["ident", "parent", "channel"], "engine"),
    (SHELL, "_showtraceback", ["etype", "evalue", "stb"], "engine"),
    (QUEUE, "connect_mon", ["addr"], "cluster"),
    (HOOK, "finish_displayhook", [], "engine"),
    (HOOK, "quiet", [], "engine"),
]

# Of the standard library: documented, or as stable as if they were.
STANDARD = {"_exit", "_current_frames"}


def find(dotted):
    module, _, name = dotted.rpartition(".")
    return getattr(import_module(module), name)


def has(cls, name):
    """Whether a class has a name: as an attribute, a trait, or set on its instances."""
    sets = f"self.{name} = "
    return hasattr(cls, name) or any(
        sets in inspect.getsource(base)
        for base in cls.__mro__
        if base.__module__.startswith(("ipyparallel", "ipykernel", "IPython"))
    )


def users(name, room):
    """Our files that use a name: what must be mended if it goes."""
    word = re.compile(rf"\b{name}\b")
    return [
        f"src/rankbook/{room}/{path.name}"
        for path in sorted((SOURCE / room).glob("*.py"))
        if word.search(path.read_text())
    ]


@pytest.mark.parametrize(("dotted", "name", "room"), USES)
def test_what_we_use_is_still_there(dotted, name, room):
    assert has(find(dotted), name), (
        f"{dotted} has no {name} any more; {users(name, room)} must find another way"
    )


@pytest.mark.parametrize(("dotted", "name", "arguments", "room"), CALLS)
def test_what_we_call_still_takes_what_we_give(dotted, name, arguments, room):
    method = getattr(find(dotted), name)
    taken = [parameter for parameter in inspect.signature(method).parameters if parameter != "self"]
    assert taken == arguments, (
        f"{dotted}.{name} takes {taken} now; {users(name, room)} give it {arguments}"
    )


@pytest.mark.parametrize(("name", "room"), [use[1:] for use in USES])
def test_we_still_use_what_is_listed(name, room):
    assert users(name, room), f"nothing in src/rankbook/{room} uses {name}: take it off the list"


def private_names_of_others(tree):
    """Names with one underscore that are read from something that is not ``self``."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
            and not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})
        ):
            yield node.attr


def names_of_our_own(tree):
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.AnnAssign, ast.Assign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield getattr(target, "attr", None) or getattr(target, "id", None)


# torch's private names, in distributed/, are checked beside the tests of that room.
@pytest.mark.parametrize("room", ["cluster", "display", "engine", "sessions", "widgets", "."])
def test_every_private_name_that_we_use_is_listed(room):
    paths = sorted((SOURCE / room).glob("*.py"))
    trees = {path: ast.parse(path.read_text()) for path in paths}
    ours = {name for tree in trees.values() for name in names_of_our_own(tree)}
    known = ours | STANDARD | {name for _, name, _ in USES} | {"_render_traceback_"}
    unlisted = {
        f"{path.name}: {name}"
        for path, tree in trees.items()
        for name in private_names_of_others(tree)
        if name not in known
    }
    assert not unlisted, "list them in USES, with their class and where we use them"


def test_options_of_the_controller_are_still_options():
    from rankbook.cluster.launchers import _CONTROLLER_OPTIONS

    controller = find(CONTROLLER)
    classes = {cls.__name__: cls for cls in (controller, *controller().classes)}
    for option in _CONTROLLER_OPTIONS:
        owner, _, name = option.partition(".")
        assert name in classes[owner].class_trait_names(config=True), (
            f"ipcontroller has no option {option} any more; cluster/launchers.py gives it"
        )


def test_what_has_gone_is_noticed():
    assert has(find(CLIENT), "_control_stream")
    assert not has(find(CLIENT), "_never_was_there")
    assert not has(find(SHELL), "_never_was_there")
