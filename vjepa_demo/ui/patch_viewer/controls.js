// The buttons, sliders and numbers under the picture. Each control writes into `options` and calls `changed(name)`.

import { button, h, radios, slider, toggle } from "../shared/dom.js";
import { colourAt } from "./draw.js";
import { KEYS } from "./keys.js";
import { isOfTokens } from "./state.js";

// The loss of V-JEPA 2 is taken on masked tokens only; DAVIS J&F 52.5 for ViT-g against 71 for DINOv3-H+.
const CAVEATS = [
  "A patch's number is the cosine between its token and the query's. Subtract mean takes the clip's mean token off both first: it is what all patches share.",
  "The map is noisy by nature: the model learned to predict hidden patches, not to match shown ones.",
  "The percentages under the steps: how many of a step's patches lie above the middle of the scale.",
];

export class Controls {
  amounts = []; // in words, of what was seen before something is expected

  constructor(options, { changed, play, stepBy, clear, figure, goToBest }) {
    this.options = options;
    const set = (name) => (value) => {
      options[name] = value;
      changed(name);
    };
    this.shown = {};
    const shown = (name, control) => {
      this.shown[name] = control;
      control.show(options[name]);
      return control;
    };
    const act = (label, text, run) => button(text, run, { "aria-label": label, title: label });
    this.map = shown("map", radios("Map", [["similarity", "Similar"], ["pca", "Colours"], ["surprise", "Surprise"], ["attention", "Attention"]], set("map")));
    this.seen = shown("seen", slider("Expected after", [0, 1, 1], (row) => this.amounts[row - 1] ?? "off", set("seen")));
    const mode = shown("mode", radios("A tap or click", [["pin", "Pin"], ["add", "+"], ["subtract", "−"]], set("mode")));
    ["Pin", "Add", "Subtract"].forEach((name, i) => mode.buttons[i].setAttribute("aria-label", name));
    this.heat = shown("heat", slider("Heat", [0, 1], (x) => `${Math.round(100 * x)} %`, set("heat")));
    const threshold = shown("threshold", slider("Outline above", [-1, 1], (x) => (x < 1 ? x.toFixed(2) : "off"), set("threshold")));
    const switches = [["centred", "Subtract mean"], ["smooth", "Smooth"], ["borders", "Patch borders"]]
      .map(([name, text]) => shown(name, toggle(text, set(name))).node);
    this.playButton = act("Play", "▶", play);
    this.time = h("div", { class: "w-row pv-time" }, act("Step back", "❮", () => stepBy(-1)), this.playButton, act("Step on", "❯", () => stepBy(1)));
    const figures = h(
      "div", { class: "w-row" }, act("Save the figure as PNG", "Figure PNG", () => figure("png")), act("Save the figure as SVG", "SVG", () => figure("svg")),
    );
    this.more = h(
      "details", { class: "pv-more" }, h("summary", { class: "w-button", text: "More" }),
      h("div", { class: "pv-panel" },
        h("div", { class: "w-row" }, ...switches, threshold.node, figures),
        h("dl", { class: "pv-keys" }, ...KEYS.flatMap(([key, what]) => [h("dt", { text: key }), h("dd", { text: what })])),
        ...CAVEATS.map((text) => h("p", { class: "w-soft", text })),
      ),
    );
    this.tools = h(
      "div", { class: "pv-tools", role: "group", "aria-label": "Tools" },
      this.time, this.map.node, this.seen.node, this.heat.node,
      h("div", { class: "pv-query" }, mode.node, act("Clear the query", "Clear", clear)), this.more,
    );

    this.bar = h("canvas", { class: "pv-scale", width: 256, height: 1, "aria-hidden": "true" });
    this.low = h("span");
    this.high = h("span");
    this.legend = h("div", { class: "pv-legend", role: "img" }, this.low, this.bar, this.high);
    this.number = h("span", { class: "pv-number" });
    this.what = h("span", { class: "pv-what" });
    this.best = button("", goToBest, { class: "pv-best" });
    this.where = h("span", { class: "w-soft pv-where" });
    this.readoutNode = h("aside", { class: "pv-readout", "aria-label": "Readout" }, this.number, this.what, this.best, this.where, this.legend);
    this.live = h("p", { class: "w-hidden", role: "status", "aria-live": "polite" });
    this.message = h("p", { class: "w-message", role: "alert" });
  }

  // Show what is chosen, where that was not done with the controls.
  show() {
    for (const [name, control] of Object.entries(this.shown)) control.show(this.options[name]);
  }

  // The maps that can be chosen: what `canShow` gives.
  offerMaps(can) {
    for (const one of this.map.buttons) one.hidden = !can[one.dataset.value];
    this.map.show(this.options.map);
  }

  // What was expected after so many steps, where that has come.
  offerExpected(steps) {
    this.amounts = steps.map((count) => `${count} step${count > 1 ? "s" : ""}`);
    this.seen.limit(steps.length);
    this.showExpected();
  }

  showExpected() {
    this.seen.show(this.options.seen);
    this.seen.node.hidden = this.options.map !== "surprise" || !this.amounts.length;
  }

  playing(on) {
    const text = on ? "Pause" : "Play";
    this.playButton.textContent = on ? "❚❚" : "▶";
    this.playButton.title = text;
    this.playButton.setAttribute("aria-label", text);
  }

  // `other` is what `otherOf` gives.
  scale(range, anchors, pinned, other) {
    const context = this.bar.getContext("2d");
    for (let i = 0; i < 256; i++) {
      context.fillStyle = `rgb(${colourAt(anchors, i / 255)})`;
      context.fillRect(i, 0, 1, 1);
    }
    const { map, centred } = this.options;
    const kind = other ? other.words : centred ? "cosine, mean subtracted" : "cosine";
    const absent = !other && !isOfTokens(map); // it is still on its way
    const [low, high] = absent ? ["", ""] : (other ? other.range : range).map((end) => end.toFixed(2));
    this.low.textContent = map === "pca" ? "colours: first three components" : low;
    this.high.textContent = high;
    if (other) pinned = false;
    this.legend.title = pinned ? `${kind}; the scale is held while pinned` : kind;
    this.legend.setAttribute("aria-label", `Colour scale: ${kind} from ${low} to ${high}${pinned ? ", held while pinned" : ""}`);
    this.legend.dataset.map = map;
  }

  // `best` is where a click goes: words, or "" where there is no such place.
  readout({ number, what, best, where }) {
    this.number.textContent = number;
    this.what.textContent = what;
    this.best.textContent = best;
    this.best.hidden = !best;
    this.where.textContent = where;
  }
}
