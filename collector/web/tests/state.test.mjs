import assert from "node:assert/strict";
import { test } from "node:test";

import { ofChange, strength, strengthOf } from "../colour.js";
import { ago, bytes, change, duration, percent } from "../format.js";
import { format, parse, rangeBefore, seconds, selection } from "../state.js";

test("a state survives its address", () => {
  const state = { view: "diff", service: "a b&c=d", "baseline.version": "1+2", "label.zone": "é", zoom: '["x"]' };
  assert.deepEqual(parse(format(state)), state);
});

test("an address that names no view is the first view", () => {
  assert.deepEqual(parse("#/constructor?service=x"), { view: "services", service: "x" });
  assert.deepEqual(parse(""), { view: "services" });
  assert.equal(format({ view: "services", service: "" }), "#/");
});

test("an address cannot change the view by a parameter", () => {
  assert.equal(parse("#/diff?view=alerts").view, "diff");
});

test("a question carries the selection and nothing of the page", () => {
  assert.deepEqual(selection({ view: "diff", service: "s", zoom: "z", search: "q", "label.k": "v", "baseline.from": "-1h" }),
    { service: "s", "label.k": "v" });
});

test("the range before a relative range stays relative", () => {
  assert.deepEqual(rangeBefore("-15m", "now"), { from: "-30m", to: "-15m" });
  assert.deepEqual(rangeBefore("1000", "1100"), { from: "900", to: "1000" });
  assert.equal(seconds("-2h", 10000), 2800);
});

test("numbers have three digits and a unit", () => {
  assert.deepEqual([duration(950), duration(1234), duration(45_600_000), duration(3e9)], ["950 ns", "1.23 µs", "45.6 ms", "3.00 s"]);
  assert.deepEqual([percent(0.1234), percent(0.0123), percent(0.00012)], ["12.3 %", "1.23 %", "0.012 %"]);
  assert.deepEqual([change(0.01), change(-0.01)], ["+1.00 %", "−1.00 %"]);
  assert.equal(bytes(3 * 2 ** 20), "3.00 MiB");
  assert.equal(ago(0, 7300), "2 h ago");
});

test("a node has colour where its function changed the same way and that is told from noise", () => {
  const [sure, unsure] = [{ q: 0.001, delta: 0.1 }, { q: 0.5, delta: 0.1 }];
  assert.ok(strengthOf(0.1, 0.2, [unsure, sure]) > 0.9);
  assert.equal(strengthOf(0.1, 0.2, [unsure]), 0);
  assert.equal(strengthOf(0.2, 0.1, [sure]), 0);
  assert.equal(strengthOf(0.1, 0.2, []), 0);
});

test("a change within sampling noise has no colour", () => {
  assert.equal(strength(50, 1000, 52, 1000), 0);
  assert.ok(strength(500, 10000, 900, 10000) > 0.6);
  assert.ok(strength(900, 10000, 500, 10000) < -0.6);
  assert.equal(strength(5, 0, 5, 10), 0);
  assert.match(ofChange(0, false), /^hsl\(\d+ 0% 88%\)$/);
});
