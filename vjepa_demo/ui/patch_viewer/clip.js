// The binary of a clip, as `similarity.pack` in Python writes it.

import { dotProducts } from "./dot.js";

const MAGIC = "VJPV";
const FORMAT = 1;

const UNREADABLE = "The clip's data is not in the form this page reads: embed the clip again.";

export function parseClip(buffer) {
  const bytes = new Uint8Array(buffer);
  if (bytes.length < 8 || String.fromCharCode(...bytes.subarray(0, 4)) !== MAGIC) throw new Error(UNREADABLE);
  const start = 8 + new DataView(buffer).getUint32(4, true);
  if (bytes.length < start) throw new Error(UNREADABLE);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
  if (header.format !== FORMAT) {
    throw new Error("The clip's data comes from another version of this page: reload the page.");
  }
  const arrays = { int8: Int8Array, uint8: Uint8Array, jpeg: Uint8Array, int32: Int32Array, float32: Float32Array };
  const sections = Object.values(header.sections);
  if (sections.some((entry) => start + entry.offset + entry.bytes > bytes.length)) throw new Error(UNREADABLE);
  const section = (name) => {
    const entry = header.sections[name];
    if (!entry) return null;
    const kind = arrays[entry.dtype];
    return new kind(buffer, start + entry.offset, entry.bytes / kind.BYTES_PER_ELEMENT);
  };
  // Copies, so that the buffer, of which the frames are a good part, can go once they are decoded.
  const copy = (name) => section(name) && section(name).slice();
  const [steps, rows, cols] = header.grid;
  const patches = steps * rows * cols;
  const scalars = copy("scalars");
  const row = (i) => scalars.subarray(i * patches, (i + 1) * patches);
  const clip = {
    header, steps, rows, cols, patches,
    dim: header.dim,
    sheet: section("sheet"),
    ...dotProducts(section("tokens"), patches, header.dim),
    scale: row(0), norm: row(1), dotMean: row(2), rawNorm: row(3),
    mean: copy("mean"),
    mask: copy("mask"),
    pca: copy("pca"),
    // What was expected of it, where that was asked for.
    errors: copy("errors"), curve: copy("curve"), nearest: copy("nearest"), alike: copy("alike"),
    // Where the checkpoint's classifier looked, as multiples of the average, where it has one.
    attention: copy("attention"),
    // Products of other clips' means with this clip's tokens, made when two clips are compared.
    crossMean: new Map(),
  };
  clip.longest = clip.rawNorm.reduce((a, b) => Math.max(a, b), 0);
  return clip;
}
