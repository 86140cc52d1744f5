import assert from "node:assert/strict";
import { test } from "node:test";

import { boxes, findPath, functions, nameOf, pathOf, readTree, search, step } from "../layout.js";

// all 10 ├ a 6 (self 1) ├ b 3 └ c 2 ; └ d 4, which is again a
const ANSWER = {
  names: ["all", "a", "b", "c"], modules: ["", "app"],
  frames: [[0, 0, 4], [1, 1, 0], [2, 1, 0], [3, 1, 2]],
  nodes: [0, 0, 0, 10, 1, 1, 1, 6, 2, 2, 3, 3, 3, 2, 2, 2, 3, 1, 2, 4, 1, 2, 2, 2].slice(),
};
const tree = readTree(ANSWER, 1);

test("subtrees end where the next sibling starts", () => {
  assert.deepEqual([...tree.end], [6, 4, 3, 4, 6, 6]);
  assert.deepEqual([...tree.parent], [-1, 0, 1, 1, 0, 4]);
});

test("boxes stand side by side and below their parent", () => {
  const drawn = boxes(tree, 0, 100);
  assert.deepEqual(drawn.map(({ node, x, width, row }) => [node, x, width, row]), [
    [0, 0, 100, 0], [1, 0, 60, 1], [2, 0, 30, 2], [3, 30, 20, 2], [4, 60, 40, 1], [5, 60, 20, 2],
  ]);
});

test("a zoomed box fills the width below its ancestors", () => {
  const drawn = boxes(tree, 4, 100);
  assert.deepEqual(drawn.map(({ node, x, width }) => [node, x, width]), [[0, 0, 100], [4, 0, 100], [5, 0, 50]]);
});

test("boxes too narrow to see are left out with all below them", () => {
  assert.deepEqual(boxes(tree, 0, 100, 45).map(({ node }) => node), [0, 1]);
});

test("the share of a search counts nested matches once", () => {
  const found = search(tree, "A");
  assert.equal(found.share, 1, "the module `app` matches every function");
  assert.equal(search(tree, "b").share, 0.3);
  assert.equal(search(tree, "c").share, 0.6);
  assert.equal(search(tree, " "), null);
});

test("arrow keys walk to the widest child, the parent and the siblings", () => {
  assert.equal(step(tree, 0, "ArrowDown"), 1);
  assert.equal(step(tree, 1, "ArrowRight"), 4);
  assert.equal(step(tree, 4, "ArrowLeft"), 1);
  assert.equal(step(tree, 5, "ArrowUp"), 4);
  assert.equal(step(tree, 2, "ArrowDown"), 2);
  assert.equal(step(tree, 0, "ArrowUp"), 0);
});

test("a path of names finds its node again", () => {
  for (let node = 0; node < tree.size; node += 1) assert.equal(findPath(tree, pathOf(tree, node)), node);
  assert.equal(findPath(tree, ["a", "gone"]), 1);
});

test("a function on two paths is one row, a marker is none", () => {
  const rows = functions(tree);
  assert.deepEqual(rows.map(({ name, self, total }) => [name, self, total]), [["c", 4, 6], ["a", 3, 8], ["b", 3, 3]]);
});

test("a comparison is as wide as the mean of both shares", () => {
  const both = readTree({ ...ANSWER, nodes: [0, 0, 0, 10, 0, 20, 1, 1, 10, 10, 0, 0, 2, 1, 0, 0, 20, 20] }, 2);
  assert.deepEqual(boxes(both, 0, 100).map(({ node, width }) => [nameOf(both, node), width]), [["all", 100], ["a", 50], ["b", 50]]);
});

test("twenty thousand children too thin to see cost no box", () => {
  const nodes = [0, 0, 0, 20000];
  for (let child = 0; child < 20000; child += 1) nodes.push(1, 1, 1, 1);
  const wide = readTree({ ...ANSWER, nodes }, 1);
  assert.equal(boxes(wide, 0, 1400).length, 1, "children of 0.07 pixels are not drawn");
});
