"""A real kernel, seen as a front end sees it."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager

import ports
from jupyter_client.manager import KernelManager
from processes import wait_until

__all__ = ["Notebook", "kernel_manager", "notebook_of", "notebook_with_magics"]


class Notebook:
    """Runs cells in a kernel and keeps what it publishes."""

    def __init__(self, manager, client):
        self.manager = manager
        self.client = client

    def start(self, code):
        self.messages = []
        self.id = self.client.execute(code)

    def finish(self, timeout=60):
        self.wait_until_idle(timeout)
        while True:
            reply = self.client.get_shell_msg(timeout=timeout)
            if reply["parent_header"]["msg_id"] == self.id:
                return reply["content"]

    def wait_until_idle(self, timeout=60):
        deadline = time.monotonic() + timeout
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.01, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") != self.id:
                continue
            if message["content"].get("execution_state") == "idle":
                return
            self.messages.append(message)

    def wait_for_output(self, timeout=60, name="stdout"):
        """Wait until what runs has printed something, to stdout or to the stream of that name."""
        deadline = time.monotonic() + timeout
        while not any(stream["name"] == name for stream in self.of("stream")):
            left = max(0.01, deadline - time.monotonic())
            self.messages.append(self.client.get_iopub_msg(timeout=left))

    def asked(self, timeout=60):
        """Wait until the cell asks; return the prompt, and whether the answer is a secret."""
        message = self.client.get_stdin_msg(timeout=timeout)
        assert message["msg_type"] == "input_request"
        return message["content"]["prompt"], message["content"]["password"]

    def says(self, *lines, timeout=60):
        """Type a line at each prompt that comes; return the prompts."""
        prompts = []
        for line in lines:
            prompts.append(self.asked(timeout)[0])
            self.client.input(line)
        return prompts

    def run(self, code, timeout=60):
        self.start(code)
        return self.finish(timeout)

    def of(self, kind):
        return [m["content"] for m in self.messages if m["msg_type"] == kind]

    @property
    def stdout(self):
        return "".join(c["text"] for c in self.of("stream") if c["name"] == "stdout")

    @property
    def stderr(self):
        return "".join(c["text"] for c in self.of("stream") if c["name"] == "stderr")

    @property
    def shown(self):
        kinds = ("display_data", "execute_result")
        return [c["data"]["text/plain"] for kind in kinds for c in self.of(kind)]

    @property
    def seen(self):
        """What stands below the cell in the end: text, and the plain text of displays."""
        places, clears_next = [], False
        for message in self.messages:
            kind, content = message["msg_type"], message["content"]
            if kind == "clear_output":
                clears_next = content["wait"]
                places = places if clears_next else []
            elif kind == "update_display_data":
                for place in places:
                    if place[0] == content["transient"]["display_id"]:
                        place[1] = content["data"]["text/plain"]
            elif kind in ("stream", "display_data"):
                places, clears_next = [] if clears_next else places, False
                name = content.get("transient", {}).get("display_id", "")
                text = content["text"] if kind == "stream" else content["data"]["text/plain"]
                places.append([name, text])
        return [line for _, text in places for line in text.splitlines()]

    def restart(self, *, kill=False):
        """Restart the kernel as a user does, or after it has died of something."""
        if kill:
            self.manager.signal_kernel(signal.SIGKILL)
            wait_until(lambda: not self.manager.is_alive())
        self.manager.restart_kernel(now=kill)
        self._load()

    def _load(self):
        self.client.wait_for_ready(timeout=60)
        assert self.run("%load_ext rankbook")["status"] == "ok"


@contextmanager
def kernel_manager():
    """Starts a kernel, at ports that no other program can take before it listens there."""
    names = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
    manager = KernelManager(kernel_name="python3", cache_ports=False)
    with ports.reserved(len(names)) as numbers:
        for name, number in zip(names, numbers, strict=True):
            setattr(manager, name, number)
        yield manager


@contextmanager
def notebook_of(manager, make=Notebook, **options):
    """A notebook, as ``make`` makes it, in the kernel that a manager starts with these options."""
    manager.start_kernel(**options)
    client = manager.client()
    try:
        client.start_channels()
        notebook = make(manager, client)
        notebook._load()
        yield notebook
    finally:
        client.stop_channels()
        if manager.has_kernel:
            manager.shutdown_kernel()


@contextmanager
def notebook_with_magics(**options):
    """A notebook in a kernel of its own; options as ``KernelManager.start_kernel`` takes them."""
    with kernel_manager() as manager, notebook_of(manager, **options) as notebook:
        yield notebook
