// Painting the chart.

import { duration, size } from "./words.js";
import { below, BREAK, toPixel } from "./scale.js";
import { makeRuns, visibleRuns } from "./runs.js";
import { makePalette } from "./palette.js";
import { Pen } from "./pen.js";
import { shortNames } from "./hosts.js";
import { paintCells, paintClock, paintLabels, rankName, TOP } from "./labels.js";

const BOTTOM = 22; // px for the clock
const CROSS = 18; // px that the cross of a failed bar takes

/** Height of a lane for `n` lanes: 30 px for a few, 6 for 64 */
export const laneHeight = (n) => Math.max(4, Math.min(30, Math.floor(400 / n)));

/** Paints what a View shows: it is given the View, and keeps only what saves work. */
export class Chart extends Pen {
  constructor(canvas) {
    super(canvas.getContext("2d"));
    Object.assign(this, { canvas, runs: makeRuns() });
    this.seen = new Set(); // kinds that were painted so far, for the legend
  }

  /** Fit the canvas to its place and the theme; returns the width of the plot. */
  measure(place, width, lanes, hosts) {
    const { canvas } = this;
    const ratio = (this.ratio = window.devicePixelRatio);
    const { color, backgroundColor, fontFamily } = getComputedStyle(place);
    if (this.palette.key !== [color, backgroundColor, fontFamily, ratio].join()) {
      this.palette = makePalette(place, ratio);
      this.widths.clear();
    }
    this.lane = laneHeight(lanes.length || 1);
    this.isHigh = this.lane >= 26; // so that a host's name fits under the rank, else beside it
    this.names = hosts && shortNames(hosts, this.isHigh ? 14 : 8);
    this.bottom = TOP + this.lane * Math.max(lanes.length, 1);
    this.height = this.bottom + BOTTOM;
    const size = [Math.round(width * ratio), Math.round(this.height * ratio)];
    if (canvas.width !== size[0] || canvas.height !== size[1]) {
      [canvas.width, canvas.height] = size;
      canvas.style.height = `${this.height}px`;
    }
    this.ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    const widest = (names, px) => Math.max(0, ...names.map((name) => this.widthOf(name, px)));
    const ranks = widest(lanes.map(rankName), 12);
    const named = widest([...(this.names?.values() ?? [])], 10);
    const labels = this.isHigh || !named ? Math.max(ranks, named) : ranks + named + 10;
    this.gutter = 12 + Math.ceil(Math.max(this.widthOf("12:00:00", 12), labels));
    this.plot = Math.max(50, width - this.gutter);
    return this.plot;
  }

  yOf(lane) {
    return TOP + lane * this.lane;
  }

  x(time) {
    return toPixel(this.scale, time) - this.left;
  }

  paint(view) {
    const { ctx, plot, gutter, height, palette, ratio } = this;
    Object.assign(this, { scale: view.scale, left: view.left });
    ctx.clearRect(0, 0, gutter + plot, height);
    paintLabels(this, view.lanes);
    ctx.save();
    ctx.translate(gutter, 0);
    if (view.busy.starts.length) paintClock(this);
    ctx.beginPath();
    ctx.rect(0, 0, plot, height);
    ctx.clip();
    const moved = new DOMMatrix([1 / ratio, 0, 0, 1 / ratio, -this.left % 8, 0]);
    for (const each of [...palette.waiting, palette.flying]) each.setTransform(moved);
    paintCells(this, view.cells, view.now);
    view.lanes.forEach(({ rank }, i) => this.paintLane(view.store.bars, rank, this.yOf(i)));
    view.lanes.forEach(({ rank }, i) => this.paintOpen(view, rank, this.yOf(i)));
    this.paintBreaks();
    if (view.shown) this.paintShown(view);
    ctx.restore();
  }

  paintLane(bars, rank, top) {
    const lane = bars.lanes.get(rank);
    if (!lane?.n) return;
    const { palette, runs, ratio } = this;
    visibleRuns(bars, lane, this.scale, this.left, this.plot, runs);
    const space = this.lane >= 20 ? 4 : this.lane >= 10 ? 2 : 1;
    const [y, height] = [top + space, this.lane - Math.max(2 * space, 2) + (space < 2 ? 1 : 0)];
    for (let i = 0; i < runs.n; i++) {
      const family = runs.kind[i] >> 1;
      const x0 = Math.round(runs.x0[i] * ratio) / ratio;
      const x1 = Math.max(Math.round(runs.x1[i] * ratio) / ratio, x0 + 1);
      const alpha = runs.kind[i] % 2 ? 0.5 : 1;
      const bar = runs.bar[i];
      if (bar < 0) this.fill(palette.bars[family], x0, y, Math.max(x1 - x0, 1.5), height, alpha);
      else if (bars.failed[bar]) this.paintFailed(bars, bar, family, x0, x1, y, height);
      else this.paintBar(bars, bar, family, x0, x1, y, height);
    }
    for (let i = 0; i < runs.n; i++) {
      const bar = runs.bar[i];
      if (bar < 0) continue;
      if (bars.failed[bar]) this.paintPost(runs.x0[i], runs.x1[i], y, height);
      if (!bars.isLast(bar)) continue;
      const before = below(lane.start, lane.n, bars.start[bar]) - 1;
      this.paintLate(bars, bar, before < 0 ? 0 : lane.reach[before], y + height / 2, height);
    }
  }

  paintBar(bars, bar, family, x0, x1, y, height) {
    const { palette } = this;
    const until = bars.waitedUntil(bar);
    const middle = until > bars.start[bar] ? Math.min(Math.max(this.x(until), x0), x1) : x0;
    const striped = height >= 8 && middle - x0 >= 8;
    const waiting = striped ? palette.waiting[family] : palette.bars[family];
    if (middle > x0) this.seen.add("waits");
    if (middle > x0) this.fill(waiting, x0, y, middle - x0, height, striped ? 1 : 0.4);
    this.fill(palette.bars[family], x0, y, Math.min(2, x1 - x0), height); // where it began
    this.fill(palette.bars[family], middle, y, Math.max(x1 - middle, 1.5), height);
    if (Number.isNaN(bars.length[bar])) this.fray(palette.bars[family], x1, y, height);
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

  /** A wait that was given up: the post that ends it is painted after all bars. */
  paintFailed(bars, bar, family, x0, x1, y, height) {
    const { palette, ctx } = this;
    const striped = height >= 8 && x1 - x0 >= 8;
    this.fill(palette.back, x0, y, x1 - x0, height);
    const ground = striped ? palette.waiting[family] : palette.bars[family];
    this.fill(ground, x0, y, x1 - x0, height, striped ? 1 : 0.4);
    ctx.beginPath();
    ctx.rect(x0 + 0.5, y + 0.5, x1 - x0 - 1, height - 1);
    if (height >= 8 && x1 - x0 >= 6) this.stroke(palette.alarm, 1);
    const name = bars.ops[bars.op[bar]];
    const at = Math.max(x0, 0) + 7;
    const room = Math.min(x1 - CROSS, this.plot) - at - 4;
    const label = [`${name}, did not complete`, name].find((each) => this.widthOf(each) < room);
    if (height >= 12 && label) this.plate(label, at, y + height / 2);
  }

  /** A blunt end that is higher than the lane's bars, and a cross before it if there is room */
  paintPost(x0, x1, y, height) {
    const { ctx, palette } = this;
    const out = height >= 12 ? 2 : 1;
    this.seen.add("failed");
    this.fill(palette.alarm, Math.max(x1 - 3, x0), y - out, 3, height + 2 * out);
    if (height < 8 || x1 - x0 < CROSS) return;
    const [x, middle, arm] = [x1 - CROSS / 2 - 1, y + height / 2, Math.min(4, height / 2 - 2)];
    this.fill(palette.back, x - arm - 2, middle - arm - 2, 2 * arm + 4, 2 * arm + 4);
    for (const side of [-arm, arm]) {
      this.path([[x - arm, middle - side], [x + arm, middle + side]]);
      this.stroke(palette.alarm, 2);
    }
  }

  /** A dashed line from the start of the first rank, a tip, and the lateness if there is room */
  paintLate(bars, bar, before, y, height) {
    const { ctx, scale, palette } = this;
    const x = this.x(bars.start[bar]);
    const from = this.x(bars.collectives.first[bars.of[bar]]);
    const gap = below(scale.from, scale.n, bars.start[bar]) - 1;
    const free = Math.max(this.x(before) + 2, gap < 0 ? 0 : this.x(scale.to[gap]), 0);
    const tip = Math.min(6, Math.max(3, height / 3));
    const lead = Math.max(from, free);
    if (x - lead < tip) return;
    this.seen.add("late");
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

  /** In flight: a striped arrow that grows until now, or frays at its rank's last answer */
  paintOpen({ store: { open }, now }, rank, top) {
    const lane = open.lanes.get(rank);
    const { ctx, palette } = this;
    const space = this.lane >= 20 ? 3 : 1;
    const [y0, y1, half] = [top + space, top + this.lane - space, this.lane / 2 - space];
    for (let i = 0; i < (lane?.n ?? 0); i++) {
      const bar = lane.bar[i];
      const isStill = Number.isNaN(open.length[bar]);
      const until = open.until(bar, now);
      const tip = isStill ? half : 0;
      const x0 = this.x(lane.start[i]);
      const x1 = Math.max(this.x(until), x0 + half + 2);
      if (x0 > this.plot) break;
      this.path([[x0, y0], [x1 - tip, y0], [x1, y0 + half], [x1 - tip, y1], [x0, y1], [x0, y0]]);
      for (ctx.fillStyle of [palette.back, palette.flying]) ctx.fill();
      this.stroke(palette.alarm, half < 4 ? 1 : 1.5);
      if (!isStill) this.fray(palette.alarm, x1, y0, y1 - y0);
      const name = open.ops[open.op[bar]];
      const label = `${name}, in flight ${duration(Math.max(0, until - lane.start[i]))}`;
      const at = Math.max(x0, 0) + 7;
      const room = Math.min(x1 - tip, this.plot) - at - 6;
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
      const at = x + width / 2;
      const isWhole = at > 7 && at < this.plot - 7; // half of what it is high, and a little more
      if (width < BREAK || !isWhole || this.widthOf(label) > bottom - TOP - 6) continue;
      ctx.save();
      ctx.translate(at, middle);
      ctx.rotate(-Math.PI / 2);
      this.text(label, 0, 0, { alpha: 0.8, align: "center" });
      ctx.restore();
    }
  }

  /** The bar under the pointer or the keys, and its collective on the other ranks */
  paintShown({ shown, store, lanes, now }) {
    const found = [store.bars, store.open].flatMap((bars) =>
      bars.peers(shown.bars, shown.bar).map((peer) => ({
        y: this.yOf(lanes.findIndex(({ rank }) => rank === bars.rank[peer])),
        x0: this.x(bars.start[peer]),
        x1: this.x(bars.until(peer, bars === store.open ? now : bars.start[peer])),
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
