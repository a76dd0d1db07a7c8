// Some pages show a widget and never receive its messages (widgets/hearing.py says why). So a page
// asks until it receives something, less and less often; the kernel replaces a widget that is deaf.

const FIRST_PAUSE = 1000; // ms
const LONGEST_PAUSE = 60_000; // ms

/** Asks until it is answered, or until the returned function is called. `send` sends a message. */
export function askUntilHeard(model, send) {
  const page = Math.random().toString(36).slice(2);
  let pause = FIRST_PAUSE;
  let timer;
  const ask = () => {
    send({ kind: "hearing", page });
    timer = setTimeout(ask, pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  };
  const end = () => {
    clearTimeout(timer);
    model.off("msg:custom", end);
  };
  model.on("msg:custom", end);
  ask();
  return end;
}
