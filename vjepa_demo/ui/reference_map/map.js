// The reference map in the page: builds its static frame once, then draws what each value brings.

const state = { set: null, path: "", clip: null, styles: [], deep: false, isolated: null, step: null, focus: null, showPath: true, showLines: true, turn: 0 };

const root = make("section", "rm-root", "", { role: "region", "aria-label": "Reference map", "data-state": "empty" });
const parts = {
  empty: make("p", "rm-empty", "The map appears here once a clip and the reference clips are embedded in the same way."),
  message: make("p", "rm-message", "", { role: "alert" }),
  far: make("p", "rm-far", "", { role: "note" }),
  plot: make("div", "rm-plot", "", { role: "img" }),
  legend: make("div", "rm-legend", "", { role: "group", "aria-label": "Labels" }),
  quality: make("p", "rm-soft rm-quality"),
  player: make("div", "rm-player", "", { role: "group", "aria-label": "Player" }),
  vote: make("p", "rm-vote"),
  votes: make("p", "rm-soft"),
  about: make("p", "rm-soft rm-about"),
  neighbours: make("ol", "rm-neighbours", "", { "aria-label": "Nearest references" }),
  tip: make("div", "rm-tip", "", { role: "tooltip" }),
};
parts.far.hidden = true;
parts.tip.hidden = true;

const flat = make("button", "", "2-D", { type: "button", role: "radio" });
const deep = make("button", "", "3-D", { type: "button", role: "radio" });
const pathSwitch = make("button", "rm-switch", "Path over time", { type: "button", role: "switch" });
const lineSwitch = make("button", "rm-switch", "Lines to the 5 nearest", { type: "button", role: "switch" });

function build() {
  const top = make("div", "rm-top");
  const choice = make("div", "rm-choice", "", { role: "radiogroup", "aria-label": "Dimensions" });
  choice.append(flat, deep);
  top.append(make("h3", "", "Where it lies among known clips"), choice, pathSwitch, lineSwitch);
  const left = make("div", "rm-left");
  left.append(parts.far, parts.plot, parts.legend, parts.quality);
  const side = make("div", "rm-side");
  side.append(parts.player, make("h4", "", "Nearest in the original space"), parts.vote, parts.votes, parts.neighbours, parts.about);
  const main = make("div", "rm-main");
  main.append(left, side);
  root.append(parts.empty, parts.message, top, main, parts.tip);
  element.replaceChildren(root);
}

// Where a file of the app is: below the path that the page came by, which a proxy may have put before the app's own.
const rootPath = new URL(window.gradio_config?.root || ".", document.baseURI).pathname.replace(/[/]$/, "");
const address = (path) => `${rootPath}/${path}`;
const clipOf = (row) => address(`${state.path}/${row}`);
const thumbnailOf = (row) => address(`${state.path}/${row}.jpg`);

function loadPlotly(url) {
  if (!window.vjepaPlotly) {
    window.vjepaPlotly = new Promise((resolve, reject) => {
      const script = make("script", "", "", { src: url });
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => {
        window.vjepaPlotly = null;
        reject(new Error("The map's library could not be loaded: reload the page."));
      };
      document.head.append(script);
    });
  }
  return window.vjepaPlotly;
}

async function show(value) {
  const turn = ++state.turn;
  if (!value || !value.references) {
    root.dataset.state = "empty";
    return;
  }
  root.dataset.state = "loading";
  parts.message.textContent = "";
  try {
    const library = loadPlotly(address(value.plotly));
    if (value.references !== state.path) {
      const answer = await fetch(address(`${value.references}/set.json`));
      if (!answer.ok) throw new Error("The references could not be loaded: embed the clip again.");
      const set = await answer.json();
      if (turn !== state.turn) return;
      Object.assign(state, { set, path: value.references, styles: labelStyles(set.clips), isolated: null });
      parts.player.replaceChildren(make("p", "rm-soft rm-hint", "Choose a point or a neighbour to play it."));
    }
    await library;
    if (turn !== state.turn) return;
    Object.assign(state, { clip: value.clip, step: null, focus: null });
    drawAll();
    await draw();
    root.dataset.state = "ready";
  } catch (error) {
    parts.message.textContent = error.message;
    root.dataset.state = "error";
  }
}

function drawAll() {
  const { set, clip, styles } = state;
  drawLegend(parts.legend, styles, state.isolated, isolate);
  drawTruth(parts, set, clip);
  drawNeighbours(parts.neighbours, set, clip, styles, { play, focus: (row) => mark({ focus: row }), thumbnailOf });
  const nearest = clip && set.clips[clip.neighbours[0]];
  const words = `Map of ${set.clips.length} reference clips in ${styles.length} labels.`;
  parts.plot.setAttribute("aria-label", nearest ? `${words} The clip is a star; its nearest reference is ${nearest.label}, cosine ${clip.nearest.toFixed(2)}.` : words);
  pathSwitch.hidden = !clip || !clip.pathFlat.length;
  lineSwitch.hidden = !clip;
}

function colours() {
  const style = getComputedStyle(root);
  return { ink: style.color, soft: getComputedStyle(parts.quality).color, paper: getComputedStyle(parts.plot).backgroundColor };
}

async function draw() {
  for (const [node, on] of [[flat, !state.deep], [deep, state.deep], [pathSwitch, state.showPath], [lineSwitch, state.showLines]]) {
    node.setAttribute("aria-checked", String(on));
  }
  flat.tabIndex = state.deep ? -1 : 0;
  deep.tabIndex = state.deep ? 0 : -1;
  const view = { ...state, ...colours() };
  const first = !parts.plot.data;
  await window.Plotly.react(parts.plot, makeTraces(view), makeLayout(view), PLOT_CONFIG);
  if (first) listen();
}

// Rings around a step of the path and around a reference move without drawing the rest again.
function mark(change) {
  if (!parts.plot.data || !state.clip) return;
  Object.assign(state, change);
  cancelAnimationFrame(state.frame);
  state.frame = requestAnimationFrame(() => {
    const path = state.deep ? state.clip.pathSpace : state.clip.pathFlat;
    const places = state.deep ? state.set.space : state.set.flat;
    const points = { step: state.step === null ? null : path[state.step], focus: state.focus === null ? null : places[state.focus] };
    parts.plot.data.forEach((trace, index) => {
      if (!(trace.meta in points)) return;
      const point = state.showPath || trace.meta === "focus" ? points[trace.meta] : null;
      const update = columns(point ? [point] : [], state.deep);
      for (const axis of Object.keys(update)) update[axis] = [update[axis]];
      window.Plotly.restyle(parts.plot, update, [index]);
    });
    root.dataset.step = state.step === null ? "" : state.step;
  });
}

function isolate(label) {
  state.isolated = label;
  drawLegend(parts.legend, state.styles, label, isolate);
  const at = state.styles.findIndex((style) => style.label === label);
  if (at >= 0) parts.legend.children[at].focus();
  draw();
}

function play(row) {
  drawPlayer(parts.player, state.set.clips[row], clipOf(row));
  root.dataset.playing = row;
}

function listen() {
  parts.plot.on("plotly_hover", ({ points, event }) => {
    const point = points[0];
    const kind = point.data.meta;
    if (kind === "path") {
      const step = point.customdata;
      mark({ step });
      tell(step);
      tip(event, { title: `This clip at ${state.clip.seconds[step].toFixed(2)} s`, text: `time step ${step} of ${state.clip.seconds.length}` });
    } else if (kind === "references") {
      const clip = state.set.clips[point.customdata];
      const cosine = state.clip ? `cosine ${state.clip.cosines[point.customdata].toFixed(3)} to this clip` : "";
      tip(event, { title: clip.label, text: clip.file, more: cosine, picture: clip.thumbnail && thumbnailOf(point.customdata) });
    } else if (kind === "clip") {
      tip(event, { title: "This clip", text: "placed on the fixed map as UMAP would place it" });
    }
  });
  parts.plot.on("plotly_unhover", ({ points }) => {
    parts.tip.hidden = true;
    if (points.some((point) => point.data.meta === "path")) {
      mark({ step: null });
      tell(null);
    }
  });
  parts.plot.on("plotly_click", ({ points }) => {
    const point = points.find(({ data }) => data.meta === "references");
    if (point) play(point.customdata);
  });
}

function tell(step) {
  root.dispatchEvent(new CustomEvent("stepfocus", { bubbles: true, detail: { step } }));
}

function tip(event, { title, text, more = "", picture = null }) {
  parts.tip.replaceChildren();
  if (picture) parts.tip.append(make("img", "rm-thumb", "", { alt: "", src: picture }));
  const words = make("div");
  words.append(make("strong", "", title), make("span", "rm-file", text), make("span", "", more));
  parts.tip.append(words);
  parts.tip.hidden = false;
  const box = root.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = parts.tip;
  const x = event.clientX - box.left, y = event.clientY - box.top;
  parts.tip.style.left = `${Math.max(0, Math.min(x + 14, box.width - width))}px`;
  parts.tip.style.top = `${y + height + 20 > box.height ? y - height - 14 : y + 14}px`;
}

function choose(isDeep) {
  if (state.deep === isDeep || !state.set) return;
  state.deep = isDeep;
  parts.tip.hidden = true;
  (isDeep ? deep : flat).focus();
  // Plotly keeps the listeners of a figure, but not across a change of its kind: a fresh one is simpler than mending it.
  window.Plotly.purge(parts.plot);
  draw();
}

function onPatchQuery(event) {
  if (!root.isConnected) document.removeEventListener("patchquery", onPatchQuery);
  else if (state.clip && event.detail.step < state.clip.pathFlat.length) mark({ step: event.detail.step });
}

build();
if (!hasWebgl()) {
  deep.disabled = true;
  deep.title = "Three dimensions need WebGL, which this browser does not offer.";
}
flat.addEventListener("click", () => choose(false));
deep.addEventListener("click", () => choose(true));
for (const button of [flat, deep]) {
  button.addEventListener("keydown", (event) => {
    if (event.key.startsWith("Arrow") && !deep.disabled) {
      event.preventDefault();
      choose(!state.deep);
    }
  });
}
pathSwitch.addEventListener("click", () => { state.showPath = !state.showPath; draw(); });
lineSwitch.addEventListener("click", () => { state.showLines = !state.showLines; draw(); });
document.addEventListener("patchquery", onPatchQuery);
new MutationObserver(() => { if (state.set && parts.plot.data) draw(); }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
watch("value", () => show(props.value));
show(props.value);
