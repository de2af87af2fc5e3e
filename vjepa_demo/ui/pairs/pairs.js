// Buttons, a pair of clips each: what happens out of sight, and in plain sight.

import { button, h } from "../shared/dom.js";

export function mount(element, { props, trigger }) {
  const choose = (pair) => {
    props.value = { pair, turn: Date.now() };
    trigger("chosen");
  };
  const group = (label, hidden) => h(
    "div", { class: "w-row", role: "group", "aria-label": label }, h("span", { class: "w-soft", text: label }),
    ...props.pairs.map((pair, number) => pair.hidden === hidden && button(pair.title, () => choose(number))).filter(Boolean),
  );
  element.replaceChildren(h(
    "div", { class: "pr-root w-root", role: "region", "aria-label": "Possible and impossible" },
    h("b", { text: "Try a pair" }), group("Out of sight", true), group("In plain sight", false),
  ));
}
