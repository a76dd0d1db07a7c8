// The labels around the lanes: ranks and hosts, the cells above, the clock below.

import { clock, tickLabel, tickStep } from "./words.js";
import { below, toTime } from "./scale.js";

export const TOP = 24; // px for the cells

/** Number of lanes that share a label */
const labelEvery = (height) => (height >= 13 ? 1 : 2 ** Math.ceil(Math.log2(48 / height)));

export const rankName = ({ rank, isFormer }) => `rank ${rank}${isFormer ? " (before)" : ""}`;

const isOther = (lane, before) => before?.host && lane.host && lane.host !== before.host;

export function paintLabels(chart, lanes) {
  const { gutter, plot, palette, bottom } = chart;
  const every = labelEvery(chart.lane);
  let free = 0; // where the last name of a host ended
  lanes.forEach((lane, i) => {
    const y = chart.yOf(i);
    const begins = isOther(lane, lanes[i - 1]);
    if (i % every === 0 || begins) {
      chart.fill(palette.text, 0, y, gutter + plot, 1, begins ? 0.5 : 0.12);
    }
    const middle = y + (every > 1 ? 8 : chart.lane / 2);
    if (middle + 6 > bottom) return;
    const host = chart.names?.get(lane.host);
    const under = host && chart.isHigh;
    const align = "right";
    if (i % every === 0) {
      const alpha = lane.isFormer ? 0.75 : 1;
      chart.text(rankName(lane), gutter - 8, middle - (under ? 6 : 0), { px: 12, alpha, align });
    }
    if (under) chart.text(host, gutter - 8, middle + 7, { px: 10, alpha: 0.75, align });
    else if (host && (i === 0 || begins) && y >= free) {
      chart.text(host, 2, middle, { px: 10, alpha: 0.75 });
      free = y + 12;
    }
  });
  chart.fill(palette.text, 0, bottom, gutter + plot, 1, 0.3);
}

export function paintCells(chart, cells, now) {
  const { palette, plot, bottom } = chart;
  const labels = [];
  for (const cell of cells) {
    const x0 = chart.x(cell.started);
    const x1 = Math.max(chart.x(cell.ended ?? now), x0 + 1.5);
    if (x1 < 0 || x0 > plot) continue;
    chart.fill(palette.text, x0, TOP, 1, bottom - TOP, 0.14);
    chart.fill(palette.text, x0, TOP - 6, x1 - x0, 1.5, 0.5);
    chart.fill(palette.text, x0, TOP - 4.5, 1.5, 4.5, 0.5);
    if (cell.ended !== null) chart.fill(palette.text, x1 - 1.5, TOP - 4.5, 1.5, 4.5, 0.5);
    const text = cell.name;
    const width = chart.widthOf(text);
    const at = Math.max(Math.min(x0 + 2, plot - width), 2); // not cut at the right edge
    const room = Math.min(x1, plot) - Math.max(x0, 0);
    if (at < labels.at(-1)?.end) { // of two that collide, the wider cell is named
      if (room <= labels.at(-1).room) continue;
      labels.pop();
    }
    labels.push({ text, at, room, end: at + width + 6 });
  }
  for (const { text, at } of labels) chart.text(text, at, 9, { alpha: 0.85 });
}

export function paintClock(chart) {
  const { scale, left, plot, palette, bottom } = chart;
  const [step, y, alpha] = [tickStep(scale.k, 76), bottom + 11, 0.8];
  let free = 0;
  const tick = (time, label) => {
    const x = chart.x(time);
    const end = x + 3 + chart.widthOf(label);
    if (x < free || end > plot) return;
    chart.fill(palette.text, x, bottom, 1, 5, 0.3);
    chart.text(label, x + 3, y, { alpha });
    free = end + 8;
  };
  chart.text(clock(toTime(scale, left)), -8, y, { alpha, align: "right" });
  for (let i = below(scale.at, scale.n, left); i <= scale.n; i++) { // stretches between breaks
    const from = Math.max(i ? scale.to[i - 1] : -Infinity, toTime(scale, left));
    const to = Math.min(i < scale.n ? scale.from[i] : Infinity, toTime(scale, left + plot));
    if (chart.x(from) > plot) break;
    const tenth = step < 1 ? `.${Math.floor((from % 1) * 10)}` : "";
    if (i && scale.width[i - 1] > 8) tick(from, clock(from) + tenth);
    for (let n = Math.ceil(from / step); n * step <= to; n++) {
      tick(n * step, tickLabel(n * step, step));
    }
  }
}
