// The two ends of the span that frames are sampled from, as handles on the line of moments.

import { h } from "../shared/dom.js";

const EDGE = 5; // pixels left free at both ends of the line
const LEAST = 0.1; // seconds

export class SpanHandles {
  // `choose(start, end)` is called when a handle was let go; end is 0 for the end of the video. `moved()` while it moves.
  constructor(choose, moved) {
    this.choose = choose;
    this.moved = moved;
    this.start = this.end = this.whole = 0;
    this.ends = ["start", "end"].map((which) => this.#handle(which));
    this.node = h("div", { class: "pv-span", role: "group", "aria-label": "Span that is sampled" }, ...this.ends);
  }

  set({ kind, duration, span }) {
    this.whole = kind === "image" ? 0 : duration;
    [this.start, this.end] = this.asked = span || [0, duration];
    this.node.hidden = !(this.whole > 2 * LEAST);
  }

  place(width) {
    this.width = width;
    this.ends.forEach((node, i) => {
      const at = i ? this.end : this.start;
      node.style.left = `${EDGE + (at / (this.whole || 1)) * (width - 2 * EDGE)}px`;
      node.setAttribute("aria-valuemax", this.whole.toFixed(2));
      node.setAttribute("aria-valuenow", at.toFixed(2));
      node.setAttribute("aria-valuetext", `${at.toFixed(2)} s`);
    });
  }

  #handle(which) {
    const label = which === "start" ? "Start of the span" : "End of the span";
    const node = h("button", {
      type: "button", role: "slider", class: `pv-handle pv-${which}`, "aria-label": label, "aria-valuemin": 0, title: `${label}: drag`,
    });
    const move = (seconds) => {
      const most = this.whole;
      if (which === "start") this.start = Math.max(0, Math.min(seconds, this.end - LEAST));
      else this.end = Math.min(most, Math.max(seconds, this.start + LEAST));
      this.moved();
    };
    const secondsAt = (event) => {
      const box = this.node.getBoundingClientRect();
      return ((event.clientX - box.left - EDGE) / Math.max(1, box.width - 2 * EDGE)) * this.whole;
    };
    node.addEventListener("pointerdown", (event) => {
      node.setPointerCapture(event.pointerId);
      event.stopPropagation();
    });
    node.addEventListener("pointermove", (event) => node.hasPointerCapture(event.pointerId) && move(secondsAt(event)));
    node.addEventListener("lostpointercapture", () => this.#chosen());
    node.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -LEAST, ArrowRight: LEAST }[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      move((which === "start" ? this.start : this.end) + by);
    });
    node.addEventListener("keyup", (event) => event.key.startsWith("Arrow") && this.#chosen());
    return node;
  }

  #chosen() {
    if (this.start === this.asked[0] && this.end === this.asked[1]) return;
    this.asked = [this.start, this.end];
    const end = this.end >= this.whole - 1e-3 ? 0 : this.end;
    this.choose(Math.round(this.start * 100) / 100, Math.round(end * 100) / 100);
  }
}
