// Families of collectives: their names, operations and colours.

export const FAMILIES = [
  // name, pattern of its operations, colour in light and in dark themes (neighbours differ in
  // lightness, for the colour-blind)
  ["all_reduce", /^all_?reduce/, "#1a5fa8", "#5aa9ec"],
  ["reduce_scatter", /reduce_?scatter/, "#3f97d3", "#a8dcff"],
  ["all_gather", /all_?gather/, "#0b8a66", "#2fbf94"],
  ["broadcast", /broadcast/, "#c2649c", "#eb9ccb"],
  ["all_to_all", /all_?to_?all/, "#a88400", "#e2c04d"],
  ["barrier", /barrier/, "#77797c", "#a5a9ae"],
  ["send, recv", /send|recv/, "#6a4bb0", "#a98df0"],
  ["other", /^/, "#7d5247", "#c79d90"],
];
export const P2P = 6; // sends and receives are numbered apart from collectives
export const ALARM = ["#b83a00", "#ff9a62"]; // late, or in flight

export function familyOf(op) {
  return FAMILIES.findIndex(([, pattern]) => pattern.test(op));
}
