"""Scripts of several modules as one, for anywidget."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rankbook.widgets
from rankbook.widgets.modules import joined

PAGE = Path(rankbook.widgets.__file__).parent / "page"


@pytest.fixture
def write(tmp_path):
    """Writes modules; returns the first."""

    def write(**modules):
        for name, text in modules.items():
            tmp_path.joinpath(f"{name}.js").write_text(text)
        return tmp_path / f"{next(iter(modules))}.js"

    return write


def test_an_imported_module_is_joined_once_and_before_its_importer(write):
    entry = write(
        widget='import { a } from "./low.js";\nimport { b } from "./high.js";\nexport default b;\n',
        high='import { a } from "./low.js";\n\nexport const b = a;\n',
        low="export const a = 1;\n",
    )
    assert joined(entry) == "const a = 1;\n\n\nconst b = a;\n\nexport default b;\n"


@pytest.mark.parametrize("kind", ["const x = 1;", "function x() {}", "class x {}"])
def test_a_joined_script_exports_only_what_the_entry_exports(write, kind):
    entry = write(
        widget='import { x } from "./low.js";\nexport default x;\n', low=f"export {kind}\n"
    )
    assert re.findall("export .*", joined(entry)) == ["export default x;"]


@pytest.mark.parametrize(
    "line",
    [
        'import low from "./low.js";',
        'import * as low from "./low.js";',
        'import { x as y } from "./low.js";x',
        'import { x } from "https://elsewhere.example/low.js";',
        'import "./low.js";',
        'export { x } from "./low.js";',
    ],
)
def test_an_import_of_another_form_is_an_error(write, line):
    entry = write(widget=f"{line}\n", low="export const x = 1;\n")
    with pytest.raises(ValueError, match=r"^widget\.js: .* cannot be joined\.$"):
        joined(entry)


def test_a_default_export_of_what_is_imported_is_an_error(write):
    entry = write(widget='import { x } from "./low.js";\n', low="export default 1;\n")
    with pytest.raises(ValueError, match=r"^low\.js: 'export default 1;' cannot be joined\.$"):
        joined(entry)


def test_a_name_that_two_modules_declare_is_an_error(write):
    entry = write(widget='import { x } from "./low.js";\nconst y = x;\n', low="const y = 1;\n")
    with pytest.raises(ValueError, match=r"^widget\.js declares y, and so does low\.js\.$"):
        joined(entry)


def test_modules_that_import_one_another_are_an_error(write):
    entry = write(
        widget='import { a } from "./low.js";\n',
        low='import { b } from "./high.js";\n',
        high='import { a } from "./low.js";\n',
    )
    with pytest.raises(ValueError, match=r"low\.js imports high\.js imports low\.js: a circle"):
        joined(entry)


def test_a_module_that_is_not_there_is_an_error(write):
    with pytest.raises(FileNotFoundError, match=r"low\.js"):
        joined(write(widget='import { a } from "./low.js";\n'))


PANEL_ONLY = {"dashboard", "ages", "beside", "command"}


def test_the_timeline_script_contains_all_its_modules():
    text = joined(PAGE / "timeline.js")
    modules = {path.stem for path in PAGE.glob("*.js")} - PANEL_ONLY
    assert modules
    for module in modules:
        first, _, rest = (PAGE / f"{module}.js").read_text().partition("\n")
        assert text.count(first) == 1
        assert rest.rstrip().splitlines()[-1] in text
    assert not re.search(r"^import\b", text, re.MULTILINE)
    assert len(re.findall(r"^export\b", text, re.MULTILINE)) == 1


def test_every_import_of_the_page_is_exported_and_used():
    """In one text a missing one would not be missed."""
    texts = {path.name: path.read_text() for path in PAGE.glob("*.js")}
    written = re.compile(r'^import \{ (.*) \} from "\./(.*)";', re.MULTILINE)
    imports = [
        (importer, name, module)
        for importer, text in texts.items()
        for names, module in written.findall(text)
        for name in names.split(", ")
    ]
    assert imports
    for importer, name, module in imports:
        exported = rf"^export (const|function|class) {name}\b"
        assert re.search(exported, texts[module], re.MULTILINE)
        assert len(re.findall(rf"(?<![\w.]){name}\b", texts[importer])) > 1, (importer, name)
