// Colours and stripes, by the theme of the page.

import { ALARM, FAMILIES } from "./families.js";

/** The colours of the theme; our own follow the lightness of its background. */
export function makePalette(place, ratio) {
  const { color, backgroundColor, fontFamily } = getComputedStyle(place);
  const probe = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const light = (colour) => {
    probe.fillStyle = colour;
    probe.fillRect(0, 0, 1, 1);
    const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
    return (0.2126 * r ** 2.2 + 0.7152 * g ** 2.2 + 0.0722 * b ** 2.2) / 255 ** 2.2;
  };
  const dark = light(backgroundColor) < 0.2;
  const alarm = ALARM[dark ? 1 : 0];
  const bars = FAMILIES.map((family) => family[dark ? 3 : 2]);
  return {
    key: [color, backgroundColor, fontFamily, ratio].join(),
    dark, alarm, bars, text: color, back: backgroundColor, font: fontFamily,
    onBars: bars.map((bar) => (light(bar) > 0.179 ? "#000" : "#fff")), // which contrasts more
    waiting: bars.map((bar) => stripes(bar, ratio, 0.16, 0.5)),
    flying: stripes(alarm, ratio, 0.14, 0.85),
  };
}

function stripes(colour, ratio, ground, stripe) {
  const side = Math.round(8 * ratio);
  const tile = new OffscreenCanvas(side, side);
  const ctx = tile.getContext("2d");
  [ctx.fillStyle, ctx.strokeStyle, ctx.lineWidth] = [colour, colour, side / 5];
  ctx.globalAlpha = ground;
  ctx.fillRect(0, 0, side, side);
  ctx.globalAlpha = stripe;
  for (const x of [-side, 0, side]) {
    ctx.moveTo(x - 2, side + 2);
    ctx.lineTo(x + side + 2, -2);
  }
  ctx.stroke();
  return ctx.createPattern(tile, "repeat");
}
