// The dashboard's panel in the page. Python renders it (display/dashboard/panel.py); this script updates the
// page with as few changes as possible, and sends clicks to the kernel.

import { Ages } from "./ages.js";
import { openBeside } from "./beside.js";
import { command } from "./command.js";
import { askUntilHeard } from "./hearing.js";

const HEARD_WITHIN = 900; // ms for the kernel to acknowledge a click
const HERE_EVERY = 30_000; // ms between two signs that a page shows the panel

const ENDED =
  '<span class="rb-mark" aria-hidden="true">○</span> <span class="rb-words">no kernel</span>';

const NO_SHORTCUTS = "data-lm-suppress-shortcuts";
const KEPT = new Set(["open", NO_SHORTCUTS]); // attributes that Python does not know of

export default { render };

function render({ model, el }) {
  el.classList.add("rankbook");
  const board = el.appendChild(document.createElement("div"));
  const note = el.appendChild(document.createElement("p"));
  note.className = "rb-unheard";
  note.setAttribute("role", "alert");

  // The widget of a kernel that is gone, or was restarted, stays deaf.
  const send = (content) => {
    try {
      model.send(content);
      return true;
    } catch {
      end(board, note);
      return false;
    }
  };
  const clicks = new Clicks(model, send, note);
  const ages = new Ages(board);
  const draw = () => {
    update(board, model.get("html"));
    ages.tell();
  };
  let opener; // the button that was clicked last
  // Without this JupyterLab takes keys pressed on a button for its own shortcuts.
  const onFocus = (event) => event.target.setAttribute(NO_SHORTCUTS, "true");
  const onClick = (event) => {
    const button = event.target.closest("button[data-do]");
    if (!button || button.ariaDisabled === "true") return;
    if (button.dataset.do === "beside") return openBeside(button);
    const { rank } = button.dataset; // of a button about one
    clicks.tell(button.dataset.do, rank ? { ...form(board), rank } : form(board));
    if (button.dataset.do !== "close") opener = button;
    else opener?.focus(); // the focused element is about to be removed
  };
  // Enter submits, as in any form.
  const onKey = (event) => {
    if (event.key !== "Enter" || !event.target.matches(".rb-form input")) return;
    event.preventDefault();
    board.querySelector(".rb-do-initialise").click();
  };
  const onMessage = (content) => {
    if (content.kind === "heard") clicks.heard(content.id);
    if (content.now) ages.hear(content.now);
  };
  const look = (kind) => send({ kind, view: clicks.name, shown: model.get("drawn") });
  const onLife = () => look(document.hidden ? "gone" : "here") && revive(board, note);
  const onVisibility = () => look(document.hidden ? "gone" : "here");

  draw();
  board.addEventListener("click", onClick);
  board.addEventListener("focusin", onFocus);
  board.addEventListener("keydown", onKey);
  document.addEventListener("visibilitychange", onVisibility);
  model.on("change:html", draw);
  model.on("msg:custom", onMessage);
  model.on("comm_live_update", onLife);
  look("here");
  const stopAsking = askUntilHeard(model, send);
  const timer = setInterval(() => document.hidden || look("here"), HERE_EVERY);

  return () => {
    clearInterval(timer);
    ages.end();
    stopAsking();
    clicks.forget();
    document.removeEventListener("visibilitychange", onVisibility);
    model.off("change:html", draw);
    model.off("msg:custom", onMessage);
    model.off("comm_live_update", onLife);
    look("gone");
  };
}

// -- clicks -----------------------------------------------------------------------------------

// Sends clicks to the kernel, and tells the person if the kernel does not answer.
class Clicks {
  constructor(model, send, note) {
    Object.assign(this, { model, send, note, waiting: new Map(), count: 0 });
    this.name = Math.random().toString(36).slice(2);
  }

  // First only announce a click. A kernel that receives this late must not carry it out: when it
  // has answered, it is sent what was clicked, and how long ago.
  tell(action, fields) {
    const id = `${this.name}-${++this.count}`;
    if (!this.send({ kind: "ask", id })) return;
    const timer = setTimeout(() => this.unheard(action), HEARD_WITHIN);
    // The turn that the person saw: if it has ended by then, the click is not for the present one.
    const click = { kind: "click", id, do: action, during: this.model.get("during"), form: fields };
    this.waiting.set(id, { click, timer, at: performance.now() });
  }

  heard(id) {
    if (!this.waiting.has(id)) return; // it belongs to another view
    const { click, timer, at } = this.waiting.get(id);
    clearTimeout(timer);
    this.waiting.delete(id);
    this.note.textContent = "";
    this.send({ ...click, age: (performance.now() - at) / 1000 });
  }

  unheard(action) {
    if (action === "interrupt") interruptKernel(this.note);
    this.note.textContent =
      "The kernel is busy and does not hear the dashboard until its cell has ended. The " +
      "notebook's own ■ (interrupt the kernel) always works: it frees the ranks.";
  }

  forget() {
    for (const { timer } of this.waiting.values()) clearTimeout(timer);
  }
}

// Show that the state on the page is out of date.
function end(board, note) {
  board.inert = true;
  const panel = board.querySelector(".rb-panel");
  if (panel) panel.className = "rb-panel rb-off rb-past";
  const health = board.querySelector(".rb-health");
  if (health) update(health, ENDED);
  note.textContent =
    "The kernel of this dashboard has ended or was restarted; this is what was seen last. Run " +
    "%dist_init for new ranks.";
}

function revive(board, note) {
  board.inert = false;
  board.querySelector(".rb-panel")?.classList.remove("rb-past");
  note.textContent = "";
}

// Press the ■ of the notebook in JupyterLab or Jupyter Notebook 7. It belongs to the one that has the
// focus, which must still be this one.
function interruptKernel(near) {
  if (!near.closest(".jp-NotebookPanel")?.contains(document.activeElement)) return;
  command(near, "notebook:interrupt-kernel");
}

function form(board) {
  const fields = board.querySelectorAll("[name]");
  return Object.fromEntries([...fields].map((field) => [field.name, field.value]));
}

// -- drawing ----------------------------------------------------------------------------------

// Make `board` show `html`. Elements that stay are kept, with their focus, selection, scrolling,
// open state and typed text, and a screen reader reads only what is new.
export function update(board, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  morphChildren(board, template.content);
}

function morphChildren(old, fresh) {
  const wanted = [...fresh.childNodes];
  wanted.forEach((node, index) => {
    let present = old.childNodes[index];
    if (present && !isSame(present, node)) {
      const later = [...old.childNodes].slice(index).find((other) => isSame(other, node));
      while (later && old.childNodes[index] !== later) old.childNodes[index].remove();
      present = later;
    }
    if (present) morph(present, node);
    else old.insertBefore(node, old.childNodes[index] ?? null);
  });
  while (old.childNodes.length > wanted.length) old.lastChild.remove();
}

// Sections come and go: one is never changed into another.
function isSame(old, fresh) {
  return (
    old.nodeName === fresh.nodeName &&
    (old.nodeType !== Node.ELEMENT_NODE || first(old) === first(fresh))
  );
}

function first(element) {
  return element.classList[0];
}

function morph(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !KEPT.has(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) === value) continue;
    old.setAttribute(name, value);
    if (name === "value") old.value = value; // also over what was typed: the group has changed
    if (name === "selected") old.selected = true;
  }
  morphChildren(old, fresh);
}
