// What the colours and shapes stand for.

import { FAMILIES } from "./families.js";

/** The items of the list: families, and what else is in the picture. */
export function legend(families, isFlying, palette) {
  const items = families.map((family) => ["", FAMILIES[family][0], palette.bars[family]]);
  if (families.length) {
    items.push(["rbt-waits", "waits for the last rank", palette.text]);
    items.push(["rbt-late", "late", palette.alarm]);
  }
  if (isFlying) items.push(["rbt-flies", "in flight", palette.alarm]);
  return items.map(([name, text, colour]) => {
    const item = document.createElement("li");
    const swatch = item.appendChild(document.createElement("span"));
    swatch.className = name;
    swatch.style.color = colour;
    item.append(text);
    return item;
  });
}
