// What is read off a page with a dashboard: when something stands there. The times are those at
// which the browser has painted it, by the machine's clock, in seconds since the epoch.
window.bench = (() => {
  const now = () => (performance.timeOrigin + performance.now()) / 1e3;
  const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));

  /** The dashboard that was shown last; asked for at every change, so without a layout */
  const board = () => [...document.querySelectorAll(".rankbook:has(.rb-head)")].at(-1);

  /** Resolves with the time at which `look` finds something in the dashboard, and with what. */
  function until(look, within = 60) {
    return new Promise((resolve, reject) => {
      const root = document.querySelector(".jp-Notebook");
      const end = (act, value) => {
        observer.disconnect();
        clearTimeout(timer);
        act(value);
      };
      const check = async (records) => {
        const found = look(records);
        if (!found) return;
        observer.disconnect();
        await painted();
        end(resolve, [now(), found]);
      };
      const observer = new MutationObserver(check);
      observer.observe(root, {
        subtree: true, childList: true, characterData: true, attributes: true,
        attributeOldValue: true,
      });
      const timer = setTimeout(() => end(reject, new Error(`not within ${within} s`)), within * 1e3);
      check([]);
    });
  }

  /** The next click on a button: when it was seen to be under way, and how it has ended */
  function click(action) {
    const page = board();
    const message = page.querySelector(".rb-message");
    let wasBusy = false;
    let clicked;
    const begun = new Promise((resolve) => {
      page.addEventListener("click", (event) => {
        if (!event.target.closest(`[data-do=${action}]`)) return;
        clicked = true;
        resolve((performance.timeOrigin + event.timeStamp) / 1e3);
      }, { capture: true });
    });
    const busy = (records) => records.some(
      ({ target, oldValue }) => target === message && oldValue?.includes("rb-busy"));
    const started = until((records) => clicked &&
      (message.classList.contains("rb-busy") || busy(records)));
    const ended = until((records) => {
      if (clicked && busy(records)) wasBusy = true;
      if (clicked && message.classList.contains("rb-busy")) wasBusy = true;
      return wasBusy && !message.classList.contains("rb-busy") && message.textContent;
    });
    window.bench.clicked = Promise.all([begun, started, ended]).then(
      ([from, [shown], [end, text]]) => ({ shown: shown - from, ended: end - from, text }));
  }

  /** Begin to wait until a rank's row or tile says that it does something. */
  function rank(number, state) {
    window.bench.seen = until(() => {
      const places = [...board().querySelectorAll(".rb-row, .rb-tile")];
      const place = places.find((each) =>
        each.querySelector(".rb-rank").textContent === String(number));
      return place?.querySelector(".rb-pill").textContent.includes(state);
    }).then(([time]) => time);
  }

  const shown = (board) => board()?.querySelector(".rb-generation dd")?.textContent;

  /** Begin to wait until the dashboard says that this is its generation. */
  function generation(number) {
    window.bench.seen = until(() => shown(board) === String(number)).then(([time]) => time);
    return window.bench.seen;
  }

  const kernel = () => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;

  /** Have the kernel send pictures number `first` up to `end`, as fast as they are drawn. */
  async function drive(first, end, batch) {
    for (let i = first; i < end; i += batch) {
      const next = Math.min(i + batch, end);
      const seen = generation(next);
      const code = `simulated.send(${i + 1}, ${next})`;
      const request = kernel().requestExecute({ code, silent: true, store_history: false });
      const reply = await request.done;
      if (reply.content.status !== "ok") throw new Error(reply.content.evalue);
      await seen;
    }
  }

  /** Frames while `events` are given to the timeline, one a frame: their lengths, in seconds */
  async function frames(events) {
    const canvas = [...document.querySelectorAll(".rbt canvas")].at(-1);
    const { width } = canvas.getBoundingClientRect();
    const times = [await new Promise(requestAnimationFrame)];
    for (const event of events) {
      const options = { bubbles: true, cancelable: true, clientX: 0, ...event };
      const { left, top } = canvas.getBoundingClientRect();
      options.clientX = left + 0.6 * width;
      options.clientY = top + 60;
      canvas.dispatchEvent(new WheelEvent("wheel", options));
      times.push(await new Promise(requestAnimationFrame));
    }
    return times.slice(1).map((time, i) => (time - times[i]) / 1e3);
  }

  return { until, click, rank, generation, drive, frames, painted, now };
})();
