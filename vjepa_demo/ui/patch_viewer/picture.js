// What is shown, as a PNG: the frames side by side with the map, its marks and its scale.

import { h } from "../shared/dom.js";
import { colourAt } from "./draw.js";

const HEIGHT = 720;
const FOOT = 44;

export function savePicture(views, options) {
  const [view] = views;
  const widths = views.map(({ geo }) => Math.round((HEIGHT * geo.view.width) / geo.view.height));
  const canvas = h("canvas", { width: widths.reduce((a, b) => a + b, 0), height: HEIGHT + FOOT });
  const context = canvas.getContext("2d");
  context.fillStyle = "#101218";
  context.fillRect(0, 0, canvas.width, canvas.height);
  let left = 0;
  views.forEach((one, i) => {
    context.drawImage(one.picture(widths[i], HEIGHT, options), left, 0);
    left += widths[i];
  });
  if (options.map === "similarity" && view.scores) paintScale(context, view, options);
  canvas.toBlob((blob) => {
    const url = URL.createObjectURL(blob);
    h("a", { href: url, download: `patches-step-${view.step}.png` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }, "image/png");
}

function paintScale(context, view, { range: [low, high], centred }) {
  for (let i = 0; i < 200; i++) {
    context.fillStyle = `rgb(${colourAt(view.clip.header.colours, i / 199)})`;
    context.fillRect(70 + i, HEIGHT + 14, 1, 16);
  }
  context.fillStyle = "#fff";
  context.font = "15px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.fillText(low.toFixed(2), 24, HEIGHT + 22);
  context.fillText(`${high.toFixed(2)}   ${centred ? "centred " : ""}cosine, ${view.time(view.step)}`, 280, HEIGHT + 22);
}
