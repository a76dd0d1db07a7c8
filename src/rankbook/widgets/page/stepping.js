// Choosing a bar, a rank or a cell: it becomes visible and is described.

import { describe, describeCell } from "./describe.js";
import { otherCell } from "./cells.js";
import { toPixel, toTime } from "./scale.js";

/** Names a bar, also when the lists of bars have been replaced. */
export const pick = ({ rank, start, seq }, bar) => ({
  rank: rank[bar], start: start[bar], seq: seq[bar],
});

/** Show all of a cell, and read it out. */
export function showCell(view, cell) {
  if (!cell) return;
  [view.wanted, view.chosenCell, view.auto] = [cell, cell.started, false];
  view.hover = null;
  view.$("hidden").textContent = describeCell(cell).join(", ");
  view.setFollow(false);
}

/** Show the cell before the one that was shown last, or after it. */
export function stepCell(view, by) {
  showCell(view, otherCell(view.cells, view.chosenCell, by));
}

/** Choose the next bar of the lane, or the one before, make it visible and describe it. */
export function step(view, by) {
  const rank = view.picked?.rank ?? view.lanes[0]?.rank;
  const all = [view.store.bars, view.store.open].flatMap((bars) => {
    const lane = bars.lanes.get(rank);
    return lane ? Array.from(lane.bar.subarray(0, lane.n), (bar) => [bars, bar]) : [];
  });
  if (!all.length) return;
  const edge = toTime(view.scale, view.left + (by < 0 ? view.chart.plot : 0));
  const isFirst = view.picked?.start === undefined; // then from an edge of the visible part
  const from = isFirst ? edge : view.picked.start;
  const now = view.find(view.picked ?? {});
  const here = all.findIndex(([bars, bar]) => bars === now?.bars && bar === now.bar);
  const found = here < 0 ? all.findIndex(([bars, bar]) => bars.start[bar] >= from) : here;
  const place = found < 0 ? all.length - 1 : found + (isFirst ? Math.min(by, 0) : by);
  choose(view, ...all[Math.min(Math.max(place, 0), all.length - 1)]);
}

/** Make a bar visible and describe it. */
export function choose(view, bars, bar) {
  view.hover = null;
  view.picked = pick(bars, bar);
  const x = toPixel(view.scale, view.picked.start) - view.left;
  if (x < 0 || x > view.chart.plot - 20) view.pan(x - view.chart.plot / 2);
  view.$("hidden").textContent = describe(bars, bar, view, bars === view.store.open).join(", ");
  view.refresh();
}

/** Choose a bar of the lane above or below. */
export function chooseLane(view, by) {
  const lane = view.lanes.findIndex(({ rank }) => rank === view.picked?.rank);
  const rank = view.lanes[Math.min(Math.max(lane + by, 0), view.lanes.length - 1)]?.rank;
  if (rank === undefined) return;
  const now = view.find(view.picked ?? {});
  // The same collective on that rank if it takes part, else the bar that is nearest in time.
  for (const bars of now ? [view.store.bars, view.store.open] : []) {
    const peer = bars.peers(now.bars, now.bar).find((each) => bars.rank[each] === rank);
    if (peer !== undefined) return choose(view, bars, peer);
  }
  view.picked = { rank, start: view.picked?.start };
  step(view, 0);
}
