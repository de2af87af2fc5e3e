// A set of references as the page knows it: of a folder all at once, of a table the points of its map, all else by row.

import { keptFile } from "../patch_viewer/files.js";
import { address } from "../shared/dom.js";
import { LOOKS, OTHERS, WITHOUT_WEBGL, hasWebgl } from "./figure.js";
import { centreOf } from "./places.js";

const LOST = "The references could not be loaded: embed the clip again.";

async function fetchBytes(url) {
  const kept = await keptFile(url);
  if (kept) return kept;
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(LOST);
  return answer.arrayBuffer();
}

// Raises where it cannot be fetched.
export async function fetchSet(path) {
  const told = JSON.parse(new TextDecoder().decode(await fetchBytes(address(`${path}/set.json`))));
  return told.clips ? new Folder(path, told) : new Table(path, told, await fetchBytes(address(`${path}/points.bin`)));
}

// What both have: `styles` are its labels as they are drawn, each with the x, y and rows of its points; `told` is what
// holds for all of it.
class References {
  constructor(path, told, styles) {
    Object.assign(this, { path, told, styles, count: told.count, pooling: told.pooling });
    this.drawn = styles.reduce((sum, { rows }) => sum + rows.length, 0);
  }

  // Around what a label's name stands; linear, so that it holds for every part of the map that is seen.
  centreOf(style) {
    return style.centre ||= centreOf(style.x, style.y);
  }

  styleOf(label) {
    this.byLabel ||= new Map(this.styles.map((style) => [style.label, style]));
    return this.byLabel.get(label) ?? this.styles.at(-1);
  }

  clipAt(row) {
    return address(`${this.path}/${row}`);
  }

  thumbnailAt(row) {
    return address(`${this.path}/${row}.jpg`);
  }
}

class Folder extends References {
  constructor(path, told) {
    // In the order of the set: a label that is added later changes the look of none before it.
    const rowsOf = new Map();
    for (const [row, { label }] of told.clips.entries()) {
      if (!rowsOf.has(label)) rowsOf.set(label, []);
      rowsOf.get(label).push(row);
    }
    super(path, told, [...rowsOf].map(([label, rows], i) => ({
      label, ...LOOKS(i), rows, x: rows.map((row) => told.flat[row][0]), y: rows.map((row) => told.flat[row][1]),
    })));
    this.packed = false;
  }

  about(row) {
    return this.told.clips[row];
  }

  async ask(row) {
    return this.about(row);
  }

  learn() {}

  place(row) {
    return this.told.flat[row];
  }

  // All rows, those most like a clip first.
  order(clip) {
    const rows = this.told.clips.map((_, row) => row);
    return clip ? rows.toSorted((a, b) => clip.cosines[b] - clip.cosines[a]) : rows;
  }

  // Whether it is another set with more clips.
  continues(other) {
    return !other.packed && other.pooling === this.pooling && other.told.clips.every(({ file }, row) => file === this.about(row)?.file);
  }
}

class Table extends References {
  #known = new Map(); // row -> what is told of it

  constructor(path, told, buffer) {
    const { points: count, labels } = told;
    const [x, y] = [new Float32Array(buffer, 0, count), new Float32Array(buffer, 4 * count, count)];
    const [rows, looks] = [new Uint32Array(buffer, 8 * count, count), new Uint8Array(buffer, 12 * count, count)];
    const drawn = hasWebgl() ? count : Math.min(count, WITHOUT_WEBGL); // the first are a sample, however many they are
    const many = new Uint32Array(labels.length), at = new Uint32Array(labels.length);
    for (let i = 0; i < drawn; i += 1) many[looks[i]] += 1;
    const styles = labels.map((label, look) => ({
      label, ...(told.others && look === labels.length - 1 ? OTHERS : LOOKS(look)),
      rows: new Uint32Array(many[look]), x: new Float32Array(many[look]), y: new Float32Array(many[look]),
    }));
    for (let i = 0; i < drawn; i += 1) {
      const style = styles[looks[i]], next = at[looks[i]];
      [style.rows[next], style.x[next], style.y[next]] = [rows[i], x[i], y[i]];
      at[looks[i]] += 1;
    }
    super(path, told, styles);
    this.packed = true;
  }

  about(row) {
    return this.#known.get(row);
  }

  // The same once it is known; nothing where it cannot be fetched.
  async ask(row) {
    if (!this.#known.has(row)) {
      const answer = await fetch(address(`${this.path}/${row}.json`)).catch(() => null);
      if (!answer?.ok) return undefined;
      this.#known.set(row, await answer.json());
    }
    return this.about(row);
  }

  // What came with a clip, of its nearest.
  learn(clip) {
    for (const [row, about] of Object.entries(clip?.known ?? {})) this.#known.set(Number(row), about);
  }

  place(row) {
    return this.about(row)?.flat;
  }

  // Of a table only the nearest are known.
  order(clip) {
    return clip ? [...clip.neighbours] : [];
  }

  continues() {
    return false;
  }
}
