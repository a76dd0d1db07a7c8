// The texts about a bar, a cell, and clocks.

import { clock, duration, ranges, size } from "./words.js";

/** The description of a bar, in lines; the first is its title. */
export function describe(bars, bar, { hosts, cells, now }, isOpen) {
  const all = bars.collectives;
  const [c, late, length] = [bars.of[bar], bars.late[bar], bars.length[bar]];
  const start = bars.start[bar];
  const host = bars.hostOf.get(bars.rank[bar]);
  const lines = [
    `${bars.ops[bars.op[bar]]} on rank ${bars.rank[bar]}${hosts && host ? ` (${host})` : ""}`,
    `number ${bars.seq[bar]} of group ${bars.groups[bars.group[bar]]}, ` +
      `generation ${bars.generation[bar]}`,
  ];
  if (bars.bytes[bar]) lines.push(size(bars.bytes[bar]));
  if (isOpen) {
    const age = duration(Math.max(0, bars.until(bar, now) - start));
    lines.push(`in flight for ${age}${Number.isNaN(length) ? "" : ", then not heard of yet"}`);
  } else if (bars.failed[bar]) {
    lines.push(`did not complete${length >= 0 ? `: ended after ${duration(length)}` : ""}`);
  } else if (Number.isNaN(length)) lines.push("end not recorded");
  else lines.push(`took ${duration(length)}`);
  if (all.size[c] > 1 && !Number.isNaN(late)) {
    const place = bars.isLast(bar, 0) ? `last of ${all.size[c]}, ` : "";
    const first = all.firstRank[c];
    const doubt = bars.doubtBetween(bars.rank[bar], first);
    const error = doubt > 0 ? ` ± ${duration(doubt)}` : "";
    if (late > 0) lines.push(`${place}${duration(late)}${error} after the first, rank ${first}`);
    else lines.push(`first of ${all.size[c]}`);
    const wait = bars.waitedUntil(bar) - start;
    if (wait > 0) lines.push(`waited ${duration(wait)} for the last, rank ${all.lastRank[c]}`);
  }
  if (isOpen) {
    lines.push(`called so far by ${ranges(bars.peers(bars, bar).map((peer) => bars.rank[peer]))}`);
  }
  const cell = cells.findLast((each) => each.started <= start && !(each.ended < start));
  const line = bars.lines[bars.where[bar]];
  if (line) lines.push(line);
  else if (cell) lines.push(`${cell.name} ${cell.label}`);
  return lines;
}

/** The description of a cell, in lines */
export function describeCell({ name, label, started, ended, traffic }) {
  const took = ended === null ? "still runs" : `took ${duration(ended - started)}`;
  const lines = [`${name} ${label}`, `began at ${clock(started)}, ${took}`];
  return traffic ? [...lines, traffic] : lines;
}

/** How the clocks of other hosts were corrected, in a sentence; empty if there are none */
export function describeClocks(clocks) {
  const corrected = clocks.map(({ host, offset, error }) => {
    const sign = offset < 0 ? "−" : "+";
    return `${host} ${sign}${duration(Math.abs(offset))} ± ${duration(error)}`;
  });
  return corrected.length ? `Clocks: ${corrected.join(", ")} (corrected)` : "";
}
