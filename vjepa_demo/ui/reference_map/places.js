// Where things are on the map, in pixels: where the labels' names stand, and which point is next. No DOM in here.

const RING = 7; // pixels between the places that are tried around a centre
const UNDER = 24; // so many pixels further away a name goes rather than on one more point
const MOST_NAMES = 200; // that are looked a place for: there is room for some dozens
export const MOST_POINTS = 1500; // that are kept clear of names: more would take longer than they are worth

const middle = (values) => {
  const sorted = values.toSorted((a, b) => a - b), half = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};

// The centre of a label: the median of its points, which one that lies apart does not move.
export const centreOf = (x, y) => [middle(x), middle(y)];

// The places of names near the centres of their labels: none over another, off the edge or over more points than needed,
// those of the largest labels first. `names` are {x, y, width, height, count}, `room` is {width, height, reach}, where it
// may hold the most names that are placed. Returns {left, top} for each; null where no place is within reach.
export function placeNames(names, points, room) {
  const taken = [], found = names.map(() => null);
  const seen = points.length > MOST_POINTS ? [] : points;
  const order = names.map((_, i) => i).toSorted((a, b) => names[b].count - names[a].count).slice(0, MOST_NAMES);
  for (const i of order) {
    if (taken.length === room.most) break;
    const { x, y, width, height } = names[i];
    if (x < 0 || y < 0 || x > room.width || y > room.height) continue;
    const near = seen.filter((point) => Math.abs(point[0] - x) < room.reach + width && Math.abs(point[1] - y) < room.reach + height);
    let best = null;
    for (let ring = 0; ring <= room.reach; ring += RING) {
      if (best && ring >= best.cost) break;
      for (let turn = 0; turn < (ring ? 16 : 1); turn += 1) {
        const angle = (turn * Math.PI) / 8;
        const left = x - width / 2 + ring * Math.cos(angle), top = y - height / 2 + ring * Math.sin(angle);
        const right = left + width, bottom = top + height;
        if (left < 0 || top < 0 || right > room.width || bottom > room.height) continue;
        if (taken.some((box) => left < box.right && right > box.left && top < box.bottom && bottom > box.top)) continue;
        const under = near.filter(([px, py]) => px > left - 5 && px < right + 5 && py > top - 5 && py < bottom + 5).length;
        const cost = ring + UNDER * under;
        if (!best || cost < best.cost) best = { left, top, right, bottom, cost };
      }
    }
    if (!best) continue;
    taken.push(best);
    found[i] = { left: best.left, top: best.top };
  }
  return found;
}

// Which of the points `{row: [x, y]}` is the next one from `from` in a direction [dx, dy]; null where there is none.
export function nextPoint(points, from, [dx, dy]) {
  let best = null, least = Infinity;
  for (const [row, [x, y]] of points) {
    const along = (x - from[0]) * dx + (y - from[1]) * dy;
    const across = Math.abs((x - from[0]) * dy) + Math.abs((y - from[1]) * dx);
    if (along <= 0 || across > 2 * along || along + 2 * across >= least) continue;
    [best, least] = [row, along + 2 * across];
  }
  return best;
}
