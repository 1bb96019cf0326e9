/** `<point-editor>`: a picture with named points that mouse, finger and keyboard can move.
 *
 * Set `picture` (an <img> that has loaded) and `points` ({name: [x, y]}, pixels of the picture). Events: "change"
 * when a point was moved or removed, "choose" when another one was selected. */

const SVG = "http://www.w3.org/2000/svg";
export const REQUIRED = [
  "eye_inner_left", "eye_outer_left", "eye_inner_right", "eye_outer_right", "nose_tip",
  "mouth_corner_left", "mouth_corner_right", "chin", "jaw_angle_left", "jaw_angle_right",
];
const OF_FACE = /eye|lid|brow|lip|mouth|nose|chin|jaw/;
const FINGER = 22; // screen pixels within which a point is taken hold of
const LENS = 132;

function make(name, attributes = {}) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

export class PointEditor extends HTMLElement {
  #svg = make("svg"); #marks = make("g"); #label = make("text"); #lens = document.createElement("canvas");
  #picture = null; #points = {}; #chosen = ""; #close = true; #held = null;

  connectedCallback() {
    this.tabIndex = 0;
    this.setAttribute("role", "application");
    this.setAttribute("aria-label", "Points on the picture");
    this.#lens.width = this.#lens.height = 2 * LENS;
    this.#lens.hidden = true;
    this.append(this.#svg, this.#lens);
    this.onpointerdown = (event) => this.#take(event);
    this.onpointermove = (event) => this.#held && this.#drag(event);
    this.onpointerup = this.onpointercancel = () => this.#release();
    this.onkeydown = (event) => this.#key(event);
    new ResizeObserver(() => this.#draw()).observe(this);
  }

  /** @param {HTMLImageElement} image loaded */
  set picture(image) {
    this.#picture = image;
    const { naturalWidth: width, naturalHeight: height } = image;
    const shown = make("image", { href: image.src, width, height });
    this.#svg.replaceChildren(shown, this.#marks, this.#label);
  }

  get points() { return this.#points; }
  set points(points) {
    this.#points = structuredClone(points);
    this.choose(Object.keys(points)[0] ?? "");
  }

  get chosen() { return this.#chosen; }

  /** Whether the view is close to the face. */
  get close() { return this.#close; }
  set close(close) {
    this.#close = close;
    this.#draw();
  }

  choose(name) {
    this.#chosen = name;
    this.#draw();
    this.dispatchEvent(new Event("choose"));
  }

  remove(name = this.#chosen) {
    if (!name || REQUIRED.includes(name)) return false;
    delete this.#points[name];
    this.choose(Object.keys(this.#points)[0]);
    this.dispatchEvent(new Event("change"));
    return true;
  }

  #view() {
    const { naturalWidth: width, naturalHeight: height } = this.#picture;
    const face = Object.entries(this.#points).filter(([name]) => OF_FACE.test(name)).map(([, at]) => at);
    if (!this.#close || face.length < 3) return [0, 0, width, height];
    const xs = face.map(([x]) => x), ys = face.map(([, y]) => y);
    const side = 1.35 * Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys));
    const x = (Math.max(...xs) + Math.min(...xs)) / 2, y = (Math.max(...ys) + Math.min(...ys)) / 2;
    return [x - side / 2, y - side / 2, side, side];
  }

  #draw() {
    if (!this.#picture || !this.isConnected) return;
    if (!this.#held) this.#svg.setAttribute("viewBox", this.#view().join(" "));
    const scale = this.#svg.getScreenCTM()?.a || 1;
    this.#marks.replaceChildren(...Object.entries(this.#points).map(([name, [x, y]]) => {
      const kind = `${REQUIRED.includes(name) ? "needed" : ""} ${name === this.#chosen ? "chosen" : ""}`;
      const dot = make("circle", { cx: x, cy: y, r: (name === this.#chosen ? 7 : 4.5) / scale, class: kind });
      dot.dataset.name = name;
      return dot;
    }));
    const at = this.#points[this.#chosen];
    this.#label.textContent = at ? this.#chosen.replaceAll("_", " ") : "";
    if (at) {
      for (const [key, value] of [["x", at[0] + 11 / scale], ["y", at[1] - 9 / scale]]) this.#label.setAttribute(key, value);
      this.#label.setAttribute("font-size", 14 / scale);
      this.#label.setAttribute("stroke-width", 3 / scale);
    }
    this.#lens.hidden = !this.#held;
    if (this.#held && at) this.#magnify(at);
  }

  #magnify([x, y]) {
    const pen = this.#lens.getContext("2d"), size = 2 * LENS, side = Math.max(12, this.#svg.viewBox.baseVal.width / 12);
    pen.fillStyle = "#888";
    pen.fillRect(0, 0, size, size);
    pen.drawImage(this.#picture, x - side / 2, y - side / 2, side, side, 0, 0, size, size);
    pen.strokeStyle = "#fff";
    pen.lineWidth = 2;
    pen.strokeRect(LENS - 8, LENS - 8, 16, 16);
  }

  #at(event) {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.#svg.getScreenCTM().inverse());
    return [place.x, place.y];
  }

  #take(event) {
    const [x, y] = this.#at(event), reach = FINGER / (this.#svg.getScreenCTM()?.a || 1);
    const near = Object.entries(this.#points)
      .map(([name, at]) => ({ name, off: Math.hypot(at[0] - x, at[1] - y), dx: at[0] - x, dy: at[1] - y }))
      .filter(({ off }) => off < reach).sort((a, b) => a.off - b.off)[0];
    this.focus();
    event.preventDefault();
    if (!near) return;
    this.setPointerCapture(event.pointerId);
    this.#held = near;
    this.choose(near.name);
  }

  #drag(event) {
    const [x, y] = this.#at(event);
    this.#move([x + this.#held.dx, y + this.#held.dy]);
  }

  #release() {
    if (!this.#held) return;
    this.#held = null;
    this.#draw();
    this.dispatchEvent(new Event("change"));
  }

  #move([x, y]) {
    const { naturalWidth: width, naturalHeight: height } = this.#picture;
    const inside = (value, most) => Math.round(100 * Math.min(Math.max(value, 0), most - 0.01)) / 100;
    this.#points[this.#chosen] = [inside(x, width), inside(y, height)];
    this.#draw();
  }

  #key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const names = Object.keys(this.#points), turn = { PageUp: -1, PageDown: 1 }[event.key];
    const at = this.#points[this.#chosen];
    if (step && at) {
      const far = (event.shiftKey ? 10 : 1) * Math.max(0.25, this.#svg.viewBox.baseVal.width / 1000);
      this.#move([at[0] + far * step[0], at[1] + far * step[1]]);
      this.dispatchEvent(new Event("change"));
    } else if (turn) this.choose(names[(names.indexOf(this.#chosen) + turn + names.length) % names.length]);
    else if (event.key !== "Delete" || !this.remove()) return;
    event.preventDefault();
  }
}

customElements.define("point-editor", PointEditor);
