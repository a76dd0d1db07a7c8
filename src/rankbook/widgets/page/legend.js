// What the colours and shapes stand for.

import { FAMILIES } from "./families.js";

// What else is in the picture: a name, its class, what is said, and whether it alarms
const MARKS = [
  ["waits", "rbt-waits", "waits for the last rank", false],
  ["late", "rbt-late", "late", true],
  ["failed", "rbt-failed", "did not complete", true],
  ["open", "rbt-flies", "in flight", true],
];

/** The items of the list: families, and those marks that there are. */
export function legend(families, marks, palette) {
  const items = families.map((family) => ["", FAMILIES[family][0], palette.bars[family]]);
  for (const [mark, name, text, alarms] of MARKS) {
    if (marks.includes(mark)) items.push([name, text, alarms ? palette.alarm : palette.text]);
  }
  return items.map(([name, text, colour]) => {
    const item = document.createElement("li");
    const swatch = item.appendChild(document.createElement("span"));
    swatch.className = name;
    swatch.style.color = colour;
    item.append(text);
    return item;
  });
}
