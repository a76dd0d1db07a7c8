// The timeline of collectives: a lane per rank, a bar per collective, time to the right.
//
// Words, scale, data and what is visible are plain functions and know nothing of the page. A Chart
// paints, a View listens. Seconds are since the epoch; pixels are CSS pixels of the plot.

const FAMILIES = [
  // name, what its operations are called, colour in light and in dark themes (also for the
  // colour-blind: neighbours differ in lightness)
  ["all_reduce", /^all_?reduce/, "#1a5fa8", "#5aa9ec"],
  ["reduce_scatter", /reduce_?scatter/, "#3f97d3", "#a8dcff"],
  ["all_gather", /all_?gather/, "#0b8a66", "#2fbf94"],
  ["broadcast", /broadcast/, "#c2649c", "#eb9ccb"],
  ["all_to_all", /all_?to_?all/, "#a88400", "#e2c04d"],
  ["barrier", /barrier/, "#77797c", "#a5a9ae"],
  ["send, recv", /send|recv/, "#6a4bb0", "#a98df0"],
  ["other", /^/, "#7d5247", "#c79d90"],
];
const P2P = 6; // sends and receives are numbered apart from collectives
const ALARM = ["#b83a00", "#ff9a62"]; // late, or in flight
const IDLE = 1; // s without a collective after which time may be skipped
const BREAK = 26; // px that skipped time takes at most
const RECENT = 40; // collectives that are in sight while following
const MOST = 2e6; // px per second: half a microsecond each
const AGAIN = 1000; // ms after which the kernel is asked once more for what is missing
const MARGIN = 16; // px left and right of everything
const TOP = 24; // px for the cells
const BOTTOM = 22; // px for the clock

// -- words ------------------------------------------------------------------------------------

export function familyOf(op) {
  return FAMILIES.findIndex(([, pattern]) => pattern.test(op));
}

const digits = (value) => String(Number(value.toPrecision(value < 1000 ? 3 : 4)));

/** `50.3 ms`, `2 min 5 s` */
export function duration(seconds) {
  if (seconds < 0.9995e-3) return `${digits(Math.round(seconds * 1e7) / 10)} µs`;
  if (seconds < 0.9995) return `${digits(seconds * 1e3)} ms`;
  if (seconds < 59.95) return `${digits(seconds)} s`;
  const [large, small, unit] = seconds < 3599.5 ? ["min", "s", 1] : ["h", "min", 60];
  const count = Math.round(seconds / unit);
  return `${Math.floor(count / 60)} ${large}${count % 60 ? ` ${count % 60} ${small}` : ""}`;
}

/** `4.2 MB`, in units of 1,000 */
export function size(bytes) {
  let unit = 0;
  for (; bytes >= 999.5 && unit < 4; unit++) bytes /= 1000;
  return `${digits(bytes)} ${["B", "kB", "MB", "GB", "TB"][unit]}`;
}

export const counted = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

/** `rank 3`, `ranks 0, 2-7` */
export function ranges(ranks) {
  const parts = [];
  for (const rank of ranks.sort((a, b) => a - b)) {
    if (parts.length && parts.at(-1)[1] === rank - 1) parts.at(-1)[1] = rank;
    else parts.push([rank, rank]);
  }
  const said = parts.map(([from, to]) => (from === to ? from : `${from}-${to}`)).join(", ");
  return `rank${ranks.length === 1 ? "" : "s"} ${said}`;
}

/** `12:03:04`, in the zone of whoever looks */
export function clock(time) {
  const two = (value) => String(value).padStart(2, "0");
  const date = new Date(time * 1000);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
}

/** A tick of the axis: `12:03:04` on a whole second, else what comes after it: `.250` */
export function tickLabel(time, step) {
  const whole = Math.floor(time + Math.min(step, 1) / 2);
  if (step >= 1 || time - whole < step / 2) return clock(whole);
  return (time - whole).toFixed(step < 1e-3 ? 6 : 3).slice(1);
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400];

/** The smallest round time between ticks that are `apart` pixels from each other */
export function tickStep(k, apart) {
  const least = apart / k;
  if (least > 1) return STEPS.find((step) => step >= least) ?? Math.ceil(least / 86400) * 86400;
  const power = 10 ** Math.floor(Math.log10(least) + 1e-9);
  return power * ([1, 2, 5].find((m) => m * power >= least * (1 - 1e-9)) ?? 10);
}

// -- the scale of time ------------------------------------------------------------------------

/** How many of the first `n` of the sorted `values` are less than `x` */
export function below(values, n, x) {
  let low = 0;
  while (low < n) {
    const middle = (low + n) >> 1;
    if (values[middle] < x) low = middle + 1;
    else n = middle;
  }
  return low;
}

/** Add a time in which something happens to those known; what is less than IDLE apart is one. */
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

// -- data -------------------------------------------------------------------------------------

const BAR = {
  // what the kernel sends of a bar, in the order of its buffers
  start: Float64Array, length: Float32Array, late: Float32Array, rank: Int32Array, op: Int32Array,
  group: Int32Array, bytes: Float64Array, seq: Int32Array, generation: Int32Array,
};
const LINKS = { of: Int32Array, next: Int32Array }; // its collective; the bar before in that
const COLLECTIVE = {
  first: Float64Array, last: Float64Array, // when its first and its last rank began
  firstRank: Int32Array, lastRank: Int32Array, size: Int32Array, head: Int32Array,
};
const LANE = { start: Float64Array, end: Float64Array, reach: Float64Array, bar: Int32Array };

/** Columns of numbers, which grow by doubling and never shrink */
class Table {
  constructor(columns) {
    this.columns = columns;
    this.n = 0;
    for (const [name, Type] of Object.entries(columns)) this[name] = new Type(16);
  }

  reserve(n) {
    const [first] = Object.keys(this.columns);
    if (n <= this[first].length) return;
    const room = Math.max(n, 2 * this[first].length);
    for (const [name, Type] of Object.entries(this.columns)) {
      const old = this[name];
      this[name] = new Type(room);
      this[name].set(old);
    }
  }
}

/** Bars, the collectives that they are part of, and the lanes that they lie in */
export class Bars extends Table {
  constructor() {
    super({ ...BAR, ...LINKS });
    this.collectives = new Table(COLLECTIVE);
    this.lanes = new Map();
    this.clear();
  }

  clear() {
    this.n = this.collectives.n = 0;
    for (const lane of this.lanes.values()) lane.n = 0;
    this.numbered = new Map(); // collectives: by scope, then by number
    this.busy = { starts: [], ends: [] };
    this.newest = -Infinity;
    this.setNames([], []);
  }

  setNames(ops, groups) {
    Object.assign(this, { ops, groups, families: ops.map(familyOf) });
  }

  append({ reset, ops, groups, count }, buffers) {
    if (reset) this.clear();
    this.setNames([...this.ops, ...ops], [...this.groups, ...groups]);
    this.reserve(this.n + count);
    Object.entries(BAR).forEach(([name, Type], i) => {
      const { buffer, byteOffset = 0, byteLength } = buffers[i];
      const bytes = (buffer ?? buffers[i]).slice(byteOffset, byteOffset + byteLength);
      this[name].set(new Type(bytes), this.n); // copied: it may start at any byte
    });
    for (const end = this.n + count; this.n < end; this.n++) this.place(this.n);
  }

  place(bar) {
    const start = this.start[bar];
    const end = start + (this.length[bar] || 0);
    this.newest = Math.max(this.newest, end);
    addBusy(this.busy, start, end);
    this.link(bar);
    let lane = this.lanes.get(this.rank[bar]);
    if (!lane) this.lanes.set(this.rank[bar], (lane = new Table(LANE)));
    lane.reserve(lane.n + 1);
    let at = lane.n++;
    if (at > 0 && lane.start[at - 1] > start) {
      at = below(lane.start, at, start);
      for (const name of ["start", "end", "bar"]) lane[name].copyWithin(at + 1, at, lane.n - 1);
    }
    [lane.start[at], lane.end[at], lane.bar[at]] = [start, end, bar];
    // Up to where the bars until here reach: it only grows, so that it can be searched.
    for (; at < lane.n; at++) {
      lane.reach[at] = Math.max(at ? lane.reach[at - 1] : end, lane.end[at]);
    }
  }

  link(bar) {
    const { collectives: all, seq, rank, start } = this;
    const numbers = this.numbers(this.generation[bar], this.group[bar], this.isP2P(bar));
    let c = numbers.get(seq[bar]);
    if (c === undefined) {
      all.reserve((c = all.n) + 1);
      all.n++;
      if (seq[bar] > 0) numbers.set(seq[bar], c);
      [all.first[c], all.last[c], all.size[c], all.head[c]] = [Infinity, -Infinity, 0, -1];
    }
    [this.of[bar], this.next[bar], all.head[c]] = [c, all.head[c], bar];
    all.size[c]++;
    if (Number.isNaN(this.late[bar])) return;
    if (start[bar] < all.first[c]) [all.first[c], all.firstRank[c]] = [start[bar], rank[bar]];
    if (start[bar] > all.last[c]) [all.last[c], all.lastRank[c]] = [start[bar], rank[bar]];
  }

  isP2P(bar) {
    return this.families[this.op[bar]] === P2P;
  }

  numbers(generation, group, p2p) {
    const scope = (generation * 65536 + group) * 2 + p2p;
    if (!this.numbered.has(scope)) this.numbered.set(scope, new Map());
    return this.numbered.get(scope);
  }

  /** The bars of the collective that `bar` of `other` is part of */
  peers(other, bar) {
    const found = this === other ? this.of[bar] : this.find(other, bar);
    const peers = [];
    let peer = found === undefined ? -1 : this.collectives.head[found];
    for (; peer >= 0; peer = this.next[peer]) peers.push(peer);
    return peers;
  }

  /** The collective here that `bar` of `other` is part of; names may stand elsewhere there. */
  find(other, bar) {
    const group = this.groups.indexOf(other.groups[other.group[bar]]);
    if (group < 0) return undefined;
    return this.numbers(other.generation[bar], group, other.isP2P(bar)).get(other.seq[bar]);
  }

  /** Whether the others had to wait for this one: the last, by more than the clocks may err */
  isLast(bar, doubt) {
    const c = this.of[bar];
    return this.late[bar] > doubt && this.start[bar] === this.collectives.last[c];
  }

  /** Until when it waited for the last rank. Who ended before that one began did not. */
  waitedUntil(bar, doubt) {
    const start = this.start[bar];
    const end = start + this.length[bar];
    const last = this.collectives.last[this.of[bar]];
    const waited = !Number.isNaN(this.late[bar]) && last > start && last <= end + doubt;
    return waited ? Math.min(last, end) : start;
  }
}

/** What a bar is, in lines; the first is its title. */
export function describe(bars, bar, { lanes, hosts, cells, doubt, now }, isOpen) {
  const all = bars.collectives;
  const [c, late, length] = [bars.of[bar], bars.late[bar], bars.length[bar]];
  const start = bars.start[bar];
  const hostOf = (rank) => lanes.find((lane) => lane.rank === rank)?.host;
  const host = hostOf(bars.rank[bar]);
  const lines = [
    `${bars.ops[bars.op[bar]]} on rank ${bars.rank[bar]}${hosts && host ? ` (${host})` : ""}`,
    `number ${bars.seq[bar]} of group ${bars.groups[bars.group[bar]]}, ` +
      `generation ${bars.generation[bar]}`,
  ];
  if (bars.bytes[bar]) lines.push(size(bars.bytes[bar]));
  if (isOpen) lines.push(`in flight for ${duration(Math.max(0, now - start))}`);
  else if (Number.isNaN(length)) lines.push("end not recorded");
  else lines.push(`took ${duration(length)}`);
  if (all.size[c] > 1 && !Number.isNaN(late)) {
    const place = bars.isLast(bar, 0) ? `last of ${all.size[c]}, ` : "";
    const first = all.firstRank[c];
    const error = doubt > 0 && hostOf(first) !== host ? ` ± ${duration(doubt)}` : "";
    if (late > 0) lines.push(`${place}${duration(late)}${error} after the first, rank ${first}`);
    else lines.push(`first of ${all.size[c]}`);
    const wait = bars.waitedUntil(bar, doubt) - start;
    if (wait > 0) lines.push(`waited ${duration(wait)} for the last, rank ${all.lastRank[c]}`);
  }
  if (isOpen) {
    lines.push(`called so far by ${ranges(bars.peers(bars, bar).map((peer) => bars.rank[peer]))}`);
  }
  const cell = cells.findLast((each) => each.started <= start && !(each.ended < start));
  if (cell) lines.push(`In [${cell.number}] ${cell.label}`);
  return lines;
}

// -- what is visible --------------------------------------------------------------------------

export const RUN = { x0: Float64Array, x1: Float64Array, bar: Int32Array, kind: Int32Array };
export const makeRuns = () => new Table(RUN);

/**
 * What to paint of a lane, left to right, into `runs`: bars, and where bars are narrower than a
 * pixel, pixels of one kind (bar -1). The kind is twice the family, and one more for waiting.
 */
export function visibleRuns(bars, lane, scale, left, width, doubt, runs) {
  const { start, end } = lane;
  const until = toTime(scale, left + width);
  runs.n = 0;
  const push = (x0, x1, bar, kind) => {
    runs.reserve(runs.n + 1);
    const i = runs.n++;
    [runs.x0[i], runs.x1[i], runs.bar[i], runs.kind[i]] = [x0, x1, bar, kind];
  };
  let i = below(lane.reach, lane.n, toTime(scale, left));
  for (let painted = -2; i < lane.n && start[i] <= until; i++) {
    const bar = lane.bar[i];
    const x0 = toPixel(scale, start[i]) - left;
    const x1 = end[i] > start[i] ? toPixel(scale, end[i]) - left : x0;
    if (x1 < 0) continue;
    const kind = 2 * bars.families[bars.op[bar]];
    const column = Math.floor(x0);
    const isLate = bars.late[bar] * scale.k >= 3 && bars.isLast(bar, doubt);
    if (x1 - x0 >= 1 || (isLate && column > painted)) push(x0, x1, bar, kind);
    if (x1 - x0 >= 1 || column <= painted) continue;
    const waited = bars.waitedUntil(bar, doubt) - start[i];
    const same = kind + (waited > (end[i] - start[i]) / 2 ? 1 : 0);
    const before = runs.n - 1;
    if (isLate) runs.x1[before] = Math.max(x1, x0 + 1);
    else if (before >= 0 && runs.bar[before] < 0 && runs.x1[before] === column
      && runs.kind[before] === same) runs.x1[before] = column + 1;
    else push(column, column + 1, -1, same);
    painted = column;
    // Most bars of a dense lane end here: no pixel is computed for what this one covers.
    const edge = toTime(scale, left + column + 1);
    while (i + 1 < lane.n && end[i + 1] < edge && !(bars.late[lane.bar[i + 1]] * scale.k >= 3)) i++;
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

// -- painting ---------------------------------------------------------------------------------

/** Height of a lane for `n` lanes: 30 px for a few, 6 for 64 */
export const laneHeight = (n) => Math.max(4, Math.min(30, Math.floor(400 / n)));

/** How many lanes share a label */
export const labelEvery = (height) => (height >= 13 ? 1 : 2 ** Math.ceil(Math.log2(48 / height)));

/** What the theme asks for: our own colours follow its background, whatever that is called. */
function makePalette(root, ratio) {
  const { color, backgroundColor, fontFamily } = getComputedStyle(root);
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

/** Paints what a View shows: it is handed the View, and keeps only what saves work. */
class Chart {
  constructor(canvas) {
    Object.assign(this, { canvas, ctx: canvas.getContext("2d"), runs: makeRuns() });
    this.widths = new Map(); // of texts, in pixels
    this.palette = { key: "" };
  }

  /** Fit the canvas to its place and the theme; gives the width of the plot. */
  measure(root, width, lanes, hosts) {
    const { canvas } = this;
    const ratio = (this.ratio = window.devicePixelRatio);
    const { color, backgroundColor, fontFamily } = getComputedStyle(root);
    if (this.palette.key !== [color, backgroundColor, fontFamily, ratio].join()) {
      this.palette = makePalette(root, ratio);
      this.widths.clear();
    }
    this.lane = laneHeight(lanes.length || 1);
    this.named = hosts && this.lane >= 26; // whether there is room for the hosts' names
    this.bottom = TOP + this.lane * Math.max(lanes.length, 1);
    this.height = this.bottom + BOTTOM;
    const size = [Math.round(width * ratio), Math.round(this.height * ratio)];
    if (canvas.width !== size[0] || canvas.height !== size[1]) {
      [canvas.width, canvas.height] = size;
      canvas.style.height = `${this.height}px`;
    }
    this.ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    const names = ["12:00:00", ...lanes.map((lane) => `rank ${lane.rank}`)];
    if (this.named) names.push(...lanes.map((lane) => shortened(lane.host)));
    this.gutter = 12 + Math.ceil(Math.max(...names.map((name) => this.widthOf(name, 12))));
    this.plot = Math.max(50, width - this.gutter);
    return this.plot;
  }

  widthOf(text, px = 11) {
    const key = px + text;
    if (!this.widths.has(key)) {
      if (this.widths.size > 2000) this.widths.clear();
      this.ctx.font = `${px}px ${this.palette.font}`;
      this.widths.set(key, this.ctx.measureText(text).width);
    }
    return this.widths.get(key);
  }

  text(text, x, y, { px = 11, colour = this.palette.text, alpha = 1, align = "left" } = {}) {
    const { ctx } = this;
    [ctx.font, ctx.textAlign, ctx.textBaseline] = [`${px}px ${this.palette.font}`, align, "middle"];
    [ctx.fillStyle, ctx.globalAlpha] = [colour, alpha];
    ctx.fillText(text, x, y + 0.5);
    ctx.globalAlpha = 1;
  }

  /** Letters on stripes need a ground. */
  plate(text, x, y) {
    this.fill(this.palette.back, x - 3, y - 8, this.widthOf(text) + 6, 16);
    this.text(text, x, y);
  }

  fill(colour, x, y, width, height, alpha = 1) {
    const { ctx } = this;
    [ctx.fillStyle, ctx.globalAlpha] = [colour, alpha];
    ctx.fillRect(x, y, width, height);
    ctx.globalAlpha = 1;
  }

  path(points) {
    this.ctx.beginPath();
    for (const [x, y] of points) this.ctx.lineTo(x, y);
  }

  stroke(colour, width, alpha = 1) {
    const { ctx } = this;
    [ctx.strokeStyle, ctx.lineWidth, ctx.globalAlpha] = [colour, width, alpha];
    ctx.stroke();
    ctx.globalAlpha = 1;
  }

  yOf(lane) {
    return TOP + lane * this.lane;
  }

  x(time) {
    return toPixel(this.scale, time) - this.left;
  }

  paint(view) {
    const { ctx, plot, gutter, height, palette, ratio } = this;
    Object.assign(this, { scale: view.scale, left: view.left, doubt: view.doubt });
    ctx.clearRect(0, 0, gutter + plot, height);
    this.paintLabels(view.lanes);
    ctx.save();
    ctx.translate(gutter, 0);
    if (view.busy.starts.length) this.paintClock();
    ctx.beginPath();
    ctx.rect(0, 0, plot, height);
    ctx.clip();
    const moved = new DOMMatrix([1 / ratio, 0, 0, 1 / ratio, -this.left % 8, 0]);
    for (const each of [...palette.waiting, palette.flying]) each.setTransform(moved);
    this.paintCells(view.cells, view.now);
    view.lanes.forEach(({ rank }, i) => this.paintLane(view.store.bars, rank, this.yOf(i)));
    view.lanes.forEach(({ rank }, i) => this.paintOpen(view, rank, this.yOf(i)));
    this.paintBreaks();
    if (view.shown) this.paintShown(view);
    ctx.restore();
  }

  paintLabels(lanes) {
    const { gutter, plot, palette } = this;
    const every = labelEvery(this.lane);
    const align = "right";
    lanes.forEach((lane, i) => {
      const y = this.yOf(i);
      const isOther = i > 0 && lane.host !== lanes[i - 1].host;
      if (i % every === 0 || isOther) {
        this.fill(palette.text, 0, y, gutter + plot, 1, isOther ? 0.5 : 0.12);
      }
      if (i % every) return;
      const middle = y + (every > 1 ? 8 : this.lane / 2) - (this.named ? 6 : 0);
      this.text(`rank ${lane.rank}`, gutter - 8, middle, { px: 12, align });
      if (!this.named) return;
      this.text(shortened(lane.host), gutter - 8, middle + 13, { px: 10, alpha: 0.75, align });
    });
    this.fill(palette.text, 0, this.bottom, gutter + plot, 1, 0.3);
  }

  paintCells(cells, now) {
    const { palette, plot, bottom } = this;
    let free = -Infinity; // where the last label ended
    cells.forEach((cell, i) => {
      const x0 = this.x(cell.started);
      const x1 = Math.max(this.x(cell.ended ?? now), x0 + 1.5);
      if (x1 < 0 || x0 > plot) return;
      this.fill(palette.text, x0, TOP, 1, bottom - TOP, 0.14);
      this.fill(palette.text, x0, TOP - 6, x1 - x0, 1.5, 0.5);
      this.fill(palette.text, x0, TOP - 4.5, 1.5, 4.5, 0.5);
      if (cell.ended !== null) this.fill(palette.text, x1 - 1.5, TOP - 4.5, 1.5, 4.5, 0.5);
      const label = `In [${cell.number}]`;
      const width = this.widthOf(label);
      const at = Math.max(Math.min(x0 + 2, plot - width), 2); // whole, also at the right edge
      const end = at + width;
      const next = i + 1 < cells.length ? this.x(cells[i + 1].started) : Infinity;
      if (at < free || (end > next && x0 < 0)) return;
      this.text(label, at, 9, { alpha: 0.85 });
      free = end + 6;
    });
  }

  paintClock() {
    const { scale, left, plot, palette, bottom } = this;
    const [step, y, alpha] = [tickStep(scale.k, 76), bottom + 11, 0.8];
    let free = 0;
    const tick = (time, label) => {
      const x = this.x(time);
      const end = x + 3 + this.widthOf(label);
      if (x < free || end > plot) return;
      this.fill(palette.text, x, bottom, 1, 5, 0.3);
      this.text(label, x + 3, y, { alpha });
      free = end + 8;
    };
    this.text(clock(toTime(scale, left)), -8, y, { alpha, align: "right" });
    for (let i = below(scale.at, scale.n, left); i <= scale.n; i++) { // stretches between breaks
      const from = Math.max(i ? scale.to[i - 1] : -Infinity, toTime(scale, left));
      const to = Math.min(i < scale.n ? scale.from[i] : Infinity, toTime(scale, left + plot));
      if (this.x(from) > plot) break;
      const tenth = step < 1 ? `.${Math.floor((from % 1) * 10)}` : "";
      if (i && scale.width[i - 1] > 8) tick(from, clock(from) + tenth);
      for (let n = Math.ceil(from / step); n * step <= to; n++) {
        tick(n * step, tickLabel(n * step, step));
      }
    }
  }

  paintLane(bars, rank, top) {
    const lane = bars.lanes.get(rank);
    if (!lane?.n) return;
    const { palette, runs, ratio } = this;
    visibleRuns(bars, lane, this.scale, this.left, this.plot, this.doubt, runs);
    const space = this.lane >= 20 ? 4 : this.lane >= 10 ? 2 : 1;
    const [y, height] = [top + space, this.lane - Math.max(2 * space, 2) + (space < 2 ? 1 : 0)];
    for (let i = 0; i < runs.n; i++) {
      const family = runs.kind[i] >> 1;
      const x0 = Math.round(runs.x0[i] * ratio) / ratio;
      const x1 = Math.max(Math.round(runs.x1[i] * ratio) / ratio, x0 + 1);
      const alpha = runs.kind[i] % 2 ? 0.5 : 1;
      if (runs.bar[i] >= 0) this.paintBar(bars, runs.bar[i], family, x0, x1, y, height);
      else this.fill(palette.bars[family], x0, y, Math.max(x1 - x0, 1.5), height, alpha);
    }
    for (let i = 0; i < runs.n; i++) {
      const bar = runs.bar[i];
      if (bar < 0 || !bars.isLast(bar, this.doubt)) continue;
      const before = below(lane.start, lane.n, bars.start[bar]) - 1;
      this.paintLate(bars, bar, before < 0 ? 0 : lane.reach[before], y + height / 2, height);
    }
  }

  paintBar(bars, bar, family, x0, x1, y, height) {
    const { palette } = this;
    const until = bars.waitedUntil(bar, this.doubt);
    const middle = until > bars.start[bar] ? Math.min(Math.max(this.x(until), x0), x1) : x0;
    const striped = height >= 8 && middle - x0 >= 8;
    const waiting = striped ? palette.waiting[family] : palette.bars[family];
    if (middle > x0) this.fill(waiting, x0, y, middle - x0, height, striped ? 1 : 0.4);
    this.fill(palette.bars[family], x0, y, Math.min(2, x1 - x0), height); // where it began
    this.fill(palette.bars[family], middle, y, Math.max(x1 - middle, 1.5), height);
    if (Number.isNaN(bars.length[bar])) { // its end is not known: it frays
      for (let x = x1 + 1; x < x1 + 8; x += 3) this.fill(palette.bars[family], x, y, 1, height);
    }
    if (height < 12) return;
    const name = bars.ops[bars.op[bar]];
    const [from, at] = [Math.max(middle, 0) + 4, Math.max(x0, 0) + 6];
    const room = Math.min(x1, this.plot) - from - 4;
    if (room >= this.widthOf(name)) {
      const more = room > 90 && bars.bytes[bar] ? `${name}  ${size(bars.bytes[bar])}` : name;
      const text = this.widthOf(more) <= room ? more : name;
      this.text(text, from, y + height / 2, { colour: palette.onBars[family] });
    } else if (Math.min(middle, this.plot) - at - 6 >= this.widthOf(name)) {
      this.plate(name, at, y + height / 2);
    }
  }

  /** A dashed lead from where the first rank began, a tip, and by how much where there is room */
  paintLate(bars, bar, before, y, height) {
    const { ctx, scale, palette } = this;
    const x = this.x(bars.start[bar]);
    const from = this.x(bars.collectives.first[bars.of[bar]]);
    const gap = below(scale.from, scale.n, bars.start[bar]) - 1;
    const free = Math.max(this.x(before) + 2, gap < 0 ? 0 : this.x(scale.to[gap]), 0);
    const tip = Math.min(6, Math.max(3, height / 3));
    const lead = Math.max(from, free);
    if (x - lead < tip) return;
    const label = `+${duration(bars.late[bar])}`;
    const width = this.widthOf(label);
    const isSaid = height >= 12 && x - from >= 12 && x - free >= width + tip + 8;
    const end = x - tip - (isSaid ? width + 8 : 0);
    ctx.setLineDash([3, 3]);
    this.path(end > lead ? [[lead, y], [end, y]] : []);
    this.stroke(palette.alarm, 1.5);
    ctx.setLineDash([]);
    this.path([[x - tip - 1, y - tip], [x - 1, y], [x - tip - 1, y + tip]]);
    ctx.fillStyle = palette.alarm;
    ctx.fill();
    if (isSaid) this.text(label, x - tip - 4, y, { colour: palette.alarm, align: "right" });
  }

  /** In flight: a striped arrow that grows until now */
  paintOpen({ store, now }, rank, top) {
    const lane = store.open.lanes.get(rank);
    const { ctx, palette } = this;
    const space = this.lane >= 20 ? 3 : 1;
    const [y0, y1, half] = [top + space, top + this.lane - space, this.lane / 2 - space];
    for (let i = 0; i < (lane?.n ?? 0); i++) {
      const x0 = this.x(lane.start[i]);
      const x1 = Math.max(this.x(now), x0 + half + 2);
      if (x0 > this.plot) break;
      this.path([[x0, y0], [x1 - half, y0], [x1, y0 + half], [x1 - half, y1], [x0, y1], [x0, y0]]);
      for (ctx.fillStyle of [palette.back, palette.flying]) ctx.fill();
      this.stroke(palette.alarm, half < 4 ? 1 : 1.5);
      const name = store.open.ops[store.open.op[lane.bar[i]]];
      const label = `${name}, in flight ${duration(Math.max(0, now - lane.start[i]))}`;
      const at = Math.max(x0, 0) + 7;
      const room = Math.min(x1 - half, this.plot) - at - 6;
      const text = half >= 6 && [label, name].find((each) => this.widthOf(each) < room);
      if (text) this.plate(text, at, y0 + half);
    }
  }

  paintBreaks() {
    const { ctx, scale, palette, left, bottom } = this;
    const middle = (TOP + bottom) / 2;
    for (let i = Math.max(0, below(scale.at, scale.n, left) - 1); i < scale.n; i++) {
      const [x, width] = [scale.at[i] - left, scale.width[i]];
      if (x > this.plot) break;
      if (width < 6) continue;
      this.fill(palette.back, x + 3, TOP, width - 6, bottom - TOP);
      for (const edge of [x + 3, x + width - 3]) {
        const zigzag = [];
        for (let y = TOP; y <= bottom; y += 5) zigzag.push([edge + (y % 2 ? 2 : -2), y]);
        this.path([...zigzag, [edge, bottom]]);
        this.stroke(palette.text, 1, 0.35);
      }
      const label = duration(Math.round(scale.to[i] - scale.from[i]));
      if (width < BREAK || this.widthOf(label) > bottom - TOP - 6) continue;
      ctx.save();
      ctx.translate(x + width / 2, middle);
      ctx.rotate(-Math.PI / 2);
      this.text(label, 0, 0, { alpha: 0.8, align: "center" });
      ctx.restore();
    }
  }

  /** The bar that is pointed at or stepped to, and its collective on the other ranks */
  paintShown({ shown, store, lanes, now }) {
    const found = [store.bars, store.open].flatMap((bars) =>
      bars.peers(shown.bars, shown.bar).map((peer) => ({
        y: this.yOf(lanes.findIndex(({ rank }) => rank === bars.rank[peer])),
        x0: this.x(bars.start[peer]),
        x1: this.x(bars === store.open ? now : bars.start[peer] + (bars.length[peer] || 0)),
        isChosen: bars === shown.bars && peer === shown.bar,
      })));
    const boxes = found.filter(({ y }) => y >= TOP).sort((a, b) => a.y - b.y);
    this.path(boxes.flatMap(({ x0, y }) => [[x0 - 1, y], [x0 - 1, y + this.lane]]));
    this.stroke(this.palette.text, 1); // joins the starts: the skew is seen at once
    for (const { x0, x1, y, isChosen } of boxes) {
      this.ctx.beginPath();
      this.ctx.rect(x0 - 1, y + 1.5, Math.max(x1 - x0, 3) + 2, this.lane - 3);
      this.stroke(this.palette.text, isChosen ? 2.5 : 1.5);
    }
  }
}

const shortened = (host) => (host.length > 14 ? `${host.slice(0, 13)}…` : host);

// -- one view ---------------------------------------------------------------------------------

const KEYS = "Arrow left and right pan, plus and minus zoom, arrow up and down choose a rank, " +
  "square brackets step from collective to collective, 0 fits everything, End follows the newest.";

const HTML = `
  <div class="rbt-head">
    <p><span class="rbt-count"></span> <span class="rbt-flying"></span></p>
    <div class="rbt-tools">
      <button type="button" data-do="idle" aria-pressed="true"
        title="Draw time without collectives as a narrow break">Skip idle</button>
      <span class="rbt-pair">
        <button type="button" data-do="out" aria-label="Zoom out" title="Zoom out">−</button>
        <button type="button" data-do="in" aria-label="Zoom in" title="Zoom in">+</button>
      </span>
      <button type="button" data-do="fit" title="Show everything">Fit</button>
      <button type="button" data-do="latest" aria-pressed="true"
        title="Follow the newest">Latest</button>
    </div>
  </div>
  <ul class="rbt-legend" aria-label="Colours"></ul>
  <div class="rbt-chart">
    <canvas tabindex="0" role="application"></canvas>
    <p class="rbt-empty">No collective has been recorded yet.</p>
  </div>
  <div class="rbt-foot">
    <p class="rbt-note"></p>
    <p class="rbt-clocks"></p>
    <p class="rbt-keys" aria-hidden="true">drag or <kbd>←</kbd> <kbd>→</kbd> pan · ctrl + wheel or
      <kbd>+</kbd> <kbd>−</kbd> zoom · <kbd>[</kbd> <kbd>]</kbd> step · <kbd>↑</kbd> <kbd>↓</kbd>
      rank</p>
  </div>
  <p class="rbt-hidden" role="status" aria-live="polite"></p>
  <div class="rbt-tip" popover="manual" hidden></div>`;

/** Names a bar, also when the lists of bars have been replaced. */
const pick = (bars, bar) => ({ rank: bars.rank[bar], start: bars.start[bar], seq: bars.seq[bar] });

/** One place in a page that shows a store */
class View {
  constructor(model, el, store) {
    Object.assign(this, { model, el, store, k: 1, at: 0, follow: true, auto: true, skip: true });
    this.pointers = new Map(); // that are down, by id: where
    el.classList.add("rbt");
    el.innerHTML = HTML;
    // On the focused element itself, or JupyterLab takes its keys for shortcuts of its own.
    for (const each of el.querySelectorAll("canvas, button")) {
      each.dataset.lmSuppressShortcuts = "true";
    }
    this.$ = (name) => el.querySelector(`.rbt-${name}`);
    this.canvas = el.querySelector("canvas");
    this.canvas.setAttribute("aria-description", KEYS);
    this.chart = new Chart(this.canvas);
    this.ended = new AbortController();
    this.listen();
    this.sizes = new ResizeObserver(() => this.refresh());
    this.sizes.observe(el);
    store.views.add(this);
    this.changed();
  }

  end() {
    this.ended.abort();
    this.sizes.disconnect();
    this.store.views.delete(this);
    cancelAnimationFrame(this.frame);
    clearTimeout(this.timer);
    this.el.replaceChildren();
  }

  /** The data have changed: everything said in words, then the picture. */
  changed() {
    const { model, store } = this;
    this.lanes = model.get("lanes") ?? [];
    if (!this.lanes.length) {
      const ranks = new Set([...store.bars.lanes.keys(), ...store.open.lanes.keys()]);
      this.lanes = [...ranks].sort((a, b) => a - b).map((rank) => ({ rank, host: "" }));
    }
    this.cells = model.get("cells") ?? [];
    this.hosts = new Set(this.lanes.map((lane) => lane.host)).size > 1;
    const clocks = model.get("clocks") ?? [];
    this.doubt = Math.max(0, ...clocks.map((each) => each.error));
    const ms = (seconds, sign) => `${sign}${duration(Math.abs(seconds))}`;
    const said = clocks.map(({ host, offset, error }) =>
      `${host} ${ms(offset, offset < 0 ? "−" : "+")} ± ${ms(error, "")}`);
    this.$("clocks").textContent = said.length ? `Clocks: ${said.join(", ")} (corrected)` : "";
    this.$("note").textContent = model.get("note") ?? "";
    const { collectives, n } = store.bars;
    const flying = store.open.collectives.n;
    const counts = [counted(this.lanes.length, "rank"), counted(collectives.n, "collective")];
    this.$("count").textContent = counts.join(" · ");
    if (flying) counts.push(`${flying} in flight`);
    this.$("flying").textContent = flying ? `${flying} in flight` : "";
    this.canvas.setAttribute("aria-label", `Timeline of collectives: ${counts.join(", ")}`);
    this.$("empty").hidden = n + store.open.n > 0;
    this.refresh();
  }

  refresh() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    const { store, chart, el } = this;
    const width = this.$("chart").clientWidth;
    if (!width) return; // not shown
    clearTimeout(this.timer);
    const plot = chart.measure(el, width, this.lanes, this.hosts);
    this.paintLegend();
    this.place(plot);
    this.shown = this.find(this.hover ?? (this.isFocused && this.picked) ?? {});
    this.canvas.style.cursor = this.pointers.size ? "grabbing" : this.shown ? "pointer" : "grab";
    chart.paint(this);
    this.showTip();
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (store.open.n) this.timer = setTimeout(() => this.refresh(), calm ? 1000 : 100);
  }

  /** Decide what is in sight: `at` is the time at the left edge, `k` the zoom. */
  place(plot) {
    const { bars } = this.store;
    this.findBusy();
    const zoomTo = (from) =>
      zoomFor(this.busy, this.skip, from, Math.max(this.now, from), plot - 2 * MARGIN);
    if (this.follow && this.auto) {
      const { head, n } = bars.collectives;
      const isMany = n > RECENT;
      const k = zoomTo(isMany ? bars.start[head[n - RECENT]] : this.oldest);
      this.k = isMany ? 2 ** Math.floor(Math.log2(k)) : k; // in steps, or it would flicker
    }
    if (this.wantsFit) [this.k, this.at, this.wantsFit] = [zoomTo(this.oldest), null, false];
    this.scale = makeScale(this.busy, this.k, this.skip);
    const end = toPixel(this.scale, this.now);
    let left = this.at === null ? -MARGIN : toPixel(this.scale, this.at);
    if (this.follow) left = Math.max(end + MARGIN - plot, -MARGIN);
    this.left = Math.min(Math.max(left, -plot / 2), end - plot / 2 + 1);
    if (this.follow || this.at === null || left !== this.left) {
      this.at = toTime(this.scale, this.left);
    }
  }

  /** When something happens, from the oldest until now */
  findBusy() {
    const { bars, open, kernelMinusPage } = this.store;
    const edges = this.cells.flatMap((cell) => [cell.started, cell.ended ?? cell.started]);
    // Where nothing is in flight, nobody need know what time it is.
    const now = open.n ? Date.now() / 1e3 + kernelMinusPage : 0;
    this.now = edges.reduce((a, b) => Math.max(a, b), Math.max(bars.newest, open.newest, now));
    this.busy = { starts: [...bars.busy.starts], ends: [...bars.busy.ends] };
    for (const edge of edges) addBusy(this.busy, edge, edge);
    for (let bar = 0; bar < open.n; bar++) addBusy(this.busy, open.start[bar], this.now);
    this.oldest = this.busy.starts[0] ?? 0;
  }

  find({ rank, start, seq } = {}) {
    for (const bars of [this.store.open, this.store.bars]) {
      const lane = bars.lanes.get(rank);
      let i = lane ? below(lane.start, lane.n, start) : 0;
      for (; i < lane?.n && lane.start[i] === start; i++) {
        if (bars.seq[lane.bar[i]] === seq) return { bars, bar: lane.bar[i] };
      }
    }
    return null;
  }

  /** What is at a point of the canvas: a bar, a cell or nothing */
  under(x, y) {
    const px = x - this.chart.gutter;
    if (px < 0 || !this.scale) return null;
    const time = (slack) => toTime(this.scale, this.left + px + slack);
    if (y < TOP) {
      const isHere = ({ started, ended }) => started <= time(3) && (ended ?? this.now) >= time(-3);
      const cell = this.cells.findLast(isHere);
      return cell ? { cell } : null;
    }
    const rank = this.lanes[Math.floor((y - TOP) / this.chart.lane)]?.rank;
    const { bars, open } = this.store;
    const lane = bars.lanes.get(rank);
    let i = lane ? hit(lane, this.scale, this.left + px, 4) : -1;
    if (i >= 0) return pick(bars, lane.bar[i]);
    const flying = open.lanes.get(rank); // without an end: the last that began before
    i = flying ? below(flying.start, flying.n, time(3)) - 1 : -1;
    return i >= 0 ? pick(open, flying.bar[i]) : null;
  }

  lines() {
    if (this.hover?.cell) {
      const { number, label, started, ended } = this.hover.cell;
      const took = ended === null ? "still runs" : `took ${duration(ended - started)}`;
      return [`In [${number}] ${label}`, `began at ${clock(started)}, ${took}`];
    }
    const { shown, store } = this;
    return shown && describe(shown.bars, shown.bar, this, shown.bars === store.open);
  }

  showTip() {
    const tip = this.$("tip");
    const lines = this.lines();
    tip.hidden = !lines;
    if (!lines) return;
    // Above all else in the page: an output area would cut it.
    if (tip.showPopover && !tip.matches(":popover-open")) tip.showPopover();
    tip.replaceChildren(...lines.map((line, i) => {
      const element = document.createElement(i ? "span" : "strong");
      element.textContent = line;
      return element;
    }));
    const box = this.canvas.getBoundingClientRect();
    let [x, y] = this.pointer ?? [0, 0];
    if (!this.hover) {
      const lane = this.lanes.findIndex(({ rank }) => rank === this.picked.rank);
      x = this.chart.gutter + Math.max(0, this.chart.x(this.picked.start));
      y = this.chart.yOf(lane) + this.chart.lane / 2;
    }
    const [left, top] = [box.left + x + 14, box.top + y + 18];
    const { offsetWidth: wide, offsetHeight: high } = tip;
    tip.style.left = `${Math.max(4, left + wide > innerWidth - 4 ? left - wide - 28 : left)}px`;
    tip.style.top = `${Math.max(4, top + high > innerHeight - 4 ? top - high - 36 : top)}px`;
  }

  paintLegend() {
    const { bars, open } = this.store;
    const { palette } = this.chart;
    const families = [...new Set([...bars.families, ...open.families])].sort((a, b) => a - b);
    const wanted = `${palette.key} ${families} ${open.n > 0}`;
    if (this.legend === wanted) return;
    this.legend = wanted;
    this.el.style.setProperty("--rbt-alarm", palette.alarm);
    const items = families.map((family) => ["", FAMILIES[family][0], palette.bars[family]]);
    if (families.length) {
      items.push(["rbt-waits", "waits for the last rank", palette.text]);
      items.push(["rbt-late", "late", palette.alarm]);
    }
    if (open.n) items.push(["rbt-flies", "in flight", palette.alarm]);
    this.$("legend").replaceChildren(...items.map(([name, text, colour]) => {
      const item = document.createElement("li");
      const swatch = item.appendChild(document.createElement("span"));
      swatch.className = name;
      swatch.style.color = colour;
      item.append(text);
      return item;
    }));
  }

  // -- moving about

  setFollow(follow) {
    this.follow = follow;
    this.el.querySelector("[data-do=latest]").setAttribute("aria-pressed", follow);
    this.refresh();
  }

  pan(px) {
    if (!this.scale) return;
    this.at = toTime(this.scale, this.left + px);
    this.setFollow(false);
  }

  /** Zoom so that the time at `x` stays; without one, the newest while following, or the middle. */
  zoom(factor, x) {
    if (!this.scale) return;
    const { plot } = this.chart;
    if (x !== undefined) this.setFollow(false);
    const anchor = x ?? plot / 2;
    const time = toTime(this.scale, this.left + anchor);
    const least = zoomFor(this.busy, this.skip, this.oldest, this.now, plot / 2);
    this.k = Math.min(Math.max(this.k * factor, Math.min(least, this.k)), MOST);
    this.auto = false;
    this.scale = makeScale(this.busy, this.k, this.skip);
    this.left = toPixel(this.scale, time) - anchor;
    this.at = toTime(this.scale, this.left);
    this.refresh();
  }

  do(action) {
    if (action === "in") this.zoom(1.6);
    if (action === "out") this.zoom(1 / 1.6);
    if (action === "fit") [this.wantsFit, this.follow] = [true, false];
    if (action === "latest") [this.auto, this.follow] = [true, true];
    if (action === "idle") {
      this.skip = !this.skip;
      this.el.querySelector("[data-do=idle]").setAttribute("aria-pressed", this.skip);
    }
    this.setFollow(this.follow);
  }

  /** Choose the next bar of the lane, or the one before, bring it in sight and say what it is. */
  step(by) {
    const rank = this.picked?.rank ?? this.lanes[0]?.rank;
    const all = [this.store.bars, this.store.open].flatMap((bars) => {
      const lane = bars.lanes.get(rank);
      return lane ? Array.from(lane.bar.subarray(0, lane.n), (bar) => [bars, bar]) : [];
    });
    if (!all.length) return;
    const edge = toTime(this.scale, this.left + (by < 0 ? this.chart.plot : 0));
    const isFirst = this.picked?.start === undefined; // then from an edge of what is in sight
    const from = isFirst ? edge : this.picked.start;
    const found = all.findIndex(([bars, bar]) => bars.start[bar] >= from);
    const place = found < 0 ? all.length - 1 : found + (isFirst ? Math.min(by, 0) : by);
    this.choose(...all[Math.min(Math.max(place, 0), all.length - 1)]);
  }

  choose(bars, bar) {
    this.hover = null;
    this.picked = pick(bars, bar);
    const x = toPixel(this.scale, this.picked.start) - this.left;
    if (x < 0 || x > this.chart.plot - 20) this.pan(x - this.chart.plot / 2);
    this.$("hidden").textContent = describe(bars, bar, this, bars === this.store.open).join(", ");
    this.refresh();
  }

  chooseLane(by) {
    const lane = this.lanes.findIndex(({ rank }) => rank === this.picked?.rank);
    const rank = this.lanes[Math.min(Math.max(lane + by, 0), this.lanes.length - 1)]?.rank;
    if (rank === undefined) return;
    const now = this.find(this.picked ?? {});
    // The same collective on that rank if it is part of it, else what is nearest in time.
    for (const bars of now ? [this.store.bars, this.store.open] : []) {
      const peer = bars.peers(now.bars, now.bar).find((each) => bars.rank[each] === rank);
      if (peer !== undefined) return this.choose(bars, peer);
    }
    this.picked = { rank, start: this.picked?.start };
    this.step(0);
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const far = 0.2 * this.chart.plot;
    const keys = {
      ArrowLeft: () => this.pan(-far), ArrowRight: () => this.pan(far),
      "+": () => this.zoom(1.6), "=": () => this.zoom(1.6), "-": () => this.zoom(1 / 1.6),
      "[": () => this.step(-1), "]": () => this.step(1),
      ArrowUp: () => this.chooseLane(-1), ArrowDown: () => this.chooseLane(1),
      0: () => this.do("fit"), Home: () => this.do("fit"), End: () => this.do("latest"),
      Escape: () => this.point((this.picked = null)),
    };
    if (event.shiftKey) Object.assign(keys, { ArrowLeft: keys["["], ArrowRight: keys["]"] });
    if (!keys[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  }

  /** With ctrl or cmd (so browsers report a pinch) zoom, sideways pan; else the page scrolls. */
  onWheel(event) {
    const lines = event.deltaMode ? 16 : 1;
    const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (event.ctrlKey || event.metaKey) {
      const speed = Math.min(Math.max(event.deltaY * lines, -50), 50);
      this.zoom(Math.exp(-speed * 0.01), event.offsetX - this.chart.gutter);
    } else if (sideways) this.pan((event.deltaX || event.deltaY) * lines);
    else return;
    event.preventDefault();
  }

  onPointer(event) {
    const { pointers } = this;
    const { type, pointerId: id, offsetX: x, offsetY: y } = event;
    const before = pointers.get(id);
    if (type === "pointerdown" && event.button === 0) {
      this.canvas.setPointerCapture(id);
      pointers.set(id, { x, y, moved: false });
    } else if (type === "pointermove" && !before) this.point(this.under(x, y), x, y);
    else if (type === "pointermove") {
      const other = [...pointers.values()].find((each) => each !== before);
      if (!other && !before.moved && Math.abs(x - before.x) < 4) return;
      pointers.set(id, { x, y, moved: true });
      this.hover = null;
      if (other) { // two fingers: what lies between them stays there
        const [was, is] = [before.x, x].map((each) => Math.max(10, Math.abs(each - other.x)));
        this.zoom(is / was, (x + other.x) / 2 - this.chart.gutter);
      } else this.pan(before.x - x);
    } else {
      pointers.delete(id);
      if (type === "pointerleave") this.point(null);
      const isClick = type === "pointerup" && before && !before.moved;
      const found = isClick && this.find(this.under(x, y) ?? {});
      if (found) this.choose(found.bars, found.bar);
    }
    this.refresh();
  }

  point(what, x, y) {
    [this.hover, this.pointer] = [what, [x, y]];
    this.refresh();
  }

  listen() {
    const { canvas, el } = this;
    const { signal } = this.ended;
    const on = (target, type, act, options) =>
      target.addEventListener(type, act, { signal, ...options });
    for (const type of ["down", "move", "up", "cancel", "leave"]) {
      on(canvas, `pointer${type}`, (event) => this.onPointer(event));
    }
    on(canvas, "wheel", (event) => this.onWheel(event), { passive: false });
    on(canvas, "keydown", (event) => this.onKey(event));
    for (const type of ["focus", "blur"]) {
      on(canvas, type, () => {
        this.isFocused = type === "focus";
        this.refresh();
      });
    }
    on(el, "click", ({ target }) => this.do(target.closest("button")?.dataset.do));
    // The style sheet gives the background an instant transition: so a change of theme is heard.
    on(el, "transitionend", ({ target }) => target === el && this.refresh());
    const onScroll = () => this.shown && this.point(null); // what it explains has moved away
    on(window, "scroll", onScroll, { capture: true, passive: true });
  }
}

// -- anywidget --------------------------------------------------------------------------------

// A server drops messages when there are too many of them: so each says what must be here by then.
function takeBars(store, { edition, from, open, ...content }, buffers) {
  if (content.reset) store.edition = edition;
  else if (edition !== store.edition || from !== store.bars.n) return false;
  store.bars.append(content, buffers);
  return open === store.open.n;
}

function takeOpen(store, { edition, settled, ...content }, buffers) {
  store.open.append({ ...content, reset: true }, buffers);
  return edition === store.edition && settled === store.bars.n;
}

/** Asks for everything: at once, and when something is missing; less and less often in vain */
class Hello {
  constructor(model) {
    Object.assign(this, { model, pause: AGAIN });
    this.say();
  }

  say() {
    this.said = Date.now();
    this.model.send({ kind: "hello" });
  }

  /** Something has arrived: it was all there is, or something is missing. */
  hear(isAll) {
    if (isAll) this.pause = AGAIN;
    if (isAll) this.end();
    else this.timer ??= setTimeout(() => this.repeat(), this.said + this.pause - Date.now());
  }

  repeat() {
    this.say();
    this.pause = Math.min(2 * this.pause, 60 * AGAIN);
    this.timer = setTimeout(() => this.repeat(), this.pause);
  }

  end() {
    clearTimeout(this.timer);
    this.timer = null;
  }
}

// Called once per model. Its views share the data through this call: each of them, and
// initialize(), is handed another proxy of the model.
export default () => {
  // `kernelMinusPage`: what the kernel's clock shows less what the page's does, seconds; known
  // only where the kernel says what time it is. `edition`: of the bars
  const store = {
    bars: new Bars(), open: new Bars(), views: new Set(), kernelMinusPage: 0, edition: null,
  };

  function initialize({ model }) {
    const changed = () => store.views.forEach((view) => view.changed());
    const onMessage = (content, buffers) => {
      if (content.kind === "bars") hello.hear(takeBars(store, content, buffers));
      else if (content.kind === "open") hello.hear(takeOpen(store, content, buffers));
      else return;
      if (content.now) store.kernelMinusPage = content.now - Date.now() / 1e3;
      changed();
    };
    const traits = "change:lanes change:cells change:clocks change:note";
    model.on("msg:custom", onMessage);
    model.on(traits, changed);
    const hello = new Hello(model);
    return () => {
      hello.end();
      model.off("msg:custom", onMessage);
      model.off(traits, changed);
    };
  }

  function render({ model, el }) {
    const view = new View(model, el, store);
    return () => view.end();
  }

  return { initialize, render };
};
