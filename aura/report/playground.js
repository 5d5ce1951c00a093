// The tokenizer in the page: the same ids as SentencePiece gives, by its two algorithms over the exported pieces.
// A test compares them in a browser. `model` is {type, pieces: [text], scores: [number], kinds: "SUBL…"}, by id.
"use strict";

const SPACE = "\u2581";
const model = JSON.parse(document.getElementById("model-data").textContent);
const ids = new Map(); // what text can match: user symbols and learnt pieces
const userSymbols = [];
const byteIds = new Array(256);
const learntScores = [];
let longest = 1; // characters of a piece
model.pieces.forEach((piece, id) => {
  const kind = model.kinds[id];
  if (kind === "B") byteIds[parseInt(piece.slice(3, 5), 16)] = id;
  if (kind === "U" || kind === "L") {
    ids.set(piece, id);
    longest = Math.max(longest, [...piece].length);
  }
  if (kind === "U") userSymbols.push(piece);
  if (kind === "L") learntScores.push(model.scores[id]);
});
userSymbols.sort((one, other) => other.length - one.length);
const lowest = learntScores.reduce((one, other) => Math.min(one, other), Infinity);
const utf8 = new TextEncoder();
// What text is cut at: the leftmost, and there the longest, user symbol; and a literal U+2581.
const cutAt = [...userSymbols, SPACE];
const cuts = new RegExp(`(${cutAt.map((text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|")})`, "u");

function encode(text) {
  const wellFormed = text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");
  return wellFormed.split(cuts).flatMap((part, place) => {
    if (place % 2) return part === SPACE ? toBytes(SPACE) : [ids.get(part)];
    return encodePart([...part.replaceAll(" ", SPACE)]);
  });
}

function encodePart(characters) {
  const pieces = model.type === "unigram" ? bestPath(characters) : mergePairs(characters);
  return pieces.flatMap((piece) => (ids.has(piece) ? [ids.get(piece)] : toBytes(piece)));
}

function toBytes(text) {
  return [...utf8.encode(text)].map((byte) => byteIds[byte]);
}

// Unigram: the segmentation with the highest sum of scores (Viterbi). SentencePiece keeps sums in 32 bits and prefers
// the earlier start among equals.
function bestPath(characters) {
  const unknown = Math.fround(lowest - 10);
  const best = new Array(characters.length + 1).fill(null);
  best[0] = { score: 0, start: -1 };
  for (let start = 0; start < characters.length; start++) {
    const reach = (end, score) => {
      const sum = best[start].score + score;
      if (!best[end] || sum > best[end].score) best[end] = { score: Math.fround(sum), start };
    };
    let piece = "", single = false;
    for (let end = start + 1; end <= Math.min(characters.length, start + longest); end++) {
      piece += characters[end - 1];
      if (!ids.has(piece)) continue;
      single = single || end === start + 1;
      reach(end, model.scores[ids.get(piece)]);
    }
    if (!single) reach(start + 1, unknown);
  }
  const pieces = [];
  for (let end = characters.length; end > 0; end = best[end].start) {
    pieces.push(characters.slice(best[end].start, end).join(""));
  }
  return pieces.reverse();
}

// BPE: again and again the best-rated pair of neighbours becomes one piece, the leftmost among equals.
function mergePairs(characters) {
  const symbols = characters.map((text, place) => ({ text, previous: place - 1, next: place + 1 }));
  const heap = [];
  const before = (one, other) => one.score > other.score || (one.score === other.score && one.left < other.left);
  const consider = (left, right) => {
    if (left < 0 || right >= symbols.length) return;
    const text = symbols[left].text + symbols[right].text;
    if (ids.has(text)) push(heap, { left, right, text, score: model.scores[ids.get(text)] }, before);
  };
  for (let place = 0; place + 1 < symbols.length; place++) consider(place, place + 1);
  while (heap.length) {
    const { left, right, text } = pop(heap, before);
    if (symbols[left].text === "" || symbols[right].text === "") continue;
    if (symbols[left].text + symbols[right].text !== text) continue;
    symbols[left].text = text;
    symbols[left].next = symbols[right].next;
    if (symbols[right].next < symbols.length) symbols[symbols[right].next].previous = left;
    symbols[right].text = "";
    consider(symbols[left].previous, left);
    consider(left, symbols[left].next);
  }
  return symbols.map((symbol) => symbol.text).filter((text) => text !== "");
}

function push(heap, item, before) {
  let place = heap.push(item) - 1;
  while (place > 0) {
    const parent = (place - 1) >> 1;
    if (!before(heap[place], heap[parent])) return;
    [heap[place], heap[parent]] = [heap[parent], heap[place]];
    place = parent;
  }
}

function pop(heap, before) {
  const top = heap[0], last = heap.pop();
  if (heap.length) {
    heap[0] = last;
    for (let place = 0; ; ) {
      let child = 2 * place + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1], heap[child])) child++;
      if (!before(heap[child], heap[place])) break;
      [heap[place], heap[child]] = [heap[child], heap[place]];
      place = child;
    }
  }
  return top;
}

function show() {
  const text = input.value;
  const encoded = encode(text), bytes = utf8.encode(text).length;
  const ratio = encoded.length ? (bytes / encoded.length).toFixed(2) : "–";
  document.getElementById("counts").textContent = `${encoded.length} tokens · ${bytes} bytes · ${ratio} bytes per token`;
  document.getElementById("pieces").replaceChildren(...encoded.slice(0, 5000).map(span));
  document.getElementById("ids").textContent = encoded.join(" ");
}

function span(id, place) {
  const element = document.createElement("span"), isByte = model.kinds[id] === "B";
  const text = isByte ? model.pieces[id].slice(3, 5) : model.pieces[id].replaceAll(SPACE, " ");
  element.className = isByte ? "piece byte" : `piece tint${place % 4}`;
  element.title = `id ${id}`;
  element.textContent = text.replaceAll("\n", "↵\n").replaceAll("\t", "⇥\t");
  return element;
}

const input = document.getElementById("input");
input.addEventListener("input", show);
show();
