// Work for Node.js: some of it in optimised JavaScript, some in the C++ libraries below it.
"use strict";
const crypto = require("node:crypto");
const zlib = require("node:zlib");

const words = Array.from({ length: 4000 }, (_, number) => `word${number % 977}-${number}`);

function documents() {
  const text = JSON.stringify(words.map((word) => ({ name: word, tags: [word, word] })));
  return JSON.parse(text).sort((a, b) => (a.name < b.name ? -1 : 1));
}

function digests() {
  return words.map((word) => crypto.createHash("sha256").update(word.repeat(20)).digest("hex"));
}

function matches() {
  return words.filter((word) => /word(\d+)-(?:1|2|3)(\d+)/.test(word)).length;
}

function packed() {
  return zlib.inflateSync(zlib.deflateSync(Buffer.from(words.join("")))).length;
}

function fibonacci(number) {
  return number < 2 ? number : fibonacci(number - 1) + fibonacci(number - 2);
}

for (;;) {
  documents();
  digests();
  matches();
  packed();
  fibonacci(24);
}
