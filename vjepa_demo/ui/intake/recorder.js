// Four seconds from the camera, recorded by the browser itself, become a file like any other.

import { button, h } from "../shared/dom.js";

const READY_S = 2; // to get into the picture
const SECONDS = 4;
const KINDS = ["video/webm;codecs=vp8", "video/webm", "video/mp4"];
const REFUSED = {
  NotAllowedError: "The camera is not allowed for this page: allow it in the browser, then press Record again.",
  NotFoundError: "No camera was found: connect one, or open a file.",
};
const FAILED = "The camera cannot be used: another program may have it. Close that, or open a file.";

// Browsers give the camera to pages from a safe address alone.
export const canRecord = () => Boolean(navigator.mediaDevices?.getUserMedia && window.MediaRecorder);

export class Recorder {
  #turn = 0; // of the recording that is under way; any other has been cancelled

  // `take(file)` gets what was recorded, `tell(text)` what went wrong; `begin` is the button that the focus goes back to.
  constructor({ take, tell, begin }) {
    Object.assign(this, { take, tell, begin });
    this.picture = h("video", { "aria-label": "Camera", playsinline: "" });
    this.picture.muted = true;
    this.left = h("p", { class: "in-left", role: "status" });
    this.stop = button("Cancel", () => this.cancel());
    this.node = h(
      "div", { class: "in-camera", role: "dialog", "aria-label": "Record from the camera", hidden: "", on: { keydown: ({ key }) => key === "Escape" && this.cancel() } },
      this.picture, h("div", { class: "w-row" }, this.left, this.stop),
    );
  }

  async record() {
    const turn = ++this.#turn;
    this.tell("");
    let stream = null;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } }, audio: false });
      if (turn !== this.#turn) return;
      this.picture.srcObject = stream;
      this.node.hidden = false;
      this.stop.focus();
      await this.picture.play();
      await this.#count("Recording begins in", READY_S, turn);
      const file = await this.#film(stream, turn);
      if (turn === this.#turn) this.take(file);
    } catch (error) {
      if (turn !== this.#turn) return;
      console.warn(error);
      this.tell(REFUSED[error.name] || FAILED);
    } finally {
      stream?.getTracks().forEach((track) => track.stop());
      if (turn === this.#turn) this.#close();
    }
  }

  cancel() {
    this.#turn++;
    this.#close();
  }

  async #film(stream, turn) {
    const mimeType = KINDS.find((kind) => MediaRecorder.isTypeSupported(kind));
    const recorder = new MediaRecorder(stream, { mimeType }), parts = [];
    recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
    const over = new Promise((resolve, reject) => {
      recorder.addEventListener("stop", resolve);
      recorder.addEventListener("error", ({ error }) => reject(error));
    });
    recorder.start();
    await this.#count("Recording:", SECONDS, turn);
    if (recorder.state !== "inactive") recorder.stop();
    await over;
    const type = recorder.mimeType.split(";")[0];
    return new File(parts, `camera.${type.split("/")[1]}`, { type });
  }

  async #count(words, seconds, turn) {
    for (let left = seconds; left > 0 && turn === this.#turn; left--) {
      this.left.textContent = `${words} ${left} s`;
      await new Promise((resolve) => { setTimeout(resolve, 1000); });
    }
  }

  #close() {
    this.picture.srcObject = null;
    this.node.hidden = true;
    this.begin.focus();
  }
}
