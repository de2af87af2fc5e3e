// What a key does. Plain data, so that the list of keys on the page and this stay beside each other.

export const KEYS = [
  ["hover", "the patch under the pointer is the query"],
  ["click, tap", "pin it, hold the scale"],
  ["Shift + click", "add a patch to the query"],
  ["Alt + click", "subtract a patch"],
  ["arrows", "move the query patch (Shift: only the square)"],
  ["Enter", "pin the square (Shift: add, Alt: subtract)"],
  ["[  ]", "step back, step on"],
  ["Space", "play, stop"],
  ["+  −", "more, less heat"],
  ["Esc", "clear the query"],
  ["T", "scenes of a talk, on the whole screen"],
];

const ANYWHERE = {
  Escape: (viewer) => viewer.clear(),
  "[": (viewer) => viewer.stepBy(-1),
  "]": (viewer) => viewer.stepBy(1),
  "+": (viewer) => viewer.addHeat(0.1),
  "=": (viewer) => viewer.addHeat(0.1),
  "-": (viewer) => viewer.addHeat(-0.1),
  "−": (viewer) => viewer.addHeat(-0.1),
};
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

// {run(viewer), cursor: whether it needs the square} or null. `taken`: the focus is on a control, which has keys of its own.
export function actionOf({ key, shiftKey, altKey }, taken) {
  if (ANYWHERE[key]) return { run: ANYWHERE[key] };
  if (taken) return null;
  if (ARROWS[key]) return { run: (viewer) => viewer.moveBy(...ARROWS[key], shiftKey) };
  if (key === " ") return { run: (viewer) => viewer.togglePlay() };
  if (key !== "Enter") return null;
  const mode = shiftKey ? "add" : altKey ? "subtract" : null;
  return { cursor: true, run: (viewer) => viewer.place(mode || viewer.options.mode) };
}
