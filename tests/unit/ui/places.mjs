// Checks of the map's places, run by node: nothing printed and 0 where all hold.
import assert from "node:assert/strict";
import { centreOf, nextPoint, placeNames } from "../../../vjepa_demo/ui/reference_map/places.js";

assert.deepEqual(centreOf([0, 1, 2, 900], [0, 5, 1, 2]), [1.5, 1.5]);

const room = { width: 300, height: 200, reach: 100 };
const box = { width: 60, height: 16 };
const heap = Array.from({ length: 12 }, () => ({ x: 150, y: 100, count: 8, ...box }));
const places = placeNames(heap, [], room);
assert.ok(places.every((place) => place));
for (const [i, a] of places.entries()) {
  assert.ok(a.left >= 0 && a.top >= 0 && a.left + 60 <= 300 && a.top + 16 <= 200);
  for (const b of places.slice(i + 1)) assert.ok(Math.abs(a.left - b.left) >= 60 || Math.abs(a.top - b.top) >= 16);
}
// Alone it stands on its centre; points under it drive it away.
assert.deepEqual(placeNames([heap[0]], [], room), [{ left: 120, top: 92 }]);
const [away] = placeNames([heap[0]], [[150, 100], [152, 101], [148, 99]], room);
assert.ok(away.left > 152 || away.left + 60 < 148 || away.top > 101 || away.top + 16 < 99);
// Where there is room for one, it is the largest; what is out of sight has no name.
const small = { width: 64, height: 20, reach: 20 };
assert.deepEqual(placeNames([{ x: 32, y: 10, count: 2, ...box }, { x: 32, y: 10, count: 9, ...box }], [], small)[0], null);
assert.deepEqual(placeNames([{ x: -40, y: 10, count: 2, ...box }], [], room), [null]);

// Of very many, only the largest are tried.
const many = Array.from({ length: 2000 }, (_, i) => ({ x: 100 * i + 50, y: 50, count: i, ...box }));
const found = placeNames(many, [], { width: 200_000, height: 100, reach: 100 });
assert.ok(found.at(-1) && !found[0]);
assert.equal(found.filter(Boolean).length, 200);

// Where few are wanted, these are the largest that are in sight.
const few = placeNames([{ x: -40, y: 10, count: 99, ...box }, ...many.slice(0, 3)], [], { width: 400, height: 100, reach: 100, most: 2 });
assert.deepEqual(few.map(Boolean), [false, false, true, true]);

const points = [[0, [0, 0]], [1, [10, 1]], [2, [4, 40]], [3, [-5, 0]]];
assert.equal(nextPoint(points, [0, 0], [1, 0]), 1);
assert.equal(nextPoint(points, [0, 0], [-1, 0]), 3);
assert.equal(nextPoint(points, [0, 0], [0, 1]), 2);
assert.equal(nextPoint(points, [0, 0], [0, -1]), null);
