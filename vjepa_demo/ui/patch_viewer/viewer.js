// The widget's state: which clips, which query, what is shown. Gradio gives `element`, `props`, `trigger`, `watch`.

const PIN_DELAY = 250;
const ANNOUNCE_DELAY = 500;
const DEMO_ROUNDS = 3;
const WIDE = 720; // as in the style sheet

const options = {
  map: "similarity", mode: "pin", centred: true, borders: false, opacity: 0.8, threshold: 1,
  points: [], cursor: null, range: [0, 1], span: [0, 1],
};
const state = { views: [], pinned: false, frame: 0, timer: 0, rounds: 0, touched: false, pending: null, request: null };
const timers = {};

const listeners = { hover, press, leave: () => setCursor(null), show: (_, step) => showFrame(2 * step) };
const slots = [new ClipView(listeners), new ClipView(listeners)];
const controls = makeControls(options, { changed, play: togglePlay, stepBy, clear: clearQuery, picture: savePicture });
const clipsNode = h("div", { class: "pv-clips" }, slots[0].node, slots[1].node);
const empty = h("p", { class: "pv-empty", text: "No clip yet: choose one, and touch a patch of it." });
const root = h(
  "section", { class: "pv-root", role: "region", "aria-label": "Patch viewer", "data-state": "empty" },
  controls.message, empty, controls.top, h("div", { class: "pv-main" }, clipsNode, controls.side), controls.live,
);
element.replaceChildren(root);

// --- loading ------------------------------------------------------------------------------------------------------------

const NOT_FETCHED = "The clip's data could not be fetched from the server: embed the clip again.";

async function fetchClip(file, signal) {
  const response = await fetch(file.url, { signal }).catch(() => null);
  const buffer = response && response.ok ? await response.arrayBuffer().catch(() => null) : null;
  if (!buffer) throw new Error(NOT_FETCHED);
  const clip = parseClip(buffer);
  clip.bitmap = await createImageBitmap(new Blob([clip.sheet], { type: "image/jpeg" }));
  clip.sheet = null;
  return clip;
}

// Fetch the clips of the value and show them. Where that fails, say why and leave what is shown.
async function load() {
  const value = props.value;
  if (!value || !value.primary) return;
  if (state.request) state.request.abort();
  const request = (state.request = new AbortController());
  root.dataset.state = "loading";
  root.setAttribute("aria-busy", "true");
  controls.message.textContent = "";
  const files = [value.primary, value.compare].filter(Boolean);
  const fetched = await Promise.allSettled(files.map((file) => fetchClip(file, request.signal)));
  const clips = fetched.map((result) => result.value).filter(Boolean);
  const refused = (fetched.find((result) => result.status === "rejected") || {}).reason || mismatch(clips);
  if (request !== state.request || refused) clips.forEach((clip) => clip.bitmap.close());
  if (request !== state.request) return;
  root.removeAttribute("aria-busy");
  if (refused) controls.message.textContent = refused.message;
  else show(clips, [value.name || "", value.compare_name || ""]);
  root.dataset.state = refused ? "error" : "ready";
}

function mismatch([one, two]) {
  const made = (clip) => JSON.stringify([clip.header.checkpoint, clip.header.layer, clip.dim]);
  return two && made(one) !== made(two)
    ? new Error("The two clips come from different checkpoints or layers: embed both in the same way.") : null;
}

function show(clips, names) {
  const kept = keptPoints(clips);
  stop();
  state.views = slots.slice(0, clips.length);
  slots.forEach((view, i) => {
    view.node.hidden = i >= clips.length;
    if (i < clips.length) view.set(clips[i], names[i]);
    else view.release();
  });
  options.cursor = null;
  options.points = [];
  state.pending = null;
  state.frame = 0;
  root.classList.toggle("pv-pair", clips.length === 2);
  const withPca = clips.every((clip) => clip.pca);
  controls.map.buttons[1].hidden = !withPca;
  if (!withPca && options.map === "pca") controls.map.choose("similarity");
  root.dataset.state = "ready";
  controls.keys.open = state.views.length === 1 && root.clientWidth >= WIDE;
  layout();
  if (kept.length) {
    ask(kept, { pin: true });
  } else {
    setPinned(false);
    const clip = clips[0];
    ask([{ clip, index: salientPatch(clip), sign: 1 }], {});
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (!state.touched && !calm && frames() > 1) play();
  }
}

// The same clip with another layer's tokens keeps what was pinned.
function keptPoints(clips) {
  const same = (a, b) => ["grid", "timestamps", "source_size", "window", "duration"]
    .every((name) => JSON.stringify(a.header[name]) === JSON.stringify(b.header[name]));
  const old = state.views.map((view) => view.clip);
  if (!state.pinned || old.length !== clips.length || !old.every((clip, i) => same(clip, clips[i]))) return [];
  return options.points.map((point) => ({ ...point, clip: clips[old.indexOf(point.clip)] }));
}

// --- the query ----------------------------------------------------------------------------------------------------------

// Ask for a map of these points. Only the last one asked for before the next frame is made.
function ask(points, { pin = false, since = performance.now() }) {
  const idle = !state.pending;
  state.pending = { points, pin, since };
  if (idle) requestAnimationFrame(answer);
}

function answer() {
  if (!state.pending || !state.views.length) return;
  const { points, pin, since } = state.pending;
  state.pending = null;
  options.points = points;
  const query = makeQuery(points);
  const sets = state.views.map((view) => scoreClip(query, view.clip, options.centred));
  if (!state.pinned) options.range = scoreRange(sets);
  if (pin) setPinned(true);
  state.views.forEach((view, i) => view.setScores(sets[i], options.range));
  const best = state.views.flatMap((view) => view.matches.map((match) => match.score)).filter((score) => score === score);
  const most = Math.max(...best);
  options.span = [Math.min(...best, most - 0.1), most];
  paint();
  // A message is handled after the browser has painted this frame.
  const channel = new MessageChannel();
  channel.port1.onmessage = () => {
    channel.port1.close();
    announce(sets, since);
  };
  channel.port2.postMessage(null);
}

function announce(sets, since) {
  const { clip, index } = options.points[0] || {};
  if (!clip) return;
  const ms = performance.now() - since;
  const scores = sets[state.views.findIndex((view) => view.clip === clip)];
  root.dispatchEvent(new CustomEvent("patchquery", { bubbles: true, detail: { ...position(clip, index), scores, all: sets, ms } }));
}

function position(clip, index) {
  const col = index % clip.cols, row = Math.floor(index / clip.cols) % clip.rows;
  return { step: Math.floor(index / (clip.rows * clip.cols)), row, col };
}

function setPinned(pinned) {
  state.pinned = pinned;
  root.dataset.pinned = pinned;
  // The page's handlers learn which patches are pinned once the pointer has come to rest.
  clearTimeout(timers.pin);
  timers.pin = setTimeout(() => {
    const places = (sign) => options.points.filter((point) => state.pinned && point.sign === sign).map(({ clip, index }) => {
      const { step, row, col } = position(clip, index);
      return { clip: state.views.findIndex((view) => view.clip === clip), at: [step, row, col] };
    });
    trigger("query", { pinned: state.pinned, add: places(1), subtract: places(-1), centred: options.centred });
  }, PIN_DELAY);
}

function clearQuery() {
  state.pending = null;
  options.points = [];
  setPinned(false);
  state.views.forEach((view) => view.setScores(null));
  paint();
}

function hover(view, index, since) {
  touched();
  if (index < 0) return setCursor(null);
  const same = options.cursor && options.cursor.clip === view.clip && options.cursor.index === index;
  if (same) return;
  options.cursor = { clip: view.clip, index };
  if (state.pinned) paint();
  else ask([{ clip: view.clip, index, sign: 1 }], { since });
}

function setCursor(cursor) {
  if (!cursor && !options.cursor) return;
  options.cursor = cursor;
  paint();
}

function press(view, index, event) {
  if (index < 0) return;
  touched();
  const area = view.clip.rows * view.clip.cols;
  const step = Math.floor(index / area);
  if (step !== view.step) showFrame(2 * step);
  options.cursor = { clip: view.clip, index };
  place(event.shiftKey ? "add" : event.altKey ? "subtract" : options.mode, performance.now());
}

// Put the square's patch into the query: alone, added or subtracted.
function place(mode, since) {
  const { clip, index } = options.cursor;
  if (mode === "pin" || !state.pinned) {
    if (mode === "subtract") return say("Pin a patch first, then subtract others from it.");
    state.pinned = false;
    return ask([{ clip, index, sign: 1 }], { pin: true, since });
  }
  const others = options.points.filter((point) => point.clip !== clip || point.index !== index);
  const points = [...others, { clip, index, sign: mode === "add" ? 1 : -1 }];
  if (!points.some((point) => point.sign > 0)) return say("The query needs at least one patch that is not subtracted.");
  return ask(points, { pin: true, since });
}

// The arrow keys move the query patch; with Shift only the square, so that another patch can be added.
function moveBy(rows, cols, squareOnly) {
  touched();
  const last = options.points[options.points.length - 1];
  const from = (squareOnly && options.cursor) || last || options.cursor || { clip: state.views[0].clip, index: middle(state.views[0]) };
  const { clip } = from;
  const at = position(clip, from.index);
  const row = Math.max(0, Math.min(clip.rows - 1, at.row + rows)), col = Math.max(0, Math.min(clip.cols - 1, at.col + cols));
  if (!clip.mask[row * clip.cols + col]) return;
  const index = (at.step * clip.rows + row) * clip.cols + col;
  options.cursor = { clip, index };
  if (squareOnly) return paint();
  if (!state.pinned || !last) return ask([{ clip, index, sign: 1 }], { pin: state.pinned });
  ask([...options.points.slice(0, -1), { ...last, index }], { pin: true });
}

function middle(view) {
  const { rows, cols } = view.clip;
  return (view.step * rows + (rows >> 1)) * cols + (cols >> 1);
}

// --- showing ------------------------------------------------------------------------------------------------------------

function layout() {
  state.views.forEach((view) => view.layout(options));
  showReadout();
}

function paint() {
  state.views.forEach((view) => view.paintMap(options));
  showReadout();
}

function changed(name) {
  touched();
  if (name === "centred" && options.points.length && state.views.length) {
    // Another quantity, another scale.
    const pin = state.pinned;
    state.pinned = false;
    return ask(options.points, { pin });
  }
  if (name === "borders") state.views.forEach((view) => view.paintFrame(options));
  paint();
}

function showReadout() {
  const view = state.views[0];
  if (!view || !view.clip) return;
  controls.scale(options.range, view.clip.header.colours, state.pinned);
  const looked = options.cursor || options.points[options.points.length - 1];
  const text = looked ? readout(looked) : { number: "–", pairs: [["", "Point at a patch"]] };
  controls.readout(text.number, text.pairs);
  clearTimeout(timers.announce);
  if (looked && !state.timer) {
    timers.announce = setTimeout(() => say(`${text.number}. ${text.pairs.map((pair) => pair.join(" ")).join(", ")}`), ANNOUNCE_DELAY);
  }
}

function readout({ clip, index }) {
  const view = state.views.find((other) => other.clip === clip);
  const { step, row, col } = position(clip, index);
  const score = view.scores ? view.scores[index] : NaN;
  const pairs = [
    ["cosine", options.cursor ? "under the pointer" : "of the query patch"],
    ["step", `${step} (${view.time(step)})`], ["row", `${row}`], ["column", `${col}`],
  ];
  const best = view.scores && bestElsewhere(view, step);
  if (best) pairs.push(["best", `${best.score.toFixed(2)} at step ${position(clip, best.index).step}`]);
  if (state.pinned) pairs.push(["query", `${options.points.length} pinned`]);
  return { number: score === score ? score.toFixed(2) : "–", pairs };
}

// The best match at another step than this one.
function bestElsewhere(view, step) {
  return view.matches.filter((match, i) => i !== step && match.index >= 0)
    .reduce((best, match) => (!best || match.score > best.score ? match : best), null);
}

function say(text) {
  controls.live.textContent = text;
}
