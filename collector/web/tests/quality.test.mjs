import assert from "node:assert/strict";
import { test } from "node:test";

import { trustOf } from "../quality.js";

const reason = (name, samples, share) => ({ reason: name, sentence: `It is ${name}.`, samples, share });

test("the line names the share of whole stacks and the first reasons", () => {
  const reasons = [reason("too deep", 1900, 0.019), reason("unmapped", 500, 0.005), reason("stuck", 200, 0.002)];
  const trust = trustOf({ samples: 100000, whole_share: 0.974, reasons });
  assert.equal(trust.text, "97.4 % of stacks whole · 1.90 % too deep · 0.50 % unmapped …");
  assert.equal(trust.warn, false);
  assert.deepEqual(trust.details[2], "stuck: 200 samples. It is stuck.");
});

test("many broken stacks are a warning", () => {
  assert.equal(trustOf({ samples: 8, whole_share: 0.949, reasons: [reason("too deep", 1, 0.051)] }).warn, true);
});

test("one broken stack among many is not all", () => {
  const almost = trustOf({ samples: 1e6, whole_share: 0.999999, reasons: [reason("unmapped", 1, 1e-6)] });
  assert.match(almost.text, /^99\.9 % of stacks whole/);
  assert.equal(trustOf({ samples: 5, whole_share: 1, reasons: [] }).text, "100 % of stacks whole");
});

test("without stacks there is nothing to say", () => {
  assert.equal(trustOf({ samples: 0, reasons: [] }), null);
});

test("a reason of a newer agent has no sentence", () => {
  const { details } = trustOf({ samples: 2, whole_share: 0.5, reasons: [{ reason: "new", samples: 1, share: 0.5 }] });
  assert.deepEqual(details, ["new: 1 samples."]);
});
