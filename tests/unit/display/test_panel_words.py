"""What the dashboard says and offers, by what it is given."""

from __future__ import annotations

from dataclasses import replace

import pytest
from markup import tree
from samples import DEAD, GPUS, HANG, HEALTHY, HUNG, PANELS, member, shown, snapshot

from rankbook.display import verdict
from rankbook.display.dashboard.controls import CONTROLS
from rankbook.display.dashboard.panel import Answer, Message, Panel, to_html
from rankbook.models import Look

# -- the header ------------------------------------------------------------------------------


def head(panel):
    """How it says it is: the word for a colour, the shape, the words."""
    page = tree(to_html(panel))
    _, level = page.one(kind="rb-panel").classes
    health = page.one(kind="rb-health")
    return level, health.one(kind="rb-mark").text, health.one(kind="rb-words").text


@pytest.mark.parametrize(
    ("panel", "expected"),
    [
        (Panel(snapshot()), ("rb-off", "○", "no process group")),
        (shown(doing="initialising the process group"),
         ("rb-off", "○", "initialising the process group")),
        (shown(member(0)), ("rb-ok", "●", "all idle")),
        (shown(member(0), doing="pulling x"), ("rb-busy", "▶", "pulling x")),
        (shown(member(0, "running"), doing="running a cell on rank 0"),
         ("rb-busy", "▶", "rank 0 running")),
        (shown(member(0), member(1, last_error="ValueError: no")),
         ("rb-failed", "!", "all idle · error on rank 1")),
        (shown(member(0, last_error="ValueError: no"), doing="pulling x"),
         ("rb-busy", "▶", "pulling x")),
        (shown(member(0, "gone"), member(1, last_error="ValueError: no")),
         ("rb-bad", "✕", "rank 0 ended · rank 1 idle · error on rank 1")),
        # Of another notebook, or left behind: this session does nothing.
        (shown(member(0, "waiting")), ("rb-busy", "▶", "rank 0 in a collective")),
        (Panel(HUNG), ("rb-stuck", "■", "stuck · rank 0 in a collective · rank 1 running")),
        (shown(member(0, "no answer"), member(1)),
         ("rb-stuck", "■", "no answer from rank 0 · rank 1 idle")),
        (Panel(replace(HEALTHY, verdict=HANG)), ("rb-ok", "●", "all idle")),
        (Panel(DEAD), ("rb-bad", "✕", "rank 1 ended · rank 0 idle")),
        (Panel(replace(DEAD, doing="running a cell on rank 0", verdict=HANG)),
         ("rb-bad", "✕", "rank 1 ended · rank 0 idle")),
        # A spare engine does not matter.
        (shown(member(0), Look("gone", engine=1)), ("rb-ok", "●", "all idle")),
        (shown(member(0), Look("running", engine=1)), ("rb-ok", "●", "all idle")),
        (PANELS["closed"], ("rb-off", "○", "shut down")),
    ],
)  # fmt: skip
def test_the_header_shows_the_health_by_words_a_shape_and_a_colour(panel, expected):
    assert head(panel) == expected


@pytest.mark.parametrize(
    ("panel", "said"),
    [
        (Panel(HEALTHY), "all idle"),
        (Panel(HUNG), f"stuck: {HANG.summary}"),
        (Panel(replace(HUNG, hangs=False, verdict=None)), "busy"),
        (Panel(DEAD), "rank 1 ended"),
        (shown(member(0, last_error="ValueError: no")), "all idle · error on rank 0"),
    ],
)
def test_changes_of_health_are_announced(panel, said):
    """Not every collective that a rank enters."""
    announced = tree(to_html(panel)).one(kind="rb-announcement")
    assert announced["aria-live"] == "polite"
    assert said in announced.text
    assert "aria-live" not in tree(to_html(panel)).one(kind="rb-health").attrs


def facts(panel):
    page = tree(to_html(panel)).one(kind="rb-facts")
    return dict(
        zip((t.text for t in page.all("dt")), (d.text for d in page.all("dd")), strict=True)
    )


def test_the_header_lists_the_facts_of_the_group():
    assert facts(Panel(HEALTHY)) == {
        "backend": "gloo",
        "world size": "2",
        "generation": "1",
        "hosts": "1",
        "cluster": "1700000000-abcd",
    }


def test_the_header_leaves_out_unknown_facts():
    assert facts(Panel(snapshot(generation=0))) == {}
    assert facts(Panel(snapshot(generation=0, cluster="c"))) == {"cluster": "c"}


def test_the_header_counts_the_hosts():
    assert (
        facts(shown(member(0, host="a"), member(1, host="b"), member(2, host="a")))["hosts"] == "2"
    )


# -- the controls ----------------------------------------------------------------------------


def form(panel):
    """By name, what the fields hold."""
    page = tree(to_html(panel))
    fields = {field["name"]: field["value"] for field in page.all("input")}
    options = page.one("select").all("option")
    chosen = [option.text for option in options if "selected" in option.attrs]
    return fields | {"backend": chosen, "options": [option.text for option in options]}


@pytest.mark.parametrize(
    ("panel", "expected"),
    [
        (Panel(HEALTHY, timeout_minutes=2.5), ("2", "2.5", ["gloo"], ["gloo", "nccl"])),
        (Panel(GPUS), ("2", "1", ["nccl"], ["gloo", "nccl"])),
        (Panel(snapshot()), ("1", "1", [], ["gloo", "nccl"])),
        (Panel(snapshot(Look("idle", engine=0), Look("idle", engine=1))),
         ("2", "1", [], ["gloo", "nccl"])),
        (Panel(replace(HEALTHY, backend="mpi"), timeout_minutes=0.05),
         ("2", "0.05", ["mpi"], ["gloo", "mpi", "nccl"])),
        (Panel(HEALTHY, backends=("gloo",)), ("2", "1", ["gloo"], ["gloo"])),
        (Panel(snapshot(), backends=()), ("1", "1", [], ["gloo"])),
    ],
)  # fmt: skip
def test_the_form_holds_the_values_of_the_group(panel, expected):
    nproc, timeout, backend, options = expected
    assert form(panel) == {
        "nproc": nproc,
        "timeout": timeout,
        "backend": backend,
        "options": options,
    }


def buttons(panel):
    page = tree(to_html(panel)).one(kind="rb-controls")
    return {button["data-do"]: button for button in page.all("button")}


def test_every_control_is_a_button_and_the_form_of_a_new_group_is_folded_at_the_end():
    page = tree(to_html(Panel(HUNG))).one(kind="rb-controls")
    initialise, *others = ((c.do, c.label) for c in CONTROLS)
    told = [(b["data-do"], b.text) for b in page.all("button")]
    assert told == [*others, ("beside", "Keep in view"), initialise]
    assert "open" not in page.one("details", "rb-setup").attrs
    for control in CONTROLS:
        assert buttons(Panel(HUNG))[control.do]["title"].startswith(control.help)


def test_a_button_with_nothing_to_do_is_disabled_and_says_why():
    """It keeps the focus: it is not disabled."""
    off = {do: its for do, its in buttons(Panel(HEALTHY)).items() if "aria-disabled" in its.attrs}
    assert set(off) == {"interrupt", "restart"}
    assert off["interrupt"]["title"].endswith("(nothing runs)")
    for panel in (Panel(HUNG), PANELS["busy"]):
        assert "aria-disabled" not in buttons(panel)["interrupt"].attrs
    assert "aria-disabled" not in buttons(PANELS["dead_rank"])["restart"].attrs


def test_no_control_is_disabled_while_the_session_is_busy_or_hung():
    for panel in (Panel(HUNG), PANELS["busy"], Panel(snapshot())):
        assert "disabled" not in {name for its in tree(to_html(panel)).walk() for name in its.attrs}


def test_every_control_is_disabled_after_the_shutdown():
    page = tree(to_html(PANELS["closed"]))
    fields = page.all("button") + page.all("input") + page.all("select")
    assert len(fields) == len(CONTROLS) + 1 + 3
    kernel_s = [field for field in fields if field.attrs.get("data-do") != "beside"]
    assert all("disabled" in field.attrs for field in kernel_s)


# -- what came of them -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["busy", "done", "error"])
def test_a_message_has_the_class_of_its_kind(kind):
    status = tree(to_html(Panel(HEALTHY, message=Message("Words", kind)))).one(role="status")
    assert (status.text, status.classes) == ("Words", ["rb-message", f"rb-{kind}"])


def test_messages_and_answers_carry_the_time_at_which_they_were_said():
    """The page says how old they are; what is under way has no age."""
    said = Message("Words", since=1_700_000_000.04)
    panel = Panel(HEALTHY, message=said, answer=Answer("Why?", "", 1_700_000_001.0))
    ages = [its["data-since"] for its in tree(to_html(panel)).all(kind="rb-age")]
    assert ages == ["1700000000.0", "1700000001.0"]
    busy = Panel(HEALTHY, message=replace(said, kind="busy"))
    assert not tree(to_html(busy)).has(kind="rb-age")


def test_the_place_of_a_message_is_empty_without_one():
    status = tree(to_html(Panel(HEALTHY))).one(role="status")
    assert (status.text, status.classes) == ("", ["rb-message"])


def test_the_panel_shows_a_verdict_during_a_hang_and_afterwards():
    while_it_is = tree(to_html(Panel(HUNG))).one(kind="rb-verdict")
    assert while_it_is["aria-label"] == "This cell cannot end"
    afterwards = tree(to_html(Panel(replace(HEALTHY, verdict=HANG)))).one(kind="rb-verdict")
    assert afterwards["aria-label"] == "Why the last cell could not end"
    for its in (while_it_is, afterwards):
        assert its.one("strong").text == its["aria-label"]
        assert verdict.to_html(HANG) in to_html(Panel(HUNG))
        assert not its.has("button")


def test_an_answer_has_a_close_button_and_a_verdict_has_none():
    page = tree(to_html(Panel(HUNG, answer=Answer("Stacks", "<pre>x</pre>"))))
    answer = page.one(kind="rb-answer")
    assert answer.one("button")["data-do"] == "close"
    assert answer.one("pre").text == "x"
    assert page.has(kind="rb-verdict")


def test_a_long_title_of_an_answer_is_cut():
    page = tree(to_html(Panel(HEALTHY, answer=Answer("x" * 200 + "\ny", ""))))
    assert page.one(kind="rb-answer")["aria-label"] == "x" * 108 + " …"
