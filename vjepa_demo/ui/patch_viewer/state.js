// What is chosen in the viewer, as plain data: what an address or a scene of a talk says of it. Nothing that comes from
// there is trusted: what does not fit the clips is left out.
//
//   map "similarity", "pca", "surprise" or "attention" · seen, how many rows of what was expected are shown, 0 for none · centred, smooth, borders · heat 0 … 1 · threshold -1 … 1 · step
//   patches [{clip: 0 or 1, at: [step, row, col], sign: 1 or -1}], those that are pinned; with `live` until the pointer comes

// What a page opens with.
export const FIRST = { map: "similarity", centred: true, smooth: false, borders: false, seen: 0, heat: 0.6, threshold: 1 };
export const MOST_PATCHES = 64;
const SWITCHES = ["centred", "smooth", "borders"];
export const MAPS = ["similarity", "pca", "surprise", "attention"];
const RANGES = { heat: [0, 1], threshold: [-1, 1] };

export function stateOf({ options, pinned, views, film }) {
  const { points, map, centred, smooth, borders, heat, threshold, seen } = options;
  const patches = pinned ? points.map(({ clip, index, sign }) => {
    const area = clip.rows * clip.cols;
    const at = [Math.floor(index / area), Math.floor(index / clip.cols) % clip.rows, index % clip.cols];
    return { clip: views.findIndex((view) => view.clip === clip), at, sign };
  }) : [];
  return { patches, map, centred, smooth, borders, heat, threshold, seen, step: film.frame >> 1 };
}

// {options, points, step}: those of the viewer's options that a state names, its patches in these clips, its step or null.
export function readState(state, clips) {
  const given = state && typeof state === "object" ? state : {};
  const options = {};
  for (const name of SWITCHES) if (typeof given[name] === "boolean") options[name] = given[name];
  for (const [name, [low, high]] of Object.entries(RANGES)) {
    if (Number.isFinite(given[name])) options[name] = Math.max(low, Math.min(high, given[name]));
  }
  if (MAPS.includes(given.map) && canShow(clips)[given.map]) options.map = given.map;
  if (Number.isInteger(given.seen) && given.seen >= 0 && given.seen < MOST_PATCHES) options.seen = given.seen;
  const patches = Array.isArray(given.patches) ? given.patches.slice(0, MOST_PATCHES) : [];
  const points = patches.map((patch) => pointOf(patch, clips)).filter(Boolean);
  const steps = Math.max(...clips.map((clip) => clip.steps));
  const step = Number.isInteger(given.step) && given.step >= 0 && given.step < steps ? given.step : null;
  return { options, points: points.some(({ sign }) => sign > 0) ? points : [], step };
}

// Whether a map is of the tokens, and a best match is to be seen on it.
export const isOfTokens = (map) => map === "similarity" || map === "pca";

// What is painted where it is no cosine, in words, and its range; null where it is one.
export function otherOf({ map, errors, attention }) {
  if (map === "surprise" && errors) return { words: "surprise: mean absolute error of what was expected", range: errors };
  if (map === "attention" && attention) return { words: "attention of the classifier, in multiples of the average", range: attention };
  return null;
}

export const isFilm = (clip) => clip.header.kind !== "image";

// Which maps these clips can show: a picture has no future, and few checkpoints a classifier.
export function canShow(clips) {
  return { similarity: true, pca: clips.every((clip) => clip.pca), surprise: clips.every(isFilm), attention: clips.every((clip) => clip.attention) };
}

function pointOf(patch, clips) {
  const clip = clips[patch?.clip ?? 0];
  const at = patch?.at;
  if (!clip || !Array.isArray(at) || at.length !== 3) return null;
  const inside = [clip.steps, clip.rows, clip.cols].every((count, i) => Number.isInteger(at[i]) && at[i] >= 0 && at[i] < count);
  if (!inside || !clip.mask[at[1] * clip.cols + at[2]]) return null;
  return { clip, index: (at[0] * clip.rows + at[1]) * clip.cols + at[2], sign: patch.sign === -1 ? -1 : 1 };
}
