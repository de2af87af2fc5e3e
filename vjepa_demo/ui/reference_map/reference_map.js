// The reference map in the page: builds its static frame once, then draws what each value brings.

import { address, h, radios, toggle, watchTheme, whileThere } from "../shared/dom.js";
import { PLOT_CONFIG, columns, hasWebgl, labelStyles, makeLayout, makeTraces } from "./figure.js";
import { drawLegend, drawNeighbours, drawPlayer, drawTruth } from "./panels.js";

export const mount = (element, gradio) => new ReferenceMap(element, gradio);

let plotly = null; // the library, once it is asked for

// It is large: what is looked at first goes before it.
const idle = () => new Promise((resolve) => {
  if (window.requestIdleCallback) window.requestIdleCallback(resolve, { timeout: 2000 });
  else setTimeout(resolve, 300);
});

function loadPlotly(url) {
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
  view = { styles: [], deep: false, isolated: null, step: null, focus: null, showPath: true, showLines: true };
  #turn = 0; // of values: the last one wins
  #frame = 0;

  constructor(element, { props, watch }) {
    this.parts = {
      message: h("p", { class: "w-message", role: "alert" }),
      far: h("p", { class: "rm-far", role: "note", hidden: "" }),
      plot: h("div", { class: "rm-plot", role: "figure" }),
      legend: h("div", { class: "rm-legend", role: "group", "aria-label": "Labels" }),
      quality: h("p", { class: "w-soft rm-quality" }),
      player: h("div", { class: "rm-player", role: "group", "aria-label": "Player" }),
      vote: h("p", { class: "rm-vote" }),
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
    this.dimensions = radios("Dimensions", [["2", "2-D"], ["3", "3-D"]], (value) => this.#setDeep(value === "3"));
    this.pathSwitch = toggle("Path over time", change("showPath"));
    this.lineSwitch = toggle("Lines to the nearest", change("showLines"));
    this.dimensions.show("2");
    this.pathSwitch.show(true);
    this.lineSwitch.show(true);
    this.pathSwitch.node.hidden = this.lineSwitch.node.hidden = true;
    if (!hasWebgl()) {
      this.dimensions.buttons[1].disabled = true;
      this.dimensions.buttons[1].title = "Three dimensions need WebGL, which this browser does not offer.";
    }
    this.root = this.#build();
    element.replaceChildren(this.root);
    whileThere(this.root, document, "patchquery", ({ detail: { step } }) => {
      if (this.clip && step < this.clip.pathFlat.length) this.#mark({ step });
    });
    watchTheme(this.root, () => this.parts.plot.data && this.#draw());
    watch("value", () => this.show(props.value));
    this.show(props.value);
  }

  #build() {
    const { parts } = this;
    this.title = h("h2", { text: "Map of reference clips" });
    const more = h("details", { class: "rm-more" }, h("summary", { class: "w-soft", text: "How far to trust this" }), parts.votes, parts.about, parts.quality);
    return h(
      "section", { class: "rm-root w-root", role: "region", "aria-label": "Reference map", "data-state": "empty" },
      h("p", { class: "w-empty", text: "The map appears here once a clip and the reference clips are embedded in the same way." }),
      parts.message,
      h("div", { class: "rm-main" },
        h("div", { class: "rm-side" }, h("h2", { text: "Most similar clips" }), parts.vote, parts.far, parts.waiting, parts.neighbours),
        h("div", { class: "rm-left" },
          h("div", { class: "w-top" }, this.title, this.dimensions.node, this.pathSwitch.node, this.lineSwitch.node),
          h("div", { class: "rm-frame" }, parts.plot, parts.player), parts.legend, more)),
      parts.tip,
    );
  }

  clipOf(row) {
    return address(`${this.path}/${row}`);
  }

  thumbnailOf(row) {
    return address(`${this.path}/${row}.jpg`);
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
    if (!value || !value.references) {
      this.root.dataset.state = "empty";
      return;
    }
    this.root.dataset.state = "loading";
    this.parts.message.textContent = "";
    try {
      if (value.references !== this.path) {
        const answer = await fetch(address(`${value.references}/set.json`));
        if (!answer.ok) throw new Error("The references could not be loaded: embed the clip again.");
        const set = await answer.json();
        if (turn !== this.#turn) return;
        Object.assign(this, { set, path: value.references });
        Object.assign(this.view, { styles: labelStyles(set.clips), isolated: null });
        this.#stopPlaying();
      }
      this.clip = value.clip;
      Object.assign(this.view, { step: null, focus: null });
      this.#drawAll(); // the list is there at once; the map comes when its library is
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

  #drawAll() {
    const { set, clip, parts, view: { styles, isolated } } = this;
    drawLegend(parts.legend, styles, isolated, (label) => this.#isolate(label));
    drawTruth(parts, set, clip);
    drawNeighbours(parts.neighbours, set, clip, styles, {
      play: (row) => this.#play(row), focus: (row) => this.#mark({ focus: row }), thumbnailOf: (row) => this.thumbnailOf(row),
    });
    this.title.textContent = `Map of ${set.clips.length} reference clips`;
    const nearest = clip && set.clips[clip.neighbours[0]];
    const words = `Map of ${set.clips.length} reference clips in ${styles.length} labels.`;
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
    const first = !plot.data;
    await window.Plotly.react(plot, makeTraces(view), makeLayout(view), PLOT_CONFIG);
    if (first) this.#listen();
  }

  // Rings around a step of the path and around a reference move without drawing the rest again.
  #mark(change) {
    if (!this.parts.plot.data || !this.clip) return;
    Object.assign(this.view, change);
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => {
      const { step, focus, deep, showPath } = this.view;
      const path = deep ? this.clip.pathSpace : this.clip.pathFlat;
      const places = deep ? this.set.space : this.set.flat;
      const points = { step: step === null || !showPath ? null : path[step], focus: focus === null ? null : places[focus] };
      this.parts.plot.data.forEach((trace, index) => {
        if (!(trace.meta in points)) return;
        const point = points[trace.meta];
        const update = columns(point ? [point] : [], deep);
        for (const axis of Object.keys(update)) update[axis] = [update[axis]];
        window.Plotly.restyle(this.parts.plot, update, [index]);
      });
      this.root.dataset.step = step === null ? "" : step;
    });
  }

  #isolate(label) {
    const { view: { styles }, parts: { legend } } = this;
    this.view.isolated = label;
    drawLegend(legend, styles, label, (other) => this.#isolate(other));
    const at = styles.findIndex((style) => style.label === label);
    if (at >= 0) legend.children[at].focus();
    this.#draw();
  }

  #play(row) {
    drawPlayer(this.parts.player, this.set.clips[row], this.clipOf(row), () => this.#stopPlaying());
    this.root.dataset.playing = row;
  }

  #stopPlaying() {
    this.parts.player.replaceChildren();
    delete this.root.dataset.playing;
  }

  #listen() {
    const { plot, tip } = this.parts;
    plot.on("plotly_hover", ({ points: [point], event }) => this.#hover(point, event));
    plot.on("plotly_unhover", ({ points }) => {
      tip.hidden = true;
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
    const { clip, set } = this;
    const kind = point.data.meta;
    if (kind === "path") {
      const step = point.customdata;
      this.#mark({ step });
      this.#tell(step);
      this.#tip(event, { title: `This clip at ${clip.seconds[step].toFixed(2)} s`, text: `time step ${step} of ${clip.seconds.length}` });
    } else if (kind === "references") {
      const row = point.customdata, { label, file, thumbnail } = set.clips[row];
      const cosine = clip ? `cosine ${clip.cosines[row].toFixed(3)} to this clip` : "";
      this.#tip(event, { title: label, text: file, more: cosine, picture: thumbnail && this.thumbnailOf(row) });
    } else if (kind === "clip") {
      this.#tip(event, { title: "This clip", text: "placed on the fixed map as UMAP would place it" });
    }
  }

  #tell(step) {
    this.root.dispatchEvent(new CustomEvent("stepfocus", { bubbles: true, detail: { step } }));
  }

  #tip(event, { title, text, more = "", picture = null }) {
    const { tip } = this.parts;
    const words = h("div", {}, h("strong", { text: title }), h("span", { class: "rm-file", text }), h("span", { text: more }));
    tip.replaceChildren(...(picture ? [h("img", { class: "rm-thumb", alt: "", src: picture })] : []), words);
    tip.hidden = false;
    const box = this.root.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = tip;
    const x = event.clientX - box.left, y = event.clientY - box.top;
    tip.style.left = `${Math.max(0, Math.min(x + 14, box.width - width))}px`;
    tip.style.top = `${y + height + 20 > box.height ? y - height - 14 : y + 14}px`;
  }

  #setDeep(deep) {
    if (this.view.deep === deep) return;
    this.view.deep = deep;
    this.parts.tip.hidden = true;
    // Plotly keeps the listeners of a figure, but not across a change of its kind: a fresh one is simpler than mending it.
    if (this.parts.plot.data) window.Plotly.purge(this.parts.plot);
    this.#draw();
  }
}
