// The widget: which clips, which query, what is shown.

import { h, watchTheme, whileThere } from "../shared/dom.js";
import { Controls } from "./controls.js";
import { fetchClip } from "./files.js";
import { Film } from "./film.js";
import { actionOf } from "./keys.js";
import { saveFigure } from "./picture.js";
import { bestElsewhere, errorRange, makeQuery, meanOf, peakOf, scoreClip, scoreRange } from "./scores.js";
import { FIRST, canShow, isOfTokens, otherOf, readState, stateOf } from "./state.js";
import { ClipView } from "./view.js";

const PIN_DELAY = 250;
const ANNOUNCE_DELAY = 500;
const STATE_DELAY = 250;
const APART = 1.1; // times as long, and steps of two clips are not alike
const WIDE = 1.6; // from this ratio on, the steps leave more room for the picture below it than beside it

export const mount = (element, gradio) => new PatchViewer(element, gradio);

class PatchViewer {
  // What is chosen with the controls, and the query: {clip, index, sign} for each patch; `cursor` is the square, `best`
  // the best match elsewhere. The map is painted at `opacity`: `heat`, but for the moment in which a clip is new.
  options = {
    ...FIRST, mode: "pin", opacity: FIRST.heat, points: [], cursor: null, best: null, range: [0, 1],
  };
  views = []; // those slots that show a clip
  pinned = false;
  #pending = null; // the query that the next frame answers
  #request = null; // what is being fetched
  #coming = null; // the value that it is fetched for, until it is shown
  #held = null; // {state} of the page's own clip, while another one is shown in its place
  #timers = {};
  #map = FIRST.map; // that was chosen, which not every clip can show
  #toPeak = false;

  constructor(element, { props, trigger, watch }) {
    this.props = props;
    this.trigger = trigger;
    const listeners = {
      hover: (view, index, since, step) => this.#hover(view, index, since, step),
      leave: () => this.#setCursor(null),
      press: (view, index, event) => this.#press(view, index, event),
      pressStep: (view, step, index, event) => this.#pressStep(view, step, index, event),
      show: (_, step) => this.showFrame(2 * step),
      span: (start, end) => this.trigger("span", { start, end }),
    };
    this.slots = [new ClipView(listeners), new ClipView(listeners)];
    for (const { node } of this.slots) node.hidden = true;
    this.film = new Film(this);
    this.controls = new Controls(this.options, {
      changed: (name) => this.#changed(name),
      play: () => this.togglePlay(),
      stepBy: (steps) => this.stepBy(steps),
      clear: () => this.clear(),
      figure: (kind) => this.#saveFigure(kind),
      goToBest: () => this.goToBest(),
    });
    this.axis = h("p", { class: "w-soft pv-axis", hidden: "" });
    const clips = h("div", { class: "pv-clips" }, ...this.slots.map((view) => view.node), this.axis);
    const main = h("div", { class: "pv-main" }, clips, this.controls.readoutNode, this.controls.tools);
    this.root = h(
      "section", { class: "pv-root w-root", role: "region", "aria-label": "Patch viewer", "data-state": "empty" },
      h("p", { class: "w-empty", text: "No clip yet: choose one, and point at a patch of it." }),
      this.controls.message, main, this.controls.live,
    );
    element.replaceChildren(this.root);
    this.#listen(main);
    watch("value", () => {
      // It is shown when the other one goes, with what was chosen before that one came.
      if (this.#held) this.#held.state = { ...this.#held.state, patches: [], step: 0, ...this.props.value?.state };
      else this.#load(this.props.value);
    });
    this.#load(this.props.value);
  }

  #listen(main) {
    whileThere(this.root, document, "keydown", (event) => this.#onKey(event));
    // The moment under the pointer on the reference map; no step when the pointer has left it.
    whileThere(this.root, document, "stepfocus", ({ detail }) => {
      if (this.views.length && detail.step !== null) this.showFrame(2 * detail.step);
    });
    // What an address or a scene of a talk says: of the clip that is shown, or of another one with its files.
    whileThere(this.root, document, "showstate", ({ detail }) => {
      const coming = this.#coming; // it is meant for this one, where one is on its way
      if (coming && (coming.state || "patches" in detail)) coming.state = { ...coming.state, ...detail };
      else if (this.views.length) this.#restore(detail);
    });
    // While that one is held, the page's own waits; null leads back to it, as it was.
    whileThere(this.root, document, "showclip", ({ detail }) => {
      const own = this.#held;
      this.#held = detail?.held ? own || { state: this.#coming?.state || stateOf(this) } : null;
      if (detail || own) this.#load(detail || { ...this.props.value, state: own.state });
    });
    new ResizeObserver(() => {
      cancelAnimationFrame(this.#timers.layout);
      this.#timers.layout = requestAnimationFrame(() => this.#layout());
    }).observe(main);
    // The canvases take the page's text colour: paint again when the theme changes.
    watchTheme(this.root, () => requestAnimationFrame(() => this.#layout()));
  }

  // --- loading ----------------------------------------------------------------------------------------------------------

  // Fetch the clips of the value and show them. Where that fails, say why and leave what is shown.
  async #load(value) {
    if (!value || !value.primary) return;
    if (this.#request) this.#request.abort();
    const request = (this.#request = new AbortController()), coming = (this.#coming = { ...value });
    this.root.dataset.state = "loading";
    this.root.setAttribute("aria-busy", "true");
    this.controls.message.textContent = "";
    const files = [value.primary, value.compare].filter(Boolean);
    const fetched = await Promise.allSettled(files.map((file) => fetchClip(file, request.signal)));
    const clips = fetched.map((result) => result.value).filter(Boolean);
    const refused = (fetched.find((result) => result.status === "rejected") || {}).reason || mismatch(clips);
    if (request !== this.#request || refused) clips.forEach((clip) => clip.bitmap.close());
    if (request !== this.#request) return;
    this.#coming = null;
    this.root.removeAttribute("aria-busy");
    if (refused) this.controls.message.textContent = refused.message;
    else {
      this.#show(clips, [value.name || "", value.compare_name || ""], coming);
      this.#goToPeak();
    }
    this.root.dataset.state = refused ? "error" : "ready";
  }

  #show(clips, names, { state, view: number }) {
    this.number = number;
    const kept = this.#keptPoints(clips), frame = kept.length ? this.film.frame : 0, pin = kept.length > 0 && this.pinned;
    const { options } = this;
    this.film.stop();
    this.views = this.slots.slice(0, clips.length);
    this.slots.forEach((view, i) => {
      view.node.hidden = i >= clips.length;
      if (i < clips.length) view.set(clips[i], names[i]);
      else view.release();
    });
    options.cursor = options.best = null;
    options.points = [];
    this.#pending = null;
    this.film.frame = 0;
    this.root.classList.toggle("pv-pair", clips.length === 2);
    const { width, height } = this.views[0].geo.view;
    this.root.dataset.shape = width >= WIDE * height ? "wide" : "high";
    this.root.dataset.kind = clips.every((clip) => clip.header.kind === "image") ? "image" : "video";
    this.#setErrors(clips);
    this.#setAttention(clips);
    this.#setMap(this.#map);
    this.root.dataset.state = "ready";
    this.#layout();
    this.#setPinned(false); // other scores have another scale, which is held from then on
    if (state) return this.#restore(state);
    this.#expect();
    if (kept.length) {
      this.showFrame(frame);
      return this.#ask(kept, { pin });
    }
    this.#ask([{ clip: clips[0], index: clips[0].header.first, sign: 1 }], {});
    return this.film.begin();
  }

  // Show what a state says (see state.js); what it does not name stays as it is.
  #restore(state) {
    const { options, points, step } = readState(state, this.views.map((view) => view.clip));
    const named = "patches" in state;
    const asked = named ? points : this.options.points, pin = named ? !state.live : this.pinned;
    this.film.touched();
    Object.assign(this.options, options, { opacity: options.heat ?? this.options.heat, cursor: null });
    this.controls.show();
    if (options.map) this.#setMap(options.map);
    this.#toPeak = options.map === "surprise" && step === null;
    this.#expect();
    this.#layout();
    this.pinned = false; // the scale is that of what is asked for now
    this.views.forEach((view) => view.paintFrame(this.options));
    if (step !== null) this.showFrame(2 * step);
    const first = this.views[0].clip;
    if (asked.length) this.#ask(asked, { pin });
    else {
      this.#setPinned(false);
      this.#ask([{ clip: first, index: first.header.first, sign: 1 }], {});
    }
  }

  // Show a map, or the usual one until clips come that can show it.
  #setMap(map) {
    const can = canShow(this.views.map((view) => view.clip));
    this.#map = map;
    this.options.map = this.root.dataset.map = can[map] ? map : FIRST.map;
    this.controls.offerMaps(can);
    this.controls.showExpected();
    this.axis.hidden = this.options.map !== "surprise" || !this.axis.textContent;
  }

  // What was not expected of the clips, where their files tell it.
  #setErrors(clips) {
    const { options, views } = this, known = clips.every((clip) => clip.errors);
    const errors = (options.errors = known ? errorRange(clips.map((clip) => clip.errors)) : null);
    // Two clips are compared by their means: the band over the contexts would leave these little room.
    const pair = views.length > 1, curves = known ? views.map(({ curve }) => curve) : [];
    const values = curves.flatMap((curve) => [curve.mean, ...(pair ? [] : [curve.low, curve.high])].flatMap((part) => [...part])).filter((value) => !Number.isNaN(value));
    const ends = [Math.min(...values), Math.max(...values)];
    if (known) views.forEach((view, i) => view.setErrors(errors, ends, pair ? curves[1 - i] : null));
    this.axis.textContent = known && pair ? axisWords(ends, curves.map((curve) => meanOf(curve.mean)), clips.map(secondsOfAStep)) : "";
    const steps = known ? clips[0].header.expected : [];
    options.seen = Math.min(options.seen, steps.length || options.seen);
    this.controls.offerExpected(steps);
  }

  // Where the checkpoint's classifier looked in the clips, where it has one.
  #setAttention(clips) {
    const known = clips.every((clip) => clip.attention);
    const attention = (this.options.attention = known ? errorRange(clips.map((clip) => clip.attention)) : null);
    if (known) this.views.forEach((view) => view.setAttention(attention));
  }

  // Whoever chooses the surprise is shown the step that surprised most, once it is known; of two clips the one at which
  // they differ most.
  #goToPeak() {
    if (!this.#toPeak || !this.options.errors || !this.views.length) return;
    this.#toPeak = false;
    this.options.cursor = null;
    const [one, other] = this.views.map((view) => view.curve.mean);
    this.showFrame(2 * peakOf(other ? one.map((value, step) => Math.abs(other[step] - value)) : one));
  }

  // Ask for what was expected, where it is to be seen and is not there.
  #expect() {
    if (this.options.map === "surprise" && !this.options.errors && this.views.length) this.trigger("expect", {});
  }

  // Tell what is chosen, once that has come to rest; of a film that plays, only where something was chosen meanwhile.
  #tellState(chosen = false) {
    clearTimeout(this.#timers.state);
    this.#timers.state = setTimeout(() => {
      if (!this.views.length || (this.film.playing && !chosen)) return;
      this.root.dispatchEvent(new CustomEvent("statechange", { bubbles: true, detail: { ...stateOf(this), view: this.number } }));
    }, STATE_DELAY);
  }

  // A clip that stays, with another layer's tokens or with another clip beside it, keeps the places of the query in it.
  #keptPoints(clips) {
    const old = this.views.map((view) => view.clip);
    const stays = (number) => number < clips.length && sameFrames(old[number], clips[number]);
    const kept = this.options.points.map((point) => ({ ...point, number: old.indexOf(point.clip) })).filter(({ number }) => stays(number))
      .map(({ index, sign, number }) => ({ clip: clips[number], index, sign }));
    return kept.some((point) => point.sign > 0) ? kept : [];
  }

  // --- the query --------------------------------------------------------------------------------------------------------

  // Ask for a map of these points. Only the last one asked for before the next frame is made.
  #ask(points, { pin = false, since = performance.now() }) {
    const idle = !this.#pending;
    this.#pending = { points, pin, since };
    if (idle) requestAnimationFrame(() => this.#answer());
  }

  #answer() {
    if (!this.#pending || !this.views.length) return;
    const { points, pin, since } = this.#pending;
    const { options, views } = this;
    this.#pending = null;
    options.points = points;
    const query = makeQuery(points);
    const sets = views.map((view) => scoreClip(query, view.clip, options.centred));
    if (!this.pinned) options.range = scoreRange(sets);
    if (pin) this.#setPinned(true);
    views.forEach((view, i) => view.setScores(sets[i], options.range));
    options.best = this.#findBest(sets);
    this.paint();
    // A message is handled after the browser has painted this frame.
    const channel = new MessageChannel();
    channel.port1.addEventListener("message", () => {
      channel.port1.close();
      this.#announce(sets, since);
    });
    channel.port1.start();
    channel.port2.postMessage(null);
  }

  #announce(sets, since) {
    const { clip, index } = this.options.points[0] || {};
    if (!clip) return;
    const ms = performance.now() - since;
    const scores = sets[this.#numberOf(clip)];
    const detail = { ...position(clip, index), scores, all: sets, ms };
    this.root.dispatchEvent(new CustomEvent("patchquery", { bubbles: true, detail }));
  }

  // The best match elsewhere in the clip of the query, or in the other one where there are two.
  #findBest(sets) {
    const { points } = this.options;
    const mine = this.#numberOf(points[0].clip);
    const number = this.views.length > 1 ? 1 - mine : mine;
    const { clip } = this.views[number];
    const best = bestElsewhere(sets[number], clip, points.filter((point) => point.clip === clip).map((point) => point.index));
    return best.index < 0 ? null : { clip, ...best };
  }

  // Show the moment of the best match elsewhere, with the square on it.
  goToBest() {
    const { best } = this.options;
    if (!best) return;
    this.film.touched();
    if (!this.pinned) this.#setPinned(true);
    this.options.cursor = { clip: best.clip, index: best.index };
    this.showFrame(2 * position(best.clip, best.index).step);
  }

  async #saveFigure(kind) {
    if (!this.views.length) return;
    this.controls.message.textContent = "";
    try {
      await saveFigure(this.views, this.options, kind);
    } catch (error) {
      console.warn(error);
      this.controls.message.textContent = "This browser could not make the figure: save it as SVG, or in another browser.";
    }
  }

  #numberOf(clip) {
    return this.views.findIndex((view) => view.clip === clip);
  }

  #setPinned(pinned) {
    this.pinned = pinned;
    this.#tellState();
    this.root.dataset.pinned = pinned;
    // The page's handlers learn which patches are pinned once the pointer has come to rest.
    clearTimeout(this.#timers.pin);
    this.#timers.pin = setTimeout(() => {
      const { points, centred, range } = this.options;
      const places = (sign) => points.filter((point) => this.pinned && point.sign === sign).map(({ clip, index }) => {
        const { step, row, col } = position(clip, index);
        return { clip: this.#numberOf(clip), at: [step, row, col] };
      });
      this.trigger("query", { pinned: this.pinned, add: places(1), subtract: places(-1), centred, range });
    }, PIN_DELAY);
  }

  clear() {
    this.#pending = null;
    this.options.points = [];
    this.options.best = null;
    this.#setPinned(false);
    this.views.forEach((view) => view.setScores(null));
    this.paint();
  }

  // --- pointing ---------------------------------------------------------------------------------------------------------

  #hover(view, index, since, step) {
    this.film.touched();
    // On the curve of the surprise it is the step that is pointed at.
    if (index < 0 && step >= 0 && this.options.map === "surprise" && step !== view.step) this.showFrame(2 * step);
    if (index < 0) return this.#setCursor(null);
    const { cursor } = this.options;
    if (cursor && cursor.clip === view.clip && cursor.index === index) return undefined;
    this.options.cursor = { clip: view.clip, index };
    return this.pinned ? this.paint() : this.#ask([{ clip: view.clip, index, sign: 1 }], { since });
  }

  #setCursor(cursor) {
    if (!cursor && !this.options.cursor) return;
    this.options.cursor = cursor;
    this.paint();
  }

  #press(view, index, event) {
    if (index < 0) return;
    this.film.touched();
    const { step } = position(view.clip, index);
    if (step !== view.step) this.showFrame(2 * step);
    this.options.cursor = { clip: view.clip, index };
    this.place(event.shiftKey ? "add" : event.altKey ? "subtract" : this.options.mode);
  }

  // A press on the strip: of a map that answers no query, and on the curve, it is the step that is meant.
  #pressStep(view, step, index, event) {
    if (index >= 0 && isOfTokens(this.options.map)) return this.#press(view, index, event);
    if (step < 0) return undefined;
    this.film.touched();
    this.options.cursor = null;
    return this.showFrame(2 * step);
  }

  // Put the square's patch into the query: alone, added or subtracted.
  place(mode) {
    const { cursor, points } = this.options;
    if (!cursor) return undefined;
    const { clip, index } = cursor;
    if (mode === "pin" || !this.pinned) {
      if (mode === "subtract") return this.#say("Pin a patch first, then subtract others from it.");
      this.pinned = false;
      return this.#ask([{ clip, index, sign: 1 }], { pin: true });
    }
    const others = points.filter((point) => point.clip !== clip || point.index !== index);
    const wanted = [...others, { clip, index, sign: mode === "add" ? 1 : -1 }];
    if (!wanted.some((point) => point.sign > 0)) return this.#say("The query needs at least one patch that is not subtracted.");
    return this.#ask(wanted, { pin: true });
  }

  // The arrow keys move the query patch; with Shift only the square, so that another patch can be added.
  moveBy(rows, cols, squareOnly) {
    this.film.touched();
    const { cursor, points } = this.options;
    const last = points[points.length - 1];
    const { clip, index: from } = (squareOnly && cursor) || last || cursor || this.views[0].middle();
    const at = position(clip, from);
    const row = Math.max(0, Math.min(clip.rows - 1, at.row + rows)), col = Math.max(0, Math.min(clip.cols - 1, at.col + cols));
    if (!clip.mask[row * clip.cols + col]) return;
    const index = (at.step * clip.rows + row) * clip.cols + col;
    this.options.cursor = { clip, index };
    if (squareOnly) this.paint();
    else if (!this.pinned || !last) this.#ask([{ clip, index, sign: 1 }], { pin: this.pinned });
    else this.#ask([...points.slice(0, -1), { ...last, index }], { pin: true });
  }

  #onKey(event) {
    const focus = document.activeElement;
    const inside = this.root.contains(focus);
    if (!this.views.length || event.ctrlKey || event.metaKey) return;
    if (!inside && !(focus === document.body && this.root.matches(":hover"))) return;
    const action = actionOf(event, inside && focus.matches("input, button, summary"));
    if (!action || (action.cursor && !this.options.cursor)) return;
    action.run(this);
    event.preventDefault();
  }

  // --- time -------------------------------------------------------------------------------------------------------------

  get frames() {
    return Math.max(0, ...this.views.map((view) => 2 * view.clip.steps));
  }

  // A step that the film came past, and where it happened to stop, nobody chose.
  showFrame(frame, chosen = true) {
    this.film.frame = (frame + this.frames) % this.frames;
    for (const view of this.views) view.showFrame(this.film.frame, this.options);
    this.paint();
    if (chosen) this.#tellState();
  }

  stepBy(steps) {
    this.film.touched();
    if (this.views.length) this.showFrame(2 * ((this.film.frame >> 1) + steps));
  }

  togglePlay() {
    const { playing } = this.film;
    this.film.touched();
    if (playing) this.film.stop();
    else if (this.views.length) this.film.play();
    this.#tellState();
  }

  // --- showing ----------------------------------------------------------------------------------------------------------

  #layout() {
    this.views.forEach((view) => view.layout(this.options));
    this.#showReadout();
  }

  paint() {
    this.views.forEach((view) => view.paintMap(this.options));
    this.#showReadout();
  }

  addHeat(by) {
    this.options.heat = Math.max(0, Math.min(1, Math.round((this.options.heat + by) * 100) / 100));
    this.controls.heat.show(this.options.heat);
    this.#changed("heat");
  }

  #changed(name) {
    this.film.touched();
    this.#tellState(true);
    this.options.opacity = this.options.heat;
    if (name === "centred" && this.options.points.length && this.views.length) {
      // Another quantity, another scale.
      const pin = this.pinned;
      this.pinned = false;
      if (!pin) this.#setPinned(false); // the page's handlers learn of it, too
      return this.#ask(this.options.points, { pin });
    }
    if (name === "map") {
      this.#toPeak = this.options.map === "surprise";
      this.#setMap(this.options.map);
      this.#goToPeak();
      this.#expect();
    }
    if (name === "map" || name === "seen") this.#layout();
    if (name === "borders") this.views.forEach((view) => view.paintFrame(this.options));
    return this.paint();
  }

  #showReadout() {
    const view = this.views[0];
    if (!view || !view.clip) return;
    const { cursor, points, range } = this.options;
    this.controls.scale(range, view.clip.header.colours, this.pinned, otherOf(this.options));
    const { map, errors } = this.options, ofStep = map === "surprise" && errors && !cursor;
    const looked = cursor || points[points.length - 1];
    const text = ofStep ? this.#readStep(view) : looked ? this.#readout(looked) : { number: "–", what: "Point at a patch", best: "", where: "" };
    this.controls.readout(text);
    clearTimeout(this.#timers.announce);
    if (looked && !this.film.playing) {
      this.#timers.announce = setTimeout(() => this.#say(`${text.number} ${text.what}. ${text.where}. ${text.best}`), ANNOUNCE_DELAY);
    }
  }

  // While a query is pinned, the number is that of the patch under the pointer; before, that of the best match elsewhere.
  #readStep(view) {
    const mean = view.curve.mean[view.step], where = `step ${view.step} (${view.time(view.step)})`;
    return Number.isNaN(mean)
      ? { number: "–", what: "nothing came before this step", best: "", where }
      : { number: mean.toFixed(2), what: "surprise of this step", best: "", where };
  }

  #readout({ clip, index }) {
    const view = this.views[this.#numberOf(clip)];
    const { step, row, col } = position(clip, index);
    const { best, points, cursor } = this.options;
    const film = clip.header.kind !== "image";
    const where = `${film ? `step ${step} (${view.time(step)}), ` : ""}row ${row}, column ${col}${points.length > 1 ? `; query of ${points.length} patches` : ""}`;
    const at = best && this.#placeOf(best);
    if (this.options.map === "surprise" && this.options.errors) {
      const error = clip.errors[index], mean = view.curve.mean[step];
      const words = Number.isNaN(mean) ? "nothing came before" : `surprise of this patch; ${mean.toFixed(2)} in its step`;
      return { number: Number.isNaN(error) ? "–" : error.toFixed(2), what: words, best: "", where };
    }
    if (this.options.map === "attention" && this.options.attention) {
      const words = `the average attention; ${Math.round(100 * view.looked[step])} % of all is in this step`;
      return { number: `${clip.attention[index].toFixed(1)} ×`, what: words, best: "", where };
    }
    if (!isOfTokens(this.options.map)) return { number: "…", what: "being computed", best: "", where };
    if (this.pinned && cursor) {
      const score = view.scores ? view.scores[index] : NaN;
      const words = best ? `best elsewhere ${best.score.toFixed(2)}${at} ›` : "";
      return { number: Number.isNaN(score) ? "–" : score.toFixed(2), what: "under the pointer", best: words, where };
    }
    return best
      ? { number: best.score.toFixed(2), what: "best match elsewhere", best: `${at.trim() || "show"} ›`, where }
      : { number: "–", what: "", best: "", where };
  }

  #placeOf({ clip, index }) {
    const other = this.views.length > 1 ? " in the other clip" : "";
    return clip.header.kind === "image" ? other : `${other} at ${clip.header.timestamps[2 * position(clip, index).step].toFixed(2)} s`;
  }

  #say(text) {
    this.controls.live.textContent = text;
  }
}

function mismatch([one, two]) {
  const made = (clip) => JSON.stringify([clip.header.checkpoint, clip.header.layer, clip.dim]);
  return two && made(one) !== made(two)
    ? new Error("The two clips come from different checkpoints or layers: embed both in the same way.") : null;
}

const secondsOfAStep = ({ header: { timestamps } }) => (timestamps[timestamps.length - 1] - timestamps[0]) / Math.max(1, timestamps.length - 1) * 2;

// What is told of two clips is as exact as what is shown of them. Steps of other lengths are other questions.
function axisWords([low, high], means, steps) {
  const told = means.map((mean) => mean.toFixed(3)), [short, long] = steps.toSorted((a, b) => a - b);
  const more = told[0] === told[1] ? "neither surprises more" : `the ${Number(told[1]) > Number(told[0]) ? "second" : "first"} surprises more`;
  const words = long > short * APART ? `a step is ${steps.map((step) => step.toFixed(2)).join(" s and ")} s long, so they cannot be compared` : more;
  return `Both curves on one axis, ${low.toFixed(2)} to ${high.toFixed(2)}; dashed: the other clip's. Mean surprise ${told.join(" and ")}: ${words}.`;
}

function sameFrames(one, two) {
  return ["grid", "timestamps", "source_size", "window", "duration"]
    .every((name) => JSON.stringify(one.header[name]) === JSON.stringify(two.header[name]));
}

function position(clip, index) {
  const col = index % clip.cols, row = Math.floor(index / clip.cols) % clip.rows;
  return { step: Math.floor(index / (clip.rows * clip.cols)), row, col };
}
