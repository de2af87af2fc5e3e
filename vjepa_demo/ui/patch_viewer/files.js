// The files of clips as they come from the server. What is kept is there without the server: a talk keeps its scenes.

import { parseClip } from "./clip.js";

const NOT_FETCHED = "The clip's data could not be fetched from the server: embed the clip again.";
const kept = new Map(); // address -> a promise of its bytes

async function fetchBytes(url, signal) {
  const response = await fetch(url, { signal }).catch(() => null);
  const buffer = response && response.ok ? await response.arrayBuffer().catch(() => null) : null;
  if (!buffer) throw new Error(NOT_FETCHED);
  return buffer;
}

// Fetch a file now and keep it for as long as the page is open. Raises where it cannot be fetched, and can be tried again.
export function keepFile(url) {
  if (!kept.has(url)) {
    kept.set(url, fetchBytes(url).catch((error) => {
      kept.delete(url);
      throw error;
    }));
  }
  return kept.get(url);
}

// A promise of the bytes of a file that is kept; undefined of any other.
export const keptFile = (url) => kept.get(url);

export async function fetchClip(file, signal) {
  const clip = parseClip(await (kept.get(file.url) || fetchBytes(file.url, signal)));
  clip.bitmap = await createImageBitmap(new Blob([clip.sheet], { type: "image/jpeg" }));
  clip.sheet = null;
  return clip;
}
