// Files come in by a button, by a drop anywhere in the window, from the clipboard, or from the camera. The last one wins.

import { button, h, whileThere } from "../shared/dom.js";
import { Recorder, canRecord } from "./recorder.js";

const ZONES = ".own-drop"; // parts of the page that take files for themselves
const STATUS = ".page-head .status"; // where the server tells how far a clip is
const LONGEST_MS = 20_000; // what it does not answer in that time it has refused

export const mount = (element, gradio) => new Intake(element, gradio);

class Intake {
  #turn = 0;
  #depth = 0; // of elements that the dragged file has entered and not left

  constructor(element, { props, trigger, upload }) {
    Object.assign(this, { props, trigger, upload });
    this.input = h("input", { type: "file", accept: props.accept, hidden: "", "aria-label": "Video or image", on: { change: () => this.#chosen() } });
    this.message = h("p", { class: "in-message", role: "status" });
    this.veil = h("div", { class: "in-veil", hidden: "" }, h("p", { text: "Drop a video or an image" }));
    const open = button("Open", () => this.input.click(), { class: "w-button in-open", "aria-label": "Open a clip", title: "A video or an image. You can also drop it anywhere, or paste it." });
    open.append(h("span", { text: " a clip" }));
    const record = button("Record", () => this.recorder.record(), { class: "w-button in-record", title: "Four seconds from your camera" });
    record.hidden = !canRecord();
    this.recorder = new Recorder({ take: (file) => this.#take(file), tell: (text) => this.#tell(text), begin: record });
    this.root = h("div", { class: "in-root w-root" }, oneStop("Open a clip", open, record), this.input, this.message, this.veil, this.recorder.node);
    element.replaceChildren(this.root);
    for (const type of ["dragenter", "dragover", "dragleave", "drop"]) whileThere(this.root, document, type, (event) => this.#drag(event));
    whileThere(this.root, document, "paste", (event) => {
      const [file] = event.clipboardData?.files || [];
      if (file && !event.target.closest?.(ZONES)) this.#take(file);
    });
  }

  #chosen() {
    const [file] = this.input.files;
    this.input.value = ""; // so that the same file can be chosen again
    if (file) this.#take(file);
  }

  #drag(event) {
    const files = event.dataTransfer?.types.includes("Files");
    const elsewhere = event.target.closest?.(ZONES);
    if (!files) return;
    if (event.type === "dragenter") this.#depth++;
    if (event.type === "dragleave") this.#depth--;
    if (event.type === "drop") this.#depth = 0;
    this.veil.hidden = this.#depth <= 0 || Boolean(elsewhere);
    if (elsewhere) return;
    event.preventDefault(); // a browser would open the file in place of the page
    event.stopPropagation();
    const [file] = event.type === "drop" ? event.dataTransfer.files : [];
    if (file) this.#take(file);
  }

  async #take(file) {
    const turn = ++this.#turn;
    const { most_bytes: most } = this.props;
    if (file.size > most) {
      this.#tell(`This file has ${megabytes(file.size)}, and at most ${megabytes(most)} can be opened: cut or compress it.`);
      return;
    }
    this.#tell(`Uploading ${file.name} …`, true);
    try {
      const { path, url } = await this.upload(file);
      if (turn !== this.#turn) return;
      this.#waitForWord(`Opening ${file.name} …`);
      this.props.value = { path, url, orig_name: file.name, meta: { _type: "gradio.FileData" } };
      this.trigger("chosen");
    } catch (error) {
      console.warn(error);
      if (turn === this.#turn) this.#tell("The file did not reach the server: try again.");
    }
  }

  // `coming`: of a clip that is on its way.
  #tell(words, coming = false) {
    this.message.textContent = words;
    this.message.toggleAttribute("data-coming", coming);
  }

  // On a page that has only just opened seconds may pass before the server says anything: until then this does.
  #waitForWord(words) {
    const turn = this.#turn, status = document.querySelector(STATUS);
    const over = () => turn === this.#turn && this.#tell("");
    if (!status) return over();
    this.#tell(words, true);
    setTimeout(over, LONGEST_MS);
    const heard = new MutationObserver(() => {
      if (!status.textContent.trim() || status.querySelector(".opening")) return; // what it says to who comes
      heard.disconnect();
      over();
    });
    heard.observe(status, { childList: true, subtree: true, characterData: true });
  }
}

// Two buttons that are one stop for Tab, so that the picture stays near; the arrow keys go from one to the other.
function oneStop(label, ...buttons) {
  const go = ({ key }) => {
    if (key !== "ArrowLeft" && key !== "ArrowRight") return;
    buttons.find((one) => one !== document.activeElement && !one.hidden)?.focus();
  };
  const node = h("div", { class: "in-buttons", role: "toolbar", "aria-label": label, on: { keydown: go } }, ...buttons);
  buttons.slice(1).forEach((one) => { one.tabIndex = -1; });
  node.addEventListener("focusin", ({ target }) => buttons.forEach((one) => { one.tabIndex = one === target ? 0 : -1; }));
  return node;
}

const megabytes = (bytes) => `${Math.ceil(bytes / 2 ** 20).toLocaleString("en")} MB`;
