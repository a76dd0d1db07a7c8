// Which cell is meant: by what was called in it, and by where one stands.

/** The last cell in which something was called; none before the first */
export function latestCell(cells, { bars, open }) {
  const newest = Math.max(bars.newest, open.newest);
  return cells.findLast(({ started }) => started <= newest);
}

/** The cell before (-1) or after (1) the one that began at a time; without one the last or first */
export function otherCell(cells, started, by) {
  const here = cells.findIndex((cell) => cell.started === started);
  if (here < 0) return by < 0 ? cells.at(-1) : cells[0];
  return cells[Math.min(Math.max(here + by, 0), cells.length - 1)];
}
