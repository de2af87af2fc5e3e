// What is painted on canvases: the frame with what the model saw, the map over it, outlines, marks, the curve.

import { intersection, patchRect, toCanvas } from "./geometry.js";
import { peakOf } from "./scores.js";

// A map is laid on a slightly darkened picture, clear below the middle of its range: what resembles the query glows, and
// the rest stays visible (`heatmap` in Python does the same).
const CLEAR_BELOW = 0.4;
const FULL_ABOVE = 0.75;
const SHADE = 0.35;

// How much of a colour's strength a level of the range has, from 0 to 1.
export const strength = (level) => Math.max(0, Math.min(1, (level - CLEAR_BELOW) / (FULL_ABOVE - CLEAR_BELOW)));

// 256 colours, as little-endian RGBA words, between the anchors that came with the clip.
export function colourWords(anchors) {
  const words = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const [r, g, b] = colourAt(anchors, i / 255);
    words[i] = ((r | (g << 8) | (b << 16)) >>> 0) + Math.round(255 * strength(i / 255)) * 2 ** 24;
  }
  return words;
}

export function colourAt(anchors, t) {
  const place = Math.max(0, Math.min(1, t)) * (anchors.length - 1);
  const i = Math.min(Math.floor(place), anchors.length - 2);
  return anchors[i].map((from, k) => Math.round(from + (place - i) * (anchors[i + 1][k] - from)));
}

// A map of all steps as one picture, W' wide and T'·H' high, a pixel a patch; `word(i)` is the colour of patch i.
export class MapPicture {
  constructor(clip) {
    this.canvas = document.createElement("canvas");
    this.canvas.width = clip.cols;
    this.canvas.height = clip.steps * clip.rows;
    this.context = this.canvas.getContext("2d");
    this.image = this.context.createImageData(this.canvas.width, this.canvas.height);
    this.words = new Uint32Array(this.image.data.buffer);
  }

  scores(scores, [low, high], colours) {
    const gain = 255 / (high - low);
    for (let i = 0; i < scores.length; i++) {
      const level = (scores[i] - low) * gain;
      this.words[i] = Number.isNaN(level) ? 0 : colours[level <= 0 ? 0 : level >= 255 ? 255 : level | 0];
    }
    this.context.putImageData(this.image, 0, 0);
  }

  rgb(bytes, clip) {
    const area = clip.rows * clip.cols;
    for (let i = 0; i < this.words.length; i++) {
      const word = bytes[3 * i] | (bytes[3 * i + 1] << 8) | (bytes[3 * i + 2] << 16) | (255 << 24);
      this.words[i] = clip.mask[i % area] ? word >>> 0 : 0;
    }
    this.context.putImageData(this.image, 0, 0);
  }

  clear() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }
}

// The frame: bright where the model saw it, dimmed where not, hatched where there was only padding.
export function paintFrame(context, width, height, clip, geo, frame, { borders = false, edge = 1.5 } = {}) {
  const { sheet } = clip.header;
  const place = toCanvas(geo, width, height);
  const number = Math.min(frame, sheet.frames - 1);
  context.clearRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(
    clip.bitmap, (number % sheet.columns) * sheet.width, Math.floor(number / sheet.columns) * sheet.height,
    sheet.width, sheet.height, ...place(geo.source),
  );
  const seen = new Path2D();
  seen.rect(0, 0, width, height);
  seen.rect(...place(geo.window));
  context.fillStyle = "rgba(10, 12, 20, 0.72)";
  context.fill(seen, "evenodd");
  paintPadding(context, width, height, geo, place);
  if (borders) paintBorders(context, clip, place(geo.window));
  if (edge) {
    const [x, y, w, h] = place(geo.window);
    context.strokeStyle = "rgba(255, 255, 255, 0.85)";
    context.lineWidth = edge;
    context.strokeRect(x + edge / 2, y + edge / 2, w - edge, h - edge);
  }
}

function paintPadding(context, width, height, geo, place) {
  const padding = new Path2D();
  padding.rect(...place(geo.window));
  padding.rect(...place(intersection(geo.window, geo.source)));
  context.save();
  context.clip(padding, "evenodd");
  context.fillStyle = "#3a3f4b";
  context.fillRect(0, 0, width, height);
  context.strokeStyle = "#5d6473";
  context.lineWidth = Math.max(1, height / 160);
  const gap = Math.max(6, height / 32);
  context.beginPath();
  for (let x = -height; x < width; x += gap) {
    context.moveTo(x, height);
    context.lineTo(x + height, 0);
  }
  context.stroke();
  context.restore();
}

function paintBorders(context, clip, [x, y, width, height]) {
  context.strokeStyle = "rgba(255, 255, 255, 0.38)";
  context.lineWidth = 1;
  context.beginPath();
  for (let c = 1; c < clip.cols; c++) {
    context.moveTo(x + (c * width) / clip.cols, y);
    context.lineTo(x + (c * width) / clip.cols, y + height);
  }
  for (let r = 1; r < clip.rows; r++) {
    context.moveTo(x, y + (r * height) / clip.rows);
    context.lineTo(x + width, y + (r * height) / clip.rows);
  }
  context.stroke();
}

// One step of the map over the frame, patch on patch or between them, with the outline of what lies above the threshold.
export function paintMap(context, width, height, clip, geo, step, { picture, opacity, scores, threshold, smooth }) {
  const place = toCanvas(geo, width, height);
  const area = place(geo.window);
  context.save();
  context.imageSmoothingEnabled = Boolean(smooth);
  context.fillStyle = `rgba(0, 0, 0, ${SHADE * opacity})`;
  context.fillRect(...place(intersection(geo.window, geo.source)));
  context.globalAlpha = opacity;
  context.drawImage(picture.canvas, 0, step * clip.rows, clip.cols, clip.rows, ...area);
  context.restore();
  if (scores && threshold < 1) paintOutline(context, clip, area, scores, step, threshold);
}

function paintOutline(context, clip, [x, y, width, height], scores, step, threshold) {
  const px = (c) => x + (c * width) / clip.cols, py = (r) => y + (r * height) / clip.rows;
  context.beginPath();
  for (const [c, r, c2, r2] of outlineOf(clip, scores, step, threshold)) {
    context.moveTo(px(c), py(r));
    context.lineTo(px(c2), py(r2));
  }
  twoTone(context, Math.max(1.5, width / 260));
}

// The edges [column, row, column, row] between patches of a step that score at least the threshold and those that do not.
export function outlineOf({ rows, cols }, scores, step, threshold) {
  const above = (r, c) => r >= 0 && c >= 0 && r < rows && c < cols && scores[(step * rows + r) * cols + c] >= threshold;
  const edges = [];
  for (let r = 0; r <= rows; r++) {
    for (let c = 0; c <= cols; c++) {
      const here = above(r, c);
      if (c < cols && here !== above(r - 1, c)) edges.push([c, r, c + 1, r]);
      if (r < rows && here !== above(r, c - 1)) edges.push([c, r, c, r + 1]);
    }
  }
  return edges;
}

// A white line on a dark one, visible on any colour.
function twoTone(context, width, dash = []) {
  context.setLineDash([]);
  context.lineJoin = context.lineCap = "round";
  context.strokeStyle = "rgba(0, 0, 0, 0.75)";
  context.lineWidth = width + 2;
  context.stroke();
  context.setLineDash(dash);
  context.strokeStyle = "#fff";
  context.lineWidth = width;
  context.stroke();
  context.setLineDash([]);
}

// What was expected of a step, `row` of it: for each patch the patch that was seen and is most like it, the clearer the
// more it is; a patch that was seen itself is shown as it is.
export function paintExpected(context, width, height, clip, geo, step, row) {
  const place = toCanvas(geo, width, height);
  const { sheet } = clip.header;
  const area = clip.rows * clip.cols, from = row * clip.patches + step * area;
  const sx = sheet.width / geo.source.width, sy = sheet.height / geo.source.height;
  paintFrame(context, width, height, clip, geo, 2 * step, { edge: 0 });
  if (clip.nearest.subarray(from, from + area).every((index) => index < 0)) return;
  context.fillStyle = "#14161c";
  context.fillRect(...place(geo.window));
  for (let i = 0; i < area; i++) {
    const index = clip.nearest[from + i];
    if (index < 0) continue;
    const frame = Math.min(2 * Math.floor(index / area), sheet.frames - 1);
    const left = (frame % sheet.columns) * sheet.width, top = Math.floor(frame / sheet.columns) * sheet.height;
    const seen = intersection(patchRect(clip, geo, index), geo.source);
    context.globalAlpha = clip.alike[from + i] / 255;
    context.drawImage(clip.bitmap, left + seen.x * sx, top + seen.y * sy, seen.width * sx, seen.height * sy, ...place(patchRect(clip, geo, step * area + i)));
  }
  context.globalAlpha = 1;
}

// Squares around patches: {index, sign, faint}; a faint one belongs to another step than the one shown.
export function paintMarks(context, width, height, clip, geo, marks) {
  const place = toCanvas(geo, width, height);
  for (const { index, sign, faint } of marks) {
    const [x, y, w, h] = place(patchRect(clip, geo, index));
    context.save();
    context.globalAlpha = faint ? 0.6 : 1;
    context.beginPath();
    context.rect(x, y, w, h);
    twoTone(context, faint ? 1 : Math.max(2, w / 10), faint ? [3, 3] : []);
    if (sign && w > 12) {
      const arm = Math.min(w, h) * 0.22, cx = x + w / 2, cy = y + h / 2;
      context.beginPath();
      context.moveTo(cx - arm, cy);
      context.lineTo(cx + arm, cy);
      if (sign > 0) {
        context.moveTo(cx, cy - arm);
        context.lineTo(cx, cy + arm);
      }
      twoTone(context, 2);
    }
    context.restore();
  }
}

// A ring on the best match of a step; `large` where a small picture is looked at from far.
export function paintRing(context, width, height, clip, geo, index, large = false) {
  const [x, y, w, h] = toCanvas(geo, width, height)(patchRect(clip, geo, index));
  context.beginPath();
  context.arc(x + w / 2, y + h / 2, Math.max(large ? 12 : 3, w * 0.55), 0, 2 * Math.PI);
  twoTone(context, large ? 3 : Math.max(1.25, w / 16));
}

// How surprising every step is, in the same place: a band over the contexts, the mean, and its number; the highest is
// marked. `curve` is {mean, low, high} of all steps, NaN where nothing was expected; in the band's place `other`, if any, is
// the curve of the clip beside it, dashed on the same axis.
export function paintErrors(context, cells, from, lane, { curve, other, range: [least, most] }, ink) {
  const y = (value) => lane.y + 6 + (1 - (value - least) / Math.max(most - least, 1e-6)) * (lane.height - 24);
  const known = cells.map((cell, i) => ({ x: cell.x + cell.width / 2, step: from + i })).filter(({ step }) => !Number.isNaN(curve.mean[step]));
  context.strokeStyle = context.fillStyle = ink;
  if (!other) {
    context.globalAlpha = 0.18;
    context.beginPath();
    known.forEach(({ x, step }) => context.lineTo(x, y(curve.high[step])));
    known.toReversed().forEach(({ x, step }) => context.lineTo(x, y(curve.low[step])));
    context.fill();
  }
  context.globalAlpha = 0.6;
  context.lineWidth = 1.5;
  context.beginPath();
  known.forEach(({ x, step }) => context.lineTo(x, y(curve.mean[step])));
  context.stroke();
  if (other) {
    context.setLineDash([4, 4]);
    context.beginPath();
    known.filter(({ step }) => other.mean[step] >= 0).forEach(({ x, step }) => context.lineTo(x, y(other.mean[step])));
    context.stroke();
    context.setLineDash([]);
  }
  context.globalAlpha = 1;
  context.textAlign = "center";
  const peak = peakOf(curve.mean);
  for (const { x, step } of known) {
    context.font = `${step === peak ? "bold " : ""}10px system-ui, sans-serif`;
    context.beginPath();
    context.arc(x, y(curve.mean[step]), step === peak ? 5 : 3, 0, 2 * Math.PI);
    context.fill();
    context.fillText(curve.mean[step].toFixed(2), x, lane.y + lane.height - 4);
  }
}

// How much of every step is alike, as a curve through the middles of the cells of one row of the strip, in per cent; the
// heights span from nothing to `most`.
export function paintCurve(context, cells, lane, shares, most, ink) {
  const height = (share) => 1 - share / Math.max(most, 0.01);
  const points = cells.map((cell, i) => [cell.x + cell.width / 2, lane.y + 6 + height(shares[i] || 0) * (lane.height - 24)]);
  context.strokeStyle = context.fillStyle = ink;
  context.lineWidth = 1.5;
  context.globalAlpha = 0.6;
  context.beginPath();
  points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
  context.globalAlpha = 1;
  context.font = "10px system-ui, sans-serif";
  context.textAlign = "center";
  points.forEach(([x, y], i) => {
    context.beginPath();
    context.arc(x, y, 3, 0, 2 * Math.PI);
    context.fill();
    if (!Number.isNaN(shares[i])) context.fillText(`${Math.round(100 * shares[i])} %`, x, lane.y + lane.height - 4);
  });
}
