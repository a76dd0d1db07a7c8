// Keys, wheel and pointers, and what they do to a View.

import { choose, chooseLane, showCell, step, stepCell } from "./stepping.js";

/** Listen for keys, wheel and pointers until the view ends. */
export function listen(view) {
  const { canvas, el } = view;
  const { signal } = view.ended;
  const on = (target, type, act, options) =>
    target.addEventListener(type, act, { signal, ...options });
  for (const type of ["down", "move", "up", "cancel", "leave"]) {
    on(canvas, `pointer${type}`, (event) => onPointer(view, event));
  }
  on(canvas, "wheel", (event) => onWheel(view, event), { passive: false });
  on(canvas, "keydown", (event) => onKey(view, event));
  for (const type of ["focus", "blur"]) {
    on(canvas, type, () => {
      view.isFocused = type === "focus";
      view.refresh();
    });
  }
  // Wherever the focus is; other listeners get it, too.
  on(window, "keydown", ({ key }) => key === "Escape" && view.hover && view.point(null),
    { capture: true });
  on(el, "click", ({ target }) => view.do(target.closest("button")?.dataset.do));
  // The style sheet gives the background an instant transition, so a new theme fires an event.
  // One in several steps cancels those before.
  for (const type of ["run", "end", "cancel"]) {
    on(el, `transition${type}`, ({ target }) => target === el && view.refresh());
  }
  const onScroll = () => view.shown && view.point(null); // the bar that it explains has moved away
  on(window, "scroll", onScroll, { capture: true, passive: true });
}

function onKey(view, event) {
  // Many keyboards have brackets on a third level, behind AltGr or Option.
  const isBracket = event.key === "[" || event.key === "]";
  if (!isBracket && (event.ctrlKey || event.metaKey || event.altKey)) return;
  const far = 0.2 * view.chart.plot;
  const keys = {
    ArrowLeft: () => view.pan(-far), ArrowRight: () => view.pan(far),
    "+": () => view.zoom(1.6), "=": () => view.zoom(1.6), "-": () => view.zoom(1 / 1.6),
    "[": () => step(view, -1), "]": () => step(view, 1),
    ArrowUp: () => chooseLane(view, -1), ArrowDown: () => chooseLane(view, 1),
    PageUp: () => stepCell(view, -1), PageDown: () => stepCell(view, 1),
    0: () => view.do("fit"), Home: () => view.do("fit"), End: () => view.do("latest"),
    Escape: () => view.point((view.picked = null)),
  };
  if (event.shiftKey) Object.assign(keys, { ArrowLeft: keys["["], ArrowRight: keys["]"] });
  if (!keys[event.key]) return;
  event.preventDefault();
  event.stopPropagation();
  keys[event.key]();
}

/** With ctrl or cmd (so browsers report a pinch) zoom, sideways pan; else the page scrolls. */
function onWheel(view, event) {
  const lines = event.deltaMode ? 16 : 1;
  const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
  if (event.ctrlKey || event.metaKey) {
    const speed = Math.min(Math.max(event.deltaY * lines, -50), 50);
    view.zoom(Math.exp(-speed * 0.01), event.offsetX - view.chart.gutter);
  } else if (sideways) view.pan((event.deltaX || event.deltaY) * lines);
  else return;
  event.preventDefault();
}

function onPointer(view, event) {
  const { pointers } = view;
  const { type, pointerId: id, offsetX: x, offsetY: y } = event;
  const before = pointers.get(id);
  if (type === "pointerdown" && event.button === 0) {
    view.canvas.setPointerCapture(id);
    pointers.set(id, { x, y, moved: false });
  } else if (type === "pointermove" && !before) view.point(view.under(x, y), x, y);
  else if (type === "pointermove") {
    const other = [...pointers.values()].find((each) => each !== before);
    if (!other && !before.moved && Math.abs(x - before.x) < 4) return;
    pointers.set(id, { x, y, moved: true });
    view.hover = null;
    if (other) { // two fingers: the time between them stays there
      const [was, is] = [before.x, x].map((each) => Math.max(10, Math.abs(each - other.x)));
      view.zoom(is / was, (x + other.x) / 2 - view.chart.gutter);
    } else view.pan(before.x - x);
  } else {
    pointers.delete(id);
    if (type === "pointerleave") view.point(null);
    const isClick = type === "pointerup" && before && !before.moved;
    const under = isClick ? view.under(x, y) : null;
    const found = view.find(under ?? {});
    if (under?.cell) showCell(view, under.cell);
    else if (found) choose(view, found.bars, found.bar);
  }
  view.refresh();
}
