// What is shown, as a figure to print: on white, 170 mm wide, with its scale and where it comes from. It is drawn once, as
// SVG in millimetres; the PNG is the same at 300 dpi.

import { h, svg } from "../shared/dom.js";
import { outlineOf, paintFrame } from "./draw.js";
import { patchRect, toCanvas } from "./geometry.js";
import { isOfTokens, otherOf } from "./state.js";

const WIDTH = 170;
const MOST_HEIGHT = 150; // of a picture
const GAP = 4;
const TOP = 6;
const BAR = { width: 44, height: 3 };
const SIZES = { title: 3.6, text: 3.2, source: 2.6 };
const LINE = 0.35;
const DARK = 0.4; // how much wider the dark line is on which a white one stands
const DPI = 300;
const FONT = "Helvetica, Arial, sans-serif";
const XLINK = "http://www.w3.org/1999/xlink"; // older programs know pictures by this alone

const pixels = (mm) => Math.round((mm * DPI) / 25.4);
const short = (x) => Number(x.toFixed(3));
// XML has no place for some characters that a file's name can have, and others would turn the line around.
const clean = (text) => text.replace(/[\p{Cc}\p{Cs}\u202a-\u202e\u2066-\u2069\ufffe\uffff]/gu, "\ufffd");

// Saves what the views show; `kind` is "png" or "svg".
export async function saveFigure(views, options, kind) {
  const name = `${fileStem(views[0])}.${kind}`; // before a clip that plays goes on
  const figure = draw(views, options);
  const blob = kind === "svg" ? written(figure) : await rasterised(figure);
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function fileStem({ name, step, clip }) {
  const stem = name.replace(/[.][^.]*$/, "").replace(/[^\p{L}\p{N}_.-]+/gu, "_").replace(/^[._]+|[._]+$/g, "").slice(0, 80);
  return `${stem || "clip"}-${clip.header.kind === "image" ? "patches" : `step-${step}`}`;
}

function written(figure) {
  return new Blob(['<?xml version="1.0" encoding="UTF-8"?>\n', new XMLSerializer().serializeToString(figure)], { type: "image/svg+xml" });
}

async function rasterised(figure) {
  const [, , width, height] = figure.getAttribute("viewBox").split(" ").map(Number).map(pixels);
  figure.setAttribute("width", width);
  figure.setAttribute("height", height);
  const url = URL.createObjectURL(written(figure));
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = h("canvas", { width, height });
  canvas.getContext("2d").drawImage(image, 0, 0, width, height);
  URL.revokeObjectURL(url);
  return withDpi(await new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); }));
}

// A PNG that says how large it is on paper: a chunk pHYs after the header, which is the first 33 bytes.
async function withDpi(png) {
  const perMetre = Math.round(DPI / 0.0254);
  const chunk = new DataView(new ArrayBuffer(21));
  chunk.setUint32(0, 9);
  [..."pHYs"].forEach((letter, i) => chunk.setUint8(4 + i, letter.charCodeAt(0)));
  chunk.setUint32(8, perMetre);
  chunk.setUint32(12, perMetre);
  chunk.setUint8(16, 1);
  chunk.setUint32(17, crc(new Uint8Array(chunk.buffer, 4, 13)));
  return new Blob([png.slice(0, 33), chunk.buffer, png.slice(33)], { type: png.type });
}

function crc(bytes) {
  let rest = 0xffffffff;
  for (const byte of bytes) {
    rest ^= byte;
    for (let bit = 0; bit < 8; bit++) rest = (rest >>> 1) ^ (rest & 1 ? 0xedb88320 : 0);
  }
  return ~rest >>> 0;
}

// --- the drawing, in millimetres ------------------------------------------------------------------------------------------

function draw(views, options) {
  const room = (WIDTH - GAP * (views.length - 1)) / views.length;
  const sizes = views.map(({ geo: { view } }) => {
    const scale = Math.min(room / view.width, MOST_HEIGHT / view.height);
    return { width: view.width * scale, height: view.height * scale };
  });
  const below = TOP + Math.max(...sizes.map(({ height }) => height)) + 3;
  const height = below + BAR.height + 7;
  return svg(
    "svg", { width: `${WIDTH}mm`, height: `${short(height)}mm`, viewBox: `0 0 ${WIDTH} ${short(height)}`, "font-family": FONT, fill: "#14161c" },
    svg("rect", { width: WIDTH, height: short(height), fill: "#fff" }),
    ...views.flatMap((view, i) => {
      const left = i * (room + GAP) + (room - sizes[i].width) / 2;
      return [title(view, i * (room + GAP), room), picture(view, options, left, sizes[i])];
    }),
    legend(views[0], options, below),
    svg("text", { class: "source", x: 0, y: short(height - 1), "font-size": SIZES.source, fill: "#4a4f5c", text: source(views[0].clip.header) }),
  );
}

function title(view, left, room) {
  const when = view.clip.header.kind === "image" ? "" : `  step ${view.step}, ${view.time(view.step)}`;
  const name = shortened(clean(view.name), room - widthOf(when, SIZES.title, 400));
  return svg(
    "text", { class: "title", x: left, y: 4, "font-size": SIZES.title, "xml:space": "preserve" },
    svg("tspan", { "font-weight": 700, text: name }), svg("tspan", { text: when }),
  );
}

function widthOf(text, size, weight) {
  const context = h("canvas").getContext("2d");
  context.font = `${weight} 100px ${FONT}`;
  return (context.measureText(text).width * size) / 100;
}

function shortened(text, room) {
  const letters = [...text];
  if (widthOf(text, SIZES.title, 700) <= room) return text;
  while (letters.length && widthOf(`${letters.join("")}…`, SIZES.title, 700) > room) letters.pop();
  return `${letters.join("")}…`;
}

function picture(view, options, left, { width, height }) {
  const { clip, geo, step } = view;
  const place = toCanvas(geo, width, height);
  // The frame is stored small: more than twice its pixels would add none to see. The heat's edges are as sharp as the print.
  const most = (2 * clip.header.sheet.width * geo.view.width) / geo.source.width;
  const frame = embedded("frame", width, height, Math.min(most, pixels(width)), (context, w, down) =>
    paintFrame(context, w, down, clip, geo, view.frame, { edge: 0 }));
  const heat = embedded("heat", width, height, pixels(width), (context, w, down) =>
    view.paintMapOn(context, w, down, step, { ...options, threshold: 1 }));
  return svg(
    "g", { class: "picture", transform: `translate(${short(left)} ${TOP})` },
    frame, options.borders ? lines(clip, place(geo.window)) : "", edge(geo, place), heat, outline(view, options, place(geo.window)),
    marks(view, options, place),
  );
}

function embedded(kind, width, height, across, paint) {
  const canvas = h("canvas", { width: Math.round(across), height: Math.round((across * height) / width) });
  paint(canvas.getContext("2d"), canvas.width, canvas.height);
  const node = svg("image", { class: kind, width: short(width), height: short(height), preserveAspectRatio: "none" });
  node.setAttributeNS(XLINK, "xlink:href", canvas.toDataURL("image/png"));
  return node;
}

// What the model saw, where that is not all.
function edge({ window, view }, place) {
  if (window.width === view.width && window.height === view.height) return "";
  const [x, y, width, height] = place(window).map(short);
  return svg("rect", { class: "seen", x, y, width, height, fill: "none", stroke: "#fff", "stroke-width": 0.3 });
}

function lines({ rows, cols }, [x, y, width, height]) {
  const across = Array.from({ length: cols - 1 }, (_, i) => `M${short(x + ((i + 1) * width) / cols)} ${short(y)}v${short(height)}`);
  const down = Array.from({ length: rows - 1 }, (_, i) => `M${short(x)} ${short(y + ((i + 1) * height) / rows)}h${short(width)}`);
  return svg("path", { class: "borders", d: [...across, ...down].join(""), fill: "none", stroke: "#fff", "stroke-opacity": 0.38, "stroke-width": 0.2 });
}

// A white line on a dark one, as on the page.
function twoTone(tag, shape, { width = LINE, dash = null } = {}) {
  const line = { ...shape, fill: "none", "stroke-linejoin": "round", "stroke-linecap": "round" };
  return [
    svg(tag, { ...line, stroke: "#000", "stroke-opacity": 0.75, "stroke-width": width + DARK }),
    svg(tag, { ...line, stroke: "#fff", "stroke-width": width, "stroke-dasharray": dash }),
  ];
}

function outline({ clip, scores, step }, { threshold, map }, [x, y, width, height]) {
  if (!scores || threshold >= 1 || !isOfTokens(map)) return "";
  const at = (c, r) => `${short(x + (c * width) / clip.cols)} ${short(y + (r * height) / clip.rows)}`;
  const d = outlineOf(clip, scores, step, threshold).map(([c, r, c2, r2]) => `M${at(c, r)}L${at(c2, r2)}`).join("");
  return svg("g", { class: "outline" }, ...twoTone("path", { d }));
}

function marks(view, options, place) {
  const { clip, geo } = view;
  const found = view.marksOf(view.step, options);
  const nodes = found.marks.map(({ index, sign, faint }) => {
    const [x, y, width, height] = place(patchRect(clip, geo, index)).map(short);
    const style = faint ? { width: LINE / 2, dash: "0.6 0.6" } : {};
    const node = svg("g", { class: "mark", opacity: faint ? 0.6 : null }, ...twoTone("rect", { x, y, width, height }, style));
    const arm = 0.22 * Math.min(width, height), cx = x + width / 2, cy = y + height / 2;
    const d = `M${short(cx - arm)} ${short(cy)}h${short(2 * arm)}${sign > 0 ? `M${short(cx)} ${short(cy - arm)}v${short(2 * arm)}` : ""}`;
    if (sign) node.append(...twoTone("path", { d }));
    return node;
  });
  const ring = found.ring >= 0 ? place(patchRect(clip, geo, found.ring)) : null;
  const best = ring && twoTone("circle", { cx: short(ring[0] + ring[2] / 2), cy: short(ring[1] + ring[3] / 2), r: short(0.55 * ring[2]) }, { width: 0.25 });
  return svg("g", { class: "marks" }, ...(best ? [svg("g", { class: "best" }, ...best)] : []), ...nodes);
}

// The colours from the lowest to the highest score, with both numbers, and which patches they are compared with.
function legend({ scores, clip }, options, y) {
  const { map, range, centred, points } = options, other = otherOf(options), [low, high] = other ? other.range : range;
  const text = (words, x, more = {}) => svg("text", { x: short(x), y: y + 2.6, "font-size": SIZES.text, text: words, ...more });
  if (map === "pca") return svg("g", { class: "scale" }, text("colours: the first three principal components of the tokens", 0));
  if (!scores && !other) return "";
  const left = widthOf("−0.00", SIZES.text, 400) + 2, { colours } = clip.header;
  const stops = colours.map((colour, i) => svg("stop", { offset: short(i / (colours.length - 1)), "stop-color": `rgb(${colour})` }));
  const words = other ? other.words : `${centred ? "centred " : ""}cosine`;
  return svg(
    "g", { class: "scale" }, svg("linearGradient", { id: "heat" }, ...stops),
    text(signed(low), left - 1, { "text-anchor": "end" }),
    svg("rect", { x: short(left), y, ...BAR, fill: "url(#heat)" }),
    text(`${signed(high)}  ${words}`, left + BAR.width + 1, { "xml:space": "preserve" }),
    other ? "" : text(query(points), WIDTH, { "text-anchor": "end" }),
  );
}

const signed = (score) => score.toFixed(2).replace("-", "−");

function query(points) {
  if (points.length !== 1) return `query: ${points.length} patches`;
  const [{ clip, index }] = points;
  const col = index % clip.cols, row = Math.floor(index / clip.cols) % clip.rows, step = Math.floor(index / (clip.rows * clip.cols));
  return `query: ${clip.header.kind === "image" ? "" : `step ${step}, `}row ${row}, column ${col}`;
}

function source({ checkpoint, kind, grid: [steps], fit, layer }) {
  // A folder is known by its name: where it lies concerns nobody who reads the figure.
  const name = checkpoint.split(/[/\\]/).length > 2 ? checkpoint.split(/[/\\]/).filter(Boolean).pop() : checkpoint;
  const given = kind === "image" ? `an image as ${2 * steps} frames` : `${2 * steps} frames`;
  return clean(`V-JEPA 2 Explorer · ${name} · ${given} · fit: ${fit} · ${layer === null ? "last layer" : `layer ${layer}`}`);
}
