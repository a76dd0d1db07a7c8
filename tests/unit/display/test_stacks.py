"""Stacks of ranks, cut to what their reader wants to know."""

from __future__ import annotations

from markup import tree
from samples import EVIL

from rankbook.display.stacks import relevant, to_html, to_text

SITE = "/home/u/.venv/lib/python3.11/site-packages"


def frame(file, line, name="<module>", code=""):
    return f'  File "{file}", line {line}, in {name}\n' + (f"    {code}\n" if code else "")


def in_cell(pid, line=2):
    """What an engine gives whose cell waits in a collective."""
    return [
        frame("/usr/lib/python3.11/threading.py", 1002, "_bootstrap"),
        frame(f"{SITE}/ipykernel/kernelapp.py", 750, "start"),
        frame(f"/scratch/ipykernel_{pid}/7/In [4].py", line, "<module>", "f(x)"),
        frame("/home/u/train.py", 7, "f", "dist.all_reduce(x)"),
        frame(f"{SITE}/torch/distributed/c10d.py", 2500, "all_reduce", "work.wait()"),
    ]


IDLE = [
    frame(f"{SITE}/ipykernel/kernelapp.py", 750, "start"),
    frame("/usr/lib/python3.11/selectors.py", 468, "select"),
]


def test_a_stack_begins_with_the_cell():
    assert relevant(in_cell(1)) == [
        "  In [4] line 2, in <module>\n    f(x)\n",
        '  File "/home/u/train.py", line 7, in f\n    dist.all_reduce(x)\n',
        '  File "torch/distributed/c10d.py", line 2500, in all_reduce\n    work.wait()\n',
    ]


def test_a_cell_of_terminal_ipython_is_recognised_in_a_stack():
    assert relevant([frame("<ipython-input-3-0123abcd>", 1)]) == ["  a cell line 1, in <module>\n"]


def test_a_stack_through_several_cells_begins_with_the_outermost():
    frames = [*in_cell(1)[:3], frame("/scratch/ipykernel_1/8/In [2].py", 9, "f")]
    assert relevant(frames) == [
        "  In [4] line 2, in <module>\n    f(x)\n",
        "  In [2] line 9, in f\n",
    ]


def test_paths_of_system_packages_are_shortened():
    assert relevant([frame("/usr/lib/python3/dist-packages/numpy/core.py", 1, "f")]) == [
        '  File "numpy/core.py", line 1, in f\n'
    ]


def test_an_engine_that_waits_for_work_has_no_cell():
    assert relevant(IDLE) == ["  no cell runs"]


def test_a_cell_that_waits_in_a_selector_runs_all_the_same():
    frames = [*in_cell(1), frame("/usr/lib/python3.11/selectors.py", 468, "select")]
    assert relevant(frames)[0].startswith("  In [4] line 2")


def test_a_stack_without_a_cell_is_cut_to_its_innermost_frames():
    frames = [frame(f"/opt/{i}.py", i, "f") for i in range(13)]
    assert relevant(frames) == ["  …\n", *frames[1:]]
    assert relevant(frames[1:]) == frames[1:]


def test_a_stack_without_frames_is_empty():
    assert relevant([]) == []


# -- of several ranks ------------------------------------------------------------------------


def shown(stacks):
    page = tree(to_html(stacks))
    heads = [its.text for its in page.all("strong")]
    return dict(zip(heads, (its.text for its in page.all("pre")), strict=True))


def test_an_equal_stack_of_several_ranks_is_shown_once():
    """Though the files of their cells have different names."""
    stacks = {0: in_cell(10), 1: in_cell(11), 2: in_cell(12, line=3), 3: in_cell(13)}
    assert list(shown(stacks)) == ["ranks 0-1,3", "rank 2"]
    assert "In [4] line 3" in shown(stacks)["rank 2"]


def test_stacks_are_in_the_order_of_the_ranks():
    assert list(shown({2: IDLE, 0: in_cell(1), 1: IDLE})) == ["rank 0", "ranks 1-2"]


def test_a_stack_is_shown_as_python_writes_it():
    [text] = shown({0: in_cell(1)}).values()
    assert text.splitlines()[:2] == ["  In [4] line 2, in <module>", "    f(x)"]
    assert not text.endswith("\n")


def test_stacks_as_text():
    stacks = {0: in_cell(10), 1: IDLE, 2: in_cell(12)}
    assert to_text(stacks).splitlines()[:3] == [
        "ranks 0,2",
        "  In [4] line 2, in <module>",
        "    f(x)",
    ]
    assert to_text(stacks).endswith("\nrank 1\n  no cell runs")


def test_no_ranks_have_no_stacks():
    assert to_html({}) == to_text({}) == ""


def test_code_in_a_stack_is_escaped():
    [text] = shown({0: [frame("/scratch/ipykernel_1/2.py", 1, code=EVIL)]}).values()
    assert EVIL in text
    assert "<b " not in to_html({0: [frame("/scratch/ipykernel_1/2.py", 1, code=EVIL)]})
