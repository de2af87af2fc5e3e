// Clips of a set that belong together, or to nothing, in a list: a click plays one on the map.

import { address, h } from "../shared/dom.js";
import { nameOf } from "../reference_map/panels.js";

export function mount(element, { props, watch }) {
  const show = () => element.replaceChildren(...(props.value?.entries ? [draw(props.value)] : []));
  watch("value", show);
  show();
}

function draw({ title, words, path, entries, known }) {
  const play = (row) => {
    const heard = !document.dispatchEvent(new CustomEvent("playreference", { cancelable: true, detail: { path, row, known } }));
    if (!heard && known[row].here) window.open(address(`${path}/${row}`)); // there is no map to play it on
  };
  const clip = (row) => {
    const about = known[row], name = nameOf(about);
    return h(
      "button", { type: "button", class: "wi-clip", "aria-label": `Play ${about.label}, ${name}`, title: name, on: { click: () => play(row) } },
      h("img", { class: "wi-thumb", alt: "", loading: "lazy", src: about.thumbnail && address(`${path}/${row}.jpg`) }),
      h("span", { class: "wi-name" }, h("span", { text: about.label }), h("span", { class: "w-soft", text: name })),
    );
  };
  const entry = ({ rows, cosine, words: said }) => h(
    "li", { class: "wi-entry" },
    h("span", { class: "wi-clips" }, ...rows.map(clip), ...(said ? [h("span", { class: "wi-said w-soft", text: said })] : [])),
    h("span", { class: "wi-cosine", text: cosine.toFixed(3) }),
  );
  return h(
    "section", { class: "wi-root w-root", role: "region", "aria-label": title },
    h("h3", { text: title }), h("p", { class: "w-soft", text: words }), h("ol", { class: "wi-list", "aria-label": title }, ...entries.map(entry)),
  );
}
