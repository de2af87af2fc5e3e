// The figure: data in, Plotly's traces and layout out. No DOM in here.

// Okabe and Ito's colours that hold on white and on black, and the symbols that 2-D and 3-D share. A label is told by
// both: neighbours in the list differ in both, and 48 labels get a pair of their own.
const HUES = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7"];
const SYMBOLS = ["circle", "square", "diamond", "cross", "x", "circle-open", "square-open", "diamond-open"];
const FAINT = 0.1;

export function labelStyles(clips) {
  // In the order of the set: a label that is added later changes the look of none before it.
  const labels = [...new Set(clips.map((clip) => clip.label))];
  return labels.map((label, i) => ({
    label,
    colour: HUES[i % HUES.length],
    symbol: SYMBOLS[(i + Math.floor(i / HUES.length)) % SYMBOLS.length],
    rows: clips.flatMap((clip, row) => (clip.label === label ? [row] : [])),
  }));
}

// Columns x, y (and z) of a list of points; null breaks a line.
export function columns(points, deep) {
  const pick = (axis) => points.map((point) => (point ? point[axis] : null));
  return deep ? { x: pick(0), y: pick(1), z: pick(2) } : { x: pick(0), y: pick(1) };
}

// `view` holds {set, clip, styles, deep, isolated, step, focus, showPath, showLines, ink, paper, lines}.
export function makeTraces(view) {
  const { set, clip, deep } = view;
  const places = deep ? set.space : set.flat;
  const type = deep ? "scatter3d" : places.length > 3000 && hasWebgl() ? "scattergl" : "scatter";
  const base = deep ? "scatter3d" : "scatter";
  const many = places.length > 1000; // outlines of so many points cost more time than they help
  const traces = [];
  if (clip && view.showLines) {
    const here = deep ? clip.space : clip.flat;
    const shown = clip.neighbours.slice(0, 5).flatMap((row) => [here, places[row], null]);
    traces.push({
      ...columns(shown, deep), type: base, mode: "lines", hoverinfo: "skip", meta: "lines",
      line: { color: view.ink, width: deep ? 3 : 1.25, dash: "dot" }, opacity: 0.6,
    });
  }
  for (const style of view.styles) {
    const open = style.symbol.endsWith("-open");
    traces.push({
      ...columns(style.rows.map((row) => places[row]), deep), type, mode: "markers", meta: "references",
      customdata: style.rows, hoverinfo: "none",
      opacity: view.isolated && view.isolated !== style.label ? FAINT : 1,
      marker: {
        color: style.colour, symbol: style.symbol, size: deep ? 5 : 9,
        line: { color: open ? style.colour : view.paper, width: open ? 2 : deep || many ? 0 : 0.75 },
      },
    });
  }
  if (!clip) return traces;
  const path = deep ? clip.pathSpace : clip.pathFlat;
  if (path.length && view.showPath) {
    traces.push({
      ...columns(path, deep), type: base, mode: "lines+markers", meta: "path", hoverinfo: "none",
      customdata: path.map((_, step) => step),
      line: { color: view.ink, width: deep ? 4 : 1.5 },
      marker: { color: view.ink, size: deep ? 3 : path.map((_, step) => 4 + (4 * step) / path.length) },
    });
  }
  const ring = (point, size, meta) => ({
    ...columns(point ? [point] : [], deep), type: base, mode: "markers", meta, hoverinfo: "skip",
    marker: { symbol: "circle-open", size: deep ? size * 0.7 : size, color: view.ink, line: { width: 3, color: view.ink } },
  });
  traces.push(ring(view.step === null ? null : path[view.step], 16, "step"));
  traces.push(ring(view.focus === null ? null : places[view.focus], 18, "focus"));
  traces.push({
    ...columns([deep ? clip.space : clip.flat], deep), type: base, mode: "markers", meta: "clip", hoverinfo: "none",
    marker: {
      symbol: deep ? "diamond" : clip.far ? "star-open" : "star", size: deep ? 9 : 20,
      color: clip.far && !deep ? view.ink : "#f5c400", line: { color: view.ink, width: clip.far ? 2 : 1.5 },
    },
  });
  return traces;
}

export function makeLayout(view) {
  // UMAP's axes have no unit and no direction: they get no ticks.
  const axis = { visible: false, showspikes: false };
  const common = {
    margin: { l: 0, r: 0, t: 0, b: 0 }, showlegend: false, hovermode: "closest", uirevision: `${view.path} ${view.deep}`,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: view.ink }, autosize: true,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: view.soft, activecolor: view.ink, orientation: "v" },
  };
  if (view.deep) {
    return { ...common, scene: { xaxis: axis, yaxis: axis, zaxis: axis, aspectmode: "data", dragmode: "orbit" } };
  }
  // A finger on the map must still be able to scroll the page.
  const dragmode = matchMedia("(pointer: coarse)").matches ? false : "pan";
  return { ...common, dragmode, hoverdistance: 12, xaxis: { ...axis }, yaxis: { ...axis, scaleanchor: "x" } };
}

export const PLOT_CONFIG = {
  displaylogo: false, responsive: true, scrollZoom: false, showTips: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoom2d", "hoverClosest3d", "resetCameraLastSave3d"],
};

export function hasWebgl() {
  if (hasWebgl.known === undefined) hasWebgl.known = Boolean(document.createElement("canvas").getContext("webgl"));
  return hasWebgl.known;
}
