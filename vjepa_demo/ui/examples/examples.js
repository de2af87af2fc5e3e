// A row of pictures; a click chooses one.

import { address, h } from "../shared/dom.js";

const PICTURE_HEIGHT = 40; // as in the style sheet: all pictures are one, each below the one before

export function mount(element, { props, trigger }) {
  const choose = (example) => {
    props.value = { example, turn: Date.now() };
    trigger("chosen");
  };
  const chips = props.names.map((name, number) => h(
    "button", { type: "button", class: "ex-chip", on: { click: () => choose(number) } },
    h("i", { style: `background-image: url("${address("examples.jpg")}"); background-position-y: ${-PICTURE_HEIGHT * number}px` }),
    h("span", { text: name }),
  ));
  element.replaceChildren(h("div", { class: "ex-root w-root", role: "group", "aria-label": "Examples" }, h("span", { class: "ex-try", text: "Try" }), ...chips));
}
