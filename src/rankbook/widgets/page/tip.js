// The cards: about the bar under the pointer, and about the keys.

/** Show lines beside a point of the window; the first is the title. */
export function show(tip, lines, x, y) {
  // In the top layer of the page: an output area would cut it off.
  if (tip.showPopover && !tip.matches(":popover-open")) tip.showPopover();
  tip.replaceChildren(...lines.map((line, i) => {
    const element = document.createElement(i ? "span" : "strong");
    element.textContent = line;
    return element;
  }));
  const [left, top] = [x + 14, y + 18];
  const { offsetWidth: wide, offsetHeight: high } = tip;
  tip.style.left = `${Math.max(4, left + wide > innerWidth - 4 ? left - wide - 28 : left)}px`;
  tip.style.top = `${Math.max(4, top + high > innerHeight - 4 ? top - high - 36 : top)}px`;
}

/** Have a button open a card below itself, or above where there is no room. */
export function opens(button, card, signal) {
  button.popoverTargetElement = card;
  card.addEventListener("toggle", () => {
    const { right, top, bottom } = button.getBoundingClientRect();
    const { offsetWidth: wide, offsetHeight: high } = card;
    card.style.left = `${Math.max(4, right - wide)}px`;
    const above = Math.max(4, top - high - 4);
    card.style.top = `${bottom + 4 + high < innerHeight ? bottom + 4 : above}px`;
  }, { signal });
  const close = () => card.hidePopover();
  addEventListener("scroll", close, { signal, capture: true, passive: true });
}
