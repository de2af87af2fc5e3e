// One clip on the page: its large frame, the strip of all time steps with the curve, the line of sampled moments.

import { h, sizeCanvas } from "../shared/dom.js";
import { MapPicture, colourWords, paintCurve, paintErrors, paintExpected, paintFrame, paintMap, paintMarks, paintRing } from "./draw.js";
import { geometry, intersection, patchAt } from "./geometry.js";
import { bestMatches, sharesAlike, sharesOfSteps } from "./scores.js";
import { SpanHandles } from "./span.js";
import { isOfTokens } from "./state.js";

const CURVE_HEIGHT = 34;
const SURPRISE_HEIGHT = 60; // the curve is what is looked at
const CELL_GAP = 4;
const ONE = { across: 1, down: 1 }; // pictures of a clip
const LIT = 0.6; // of the scale: on a stage a step's best match has a ring from there on, where the map is well seen

const seconds = (t) => `${t.toFixed(2)} s`;

export class ClipView {
  // `listeners` has hover(view, index, time, step), leave(view), press(view, index, event), pressStep(view, step, index, event),
  // show(view, step), span(start, end).
  constructor(listeners) {
    this.listeners = listeners;
    this.clip = null;
    this.base = h("canvas", { "aria-hidden": "true" });
    this.over = h("canvas", { "aria-hidden": "true" });
    this.stage = h("div", { class: "pv-stage", role: "application", tabindex: "0" }, this.base, this.over);
    this.title = h("span", { class: "pv-name" });
    this.facts = h("span", { class: "w-soft" });
    this.stripBase = h("canvas", { "aria-hidden": "true" });
    this.stripOver = h("canvas", { "aria-hidden": "true" });
    this.cells = h("div", { class: "pv-cells", role: "group", "aria-label": "Time steps" });
    this.strip = h("div", { class: "pv-strip" }, this.stripBase, this.stripOver, this.cells);
    this.line = h("canvas", { role: "img" });
    this.handles = new SpanHandles(listeners.span, () => this.#paintMoments());
    this.moment = h("div", { class: "pv-moments" }, this.line, this.handles.node);
    this.moments = h("p", { class: "w-soft" });
    this.matte = h("div", { class: "pv-matte" }, this.stage);
    this.node = h(
      "figure", { class: "pv-clip" },
      h("figcaption", {}, this.title, this.facts), this.matte, this.strip, this.moment, this.moments,
    );
    const { press, pressStep } = listeners;
    this.#listen(this.stage, (event) => this.#stagePatch(event), (index, event) => press(this, index, event));
    this.#listen(this.strip, (event) => this.#stripPatch(event), (index, event) => pressStep(this, this.#stripStep(event), index, event));
  }

  #listen(node, find, press) {
    const { hover, leave, show } = this.listeners;
    const stepAt = (event) => (node === this.strip ? this.#stripStep(event) : -1);
    node.addEventListener("pointermove", (event) => this.clip && hover(this, find(event), performance.now(), stepAt(event)));
    node.addEventListener("pointerleave", () => leave(this));
    node.addEventListener("click", (event) => {
      if (!this.clip) return;
      const cell = event.target.closest("button");
      // A click without a pointer comes from the keyboard or a screen reader: it shows the step.
      if (cell && event.detail === 0) show(this, Number(cell.dataset.step));
      else press(find(event), event);
    });
  }

  #stagePatch(event) {
    const box = this.stage.getBoundingClientRect();
    const share = (at, from, size, parts) => (((at - from) / size) * parts) % 1;
    const u = share(event.clientX, box.left, box.width, this.parts.across), v = share(event.clientY, box.top, box.height, this.parts.down);
    return patchAt(this.clip, this.geo, this.step, u, v);
  }

  #stripAt(event) {
    const box = this.strip.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    return { x, y, step: this.places.findIndex((p) => x >= p.x && x < p.x + p.width && y >= p.y && y < p.y + p.height) };
  }

  #stripPatch(event) {
    const { x, y, step } = this.#stripAt(event);
    if (step < 0) return -1;
    const { width, height, ...p } = this.places[step];
    return patchAt(this.clip, this.geo, step, (x - p.x) / width, (y - p.y) / height);
  }

  // The step under the pointer, on its picture or where the curve passes it; -1 where there is none.
  #stripStep(event) {
    const { x, y, step } = this.#stripAt(event);
    const row = step < 0 && this.rows.find(({ lane }) => y >= lane.y && y < lane.y + lane.height);
    if (!row) return step;
    const apart = this.places.slice(row.from, row.to).map((p) => Math.abs(x - p.x - p.width / 2));
    return row.from + apart.indexOf(Math.min(...apart));
  }

  // Takes over a decoded clip and lets go of the one before.
  set(clip, name) {
    this.release();
    this.clip = clip;
    this.geo = geometry(clip);
    this.frame = 0;
    this.scoresPicture = new MapPicture(clip);
    this.colours = colourWords(clip.header.colours);
    this.parts = ONE;
    this.errorsPicture = clip.errors && new MapPicture(clip);
    this.attentionPicture = clip.attention && new MapPicture(clip);
    this.looked = clip.attention && sharesOfSteps(clip.attention, clip);
    const part = (row) => clip.curve.subarray(row * clip.steps, (row + 1) * clip.steps);
    this.curve = clip.curve && { mean: part(0), low: part(1), high: part(2) };
    this.pcaPicture = clip.pca && new MapPicture(clip);
    if (this.pcaPicture) this.pcaPicture.rgb(clip.pca, clip);
    this.title.textContent = this.name = name;
    this.facts.textContent = this.#seen();
    this.node.setAttribute("aria-label", name || "Clip");
    this.#shape();
    this.cells.replaceChildren(...Array.from({ length: clip.steps }, (_, step) => this.#cell(step)));
    this.moments.textContent = this.#sampled();
    this.line.setAttribute("aria-label", this.moments.textContent);
    this.node.dataset.kind = clip.header.kind;
    this.handles.set(clip.header);
  }

  // The picture; or what came and what was expected, beside or below each other, whichever makes them larger.
  #shape(options) {
    const { width, height } = this.geo.view, { clientWidth: across, clientHeight: down } = this.matte;
    const beside = Math.min(across / 2, down * (width / height)), below = Math.min(across, (down / 2) * (width / height));
    this.parts = !options || !this.expects(options) ? ONE : below > beside ? { across: 1, down: 2 } : { across: 2, down: 1 };
    const aspect = (this.parts.across * width) / (this.parts.down * height);
    this.stage.style.aspectRatio = aspect;
    this.stage.style.setProperty("--pv-aspect", aspect);
  }

  #caption({ seen }) {
    const shown = this.parts === ONE ? 0 : this.clip.header.expected[seen - 1];
    const what = this.step < shown ? `this step, which was shown (the first ${shown})` : `what was expected after ${shown} step${shown > 1 ? "s" : ""}, in patches that were seen (faint: none is like it)`;
    this.facts.textContent = shown ? `${this.parts.down > 1 ? "below" : "right"}: ${what}` : this.#seen();
  }

  // Whether what was expected of it is to be seen, and after how many of its steps.
  expects({ map, seen }) {
    return map === "surprise" && Boolean(this.clip.nearest) && seen > 0 && seen <= this.clip.header.expected.length;
  }

  release() {
    if (this.clip) this.clip.bitmap.close();
    this.clip = this.scoresPicture = this.errorsPicture = this.attentionPicture = this.looked = this.pcaPicture = this.curve = this.scores = this.matches = null;
    this.places = [];
  }

  get step() {
    return Math.min(this.frame >> 1, this.clip.steps - 1);
  }

  // The patch in the middle of the step that is shown.
  middle() {
    const { clip } = this;
    return { clip, index: (this.step * clip.rows + (clip.rows >> 1)) * clip.cols + (clip.cols >> 1) };
  }

  // The two moments of a tubelet; an image has none.
  time(step) {
    const { kind, timestamps } = this.clip.header;
    if (kind === "image") return "still image";
    const [from, to] = [timestamps[2 * step], timestamps[Math.min(2 * step + 1, timestamps.length - 1)]];
    return from === to ? seconds(from) : `${from.toFixed(2)}–${seconds(to)}`;
  }

  #cell(step) {
    const label = `Step ${step}, ${this.time(step)}`;
    const caption = this.clip.header.kind === "image" ? `step ${step}` : this.clip.header.timestamps[2 * step].toFixed(2);
    return h("button", { type: "button", "data-step": step, "aria-label": label }, h("span", { text: caption }));
  }

  #seen() {
    const { source_size: [width, height], fit } = this.clip.header;
    const part = intersection(this.geo.window, this.geo.source);
    const share = (part.width * part.height) / (width * height);
    const all = `${width} × ${height}`;
    const did = { pad: "all seen, padding (hatched) left out", squash: "all seen, squashed to a square" }[fit];
    if (share > 0.995) return `${all}, ${did || "all seen"}`;
    return `${all}, ${Math.round(part.width)} × ${Math.round(part.height)} seen (${Math.round(100 * share)} %)`;
  }

  #sampled() {
    const { kind, timestamps, duration, frame_count: frames } = this.clip.header;
    if (kind === "image") return `One image, shown to the model ${2 * this.clip.steps} times.`;
    const of = frames > 1 ? ` of ${frames.toLocaleString("en")}` : "";
    const last = timestamps[timestamps.length - 1];
    const whole = duration ? ` of ${seconds(duration)}` : "";
    return `${timestamps.length}${of} frames sampled, ${seconds(timestamps[0])} to ${seconds(last)}${whole}; two to a step.`;
  }

  // Takes the size that there is, places the cells in as many rows as it takes, and paints everything anew.
  layout(options) {
    if (!this.clip || !this.stage.clientWidth) return;
    this.#shape(options);
    this.#caption(options);
    this.stageBox = { width: this.stage.clientWidth, height: this.stage.clientHeight };
    this.baseContext = sizeCanvas(this.base, this.stageBox.width, this.stageBox.height);
    this.overContext = sizeCanvas(this.over, this.stageBox.width, this.stageBox.height);
    this.#layoutStrip(options);
    this.paintFrame(options);
    this.paintMap(options);
  }

  // A photo has none: all its steps show the same.
  #layoutStrip({ map }) {
    const width = this.strip.clientWidth, steps = this.clip.header.kind === "image" ? 0 : this.clip.steps;
    this.places = this.rows = [];
    this.large = false;
    if (!width || !steps) return;
    const aspect = this.geo.view.width / this.geo.view.height;
    const { columns: fixed, rows: most } = this.#stageGrid();
    if (fixed) return this.#placeSteps(fixed, most, aspect);
    // On a phone eight steps fit in one row.
    const least = width < 480 ? 38 : Math.max(56, Math.min(70, 64 * aspect));
    const rows = Math.ceil(steps / Math.max(1, Math.floor((width + CELL_GAP) / (least + CELL_GAP))));
    const columns = Math.ceil(steps / rows);
    const cell = Math.min((width + CELL_GAP) / columns - CELL_GAP, 200 * Math.min(1, aspect));
    const height = Math.min(cell / aspect, 72);
    const inner = height * aspect;
    const pitch = (width + CELL_GAP) / columns;
    const under = map === "surprise" ? SURPRISE_HEIGHT : CURVE_HEIGHT, line = height + under;
    this.places = Array.from({ length: steps }, (_, i) => ({
      x: (i % columns) * pitch + (pitch - CELL_GAP - inner) / 2,
      y: Math.floor(i / columns) * line,
      width: inner, height,
    }));
    this.rows = Array.from({ length: rows }, (_, r) => ({
      from: r * columns, to: Math.min(steps, (r + 1) * columns),
      lane: { x: 0, y: r * line + height, width, height: under },
    }));
    this.strip.style.height = `${rows * line}px`;
    this.#placeCells(width, rows * line);
  }

  // On a stage the style sheet says how many steps there is room for; where a clip has more, every second or third is shown.
  #stageGrid() {
    const style = getComputedStyle(this.strip);
    const [columns, rows] = ["--pv-columns", "--pv-rows"].map((name) => Number(style.getPropertyValue(name)));
    return { columns, rows };
  }

  #placeSteps(columns, most, aspect) {
    this.strip.style.height = "";
    const { clientWidth: width, clientHeight: height } = this.strip, { steps } = this.clip;
    const every = Math.ceil(steps / (columns * most)), rows = Math.ceil(Math.ceil(steps / every) / columns);
    const across = (width + CELL_GAP) / columns - CELL_GAP, down = (height + CELL_GAP) / most - CELL_GAP;
    const inner = Math.min(across, down * aspect), tall = inner / aspect;
    this.places = Array.from({ length: steps }, (_, step) => {
      const i = step / every;
      if (i % 1) return { x: 0, y: 0, width: 0, height: 0 };
      return {
        x: (i % columns) * (across + CELL_GAP) + (across - inner) / 2,
        y: (height - rows * (tall + CELL_GAP) + CELL_GAP) / 2 + Math.floor(i / columns) * (tall + CELL_GAP),
        width: inner, height: tall,
      };
    });
    this.large = true;
    this.#placeCells(width, height);
  }

  #placeCells(width, height) {
    [...this.cells.children].forEach((button, i) => {
      const place = this.places[i];
      button.style.cssText = `left:${place.x}px;top:${place.y}px;width:${place.width}px;height:${place.height}px`;
      button.hidden = !place.width;
    });
    this.stripBaseContext = sizeCanvas(this.stripBase, width, height);
    this.stripOverContext = sizeCanvas(this.stripOver, width, height);
    this.#paintStrip();
  }

  #paintStrip() {
    this.stripBaseContext.clearRect(0, 0, this.strip.clientWidth, this.strip.clientHeight);
    for (const [step, place] of this.places.entries()) {
      this.#within(this.stripBaseContext, place, (context) =>
        paintFrame(context, place.width, place.height, this.clip, this.geo, 2 * step, { edge: 0 }));
    }
  }

  #within(context, place, paint) {
    context.save();
    context.translate(place.x, place.y);
    context.beginPath();
    context.rect(0, 0, place.width, place.height);
    context.clip();
    paint(context);
    context.restore();
  }

  // Show this frame, or the last one where the clip has fewer.
  showFrame(frame, options) {
    this.frame = Math.min(frame, 2 * this.clip.steps - 1);
    this.paintFrame(options);
  }

  paintFrame(options) {
    if (!this.baseContext || !this.clip) return;
    const [came, expected] = this.#places();
    paintFrame(this.baseContext, came.width, came.height, this.clip, this.geo, this.frame, options);
    if (expected) {
      this.#within(this.baseContext, expected, (context) =>
        paintExpected(context, expected.width, expected.height, this.clip, this.geo, this.step, options.seen - 1));
    }
    this.#caption(options);
    const label = `Frame of step ${this.step}, ${this.time(this.step)}`;
    this.stage.setAttribute("aria-label", label);
    [...this.cells.children].forEach((button, i) => {
      if (i === this.step) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    });
    this.#paintMoments();
  }

  // Where on the canvas what came is, and what was expected, if it is shown.
  #places() {
    const width = this.stageBox.width / this.parts.across, height = this.stageBox.height / this.parts.down;
    const came = { x: 0, y: 0, width, height };
    return this.parts === ONE ? [came] : [came, { ...came, x: this.stageBox.width - width, y: this.stageBox.height - height }];
  }

  // New scores for the map; null clears it.
  setScores(scores, range) {
    this.scores = scores;
    this.matches = scores && bestMatches(scores, this.clip);
    this.lit = range && range[0] + LIT * (range[1] - range[0]);
    this.shares = scores && sharesAlike(scores, this.clip, (range[0] + range[1]) / 2);
    if (scores) this.scoresPicture.scores(scores, range, this.colours);
    else this.scoresPicture.clear();
  }

  paintMap(options) {
    if (!this.overContext || !this.clip) return;
    const places = this.#places(), [{ width, height }] = places;
    this.overContext.clearRect(0, 0, this.stageBox.width, this.stageBox.height);
    this.paintMapOn(this.overContext, width, height, this.step, options);
    for (const place of places) this.#within(this.overContext, place, (context) => this.paintMarksOn(context, width, height, this.step, options));
    if (this.places.length) this.#paintStripMap(options);
  }

  #paintStripMap(options) {
    const context = this.stripOverContext;
    context.clearRect(0, 0, this.strip.clientWidth, this.strip.clientHeight);
    for (const [step, place] of this.places.entries()) {
      this.#within(context, place, () => {
        this.paintMapOn(context, place.width, place.height, step, options);
        const matches = isOfTokens(options.map) ? this.matches : null;
        const best = matches && matches[step].index;
        if (matches && best >= 0 && (!this.large || this.matches[step].score > this.lit)) paintRing(context, place.width, place.height, this.clip, this.geo, best, this.large);
        this.paintMarksOn(context, place.width, place.height, step, options, false);
      });
    }
    const ink = getComputedStyle(this.node).color;
    if (options.map === "surprise" && this.curve) {
      for (const { from, to, lane } of this.rows) paintErrors(context, this.places.slice(from, to), from, lane, this.curves, ink);
      return;
    }
    if (options.map === "attention" && this.looked) {
      for (const { from, to, lane } of this.rows) paintCurve(context, this.places.slice(from, to), lane, this.looked.slice(from, to), Math.max(...this.looked), ink);
      return;
    }
    if (!this.matches || !isOfTokens(options.map)) return;
    for (const { from, to, lane } of this.rows) {
      paintCurve(context, this.places.slice(from, to), lane, this.shares.slice(from, to), Math.max(...this.shares.filter((share) => share >= 0)), ink);
    }
  }

  // The colours of what was not expected, in one range for all clips, the ends of their curves, and the other clip's.
  setErrors(range, ends, other) {
    this.curves = { curve: this.curve, other, range: ends };
    this.errorsPicture.scores(this.clip.errors, range, this.colours);
  }

  // The colours of where the classifier looked, in one range for all clips.
  setAttention(range) {
    this.attentionPicture.scores(this.clip.attention, range, this.colours);
  }

  // One step's map on any canvas, without marks.
  paintMapOn(context, width, height, step, { map, opacity, threshold, smooth }) {
    const picture = { pca: this.pcaPicture, surprise: this.errorsPicture, attention: this.attentionPicture, similarity: this.scores && this.scoresPicture }[map];
    if (!picture) return;
    const scores = isOfTokens(map) ? this.scores : null;
    paintMap(context, width, height, this.clip, this.geo, step, { picture, opacity, scores, threshold, smooth });
  }

  paintMarksOn(context, width, height, step, options, faintToo = true) {
    const { marks, ring } = this.marksOf(step, options, faintToo);
    if (ring >= 0) paintRing(context, width, height, this.clip, this.geo, ring);
    paintMarks(context, width, height, this.clip, this.geo, marks);
  }

  // Squares on the query's patches (faint where they belong to another step) and under the pointer or arrow keys; the ring
  // on the best match elsewhere, -1 where it is not in this step.
  marksOf(step, { points, cursor, best, map }, faintToo = true) {
    const area = this.clip.rows * this.clip.cols;
    const mine = points.filter((point) => point.clip === this.clip);
    const marks = mine.map(({ index, sign }) => ({
      index, sign: points.length > 1 ? sign : 0, faint: Math.floor(index / area) !== step,
    })).filter((mark) => faintToo || !mark.faint);
    const free = cursor && cursor.clip === this.clip && !mine.some((point) => point.index === cursor.index);
    if (free && Math.floor(cursor.index / area) === step) marks.push({ index: cursor.index, sign: 0, faint: false });
    const ringed = faintToo && isOfTokens(map) && best && best.clip === this.clip && Math.floor(best.index / area) === step;
    return { marks, ring: ringed ? best.index : -1 };
  }

  // The whole length of the video with a tick for every frame the model was given, and the span they were taken from.
  #paintMoments() {
    const { kind, timestamps, duration } = this.clip.header;
    if (kind === "image" || !this.line.clientWidth) return;
    const width = this.line.clientWidth, height = this.line.clientHeight;
    this.handles.place(width);
    const context = sizeCanvas(this.line, width, height);
    const ink = getComputedStyle(this.node).color;
    const whole = Math.max(duration, timestamps[timestamps.length - 1], 1e-6);
    const x = (t) => 5 + (t / whole) * (width - 10);
    context.clearRect(0, 0, width, height);
    context.fillStyle = ink;
    context.globalAlpha = 0.18;
    context.fillRect(5, height / 2 - 2, width - 10, 4);
    const { start, end } = this.handles;
    context.globalAlpha = 0.45;
    context.fillRect(x(start), height / 2 - 2, Math.max(0, x(Math.min(end, whole)) - x(start)), 4);
    context.globalAlpha = 0.75;
    for (const t of timestamps) context.fillRect(x(t) - 0.75, height / 2 - 5, 1.5, 10);
    context.globalAlpha = 1;
    context.beginPath();
    context.arc(x(timestamps[Math.min(this.frame, timestamps.length - 1)]), height / 2, 4.5, 0, 2 * Math.PI);
    context.fill();
  }
}
