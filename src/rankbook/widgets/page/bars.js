// The bars that the kernel has sent, by lane, and which of them belong to one collective.

import { familyOf, P2P } from "./families.js";
import { addBusy, below } from "./scale.js";
import { Table } from "./table.js";

const BAR = {
  // the fields of a bar, in the order of the kernel's buffers
  start: Float64Array, length: Float32Array, late: Float32Array, rank: Int32Array, op: Int32Array,
  group: Int32Array, bytes: Float64Array, seq: Int32Array, generation: Int32Array,
  failed: Int32Array, where: Int32Array,
};
const LINKS = { of: Int32Array, next: Int32Array }; // its collective; the bar before in that
const COLLECTIVE = {
  first: Float64Array, last: Float64Array, // when its first and its last rank began
  firstRank: Int32Array, lastRank: Int32Array, size: Int32Array, head: Int32Array,
  // the host with the largest clock error, that error, and the largest of another host (-1: none)
  host: Int32Array, error: Float64Array, others: Float64Array,
};
const LANE = { start: Float64Array, end: Float64Array, reach: Float64Array, bar: Int32Array };

/** Bars, the collectives that they are part of, and the lanes that they lie in */
export class Bars extends Table {
  constructor() {
    super({ ...BAR, ...LINKS });
    this.collectives = new Table(COLLECTIVE);
    this.lanes = new Map();
    this.hostOf = new Map(); // by rank: its host, or its last one
    this.places = new Map(); // by rank: the number of that host, and the error of its clock
    this.clear();
  }

  clear() {
    this.n = this.collectives.n = 0;
    for (const lane of this.lanes.values()) lane.n = 0;
    this.numbered = new Map(); // collectives: by scope, then by number
    this.busy = { starts: [], ends: [] };
    this.newest = -Infinity;
    this.setNames([], [], []);
  }

  setNames(ops, groups, lines) {
    Object.assign(this, { ops, groups, lines, families: ops.map(familyOf) });
  }

  /** Take the hosts of ranks, and the clocks of hosts that were compared with the kernel's. */
  setClocks(lanes, clocks) {
    const told = JSON.stringify([lanes, clocks]);
    if (told === this.told) return;
    this.told = told;
    for (const { rank, host } of lanes) if (host) this.hostOf.set(rank, host);
    const hosts = [...new Set(this.hostOf.values())];
    const errors = new Map(clocks.map(({ host, error }) => [host, error]));
    this.places = new Map(Array.from(this.hostOf, ([rank, host]) =>
      [rank, { host: hosts.indexOf(host), error: errors.get(host) ?? 0 }]));
    for (let c = 0; c < this.collectives.n; c++) this.trust(c);
    for (let bar = 0; bar < this.n; bar++) this.doubt(this.of[bar], this.rank[bar]);
  }

  append({ reset, ops, groups, places, count }, buffers) {
    if (reset) this.clear();
    this.setNames(
      [...this.ops, ...ops], [...this.groups, ...groups], [...this.lines, ...places]);
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
    // The latest end of the bars so far: it only grows, so that it can be searched.
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
      this.trust(c);
    }
    [this.of[bar], this.next[bar], all.head[c]] = [c, all.head[c], bar];
    all.size[c]++;
    this.doubt(c, rank[bar]);
    if (Number.isNaN(this.late[bar])) return;
    if (start[bar] < all.first[c]) [all.first[c], all.firstRank[c]] = [start[bar], rank[bar]];
    if (start[bar] > all.last[c]) [all.last[c], all.lastRank[c]] = [start[bar], rank[bar]];
  }

  trust(c) {
    const { host, error, others } = this.collectives;
    [host[c], error[c], others[c]] = [-1, 0, -1];
  }

  /** Note that a collective is also on the host of this rank. */
  doubt(c, rank) {
    const place = this.places.get(rank);
    const { host, error, others } = this.collectives;
    if (!place || place.host === host[c]) return;
    if (host[c] >= 0) others[c] = Math.max(others[c], Math.min(error[c], place.error));
    if (host[c] < 0 || place.error > error[c]) [host[c], error[c]] = [place.host, place.error];
  }

  /** By how much the starts of a bar's collective may be wrong to each other, seconds */
  doubtOf(bar) {
    const { error, others } = this.collectives;
    const c = this.of[bar];
    return others[c] < 0 ? 0 : error[c] + others[c];
  }

  /** The same for the starts of two ranks */
  doubtBetween(rank, other) {
    const [a, b] = [this.places.get(rank), this.places.get(other)];
    return !a || !b || a.host === b.host ? 0 : a.error + b.error;
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

  /** The collective here that `bar` of `other` is part of; names may have other indices there. */
  find(other, bar) {
    const group = this.groups.indexOf(other.groups[other.group[bar]]);
    if (group < 0) return undefined;
    return this.numbers(other.generation[bar], group, other.isP2P(bar)).get(other.seq[bar]);
  }

  /** Its end: `now` if no length is known */
  until(bar, now) {
    return Number.isNaN(this.length[bar]) ? now : this.start[bar] + this.length[bar];
  }

  /** Number of collectives that have bars without a length */
  endless() {
    const found = new Set();
    for (let bar = 0; bar < this.n; bar++) {
      if (Number.isNaN(this.length[bar])) found.add(this.of[bar]);
    }
    return found.size;
  }

  /** Whether the others had to wait for this one: it was last, by more than the clocks may err */
  isLast(bar, doubt = this.doubtOf(bar)) {
    const c = this.of[bar];
    return this.late[bar] > doubt && this.start[bar] === this.collectives.last[c];
  }

  /** Until when it waited for the last rank. A bar that failed, or ended before, did not wait. */
  waitedUntil(bar) {
    const start = this.start[bar];
    const end = start + this.length[bar];
    const last = this.collectives.last[this.of[bar]];
    const isKnown = !Number.isNaN(this.late[bar]) && !this.failed[bar];
    const waited = isKnown && last > start && last <= end + this.doubtOf(bar);
    return waited ? Math.min(last, end) : start;
  }
}
