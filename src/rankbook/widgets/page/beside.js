// The dashboard in a panel of its own, which stays in sight when the notebook scrolls.

import { command } from "./command.js";

/** Open a view of the outputs of the cell in which the button is, as JupyterLab's own menu does. */
export function openBeside(button) {
  // The command takes the active cell: a click has made it this one, a key may not have.
  const cell = button.closest(".jp-Cell");
  const { pageX, pageY } = window;
  cell?.dispatchEvent(new MouseEvent("mousedown", { bubbles: true, button: 0, pageX, pageY }));
  command(button, "notebook:create-output-view");
}
