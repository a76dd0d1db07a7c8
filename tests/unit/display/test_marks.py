"""The shapes in tables that no style sheet reaches: seen in light and dark themes alike."""

from __future__ import annotations

import pytest

from rankbook.display import facts, html, verdict

BACKGROUNDS = {"white": "#ffffff", "JupyterLab's dark": "#111111", "a box in the dark": "#2e2e2e"}


def luminance(colour):
    """Relative luminance as WCAG 2 defines it, of ``#rrggbb``."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_black_on_white_has_the_highest_contrast_and_a_colour_none_with_itself():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#c2650c", "#c2650c") == 1


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("shape", html.COLOURS)
def test_a_shape_can_be_seen(shape, background):
    assert contrast(html.COLOURS[shape], BACKGROUNDS[background]) >= 3


def test_every_shape_has_a_colour_but_for_what_is_not_there():
    shapes = {*facts.MARKS.values(), *verdict.MARKS.values()}
    assert shapes - html.COLOURS.keys() == {facts.MARKS["shut down"]}
    for shape in html.COLOURS:
        assert f"color: {html.COLOURS[shape]}" in html.mark(shape)
        assert 'aria-hidden="true"' in html.mark(shape)
