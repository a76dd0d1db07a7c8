// Commands of JupyterLab and Jupyter Notebook 7, for a script that is handed none of their objects.

/** Run a command of the front end, as a link of its own does; `near` is on the page. */
export function command(near, name) {
  const button = document.createElement("button");
  button.hidden = true;
  button.dataset.commandlinkerCommand = name;
  near.after(button);
  button.click();
  button.remove();
}
