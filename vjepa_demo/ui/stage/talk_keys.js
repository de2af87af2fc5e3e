// What a key does on the stage; all others are the viewer's. Plain data, so that the help and this stay beside each other.

export const KEYS = [
  ["1 – 9", "scene"],
  ["Page Up, Page Down", "scene before, next scene"],
  ["Space", "play, stop"],
  ["P", "colours"],
  ["L", "layer"],
  ["H", "heat"],
  ["C", "second clip"],
  ["M", "map"],
  ["F", "full screen"],
  ["B", "black"],
  ["pointer, click", "ask a patch, hold it"],
  ["arrows", "move the patch"],
  ["Esc", "back"],
];

const ACTIONS = {
  PageUp: (stage) => stage.go(stage.number - 1),
  PageDown: (stage) => stage.go(stage.number + 1),
  " ": (stage) => stage.play(),
  p: (stage) => stage.colours(),
  l: (stage) => stage.layer(),
  h: (stage) => stage.heat(),
  m: (stage) => stage.map(),
  c: (stage) => stage.second(),
  b: (stage) => stage.dark(),
  f: (stage) => stage.full(),
  "?": (stage) => stage.keys(),
  Escape: (stage) => stage.back(),
};

export function actionOf(key) {
  if (/^[1-9]$/.test(key)) return (stage) => stage.go(Number(key));
  return ACTIONS[key.length === 1 ? key.toLowerCase() : key] || null;
}
