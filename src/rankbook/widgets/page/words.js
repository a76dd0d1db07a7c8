// Names, durations, sizes and times of day in words. Seconds are since the epoch.

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
  const runs = parts.map(([from, to]) => (from === to ? from : `${from}-${to}`)).join(", ");
  return `rank${ranks.length === 1 ? "" : "s"} ${runs}`;
}

/** `12:03:04`, in the reader's time zone */
export function clock(time) {
  const two = (value) => String(value).padStart(2, "0");
  const date = new Date(time * 1000);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
}

/** A sentence of the kernel, with its times in UTC changed to the reader's zone */
export const inZone = (text) =>
  text.replace(/\d{4}-\d\d-\d\dT[\d:]{8}Z/g, (time) => clock(Date.parse(time) / 1000));

/** A tick of the axis: `12:03:04` on a whole second, else the fraction: `.250` */
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
