// How long ago the messages of the dashboard were said: they carry the kernel's time.

const FIRST = 5; // s from which an age is told
const EVERY = 1000; // ms

/** `12 s ago`, `3 min ago`; empty for what has just been said */
export function ago(seconds) {
  if (seconds < FIRST) return "";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ago` : `${Math.floor(minutes / 60)} h ago`;
}

/** Keeps the ages in a board up to date */
export class Ages {
  constructor(board) {
    Object.assign(this, { board, kernelMinusPage: 0 });
    this.timer = setInterval(() => document.hidden || this.tell(), EVERY);
  }

  /** The kernel has just said what time it is. */
  hear(now) {
    this.kernelMinusPage = now - Date.now() / 1e3;
    this.tell();
  }

  tell() {
    const now = Date.now() / 1e3 + this.kernelMinusPage;
    for (const element of this.board.querySelectorAll("[data-since]")) {
      const text = ago(now - Number(element.dataset.since));
      if (element.textContent !== text) element.textContent = text;
    }
  }

  end() {
    clearInterval(this.timer);
  }
}
