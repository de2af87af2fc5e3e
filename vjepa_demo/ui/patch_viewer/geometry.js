// Which patch is where. No DOM in here: node runs this file too.

// Where things are, in pixels of the upright source: the whole picture together with the rectangle the grid covers,
// which reaches beyond the picture where the input was padded.
export function geometry(clip) {
  const [left, top, right, bottom] = clip.header.window;
  const [width, height] = clip.header.source_size;
  const x = Math.min(0, left), y = Math.min(0, top);
  return {
    window: { x: left, y: top, width: right - left, height: bottom - top },
    source: { x: 0, y: 0, width, height },
    view: { x, y, width: Math.max(width, right) - x, height: Math.max(height, bottom) - y },
  };
}

// A function that turns a rectangle of the source into one of a canvas of this size.
export function toCanvas({ view }, width, height) {
  const sx = width / view.width, sy = height / view.height;
  return (rect) => [(rect.x - view.x) * sx, (rect.y - view.y) * sy, rect.width * sx, rect.height * sy];
}

export function patchRect(clip, geo, index) {
  const col = index % clip.cols, row = Math.floor(index / clip.cols) % clip.rows;
  const width = geo.window.width / clip.cols, height = geo.window.height / clip.rows;
  return { x: geo.window.x + col * width, y: geo.window.y + row * height, width, height };
}

// The patch at a place on the canvas (both from 0 to 1), or -1 where the model saw nothing.
export function patchAt(clip, geo, step, u, v) {
  const x = geo.view.x + u * geo.view.width, y = geo.view.y + v * geo.view.height;
  const col = Math.floor(((x - geo.window.x) / geo.window.width) * clip.cols);
  const row = Math.floor(((y - geo.window.y) / geo.window.height) * clip.rows);
  if (col < 0 || row < 0 || col >= clip.cols || row >= clip.rows) return -1;
  return clip.mask[row * clip.cols + col] ? (step * clip.rows + row) * clip.cols + col : -1;
}

export function intersection(a, b) {
  const x = Math.max(a.x, b.x), y = Math.max(a.y, b.y);
  const right = Math.min(a.x + a.width, b.x + b.width), bottom = Math.min(a.y + a.height, b.y + b.height);
  return { x, y, width: Math.max(0, right - x), height: Math.max(0, bottom - y) };
}
