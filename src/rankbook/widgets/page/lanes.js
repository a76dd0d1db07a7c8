// The lanes of the chart.

import { below } from "./scale.js";

const sorted = (ranks) => [...new Set(ranks)].sort((a, b) => a - b);

/** A lane for each rank of the group; if that is unknown, for each that has called anything */
export function presentLanes(told, { bars, open }) {
  if (told?.length) return told;
  const ranks = sorted([...bars.lanes.keys(), ...open.lanes.keys()]);
  return ranks.map((rank) => ({ rank, host: "" }));
}

/** Lanes of former ranks that have bars between two times */
export function formerLanes(present, bars, from, to) {
  const now = new Set(present.map(({ rank }) => rank));
  const isThere = (rank) => {
    const { n, reach, start } = bars.lanes.get(rank);
    const first = below(reach, n, from);
    return !now.has(rank) && first < n && start[first] <= to;
  };
  const ranks = sorted(bars.lanes.keys()).filter(isThere);
  return ranks.map((rank) => ({ rank, host: "", isFormer: true }));
}
