// The timeline of collectives: a lane per rank, a bar per collective, time to the right.
//
// Words, scale, data and visible bars are plain functions that know nothing of the page. A Chart
// paints, a View listens. Seconds are since the epoch; pixels are CSS pixels of the plot.

import { Bars } from "./bars.js";
import { askUntilHeard } from "./hearing.js";
import { View } from "./view.js";

const AGAIN = 1000; // ms after which the kernel is asked again for missing bars

// A server drops messages when there are too many: so each says what must have arrived before it.
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

/** Asks for everything at once, and again when something is missing, less and less often */
class Hello {
  constructor(model) {
    Object.assign(this, { model, pause: AGAIN });
    this.say();
  }

  say() {
    this.asked = Date.now();
    this.model.send({ kind: "hello" });
  }

  /** A message has arrived: either nothing is missing now, or something is. */
  hear(isAll) {
    if (isAll) this.pause = AGAIN;
    if (isAll) this.end();
    else this.timer ??= setTimeout(() => this.repeat(), this.asked + this.pause - Date.now());
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
    const changed = () => {
      const [lanes, clocks] = [model.get("lanes") ?? [], model.get("clocks") ?? []];
      for (const bars of [store.bars, store.open]) bars.setClocks(lanes, clocks);
      store.views.forEach((view) => view.changed());
    };
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
    changed();
    const hello = new Hello(model);
    const stopAsking = askUntilHeard(model, (content) => model.send(content));
    return () => {
      stopAsking();
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
