// The cosines that the tokens of a clip give, and what is read off them. No DOM in here: node runs this file too.

function dot(a, b) {
  let sum = 0;
  for (let d = 0; d < a.length; d++) sum += a[d] * b[d];
  return sum;
}

// A real vector as integers: the largest that fit 16 bits, and whose products with int8 cannot overflow 32.
function toIntegers(vector) {
  const most = Math.min(32767, Math.floor((2 ** 31 - 1) / (127 * vector.length)));
  let peak = 0;
  for (const x of vector) peak = Math.max(peak, Math.abs(x));
  const step = peak / most || 1;
  return { step, values: Int32Array.from(vector, (x) => Math.round(x / step)) };
}

// mean(of) · token, for every token of `clip`.
function meanProducts(clip, of) {
  if (of === clip) return clip.dotMean;
  let products = clip.crossMean.get(of);
  if (!products) {
    const { step, values } = toIntegers(of.mean);
    products = clip.dot(values);
    for (let i = 0; i < products.length; i++) products[i] *= step * clip.scale[i];
    clip.crossMean.set(of, products);
  }
  return products;
}

// The query: the mean of the added tokens less the mean of the subtracted ones. `points` hold {clip, index, sign}.
// Tokens come centred; `shares` says how much of each clip's mean token a raw query holds.
export function makeQuery(points) {
  const { dim } = points[0].clip;
  const count = (sign) => points.filter((point) => point.sign === sign).length;
  const counts = { 1: count(1), [-1]: count(-1) };
  const vector = new Float64Array(dim);
  const shares = new Map();
  const parts = points.map(({ clip, index, sign }) => {
    const weight = sign / counts[sign];
    const scale = clip.scale[index];
    const token = clip.tokens.subarray(index * dim, (index + 1) * dim);
    for (let d = 0; d < dim; d++) vector[d] += weight * scale * token[d];
    shares.set(clip, (shares.get(clip) || 0) + weight);
    // What rounding took from this token's product with itself; the true length is known.
    return { clip, index, weight, lost: clip.norm[index] ** 2 - scale * scale * dot(token, token) };
  });
  const square = dot(vector, vector) + parts.reduce((sum, part) => sum + part.weight ** 2 * part.lost, 0);
  return { vector, shares, parts, square: Math.max(square, 0), ...toIntegers(vector) };
}

// Cosine of the query with every token of `clip`: Float32Array [T'·H'·W'], NaN on padding (as `similarity.similarity` in Python).
export function scoreClip(query, clip, centred) {
  const scores = new Float32Array(clip.patches);
  const products = clip.dot(query.values);
  for (let i = 0; i < products.length; i++) products[i] *= query.step * clip.scale[i];
  for (const part of query.parts) {
    if (part.clip === clip) products[part.index] += part.weight * part.lost;
  }
  let square = query.square;
  let norms = clip.norm;
  if (!centred) {
    norms = clip.rawNorm;
    let shift = queryMean(query, clip);
    for (const [of, share] of query.shares) {
      shift += share * dot(of.mean, clip.mean);
      square += 2 * share * queryMean(query, of);
      for (const [other, part] of query.shares) square += share * part * dot(of.mean, other.mean);
      const means = meanProducts(clip, of);
      for (let i = 0; i < products.length; i++) products[i] += share * means[i];
    }
    for (let i = 0; i < products.length; i++) products[i] += shift;
  }
  const length = Math.sqrt(Math.max(square, 0));
  const blind = length <= 1e-6 * query.parts[0].clip.longest;
  const area = clip.rows * clip.cols;
  for (let i = 0; i < scores.length; i++) {
    if (!clip.mask[i % area]) scores[i] = NaN;
    else if (blind || norms[i] === 0) scores[i] = 0;
    else scores[i] = Math.max(-1, Math.min(1, products[i] / (length * norms[i])));
  }
  return scores;
}

// The centred query's product with a clip's mean token, from exact products of its parts.
function queryMean(query, clip) {
  return query.parts.reduce((sum, part) => sum + part.weight * meanProducts(part.clip, clip)[part.index], 0);
}

// The range of the colours: from the 5th percentile to the 99.7th of all scores given, read off a histogram. The few
// above, the query itself among them, share the top colour, so that a noisy map does not look empty.
export function scoreRange(scoreSets) {
  const bins = new Uint32Array(400);
  let total = 0;
  for (const scores of scoreSets) {
    for (const score of scores) {
      if (!Number.isNaN(score)) {
        bins[Math.min(399, ((score + 1) * 200) | 0)]++;
        total++;
      }
    }
  }
  const at = (share) => {
    let seen = 0;
    for (let i = 0; i < 400; i++) {
      seen += bins[i];
      if (seen > share * total) return i;
    }
    return 399;
  };
  const low = at(0.05) / 200 - 1;
  const high = (at(0.997) + 1) / 200 - 1;
  return [low, Math.max(high, low + 0.05)];
}

// The range of the colours of errors, as `scoreRange`: between the 5th percentile and the 99.7th of all of them.
export function errorRange(errorSets) {
  const known = Float32Array.from(errorSets.flatMap((errors) => [...errors].filter((error) => !Number.isNaN(error)))).toSorted();
  const at = (share) => known[Math.min(known.length - 1, Math.floor(share * known.length))] ?? 0;
  return [at(0.05), Math.max(at(0.997), at(0.05) + 1e-3)];
}

// How much of all of it lies in every time step.
export function sharesOfSteps(values, clip) {
  const area = clip.rows * clip.cols, sum = (part) => part.reduce((all, value) => all + value, 0);
  const all = sum(values);
  return Array.from({ length: clip.steps }, (_, step) => sum(values.subarray(step * area, (step + 1) * area)) / all);
}

// The step of the highest of these, NaN left out.
export const peakOf = (values) => values.reduce((best, value, step) => (value > best.value ? { value, step } : best), { value: -Infinity, step: 0 }).step;

// The mean of these, NaN left out.
export function meanOf(values) {
  const known = [...values].filter((value) => !Number.isNaN(value));
  return known.reduce((sum, value) => sum + value, 0) / known.length;
}

// The best match at every time step: {score, index}, index -1 where nothing was seen.
export function bestMatches(scores, clip) {
  const area = clip.rows * clip.cols;
  return Array.from({ length: clip.steps }, (_, step) => {
    let index = -1;
    for (let i = step * area; i < (step + 1) * area; i++) {
      if (!Number.isNaN(scores[i]) && (index < 0 || scores[i] > scores[index])) index = i;
    }
    return { index, score: index < 0 ? NaN : scores[index] };
  });
}

// How much of every time step is alike: the share of its patches that score above `level`; NaN where none was seen.
export function sharesAlike(scores, clip, level) {
  const area = clip.rows * clip.cols;
  return Array.from({ length: clip.steps }, (_, step) => {
    let seen = 0, alike = 0;
    for (let i = step * area; i < (step + 1) * area; i++) {
      if (Number.isNaN(scores[i])) continue;
      seen++;
      alike += scores[i] >= level;
    }
    return seen ? alike / seen : NaN;
  });
}

// The best match elsewhere, {index, score}: not at a place of the query, nor at a neighbour of one, at whatever step. What
// stands still is like itself at every moment, which says nothing. `places` are indices of the query's patches in this
// clip; index -1 where nothing else was seen.
export function bestElsewhere(scores, clip, places) {
  const near = new Set();
  for (const place of places) {
    const col = place % clip.cols, row = Math.floor(place / clip.cols) % clip.rows;
    for (let r = row - 1; r <= row + 1; r++) for (let c = col - 1; c <= col + 1; c++) if (c >= 0 && c < clip.cols) near.add(r * clip.cols + c);
  }
  const area = clip.rows * clip.cols;
  let index = -1;
  for (let i = 0; i < scores.length; i++) {
    if (Number.isNaN(scores[i]) || near.has(i % area)) continue;
    if (index < 0 || scores[i] > scores[index]) index = i;
  }
  return { index, score: index < 0 ? NaN : scores[index] };
}
