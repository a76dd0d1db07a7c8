// Short names of hosts.

const kind = (letter) => (/\d/.test(letter) ? 0 : /[a-z]/i.test(letter) ? 1 : 2);

/** Whether the letter at `n` continues a word or a number */
const isInside = (name, n) => kind(name[n]) < 2 && kind(name[n - 1]) === kind(name[n]);

/** The length of the common beginning of all names, up to the start of a word or a number */
function shared(names) {
  const [first] = names;
  let n = 0;
  while (names.every((name) => n + 1 < name.length && name[n] === first[n])) n++;
  while (n > 0 && names.some((name) => isInside(name, n))) n--;
  return n;
}

const reversed = (name) => [...name].reverse().join("");

function shortened(name, most) {
  if (name.length <= most) return name;
  const end = (most - 1) >> 1;
  return `${name.slice(0, most - 1 - end)}…${name.slice(-end)}`;
}

/**
 * Names of about `most` letters, by host: without the domain, and if one is too long only the part
 * that tells them apart.
 */
export function shortNames(hosts, most) {
  const all = [...hosts];
  let names = all.map((host) => (/^[\d.:]+$/.test(host) ? host : host.split(".")[0]));
  if (new Set(names).size < all.length) names = all;
  if (all.length > 1 && names.some((name) => name.length > most)) {
    const start = shared(names);
    names = names.map((name) => name.slice(start));
    const end = shared(names.map(reversed));
    const own = names.map((name) => shortened(name.slice(0, name.length - end), most));
    names = own.map((name) => (start ? "…" : "") + name + (end ? "…" : ""));
  }
  return new Map(all.map((host, i) => [host, names[i]]));
}
