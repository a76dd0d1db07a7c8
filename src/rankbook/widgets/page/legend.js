// The legend of colours and shapes.

import { FAMILIES } from "./families.js";

// The other marks: a name, its class, its text, and whether it is an alarm
const MARKS = [
  ["waits", "rbt-waits", "waits for the last rank", false],
  ["late", "rbt-late", "late", true],
  ["failed", "rbt-failed", "did not complete", true],
  ["open", "rbt-flies", "in flight", true],
];

/** The items of the list: families and marks that are in the chart. */
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
