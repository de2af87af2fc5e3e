// The buttons, sliders and numbers around the frames. Each control writes into `options` and calls `changed(name)`.

const KEYS = [
  ["hover", "the patch under the pointer is the query"],
  ["click, tap", "pin it, hold the scale"],
  ["Shift + click", "add a patch to the query"],
  ["Alt + click", "subtract a patch"],
  ["arrows", "move the query patch (Shift: only the square)"],
  ["Enter", "pin the square (Shift: add, Alt: subtract)"],
  ["[  ]", "step back, step on"],
  ["Space", "play, stop"],
  ["+  −", "more, less opacity"],
  ["Esc", "clear the query"],
];

// The loss of V-JEPA 2 is taken on masked tokens only; DAVIS J&F 52.5 for ViT-g against 71 for DINOv3-H+.
const NOISE = "Noisy by nature: the model learned to predict hidden patches, not to match shown ones.";

function makeControls(options, { changed, play, stepBy, clear, picture }) {
  const radios = (label, name, choices) => {
    const group = h("div", { class: "pv-choice", role: "radiogroup", "aria-label": label });
    const buttons = choices.map(([value, text]) =>
      h("button", { type: "button", role: "radio", "data-value": value, text, on: { click: () => choose(value) } }));
    const choose = (value) => {
      options[name] = value;
      show();
      changed(name);
    };
    const show = () => buttons.forEach((button) => {
      const chosen = button.dataset.value === options[name];
      button.setAttribute("aria-checked", chosen);
      button.tabIndex = chosen ? 0 : -1;
    });
    group.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!move) return;
      event.preventDefault();
      event.stopPropagation();
      const shown = buttons.filter((button) => !button.hidden);
      const next = shown[(shown.indexOf(event.target) + move + shown.length) % shown.length];
      next.focus();
      choose(next.dataset.value);
    });
    group.append(...buttons);
    show();
    return { group, buttons, choose };
  };
  const toggle = (text, name) => {
    const button = h("button", { type: "button", role: "switch", class: "pv-switch" }, h("i"), h("span", { text }));
    const show = () => button.setAttribute("aria-checked", options[name]);
    button.addEventListener("click", () => {
      options[name] = !options[name];
      show();
      changed(name);
    });
    show();
    return button;
  };
  const slider = (text, name, min, max, format) => {
    const output = h("span", { class: "pv-value", "aria-hidden": "true" });
    const input = h("input", { type: "range", min, max, step: 0.01, "aria-label": text });
    const show = () => {
      input.value = options[name];
      output.textContent = format(options[name]);
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", () => {
      options[name] = Number(input.value);
      show();
      changed(name);
    });
    show();
    return { node: h("label", { class: "pv-slider" }, h("span", { text }), input, output), show };
  };
  const action = (label, text, run) => h("button", { type: "button", class: "pv-button", "aria-label": label, title: label, text, on: { click: run } });

  const map = radios("Map", "map", [["similarity", "Similarity"], ["pca", "PCA"]]);
  const mode = radios("A tap or click", "mode", [["pin", "Pin"], ["add", "Add"], ["subtract", "Subtract"]]);
  const opacity = slider("Opacity", "opacity", 0, 1, (x) => `${Math.round(100 * x)} %`);
  const threshold = slider("Outline above", "threshold", -1, 1, (x) => (x < 1 ? x.toFixed(2) : "off"));
  const playButton = action("Play", "Play", play);
  const bar = h("canvas", { class: "pv-scale", width: 256, height: 1, "aria-hidden": "true" });
  const low = h("span"), high = h("span"), legendTitle = h("p", { class: "pv-legend-title" });
  const legend = h("div", { class: "pv-legend", role: "img" }, legendTitle, bar, h("div", { class: "pv-ends" }, low, high));
  const number = h("p", { class: "pv-number" });
  const where = h("dl", { class: "pv-where" });
  const live = h("p", { class: "pv-hidden", role: "status", "aria-live": "polite" });
  const message = h("p", { class: "pv-message", role: "alert" });

  const keys = h(
    "details", { class: "pv-keys" }, h("summary", { text: "Keys" }),
    h("dl", {}, ...KEYS.flatMap(([key, what]) => [h("dt", { text: key }), h("dd", { text: what })])),
  );
  const top = h("div", { class: "pv-top" }, map.group, toggle("Centred", "centred"), toggle("Patch borders", "borders"), opacity.node, threshold.node);
  const side = h(
    "aside", { class: "pv-side", "aria-label": "Readout and controls" },
    h("div", { class: "pv-readout" }, number, where), legend, h("p", { class: "pv-facts", text: NOISE }),
    h("div", { class: "pv-row" }, action("Step back", "❮", () => stepBy(-1)), playButton, action("Step on", "❯", () => stepBy(1)),
      action("Save the frame as PNG", "PNG", picture)),
    h("div", { class: "pv-row" }, mode.group, action("Clear the query", "Clear", clear)),
    keys,
  );

  return {
    top, side, live, message, map, opacity, keys,
    playing(on) {
      playButton.textContent = on ? "Stop" : "Play";
      playButton.setAttribute("aria-label", on ? "Stop" : "Play");
      playButton.title = on ? "Stop" : "Play";
    },
    scale(range, anchors, pinned) {
      const context = bar.getContext("2d");
      for (let i = 0; i < 256; i++) {
        context.fillStyle = `rgb(${colourAt(anchors, i / 255)})`;
        context.fillRect(i, 0, 1, 1);
      }
      const kind = options.centred ? "centred cosine" : "cosine";
      low.textContent = `≤ ${range[0].toFixed(2)}`;
      high.textContent = `≥ ${range[1].toFixed(2)}`;
      legendTitle.textContent = options.map === "pca" ? "colours: first three components" : pinned ? `${kind}, scale held` : kind;
      legend.setAttribute("aria-label", `Colour scale: ${kind} from ${range[0].toFixed(2)} to ${range[1].toFixed(2)}${pinned ? ", held while pinned" : ""}`);
      legend.dataset.map = options.map;
    },
    readout(cosine, pairs) {
      number.textContent = cosine;
      where.replaceChildren(...pairs.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", { text: value })]));
    },
  };
}
