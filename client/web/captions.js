/**
 * What is being said, two lines of it at a time, from the events of a session (docs/speech.md).
 *
 * Where the voice knows its words, the lines follow them; otherwise they follow the pace of an average reader.
 */

const LINE = 76; // characters shown at a time
const READ_PER_S = 15;
const STAYS_MS = 900; // after the last word

/** A text in pieces of at most `LINE` characters, cut between words. @param {string} text */
export function lines(text) {
  const cut = [];
  for (const word of text.split(/\s+/).filter(Boolean)) {
    const last = cut.at(-1);
    if (last !== undefined && last.length + word.length < LINE) cut[cut.length - 1] = `${last} ${word}`;
    else cut.push(word);
  }
  return cut;
}

export class Captions {
  #place; #id = ""; #lines = []; #line = 0; #at = 0; #timer = 0;

  /** @param {HTMLElement} place */
  constructor(place) {
    this.#place = place;
  }

  /** @param {{type: string, id?: string, text?: string}} message */
  hear({ type, id, text }) {
    if (type === "utterance_started") this.#begin(id, text ?? "");
    else if (type === "word" && id === this.#id) this.#follow(text);
    else if (type === "utterance_finished" && id === this.#id) this.#later(() => this.clear(), STAYS_MS);
  }

  clear() {
    clearTimeout(this.#timer);
    this.#id = "";
    this.#place.replaceChildren();
    this.#place.hidden = true;
  }

  #begin(id, text) {
    [this.#id, this.#lines, this.#line, this.#at] = [id, lines(text), 0, 0];
    this.#show();
    this.#turn();
  }

  /** The next line when this one has been read; a word that comes puts an end to guessing. */
  #turn() {
    const line = this.#lines[this.#line];
    const turn = () => (this.#next(), this.#show(), this.#turn());
    if (this.#line + 1 < this.#lines.length) this.#later(turn, (line.length / READ_PER_S) * 1000);
    else clearTimeout(this.#timer);
  }

  #follow(word) {
    clearTimeout(this.#timer);
    const here = this.#find(this.#line, this.#at, word);
    const next = here < 0 && this.#line + 1 < this.#lines.length ? this.#find(this.#line + 1, 0, word) : -1;
    if (next >= 0) this.#next();
    if (here < 0 && next < 0) return; // read otherwise than it is written
    this.#at = Math.max(here, next) + word.length;
    this.#show();
  }

  #find(line, from, word) {
    const begins = new RegExp(`(?<![\\p{L}\\p{N}])${word.replace(/[^\p{L}\p{N}]/gu, "\\$&")}`, "iu");
    const found = (this.#lines[line] ?? "").slice(from).search(begins);
    return found < 0 ? found : from + found;
  }

  #next() {
    [this.#line, this.#at] = [this.#line + 1, 0];
  }

  #show() {
    const line = this.#lines[this.#line] ?? "";
    const said = Object.assign(document.createElement("b"), { textContent: line.slice(0, this.#at) });
    this.#place.replaceChildren(said, line.slice(this.#at));
    this.#place.hidden = !line;
  }

  #later(act, ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(act, ms);
  }
}
