// The reference map in the page: builds its static frame once, then draws what each value brings.

import { address, button, h, toggle, watchTheme, whileThere } from "../shared/dom.js";
import { PLOT_CONFIG, SAVED_SIZE, WAYS, columns, makeLayout, makeTraces, plain, savedFigure } from "./figure.js";
import { drawNames, drawNeighbours, drawPlayer, drawTruth, makeFilm, nameOf } from "./panels.js";
import { MOST_POINTS, nextPoint, placeNames } from "./places.js";
import { fetchSet } from "./set.js";

export const mount = (element, gradio) => new ReferenceMap(element, gradio);

const REST_MS = 120; // the pointer is on a point for so long before its clip is fetched
const REACH = 110; // pixels that a name may stand from the centre of its label
const SOME_POINTS = 150; // of more than names are kept clear of stand for all: names are placed in every frame of a pan
const FEW = 5; // names on a low screen, while nobody points at the map
const INSET = 6; // pixels to the lower left corner, where the name of all other labels stands: they have no centre
const NAME_AREA = 9000; // square pixels of the map for each name of a table's labels, which would hide its points
const ARROWS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
const HELP = "Point at a dot and its clip plays; arrow keys go from dot to dot.";
const KEYS = "Page Up and Page Down go by similarity, Enter opens the clip, L shows its label alone.";

let plotly = null; // the library, once it is asked for

// The picture with its first heat is what is looked at first: on a page with a viewer nothing of the map is fetched before
// that stands, or that long. Of what comes too late to be heard there is nothing left to wait for.
const HEAT_MS = 4000;
let heat = null;
const heated = new Promise((resolve) => document.addEventListener("patchquery", resolve, { once: true }));
const afterHeat = () => heat ||= document.querySelector(".pv-root")
  ? Promise.race([heated, new Promise((resolve) => setTimeout(resolve, HEAT_MS))]) : Promise.resolve();

// It is large, and so is what it does first: what is looked at goes before it, and so does a clip that is on its way,
// which the same processor may have to embed.
const COMING = ".in-message[data-coming], .page-head .status .busy", LEAST_MS = 200, LOOK_MS = 100, COMING_MS = 15_000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const idle = async () => {
  if (window.requestIdleCallback) await new Promise((resolve) => window.requestIdleCallback(resolve, { timeout: 2000 }));
  for (let ms = 0; (ms < LEAST_MS || document.querySelector(COMING)) && ms < COMING_MS; ms += LOOK_MS) await pause(LOOK_MS);
};

export function loadPlotly(url) {
  plotly ||= idle().then(() => new Promise((resolve, reject) => {
    const load = () => resolve(window.Plotly);
    const error = () => {
      plotly = null;
      reject(new Error("The map's library could not be loaded: reload the page."));
    };
    document.head.append(h("script", { src: url, on: { load, error } }));
  }));
  return plotly;
}

class ReferenceMap {
  set = null; // the references, fetched from `path`
  path = "";
  clip = null;
  // What is chosen, and what a ring is around.
  view = { isolated: null, step: null, focus: null, showPath: true, showLines: true };
  #turn = 0; // of values: the last one wins
  #frame = 0;
  #label = ""; // the one to show alone once there is a set
  #named = ""; // for what the names were placed
  #sizes = []; // of the names, in pixels
  #order = []; // rows by similarity to the clip
  #at = null; // the row that the keyboard is at
  #film = null; // what is in the tip, and when it starts
  #asked = null; // the row that the tip is of, while nothing but its label is known
  #rest = 0;
  #scale = 1; // of its marks: larger on a stage

  constructor(element, { props, watch }) {
    this.parts = {
      message: h("p", { class: "w-message", role: "alert" }),
      far: h("p", { class: "rm-far", role: "note", hidden: "" }),
      plot: h("div", { class: "rm-plot", role: "figure" }),
      names: h("div", { class: "rm-names", role: "group", "aria-label": "Labels" }),
      way: h("span", { class: "w-soft rm-way" }),
      said: h("p", { class: "w-hidden", role: "status", "aria-label": "Point of the map" }),
      quality: h("p", { class: "w-soft rm-quality" }),
      player: h("div", { class: "rm-player", role: "group", "aria-label": "Player" }),
      vote: h("p", { class: "rm-vote" }),
      filling: h("p", { class: "rm-filling w-soft", role: "status", hidden: "" }),
      waiting: h("p", { class: "rm-waiting w-soft", role: "status", text: "Looking for similar clips …" }),
      votes: h("p", { class: "w-soft" }),
      about: h("p", { class: "w-soft rm-about" }),
      neighbours: h("ol", { class: "rm-neighbours", "aria-label": "Nearest references" }),
      tip: h("div", { class: "rm-tip", role: "tooltip", hidden: "" }),
    };
    const change = (name) => (on) => {
      this.view[name] = on;
      this.#draw();
    };
    this.pathSwitch = toggle("Path over time", change("showPath"));
    this.lineSwitch = toggle("Lines to the nearest", change("showLines"));
    this.pathSwitch.show(true);
    this.lineSwitch.show(true);
    this.pathSwitch.node.hidden = this.lineSwitch.node.hidden = true;
    this.root = this.#build();
    element.replaceChildren(this.root);
    whileThere(this.root, document, "patchquery", ({ detail: { step } }) => {
      if (this.clip && step < this.clip.pathFlat.length) this.#mark({ step });
    });
    // What an address says; before the set is there, it is remembered.
    whileThere(this.root, document, "showlabel", ({ detail }) => {
      const label = this.#labelled(detail.label);
      if (!this.set) this.#label = detail.label;
      else if (label !== this.view.isolated) this.#isolate(label);
    });
    // A list of clips elsewhere on the page: what is of this set plays here.
    whileThere(this.root, document, "playreference", (event) => {
      const { detail: { path, row, known } } = event;
      if (!this.set || path !== this.path || this.root.dataset.state === "empty") return;
      event.preventDefault();
      this.set.learn({ known });
      this.#play(row);
      this.#mark({ focus: row });
      this.parts.plot.scrollIntoView({ block: "nearest" });
    });
    watchTheme(this.root, () => this.parts.plot.data && this.#draw());
    // A scene of a talk has a place of its own; null leads back to that of the page's clip.
    let held = false;
    whileThere(this.root, document, "showmap", ({ detail }) => {
      held = Boolean(detail);
      this.show(detail || props.value);
    });
    watch("value", () => held || this.show(props.value));
    this.show(props.value);
  }

  #build() {
    const { parts } = this;
    this.title = h("h2", { text: "Map of reference clips" });
    // Of a fixed id: there is one map on a page.
    const help = h("p", { class: "w-soft", id: "rm-help" }, h("span", { text: HELP }), h("span", { class: "w-hidden", text: ` ${KEYS}` }));
    this.points = h("div", {
      class: "rm-points", role: "application", tabindex: "0", "aria-label": "Points of the map", "aria-describedby": "rm-help",
      on: { keydown: (event) => this.#onkey(event), blur: () => this.#leave() },
    }, parts.plot);
    const save = (format) => button(format.toUpperCase(), () => this.#save(format), { "aria-label": `Save the map as ${format.toUpperCase()}` });
    const saves = h("div", { class: "w-row rm-saves" }, h("span", { class: "w-soft", text: "Save the map" }), save("png"), save("svg"));
    const more = h("details", { class: "rm-more" }, h("summary", { class: "w-soft", text: "How far to trust this" }), parts.votes, parts.about, parts.quality);
    return h(
      "section", { class: "rm-root w-root", role: "region", "aria-label": "Reference map", "data-state": "empty" },
      h("p", { class: "w-empty", text: "The map appears here once a clip and the reference clips are embedded in the same way." }),
      parts.message,
      h("div", { class: "rm-main" },
        h("div", { class: "rm-side" }, h("div", { class: "rm-head" }, h("h2", { text: "Most similar clips" }), parts.way), parts.vote, parts.far, parts.waiting, parts.neighbours),
        h("div", { class: "rm-left" },
          this.title, parts.filling,
          h("div", { class: "rm-frame" }, this.points, parts.names, parts.player), help,
          h("div", { class: "w-row rm-switches" }, this.pathSwitch.node, this.lineSwitch.node), saves, more)),
      parts.said, parts.tip,
    );
  }

  // The label, if there is such a one that can be shown alone.
  #labelled(label) {
    return this.set?.styles.find((style) => style.label === label)?.label ?? null;
  }

  async show(value) {
    const turn = ++this.#turn;
    if (value && value.waiting) {
      this.clip = null;
      this.root.dataset.state = "waiting";
      if (this.set && this.parts.plot.data) {
        this.#drawAll();
        await this.#draw();
      }
      return;
    }
    this.#tellFilling(value?.filling);
    if (!value || !value.references) {
      this.root.dataset.state = value?.filling ? (value.filling.failed ? "error" : "waiting") : "empty";
      return;
    }
    this.root.dataset.state = value.filling ? "filling" : "loading"; // what grows is not dimmed
    this.parts.message.textContent = "";
    try {
      await afterHeat();
      if (turn !== this.#turn) return;
      if (value.references !== this.path) {
        const set = await fetchSet(value.references);
        if (turn !== this.#turn) return;
        const grown = Boolean(this.set) && set.continues(this.set);
        Object.assign(this, { set, path: value.references });
        const alone = this.#label || this.view.isolated; // stays so, where there is such a label
        this.#label = "";
        this.view.isolated = this.#labelled(alone);
        if (alone && !this.view.isolated) this.#tellLabel();
        if (!grown) this.#stopPlaying();
      }
      this.clip = value.clip;
      this.set.learn(this.clip);
      Object.assign(this.view, { step: null, focus: null });
      this.#at = null;
      this.#hideTip();
      this.#drawAll(); // the list is there at once; the map comes when its library is
      if (value.filling && !value.filling.mapped) return;
      await loadPlotly(address(value.plotly));
      if (turn !== this.#turn) return;
      await this.#draw();
      this.root.dataset.state = "ready";
    } catch (error) {
      if (turn !== this.#turn) return;
      this.parts.message.textContent = error.message;
      this.root.dataset.state = "error";
    }
  }

  // How far references are that are embedded in the background, and whether there is a map of those that are there.
  #tellFilling(filling) {
    this.parts.filling.textContent = filling?.words ?? "";
    this.parts.filling.hidden = !filling;
    this.root.dataset.mapped = filling && !filling.mapped ? "no" : "yes";
    if (filling && !filling.mapped) this.title.textContent = "Map of reference clips";
  }

  #drawAll() {
    const { set, clip, parts } = this;
    this.#order = set.order(clip);
    parts.way.textContent = clip ? (clip.auto ? "Auto: by " : "by ") + WAYS[set.pooling] : ""; // over an empty list it says nothing
    this.#drawNames();
    drawTruth(parts, set, clip);
    drawNeighbours(parts.neighbours, set, clip, { play: (row) => this.#play(row), focus: (row) => this.#mark({ focus: row }) });
    const [count, drawn] = [set.count, set.drawn].map((number) => number.toLocaleString("en"));
    const some = drawn === count ? "" : ` (${drawn} drawn)`;
    if (this.root.dataset.mapped === "yes") this.title.textContent = `Map of ${count} clips${some}`;
    const nearest = clip && set.about(clip.neighbours[0]);
    const words = `Map of ${count} reference clips${some} in ${set.styles.length} labels.`;
    const place = nearest && ` The clip is a star; its nearest reference is ${nearest.label}, cosine ${clip.nearest.toFixed(2)}.`;
    parts.plot.setAttribute("aria-label", words + (place || ""));
    this.pathSwitch.node.hidden = !clip || !clip.pathFlat.length;
    this.lineSwitch.node.hidden = !clip;
  }

  async #draw() {
    if (!this.set || !window.Plotly) return; // what is chosen meanwhile is drawn when they are there
    const { plot, quality } = this.parts;
    const [ink, soft] = [this.root, quality].map((node) => getComputedStyle(node).color);
    const view = { ...this.view, set: this.set, clip: this.clip, path: this.path, ink, soft, paper: getComputedStyle(plot).backgroundColor };
    view.scale = Number(getComputedStyle(plot).getPropertyValue("--rm-scale")) || 1;
    const first = !plot.data;
    await window.Plotly.react(plot, makeTraces(view), makeLayout(view), PLOT_CONFIG);
    if (view.scale !== this.#scale) await window.Plotly.Plots.resize(plot);
    this.#scale = view.scale;
    if (first) this.#listen();
  }

  // Rings around a step of the path and around a reference move without drawing the rest again.
  #mark(change) {
    if (!this.parts.plot.data) return;
    Object.assign(this.view, change);
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => {
      const { step, focus, showPath } = this.view;
      const points = {
        step: step === null || !showPath || !this.clip ? null : this.clip.pathFlat[step], focus: focus === null ? null : this.set.place(focus),
      };
      this.parts.plot.data.forEach((trace, index) => {
        if (!(trace.meta in points)) return;
        const point = points[trace.meta];
        const update = columns(point ? [point] : []);
        for (const axis of Object.keys(update)) update[axis] = [update[axis]];
        window.Plotly.restyle(this.parts.plot, update, [index]);
      });
      this.root.dataset.step = step === null ? "" : step;
    });
  }

  #isolate(label) {
    const { set: { styles }, parts: { names } } = this;
    const held = names.contains(document.activeElement);
    this.view.isolated = label;
    this.#tellLabel();
    this.#drawNames();
    if (held) names.children[styles.findIndex((style) => style.label === label)]?.focus();
    this.#draw();
  }

  #tellLabel() {
    this.root.dispatchEvent(new CustomEvent("labelchange", { bubbles: true, detail: { label: this.view.isolated ?? "" } }));
  }

  #drawNames() {
    const { set: { styles }, view: { isolated }, parts: { names } } = this;
    drawNames(names, styles, isolated, (other) => this.#isolate(other));
    [this.#sizes, this.#named] = [[], ""];
    this.#placeNames();
  }

  // After every change of what part of the map is seen, and of its size.
  #placeNames() {
    const { set, clip, view: { isolated }, parts: { names, plot } } = this;
    const { _fullLayout: axes } = plot;
    if (!set || !axes?.xaxis) return;
    const { clientWidth: width, clientHeight: height } = plot;
    if (!this.#sizes.length) this.#sizes = [...names.children].map((node) => [node.offsetWidth, node.offsetHeight]);
    const now = JSON.stringify([axes.xaxis.range, axes.yaxis.range, width, height, this.#sizes, this.path, clip?.flat]);
    if (now === this.#named) return;
    this.#named = now;
    const every = set.drawn > MOST_POINTS ? Math.ceil(set.drawn / SOME_POINTS) : 1, points = [];
    for (const { x, y } of set.styles) {
      for (let i = 0; i < x.length; i += every) points.push(this.#pixel([x[i], y[i]]));
    }
    const nearest = new Set(this.#order.map((row) => set.styleOf(set.about(row).label).label));
    const few = [...nearest].slice(0, FEW);
    const centred = set.styles.map((style, i) => {
      const [wide, high] = this.#sizes[i], corner = style.others && [wide / 2 + INSET, height - high / 2 - INSET];
      const [x, y] = corner || this.#pixel(set.centreOf(style));
      const first = style.others || style.label === isolated || (set.packed && few.includes(style.label)); // however few they are
      return { x, y, width: wide, height: high, count: first ? Number.MAX_SAFE_INTEGER : style.rows.length };
    });
    const seen = clip ? [...points, ...clip.pathFlat.map((place) => this.#pixel(place)), ...Array(4).fill(this.#pixel(clip.flat))] : points;
    const most = set.packed ? Math.ceil((width * height) / NAME_AREA) : Infinity;
    placeNames(centred, seen, { width, height, reach: REACH, most }).forEach((place, i) => {
      const { style, classList } = names.children[i];
      classList.toggle("rm-away", !place);
      classList.toggle("rm-further", Boolean(clip) && !few.includes(set.styles[i].label));
      if (!place) return;
      [style.left, style.top] = [`${place.left}px`, `${place.top}px`];
    });
  }

  // Where a place is, in pixels from the upper left of the map, which has no margins.
  #pixel([x, y]) {
    const { _fullLayout: { xaxis, yaxis } } = this.parts.plot;
    return [xaxis.d2p(x), yaxis.d2p(y)];
  }

  async #play(row) {
    this.#hideTip();
    const { set } = this, clip = set.about(row) ?? await set.ask(row);
    if (!clip || set !== this.set) return;
    const picture = clip.thumbnail ? set.thumbnailAt(row) : null;
    drawPlayer(this.parts.player, clip, set.clipAt(row), picture, () => this.#stopPlaying());
    this.root.dataset.playing = row;
  }

  #stopPlaying() {
    this.parts.player.replaceChildren();
    delete this.root.dataset.playing;
  }

  #listen() {
    const { plot } = this.parts;
    for (const change of ["plotly_afterplot", "plotly_relayouting"]) plot.on(change, () => this.#placeNames());
    this.#placeNames();
    plot.on("plotly_hover", ({ points: [point], event }) => this.#hover(point, event));
    plot.on("plotly_unhover", ({ points }) => {
      this.#hideTip();
      if (points.some((point) => point.data.meta === "path")) {
        this.#mark({ step: null });
        this.#tell(null);
      }
    });
    plot.on("plotly_click", ({ points }) => {
      const point = points.find(({ data }) => data.meta === "references");
      if (point) this.#play(point.customdata);
    });
  }

  #hover(point, event) {
    const { clip } = this;
    const kind = point.data.meta;
    if (kind === "path") {
      const step = point.customdata;
      this.#mark({ step });
      this.#tell(step);
      this.#tip(event, { title: `This clip at ${clip.seconds[step].toFixed(2)} s`, text: `time step ${step} of ${clip.seconds.length}` });
    } else if (kind === "references") {
      const label = this.set.styles.find((style) => plain(style.label) === point.data.name)?.label;
      this.#showPoint(point.customdata, event, label);
    } else if (kind === "clip") {
      this.#tip(event, { title: "This clip", text: "placed on the fixed map as UMAP would place it" });
    }
  }

  #tell(step) {
    this.root.dispatchEvent(new CustomEvent("stepfocus", { bubbles: true, detail: { step } }));
  }

  // `label` is told while nothing else is known.
  #showPoint(row, at, label = "") {
    const { clip, set } = this, reference = set.about(row), cosine = clip?.cosines[row];
    if (!reference) {
      this.#tip(at, { title: label, text: "" });
      this.#asked = row;
      this.#rest = setTimeout(async () => {
        if (await set.ask(row) && this.#asked === row && set === this.set) this.#showPoint(row, at);
      }, REST_MS);
      return;
    }
    const seen = reference.thumbnail || reference.here !== false;
    const film = seen ? makeFilm(reference, set.clipAt(row), reference.thumbnail && set.thumbnailAt(row)) : null;
    this.#tip(at, { title: reference.label, text: nameOf(reference), more: cosine === undefined ? "" : `cosine ${cosine.toFixed(3)} to this clip`, film });
    if (film) this.#rest = setTimeout(film.start, REST_MS);
  }

  #tip({ clientX, clientY }, { title, text, more = "", film = null }) {
    const { tip } = this.parts;
    this.#hideTip();
    this.#film = film;
    const words = h("div", {}, h("strong", { text: title }), h("span", { class: "rm-file", text }), h("span", { text: more }));
    tip.replaceChildren(...(film ? [film.node] : []), words);
    tip.hidden = false;
    const box = this.root.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = tip;
    const below = clientY + height + 20 < Math.min(innerHeight, box.bottom);
    tip.style.left = `${Math.max(0, Math.min(clientX - box.left + 14, box.width - width))}px`;
    tip.style.top = `${below ? clientY - box.top + 14 : Math.max(clientY - box.top - height - 14, -box.top)}px`;
  }

  #hideTip() {
    clearTimeout(this.#rest);
    this.#film?.stop();
    this.#film = this.#asked = null;
    this.parts.tip.hidden = true;
  }

  #onkey(event) {
    if (!this.parts.plot.data || event.ctrlKey || event.metaKey || event.altKey) return;
    const { key } = event, { isolated } = this.view;
    if (key === "Enter" || key === " ") {
      if (this.#at !== null) this.#play(this.#at);
    } else if (key === "Escape") {
      this.#stopPlaying();
      this.#leave();
    } else if (key.toLowerCase() === "l") {
      const label = this.#at === null ? null : this.set.styleOf(this.set.about(this.#at).label).label;
      this.#isolate(isolated === label ? null : label);
    } else if (key in ARROWS || ["PageDown", "PageUp", "Home", "End"].includes(key)) {
      const { set } = this, alone = (row) => set.styleOf(set.about(row).label).label === isolated;
      const order = isolated ? this.#order.filter(alone) : this.#order;
      if (order.length) this.#goTo(this.#next(key, order));
    } else return;
    event.preventDefault();
  }

  // The row that a key leads to, of those that can be reached; the most similar one at first.
  #next(key, order) {
    if (this.#at === null || key === "Home") return order[0];
    if (key === "End") return order.at(-1);
    const now = order.indexOf(this.#at);
    if (key === "PageDown" || key === "PageUp") return order[Math.max(0, Math.min(now + (key === "PageDown" ? 1 : -1), order.length - 1))];
    const points = order.map((row) => [row, this.#pixel(this.set.place(row))]);
    return nextPoint(points, this.#pixel(this.set.place(this.#at)), ARROWS[key]) ?? this.#at;
  }

  async #goTo(row) {
    const { plot, said } = this.parts, { clip, set } = this, about = set.about(row), { label } = about, file = nameOf(about);
    this.#at = row;
    this.#mark({ focus: row });
    said.textContent = clip
      ? `${label}, ${this.#order.indexOf(row) + 1} of ${this.#order.length} by similarity, cosine ${clip.cosines[row].toFixed(2)}, ${file}`
      : `${label}, ${file}`;
    const seen = () => this.#pixel(set.place(row)).every((at, axis) => at >= 0 && at <= [plot.clientWidth, plot.clientHeight][axis]);
    if (!seen()) await window.Plotly.relayout(plot, { "xaxis.autorange": true, "yaxis.autorange": true });
    if (this.#at !== row || document.activeElement !== this.points) return;
    const box = plot.getBoundingClientRect(), [x, y] = this.#pixel(set.place(row));
    this.#showPoint(row, { clientX: box.x + x, clientY: box.y + y });
  }

  #leave() {
    this.#hideTip();
    this.#mark({ focus: null });
  }

  async #save(format) {
    const { set, clip, view } = this;
    if (!this.parts.plot.data) return;
    const options = { ...SAVED_SIZE, format, scale: format === "png" ? 2 : 1 };
    const picture = await window.Plotly.toImage(savedFigure({ ...view, set, clip }), options);
    const url = URL.createObjectURL(await (await fetch(picture)).blob());
    const stem = clip?.name ? clip.name.replace(/[.][^.]*$/, "") || clip.name : "reference";
    h("a", { href: url, download: `${stem}-map.${format}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }
}
