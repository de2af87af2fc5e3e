// The figure: data in, Plotly's traces and layout out. No DOM in here.

// Okabe and Ito's colours, which hold on white and on black, and symbols of one size. A label is told by both: neighbours
// in the list differ in both, and 48 labels get a pair of their own.
const HUES = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7"];
const SYMBOLS = ["circle", "square", "diamond", "cross", "x", "triangle-up", "triangle-down", "bowtie"];
const FAINT = 0.1;

export const LOOKS = (i) => ({ colour: HUES[i % HUES.length], symbol: SYMBOLS[(i + Math.floor(i / HUES.length)) % SYMBOLS.length] });
export const OTHERS = { colour: "#8b919c", symbol: "circle", others: true }; // of all labels beyond those that are told apart
export const WITHOUT_WEBGL = 3000; // points of a table; more would be drawn too slowly
const SMALL = 1000; // points of a table that are as large as those of a folder
const LEAST_SHAPE = 5; // pixels of a point whose symbol can be seen

// Columns x, y of a list of points; null breaks a line.
export function columns(points) {
  const pick = (axis) => points.map((point) => (point ? point[axis] : null));
  return { x: pick(0), y: pick(1) };
}

// Plotly reads tags and entities in the text that it draws.
export const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// `view` holds {set, clip, isolated, step, focus, showPath, showLines, ink, paper, soft}.
export function makeTraces(view) {
  const { set, clip, scale = 1 } = view;
  const type = set.drawn > 3000 && hasWebgl() ? "scattergl" : "scatter";
  const many = set.drawn > 1000; // outlines of so many points cost more time than they help
  const dot = (set.packed ? 9 * Math.min(1, (SMALL / set.drawn) ** 0.25) : 9) * scale;
  const opacity = (style) => (view.isolated && view.isolated !== style.label ? FAINT : 1);
  const traces = [];
  if (clip && view.showLines) {
    const shown = clip.neighbours.slice(0, 5).flatMap((row) => [clip.flat, set.place(row), null]);
    traces.push({
      ...columns(shown), type: "scatter", mode: "lines", hoverinfo: "skip", meta: "lines", showlegend: false,
      line: { color: view.ink, width: 1.25 * scale, dash: "dot" }, opacity: 0.6,
    });
  }
  const points = (style, { x, y, rows }, marker) => ({
    x, y, mode: "markers", meta: "references", name: plain(style.label), customdata: rows, hoverinfo: "none", opacity: opacity(style),
    marker: { color: style.colour, symbol: style.symbol, ...marker },
  });
  // All other labels lie below those that are told apart.
  const styles = set.styles.toSorted((a, b) => Boolean(b.others) - Boolean(a.others));
  for (const style of styles) {
    const marker = { size: dot, line: { color: view.ink, width: many ? 0 : 0.6 }, ...(dot < LEAST_SHAPE && { symbol: "circle" }) };
    traces.push({ ...points(style, style, marker), type });
  }
  // Of so many the nearest have to stand out, and may not be among those that are drawn.
  for (const row of (set.packed && clip?.neighbours) || []) {
    const style = set.styleOf(set.about(row).label);
    const marker = { size: 9 * scale, line: { color: view.ink, width: 1 } };
    traces.push({ ...points(style, { ...columns([set.place(row)]), rows: [row] }, marker), type: "scatter", showlegend: false });
  }
  const ring = (point, size, meta) => ({
    ...columns(point ? [point] : []), type: "scatter", mode: "markers", meta, hoverinfo: "skip", showlegend: false,
    marker: { symbol: "circle-open", size, color: view.ink, line: { width: 3, color: view.ink } },
  });
  traces.push(ring(view.focus === null ? null : set.place(view.focus), 18, "focus"));
  if (!clip) return traces;
  const path = clip.pathFlat;
  if (path.length && view.showPath) {
    traces.push({
      ...columns(path), type: "scatter", mode: "lines+markers", meta: "path", name: "its path over time", hoverinfo: "none",
      customdata: path.map((_, step) => step), line: { color: view.ink, width: 1.5 },
      marker: { color: view.ink, size: path.map((_, step) => 4 + (4 * step) / path.length) },
    });
  }
  traces.push(ring(view.step === null ? null : path[view.step], 16, "step"));
  traces.push({
    ...columns([clip.flat]), type: "scatter", mode: "markers", meta: "clip", name: plain(clip.name || "this clip"), hoverinfo: "none",
    marker: {
      symbol: clip.far ? "star-open" : "star", size: 20 * scale,
      color: clip.far ? view.ink : "#f5c400", line: { color: view.ink, width: clip.far ? 2 : 1.5 },
    },
  });
  return traces;
}

// UMAP's axes have no unit and no direction: they get no ticks.
const AXES = { xaxis: { visible: false, showspikes: false }, yaxis: { visible: false, showspikes: false, scaleanchor: "x" } };

export function makeLayout(view) {
  return {
    ...structuredClone(AXES), // Plotly writes into what it is given
    margin: { l: 0, r: 0, t: 0, b: 0 }, showlegend: false, hovermode: "closest", hoverdistance: 12, uirevision: view.path,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: view.ink }, autosize: true,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: view.soft, activecolor: view.ink, orientation: "v" },
    // A finger on the map must still be able to scroll the page.
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "pan",
  };
}

export const PLOT_CONFIG = {
  displaylogo: false, responsive: true, scrollZoom: false, showTips: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoom2d", "pan2d", "toImage"],
};

// The figure as a file: on white, with a title and a legend, which the page does without.
export const SAVED_SIZE = { width: 1200, height: 800 };
export function savedFigure(view) {
  const { set, clip } = view;
  const data = makeTraces({ ...view, ink: "#14161c", paper: "#ffffff", step: null, focus: null });
  const title = `${clip ? `${(clip.name || "A clip").slice(0, 60)} among ` : ""}${set.count.toLocaleString("en")} reference clips, compared by ${WAYS[set.pooling]}`;
  return {
    data,
    layout: {
      ...structuredClone(AXES), ...SAVED_SIZE, title: { text: plain(title), font: { size: 18 } },
      margin: { l: 30, r: 30, t: 70, b: 30 }, showlegend: true, legend: { font: { size: 14 } },
      paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff", font: { color: "#14161c", family: "sans-serif" },
    },
  };
}

export const WAYS = { mean: "appearance", motion: "motion", probe: "classifier" };

export function hasWebgl() {
  if (hasWebgl.known === undefined) hasWebgl.known = Boolean(document.createElement("canvas").getContext("webgl"));
  return hasWebgl.known;
}
