// One place in a page that shows a store of bars: it describes them in words, decides which part is
// visible, and listens.

import { counted, inZone } from "./words.js";
import { addBusy, below, makeScale, MOST, toPixel, toTime, zoomFor } from "./scale.js";
import { formerLanes, presentLanes } from "./lanes.js";
import { pick } from "./stepping.js";
import { hit } from "./runs.js";
import { latestCell } from "./cells.js";
import { describe, describeCell, describeClocks } from "./describe.js";
import { Chart } from "./chart.js";
import { TOP } from "./labels.js";
import { HTML, KEYS } from "./frame.js";
import { legend } from "./legend.js";
import { opens, show } from "./tip.js";
import { listen } from "./input.js";

const RECENT = 40; // collectives that are visible while following
const MARGIN = 16; // px left and right of everything

const LOADING = "Loading what has been recorded…";
const NONE = "No collective has been recorded yet.";

/** One place in a page that shows a store */
export class View {
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
    listen(this);
    opens(this.$("help"), this.$("keys"), this.ended.signal);
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

  /** The data have changed: update the words, then the chart. */
  changed() {
    const { model, store } = this;
    this.present = presentLanes(model.get("lanes"), store);
    this.lanes = this.allLanes();
    this.cells = model.get("cells") ?? [];
    const hosts = new Set(this.present.map((lane) => lane.host).filter(Boolean));
    this.hosts = hosts.size > 1 ? hosts : null;
    this.$("clocks").textContent = describeClocks(model.get("clocks") ?? []);
    this.$("note").textContent = inZone(model.get("note") ?? "");
    const { collectives, n } = store.bars;
    const flying = (this.flying = store.open.endless());
    const counts = [counted(this.present.length, "rank"), counted(collectives.n, "collective")];
    this.$("count").textContent = counts.join(" · ");
    if (flying) counts.push(`${flying} in flight`);
    this.$("flying").textContent = flying ? `${flying} in flight` : "";
    this.canvas.setAttribute("aria-label", `Timeline of collectives: ${counts.join(", ")}`);
    this.$("empty").hidden = n + store.open.n > 0;
    this.$("empty").textContent = store.edition === null ? LOADING : NONE;
    this.refresh();
  }

  refresh() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    const { chart } = this;
    const width = this.$("chart").clientWidth;
    if (!width) return; // not shown
    clearTimeout(this.timer);
    const place = () => this.place(chart.measure(this.$("chart"), width, this.lanes, this.hosts));
    place();
    const before = this.lanes.length;
    this.lanes = this.allLanes();
    if (this.lanes.length !== before) place();
    const asked = this.hover ?? ((this.isFocused && this.picked) || {});
    this.shown = this.lanes.some(({ rank }) => rank === asked.rank) ? this.find(asked) : null;
    const isButton = this.shown || this.hover?.cell;
    this.canvas.style.cursor = this.pointers.size ? "grabbing" : isButton ? "pointer" : "grab";
    chart.paint(this);
    this.paintLegend();
    this.showTip();
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (this.flying) this.timer = setTimeout(() => this.refresh(), calm ? 1000 : 100);
  }

  allLanes() {
    if (!this.scale) return this.present;
    const [from, to] = [0, this.chart.plot].map((px) => toTime(this.scale, this.left + px));
    const former = formerLanes(this.present, this.store.bars, from, to);
    return [...this.present, ...former];
  }

  /** Decide which part is visible: `at` is the time at the left edge, `k` the zoom. */
  place(plot) {
    const { bars } = this.store;
    this.findBusy();
    const zoomTo = (from) =>
      zoomFor(this.busy, this.skip, from, Math.max(this.now, from), plot - 2 * MARGIN);
    const latest = latestCell(this.cells, this.store);
    const until = Math.max(latest?.ended ?? this.now, this.called());
    if (this.follow && this.auto) {
      const { head, n } = bars.collectives;
      const recent = n > RECENT ? bars.start[head[n - RECENT]] : this.oldest;
      const from = Math.max(recent, latest?.started ?? this.oldest);
      const k = zoomFor(this.busy, this.skip, from, Math.max(until, from), plot - 2 * MARGIN);
      this.k = from === recent && n > RECENT ? 2 ** Math.floor(Math.log2(k)) : k; // no flicker
    }
    if (this.wanted) {
      const { started, ended } = this.wanted;
      this.k = zoomFor(this.busy, this.skip, started, ended ?? this.now, plot - 2 * MARGIN);
      const scale = makeScale(this.busy, this.k, this.skip);
      this.at = toTime(scale, toPixel(scale, started) - MARGIN);
      this.wanted = null;
    }
    if (this.wantsFit) [this.k, this.at, this.wantsFit] = [zoomTo(this.oldest), null, false];
    this.scale = makeScale(this.busy, this.k, this.skip);
    const end = toPixel(this.scale, this.now);
    let left = this.at === null ? -MARGIN : toPixel(this.scale, this.at);
    if (this.follow) left = Math.max(toPixel(this.scale, until) + MARGIN - plot, -MARGIN);
    this.left = Math.min(Math.max(left, -plot / 2), end - plot / 2 + 1);
    if (this.follow || this.at === null || left !== this.left) {
      this.at = toTime(this.scale, this.left);
    }
  }

  /** When the last call ended, or that it has not */
  called() {
    const { bars, open } = this.store;
    return this.flying ? this.now : Math.max(bars.newest, open.newest);
  }

  /** The busy times, from the oldest until now */
  findBusy() {
    const { bars, open, kernelMinusPage } = this.store;
    const edges = this.cells.flatMap((cell) => [cell.started, cell.ended ?? cell.started]);
    // While nothing is in flight, the present time does not matter.
    const now = this.flying ? Date.now() / 1e3 + kernelMinusPage : 0;
    this.now = edges.reduce((a, b) => Math.max(a, b), Math.max(bars.newest, open.newest, now));
    this.busy = { starts: [...bars.busy.starts], ends: [...bars.busy.ends] };
    for (const edge of edges) addBusy(this.busy, edge, edge);
    for (let bar = 0; bar < open.n; bar++) {
      addBusy(this.busy, open.start[bar], open.until(bar, this.now));
    }
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

  /** The bar or cell at a point of the canvas, or nothing */
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
    const flying = open.lanes.get(rank); // without an end: take the last that began before
    i = flying ? below(flying.start, flying.n, time(3)) - 1 : -1;
    const isUnder = i >= 0 && open.until(flying.bar[i], this.now) >= time(-3);
    return isUnder ? pick(open, flying.bar[i]) : null;
  }

  lines() {
    if (this.hover?.cell) return describeCell(this.hover.cell);
    const { shown, store } = this;
    return shown && describe(shown.bars, shown.bar, this, shown.bars === store.open);
  }

  showTip() {
    const tip = this.$("tip");
    const lines = this.lines();
    tip.hidden = !lines;
    if (!lines) return;
    const box = this.canvas.getBoundingClientRect();
    let [x, y] = this.pointer ?? [0, 0];
    if (!this.hover) {
      const lane = this.lanes.findIndex(({ rank }) => rank === this.picked.rank);
      x = this.chart.gutter + Math.max(0, this.chart.x(this.picked.start));
      y = this.chart.yOf(lane) + this.chart.lane / 2;
    }
    show(tip, lines, box.left + x, box.top + y);
  }

  paintLegend() {
    const { bars, open } = this.store;
    const { palette, seen } = this.chart;
    const families = [...new Set([...bars.families, ...open.families])].sort((a, b) => a - b);
    const marks = [...seen, ...(open.n ? ["open"] : [])];
    const wanted = `${palette.key} ${families} ${marks}`;
    if (this.legend === wanted) return;
    this.legend = wanted;
    this.el.style.setProperty("--rbt-alarm", palette.alarm);
    this.$("legend").replaceChildren(...legend(families, marks, palette));
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
    if (action === "latest") [this.auto, this.follow, this.chosenCell] = [true, true, null];
    if (action === "idle") {
      this.skip = !this.skip;
      this.el.querySelector("[data-do=idle]").setAttribute("aria-pressed", this.skip);
    }
    this.setFollow(this.follow);
  }

  point(what, x, y) {
    [this.hover, this.pointer] = [what, [x, y]];
    this.refresh();
  }
}
