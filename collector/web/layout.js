// Where the boxes of a flame graph stand. Pure; knows neither canvas nor page.

/**
 * Reads the tree of an answer. `sides` is 1 for a flame graph and 2 for a comparison.
 * A node's weight is its width: samples, or for two sides the mean of its shares.
 */
export function readTree(answer, sides) {
  const stride = 2 + 2 * sides;
  const size = answer.nodes.length / stride;
  const tree = {
    size, sides, names: answer.names, modules: answer.modules, frames: answer.frames,
    frame: new Uint32Array(size), depth: new Uint32Array(size), parent: new Int32Array(size),
    end: new Uint32Array(size), weight: new Float64Array(size), deepest: 0,
    self: Array.from({ length: sides }, () => new Float64Array(size)),
    total: Array.from({ length: sides }, () => new Float64Array(size)),
  };
  const path = [];
  for (let node = 0; node < size; node += 1) {
    const at = node * stride;
    const depth = answer.nodes[at + 1];
    tree.frame[node] = answer.nodes[at];
    tree.depth[node] = depth;
    tree.deepest = Math.max(tree.deepest, depth);
    for (let open = path.length - 1; open >= depth; open -= 1) tree.end[path[open]] = node;
    path.length = depth;
    tree.parent[node] = depth > 0 ? path[depth - 1] : -1;
    path.push(node);
    for (let side = 0; side < sides; side += 1) {
      tree.self[side][node] = answer.nodes[at + 2 + 2 * side];
      tree.total[side][node] = answer.nodes[at + 3 + 2 * side];
    }
    tree.weight[node] = sides === 1 ? tree.total[0][node] : (share(tree, 0, node) + share(tree, 1, node)) / 2;
  }
  for (const open of path) tree.end[open] = size;
  return tree;
}

/** Share of a node in all samples of one side. */
export function share(tree, side, node) {
  const all = tree.total[side][0];
  return all > 0 ? tree.total[side][node] / all : 0;
}

export const nameOf = (tree, node) => tree.names[tree.frames[tree.frame[node]][0]];
export const moduleOf = (tree, node) => tree.modules[tree.frames[tree.frame[node]][1]];
export const kindOf = (tree, node) => tree.frames[tree.frame[node]][2];

/**
 * The boxes to draw when `zoom` fills `width` pixels: { node, x, width, row }. Ancestors of the zoomed node are full
 * rows; whatever is narrower than `narrowest` is left out with all below it.
 */
export function boxes(tree, zoom, width, narrowest = 0.5) {
  const drawn = [];
  for (let up = tree.parent[zoom]; up >= 0; up = tree.parent[up]) drawn.push({ node: up, x: 0, width, row: tree.depth[up] });
  const scale = tree.weight[zoom] > 0 ? width / tree.weight[zoom] : 0;
  const cursor = new Float64Array(tree.deepest + 2);
  for (let node = zoom; node < tree.end[zoom];) {
    const depth = tree.depth[node];
    const wide = tree.weight[node] * scale;
    const x = cursor[depth];
    cursor[depth] += wide;
    cursor[depth + 1] = x;
    if (wide < narrowest) {
      node = tree.end[node];
      continue;
    }
    drawn.push({ node, x, width: wide, row: depth });
    node += 1;
  }
  return drawn;
}

/** Nodes whose function or module holds `text` (any case), and the share of samples below them, each counted once. */
export function search(tree, text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return null;
  const hits = tree.frames.map(([name, module, kind]) => kind !== 4
    && (tree.names[name].toLowerCase().includes(wanted) || tree.modules[module].toLowerCase().includes(wanted)));
  const nodes = new Set();
  let [weight, counted] = [0, 0];
  for (let node = 0; node < tree.size; node += 1) {
    if (!hits[tree.frame[node]]) continue;
    nodes.add(node);
    if (node < counted) continue;
    weight += tree.weight[node];
    counted = tree.end[node];
  }
  return { nodes, share: tree.weight[0] > 0 ? weight / tree.weight[0] : 0 };
}

/** The next node for an arrow key, or the same when there is none. */
export function step(tree, node, key) {
  const parent = tree.parent[node];
  if (key === "ArrowUp") return Math.max(parent, 0);
  if (key === "ArrowDown") {
    const below = children(tree, node);
    return below.reduce((widest, child) => (tree.weight[child] > tree.weight[widest] ? child : widest), below[0] ?? node);
  }
  if (parent < 0) return node;
  const siblings = children(tree, parent);
  const next = siblings.indexOf(node) + (key === "ArrowRight" ? 1 : -1);
  return siblings[next] ?? node;
}

/** Children of a node, in order. */
export function children(tree, node) {
  const found = [];
  for (let child = node + 1; child < tree.end[node]; child = tree.end[child]) found.push(child);
  return found;
}

/** The path of a node as names from the root, which survives a new answer. */
export function pathOf(tree, node) {
  const names = [];
  for (let up = node; up > 0; up = tree.parent[up]) names.unshift(nameOf(tree, up));
  return names;
}

/** The deepest node along a path of names. */
export function findPath(tree, names) {
  let node = 0;
  for (const name of names) {
    const next = children(tree, node).find((child) => nameOf(tree, child) === name);
    if (next === undefined) break;
    node = next;
  }
  return node;
}

/** Samples by function, { name, module, kind, self, total }, by falling self; a recursive function counts once in total. */
export function functions(tree) {
  const byFrame = new Map();
  const openUntil = new Map();
  for (let node = 0; node < tree.size; node += 1) {
    const frame = tree.frame[node];
    if (kindOf(tree, node) === 4) continue;
    const row = byFrame.get(frame) ?? {
      name: nameOf(tree, node), module: moduleOf(tree, node), kind: kindOf(tree, node), self: 0, total: 0,
    };
    row.self += tree.self[0][node];
    if (node >= (openUntil.get(frame) ?? 0)) {
      row.total += tree.total[0][node];
      openUntil.set(frame, tree.end[node]);
    }
    byFrame.set(frame, row);
  }
  return [...byFrame.values()].sort((a, b) => b.self - a.self);
}
