// Answers queries with the page's own modules, under node. Standard input: {clips: paths of packed clips, queries:
// [{points: [{clip, index, sign}], centred}], wasm}; out comes what each query's map is, NaN as null.

import { readFileSync } from "node:fs";

const UI = new URL("../../../vjepa_demo/ui/patch_viewer/", import.meta.url);
const asked = JSON.parse(readFileSync(0, "utf8"));
if (!asked.wasm) delete globalThis.WebAssembly;
const { parseClip } = await import(new URL("clip.js", UI));
const { bestElsewhere, bestMatches, makeQuery, scoreClip, scoreRange, sharesAlike } = await import(new URL("scores.js", UI));
const { geometry, patchAt, patchRect } = await import(new URL("geometry.js", UI));

const clips = asked.clips.map((path) => {
  const bytes = readFileSync(path);
  return parseClip(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
});

const answers = asked.queries.map(({ points, centred }) => {
  const query = makeQuery(points.map(({ clip, index, sign }) => ({ clip: clips[clip], index, sign })));
  const scores = clips.map((clip) => scoreClip(query, clip, centred));
  const matches = scores.map((set, i) => bestMatches(set, clips[i]));
  const places = points.filter(({ clip }) => clip === 0).map(({ index }) => index);
  const range = scoreRange(scores);
  const shares = sharesAlike(scores[0], clips[0], (range[0] + range[1]) / 2);
  return { scores: scores.map((set) => Array.from(set)), range, matches, shares, elsewhere: bestElsewhere(scores[0], clips[0], places) };
});

// For every patch: the patch that the page finds at its middle.
const found = clips.map((clip) => {
  const geo = geometry(clip);
  return Array.from({ length: clip.patches }, (_, index) => {
    const { x, y, width, height } = patchRect(clip, geo, index);
    const u = (x + width / 2 - geo.view.x) / geo.view.width, v = (y + height / 2 - geo.view.y) / geo.view.height;
    return patchAt(clip, geo, Math.floor(index / (clip.rows * clip.cols)), u, v);
  });
});

// The memory of WebAssembly comes in pages, and holds more than the tokens.
const wasm = clips.length > 0 && clips[0].tokens.buffer.byteLength % 65536 === 0 && clips[0].tokens.buffer.byteLength > clips[0].tokens.length;

console.log(JSON.stringify({ wasm, answers, found }));
