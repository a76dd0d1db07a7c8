// The visible part of a lane: bars, or runs of bars too narrow to tell apart.

import { below, toPixel, toTime } from "./scale.js";
import { Table } from "./table.js";

const RUN = { x0: Float64Array, x1: Float64Array, bar: Int32Array, kind: Int32Array };
export const makeRuns = () => new Table(RUN);

/**
 * Put into `runs` what to paint of a lane, left to right: bars, and where bars are narrower than a
 * pixel, pixels of one kind (bar -1). The kind is twice the family, plus one for waiting. Bars that
 * are late or failed are never merged.
 */
export function visibleRuns(bars, lane, scale, left, width, runs) {
  const { start, end } = lane;
  const until = toTime(scale, left + width);
  runs.n = 0;
  const push = (x0, x1, bar, kind) => {
    runs.reserve(runs.n + 1);
    const i = runs.n++;
    [runs.x0[i], runs.x1[i], runs.bar[i], runs.kind[i]] = [x0, x1, bar, kind];
  };
  const stands = (bar) => bars.late[bar] * scale.k >= 3 || bars.failed[bar];
  let i = below(lane.reach, lane.n, toTime(scale, left));
  for (let [painted, failed] = [-2, -2]; i < lane.n && start[i] <= until; i++) {
    const bar = lane.bar[i];
    const x0 = toPixel(scale, start[i]) - left;
    const x1 = end[i] > start[i] ? toPixel(scale, end[i]) - left : x0;
    if (x1 < 0) continue;
    const kind = 2 * bars.families[bars.op[bar]];
    const column = Math.floor(x0);
    const isLate = bars.late[bar] * scale.k >= 3 && bars.isLast(bar);
    if (bars.failed[bar] && x1 - x0 < 1) {
      if (column > failed) push(x0, x1, bar, kind);
      failed = column;
      continue;
    }
    if (x1 - x0 >= 1 || (isLate && column > painted)) push(x0, x1, bar, kind);
    if (x1 - x0 >= 1 || column <= painted) continue;
    const waited = bars.waitedUntil(bar) - start[i];
    const same = kind + (waited > (end[i] - start[i]) / 2 ? 1 : 0);
    const before = runs.n - 1;
    if (isLate) runs.x1[before] = Math.max(x1, x0 + 1);
    else if (before >= 0 && runs.bar[before] < 0 && runs.x1[before] === column
      && runs.kind[before] === same) runs.x1[before] = column + 1;
    else push(column, column + 1, -1, same);
    painted = column;
    // Most bars of a dense lane end here: no pixel is computed for what this one covers.
    const edge = toTime(scale, left + column + 1);
    while (i + 1 < lane.n && end[i + 1] < edge && !stands(lane.bar[i + 1])) i++;
  }
  return runs;
}

/** The place in the lane of the bar at `px`, or of the nearest within `slack`; -1: none */
export function hit(lane, scale, px, slack) {
  const [low, time, high] = [px - slack, px, px + slack].map((each) => toTime(scale, each));
  let best = -1;
  let least = Infinity;
  for (let i = below(lane.start, lane.n, high) - 1; i >= 0 && lane.reach[i] >= low; i--) {
    const away = Math.max(lane.start[i] - time, time - lane.end[i], 0);
    if (away < least && lane.end[i] >= low) [best, least] = [i, away];
    if (least === 0) break;
  }
  return best;
}
