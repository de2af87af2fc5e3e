// What every widget makes its part of the page from. User text goes through textContent and attributes, never markup.

// h("div", {class: "x", text: name, on: {click: f}}, ...children)
export function h(tag, { text, on = {}, ...attributes } = {}, ...children) {
  return filled(document.createElement(tag), { text, on, attributes }, children);
}

// The same for a part of an SVG picture.
export function svg(tag, { text, on = {}, ...attributes } = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), { text, on, attributes }, children);
}

function filled(node, { text, on, attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  for (const [type, listener] of Object.entries(on)) node.addEventListener(type, listener);
  if (text !== undefined) node.textContent = text;
  node.append(...children);
  return node;
}

export const button = (text, run, { class: kind = "w-button", ...attributes } = {}) =>
  h("button", { type: "button", class: kind, text, on: { click: run }, ...attributes });

// One of a few: {node, buttons, show(value)}. `choices` are [value, text]; `choose(value)` is called when one is chosen,
// by a click or by an arrow key, which moves among those that can be chosen.
export function radios(label, choices, choose) {
  const buttons = choices.map(([value, text]) =>
    h("button", { type: "button", role: "radio", "data-value": value, text, on: { click: () => pick(value) } }));
  const pick = (value) => {
    show(value);
    choose(value);
  };
  const show = (value) => {
    for (const one of buttons) {
      one.setAttribute("aria-checked", one.dataset.value === value);
      one.tabIndex = one.dataset.value === value ? 0 : -1;
    }
  };
  const onkey = (event) => {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation();
    const open = buttons.filter((one) => !one.hidden && !one.disabled);
    const next = open[(open.indexOf(event.target) + move + open.length) % open.length];
    next.focus();
    pick(next.dataset.value);
  };
  const node = h("div", { class: "w-choice", role: "radiogroup", "aria-label": label, on: { keydown: onkey } }, ...buttons);
  return { node, buttons, show };
}

// On or off: {node, show(on)}; `choose(on)` is called with what it is switched to.
export function toggle(text, choose) {
  const node = h("button", { type: "button", role: "switch", class: "w-switch" }, h("i"), h("span", { text }));
  const show = (on) => node.setAttribute("aria-checked", on);
  node.addEventListener("click", () => {
    const on = node.getAttribute("aria-checked") !== "true";
    show(on);
    choose(on);
  });
  return { node, show };
}

// Between two numbers: {node, show(value)}; `format(value)` is what stands beside it.
export function slider(text, [min, max, step = 0.01], format, choose) {
  const output = h("span", { class: "w-value", "aria-hidden": "true" });
  const input = h("input", { type: "range", min, max, step, "aria-label": text });
  const show = (value) => {
    input.value = value;
    output.textContent = format(value);
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => {
    show(Number(input.value));
    choose(Number(input.value));
  });
  return { node: h("label", { class: "w-slider" }, h("span", { text }), input, output), show, limit: (most) => { input.max = most; } };
}

// Gives a canvas as many pixels as the screen has for its size on the page; returns its context, in the page's pixels.
export function sizeCanvas(canvas, width, height) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const across = Math.max(1, Math.round(width * ratio)), down = Math.max(1, Math.round(height * ratio));
  if (canvas.width !== across || canvas.height !== down) {
    canvas.width = across;
    canvas.height = down;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

// Where a file of the app is. Modules are served at widgets/<version>/shared/dom.js below its root.
export const address = (path) => new URL(`../../../${path}`, import.meta.url).href;

// Listen as long as the widget is on the page.
export function whileThere(node, target, type, listener, capture = false) {
  const heard = (event) => {
    if (node.isConnected) listener(event);
    else target.removeEventListener(type, heard, capture);
  };
  target.addEventListener(type, heard, capture);
}

// Call when the page changes between light and dark, as long as the widget is on it.
export function watchTheme(node, run) {
  const observer = new MutationObserver(() => (node.isConnected ? run() : observer.disconnect()));
  observer.observe(document.body, { attributeFilter: ["class"] });
}
