// The buttons, sliders and numbers around the frames. Each control writes into `options` and calls `changed(name)`.

import { button, h, radios, slider, toggle } from "../shared/dom.js";
import { colourAt } from "./draw.js";
import { KEYS } from "./keys.js";

// The loss of V-JEPA 2 is taken on masked tokens only; DAVIS J&F 52.5 for ViT-g against 71 for DINOv3-H+.
const NOISE = "Noisy by nature: the model learned to predict hidden patches, not to match shown ones.";

export class Controls {
  constructor(options, { changed, play, stepBy, clear, picture }) {
    this.options = options;
    const set = (name) => (value) => {
      options[name] = value;
      changed(name);
    };
    const shown = (name, control) => {
      control.show(options[name]);
      return control;
    };
    const act = (label, text, run) => button(text, run, { "aria-label": label, title: label });
    this.map = shown("map", radios("Map", [["similarity", "Similarity"], ["pca", "PCA"]], set("map")));
    const mode = shown("mode", radios("A tap or click", [["pin", "Pin"], ["add", "Add"], ["subtract", "Subtract"]], set("mode")));
    this.opacity = shown("opacity", slider("Opacity", [0, 1], (x) => `${Math.round(100 * x)} %`, set("opacity")));
    const threshold = shown("threshold", slider("Outline above", [-1, 1], (x) => (x < 1 ? x.toFixed(2) : "off"), set("threshold")));
    const centred = shown("centred", toggle("Centred", set("centred"))), borders = shown("borders", toggle("Patch borders", set("borders")));
    this.top = h("div", { class: "w-top" }, this.map.node, centred.node, borders.node, this.opacity.node, threshold.node);

    this.playButton = act("Play", "Play", play);
    this.bar = h("canvas", { class: "pv-scale", width: 256, height: 1, "aria-hidden": "true" });
    this.low = h("span");
    this.high = h("span");
    this.legendTitle = h("p", { class: "w-soft" });
    this.legend = h("div", { class: "pv-legend", role: "img" }, this.legendTitle, this.bar, h("div", { class: "pv-ends" }, this.low, this.high));
    this.number = h("p", { class: "pv-number" });
    this.where = h("dl", { class: "pv-where" });
    this.live = h("p", { class: "w-hidden", role: "status", "aria-live": "polite" });
    this.message = h("p", { class: "w-message", role: "alert" });
    this.keys = h(
      "details", { class: "pv-keys" }, h("summary", { text: "Keys" }),
      h("dl", {}, ...KEYS.flatMap(([key, what]) => [h("dt", { text: key }), h("dd", { text: what })])),
    );
    this.side = h(
      "aside", { class: "pv-side", "aria-label": "Readout and controls" },
      h("div", { class: "pv-readout" }, this.number, this.where), this.legend, h("p", { class: "w-soft", text: NOISE }),
      h("div", { class: "w-row" }, act("Step back", "❮", () => stepBy(-1)), this.playButton, act("Step on", "❯", () => stepBy(1)),
        act("Save the frame as PNG", "PNG", picture)),
      h("div", { class: "w-row" }, mode.node, act("Clear the query", "Clear", clear)),
      this.keys,
    );
  }

  // Colours of the first components can be chosen only where the clips have some.
  offerPca(on) {
    this.map.buttons[1].hidden = !on;
    if (!on && this.options.map === "pca") {
      this.options.map = "similarity";
      this.map.show("similarity");
    }
  }

  playing(on) {
    const text = on ? "Stop" : "Play";
    this.playButton.textContent = this.playButton.title = text;
    this.playButton.setAttribute("aria-label", text);
  }

  scale(range, anchors, pinned) {
    const context = this.bar.getContext("2d");
    for (let i = 0; i < 256; i++) {
      context.fillStyle = `rgb(${colourAt(anchors, i / 255)})`;
      context.fillRect(i, 0, 1, 1);
    }
    const { map, centred } = this.options;
    const kind = centred ? "centred cosine" : "cosine";
    const [low, high] = range.map((end) => end.toFixed(2));
    this.low.textContent = `≤ ${low}`;
    this.high.textContent = `≥ ${high}`;
    this.legendTitle.textContent = map === "pca" ? "colours: first three components" : pinned ? `${kind}, scale held` : kind;
    this.legend.setAttribute("aria-label", `Colour scale: ${kind} from ${low} to ${high}${pinned ? ", held while pinned" : ""}`);
    this.legend.dataset.map = map;
  }

  readout(cosine, pairs) {
    this.number.textContent = cosine;
    this.where.replaceChildren(...pairs.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", { text: value })]));
  }
}
