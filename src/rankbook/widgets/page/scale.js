// The scale of time. Pixels are CSS pixels of the plot; times without a collective may be
// skipped.

const IDLE = 1; // s without a collective after which time may be skipped
export const BREAK = 26; // px that skipped time takes at most
export const MOST = 2e6; // px per second: half a microsecond each

/** Number of the first `n` of the sorted `values` that are less than `x` */
export function below(values, n, x) {
  let low = 0;
  while (low < n) {
    const middle = (low + n) >> 1;
    if (values[middle] < x) low = middle + 1;
    else n = middle;
  }
  return low;
}

/** Add a busy time to the known ones; those less than IDLE apart become one. */
export function addBusy({ starts, ends }, start, end) {
  const i = below(ends, ends.length, start - IDLE);
  let j = i;
  while (j < starts.length && starts[j] <= end + IDLE) j++;
  if (i < j) [start, end] = [Math.min(start, starts[i]), Math.max(end, ends[j - 1])];
  if (j === i + 1) [starts[i], ends[i]] = [start, end];
  else {
    starts.splice(i, j - i, start);
    ends.splice(i, j - i, end);
  }
}

/** The pixels between two times at `k` pixels per second. Idle times take BREAK each at most. */
export function span({ starts, ends }, skip, k, from, to) {
  let px = (to - from) * k;
  for (let i = 0; skip && i + 1 < starts.length; i++) {
    const gap = starts[i + 1] - ends[i];
    const inside = Math.min(to, starts[i + 1]) - Math.max(from, ends[i]);
    if (inside > 0) px -= inside * (k - Math.min(k, BREAK / gap));
  }
  return px;
}

/** The zoom, in pixels per second, at which two times are `width` pixels apart */
export function zoomFor(busy, skip, from, to, width) {
  let low = width / Math.max(to - from, 1e-5);
  let high = MOST;
  if (low >= high || span(busy, skip, high, from, to) <= width) return Math.min(low, high);
  for (let i = 0; i < 40; i++) {
    const middle = Math.sqrt(low * high);
    if (span(busy, skip, middle, from, to) < width) low = middle;
    else high = middle;
  }
  return low;
}

/** A piecewise linear scale: `k` pixels per second, but idle times take BREAK pixels at most */
export function makeScale({ starts, ends }, k, skip) {
  const n = skip ? Math.max(0, starts.length - 1) : 0;
  const columns = [0, 1, 2, 3].map(() => new Float64Array(n));
  const [from, to, at, width] = columns; // idle times, and where and how wide they are, in pixels
  const origin = starts[0] ?? 0;
  for (let i = 0, px = 0, last = origin; i < n; i++) {
    [from[i], to[i]] = [ends[i], starts[i + 1]];
    at[i] = px + (from[i] - last) * k;
    width[i] = Math.min((to[i] - from[i]) * k, BREAK);
    [px, last] = [at[i] + width[i], to[i]];
  }
  return { k, n, origin, from, to, at, width, hint: 0 };
}

export function toPixel(scale, time) {
  const { k, n, from, to } = scale;
  let i = scale.hint; // how many idle times begin before: mostly as many as last time
  if ((i > 0 && from[i - 1] >= time) || (i < n && from[i] < time)) {
    i = scale.hint = below(from, n, time);
  }
  if (i-- === 0) return (time - scale.origin) * k;
  const [start, width] = [scale.at[i], scale.width[i]];
  if (time >= to[i]) return start + width + (time - to[i]) * k;
  return start + ((time - from[i]) / (to[i] - from[i])) * width;
}

export function toTime(scale, px) {
  const i = below(scale.at, scale.n, px) - 1;
  if (i < 0) return scale.origin + px / scale.k;
  const [inside, width] = [px - scale.at[i], scale.width[i]];
  if (inside >= width) return scale.to[i] + (inside - width) / scale.k;
  return scale.from[i] + (inside / width) * (scale.to[i] - scale.from[i]);
}
