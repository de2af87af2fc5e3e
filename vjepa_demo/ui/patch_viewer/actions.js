// What a visitor does beside pointing: playing, saving a picture, keys. The last lines set the widget going.

// --- time ---------------------------------------------------------------------------------------------------------------

const frames = () => Math.max(0, ...state.views.map((view) => 2 * view.clip.steps));

function showFrame(frame) {
  state.frame = (frame + frames()) % frames();
  for (const view of state.views) {
    view.frame = Math.min(state.frame, 2 * view.clip.steps - 1);
    view.paintFrame(options);
  }
  paint();
}

function stepBy(steps) {
  touched();
  if (state.views.length) showFrame(2 * ((state.frame >> 1) + steps));
}

function play() {
  const { timestamps, kind } = state.views[0].clip.header;
  const apart = kind === "image" ? 0.25 : (timestamps[timestamps.length - 1] - timestamps[0]) / Math.max(1, timestamps.length - 1);
  state.timer = setInterval(() => {
    if (!root.isConnected) return stop();
    if (document.hidden) return undefined;
    if (!state.touched && state.frame + 1 >= frames() && ++state.rounds >= DEMO_ROUNDS) stop();
    return showFrame(state.frame + 1);
  }, Math.max(60, Math.min(500, 1000 * apart)));
  root.dataset.playing = "true";
  controls.playing(true);
}

function stop() {
  clearInterval(state.timer);
  state.timer = 0;
  root.dataset.playing = "false";
  controls.playing(false);
}

function togglePlay() {
  const playing = state.timer;
  touched();
  if (playing) stop();
  else if (state.views.length) play();
}

// The first touch of a visitor ends the film that plays by itself.
function touched() {
  if (state.touched) return;
  state.touched = true;
  stop();
}

// --- taking it home -----------------------------------------------------------------------------------------------------

// The frames side by side at 1280 pixels of width, with the map, its marks and its scale.
function savePicture() {
  const view = state.views[0];
  if (!view) return;
  const height = 720, foot = 44;
  const widths = state.views.map(({ geo }) => Math.round((height * geo.view.width) / geo.view.height));
  const canvas = h("canvas");
  canvas.width = widths.reduce((a, b) => a + b, 0);
  canvas.height = height + foot;
  const context = canvas.getContext("2d");
  context.fillStyle = "#101218";
  context.fillRect(0, 0, canvas.width, canvas.height);
  let left = 0;
  state.views.forEach((one, i) => {
    const layer = h("canvas");
    layer.width = widths[i];
    layer.height = height;
    const ink = layer.getContext("2d");
    paintFrame(ink, widths[i], height, one.clip, one.geo, one.frame, options);
    one.paintMapOn(ink, widths[i], height, one.step, options);
    one.paintMarksOn(ink, widths[i], height, one.step, options);
    context.drawImage(layer, left, 0);
    left += widths[i];
  });
  if (options.map === "similarity" && view.scores) {
    for (let i = 0; i < 200; i++) {
      context.fillStyle = `rgb(${colourAt(view.clip.header.colours, i / 199)})`;
      context.fillRect(70 + i, height + 14, 1, 16);
    }
    context.fillStyle = "#fff";
    context.font = "15px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.fillText(options.range[0].toFixed(2), 24, height + 22);
    context.fillText(`${options.range[1].toFixed(2)}   ${options.centred ? "centred " : ""}cosine, ${view.time(view.step)}`, 280, height + 22);
  }
  canvas.toBlob((blob) => {
    const url = URL.createObjectURL(blob);
    h("a", { href: url, download: `patches-step-${view.step}.png` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }, "image/png");
}

// --- keys ---------------------------------------------------------------------------------------------------------------

function onKey(event) {
  if (!root.isConnected) return document.removeEventListener("keydown", onKey);
  const focus = document.activeElement;
  const inside = root.contains(focus);
  if (!state.views.length || event.ctrlKey || event.metaKey) return undefined;
  if (!inside && !(focus === document.body && root.matches(":hover"))) return undefined;
  const own = inside && focus.matches("input, button, summary");
  const arrows = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  const run = () => {
    if (event.key === "Escape") return clearQuery();
    if (event.key === "[" || event.key === "]") return stepBy(event.key === "]" ? 1 : -1);
    if (["+", "=", "-", "−"].includes(event.key)) {
      const by = event.key === "+" || event.key === "=" ? 0.1 : -0.1;
      options.opacity = Math.max(0, Math.min(1, Math.round((options.opacity + by) * 100) / 100));
      controls.opacity.show();
      return changed("opacity");
    }
    if (own) return false;
    if (arrows) return moveBy(...arrows, event.shiftKey);
    if (event.key === " ") return togglePlay();
    if (event.key === "Enter" && options.cursor) {
      return place(event.shiftKey ? "add" : event.altKey ? "subtract" : options.mode, performance.now());
    }
    return false;
  };
  if (run() !== false) event.preventDefault();
  return undefined;
}

// The moment under the pointer on the reference map; no step when the pointer has left it.
function onStepFocus(event) {
  if (!root.isConnected) document.removeEventListener("stepfocus", onStepFocus);
  else if (state.views.length && event.detail.step !== null) showFrame(2 * event.detail.step);
}

document.addEventListener("stepfocus", onStepFocus);
document.addEventListener("keydown", onKey);
new ResizeObserver(() => {
  cancelAnimationFrame(timers.layout);
  timers.layout = requestAnimationFrame(layout);
}).observe(clipsNode);
// The canvases take the page's text colour: paint again when the theme changes.
new MutationObserver(() => requestAnimationFrame(layout)).observe(document.body, { attributeFilter: ["class"] });
slots[1].node.hidden = true;
slots[0].node.hidden = true;
watch("value", load);
load();
