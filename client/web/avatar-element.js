/**
 * What `<avatar-call>` and `<avatar-view>` have in common: a picture that speaks, its sound, captions, and
 * what stands in the way. A subclass makes the connection and says what else is on the stage.
 */

import { Captions } from "./captions.js";
import { background, Matte } from "./matte.js";
import { Problem } from "./problem.js";
import { style } from "./style.js";

const NOTICES = {
  backlog_full: "Too much speech at once: some of it is skipped",
  quality_reduced: "The server is busy: reduced quality",
  quality_restored: "Full quality again",
  session_ending: "The server is about to stop",
};
const NOTICE_S = 4;
const LIVE = ["asking", "connecting", "listening", "speaking", "reconnecting"];

export const icon = (path) => `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${path}"/></svg>`;

const stage = (controls, below) => `
  <section part="call" data-state="idle">
    <div class="stage" part="stage">
      <img class="poster" alt="">
      <video playsinline autoplay></video>
      <canvas></canvas>
      <div class="top">
        <p class="state" part="state" role="status" aria-live="polite"></p>
        <p class="label" part="label">AI-generated</p>
      </div>
      <div class="bottom">
        <div class="help" role="alert" hidden><strong></strong><span></span></div>
        <p class="captions" part="captions" hidden></p>
        ${controls}
      </div>
      <button class="unblock" type="button" hidden>Turn the sound on</button>
    </div>
    ${below}
  </section>`;

export class AvatarElement extends HTMLElement {
  /** @type {import("./peer.js").Peer | null} */ peer = null;
  /** @type {Record<string, HTMLElement>} */ parts = {};
  #captions = null; #matte = null; #cut = false;

  get state() {
    return this.peer?.state ?? "idle";
  }
  get live() {
    return LIVE.includes(this.state);
  }
  get server() {
    return new URL(this.getAttribute("server") ?? "./", this.hasAttribute("server") ? document.baseURI : import.meta.url);
  }

  set server(address) {
    this.setAttribute("server", address);
  }

  get token() {
    return this.getAttribute("token") ?? "";
  }
  set token(text) {
    this.setAttribute("token", text);
  }

  disconnectedCallback() {
    this.stop();
  }

  /** Hangs up; resolves when the server knows. */
  async stop() {
    await this.peer?.stop();
  }

  /** @param {string[]} names classes or tags of the subclass @param {string} controls @param {string} below */
  build(names, controls = "", below = "") {
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [style];
    root.innerHTML = stage(controls, below);
    const own = ["stage", "poster", "video", "canvas", "state", "help", "captions", "unblock", "section"];
    for (const name of [...own, ...names]) this.parts[name] = root.querySelector(`.${name}, ${name}`);
    const { section, unblock, video, canvas, captions } = this.parts;
    unblock.onclick = () => this.#unblock();
    video.onplaying = () => section.classList.add("seen");
    this.#captions = new Captions(captions);
    this.#matte = new Matte(video, canvas);
    video.onresize = () => this.#shape();
    window.addEventListener("pagehide", () => this.stop());
  }

  /** Begins with a connection; the one before it is forgotten. @param {import("./peer.js").Peer} peer */
  async connect(peer) {
    this.#stand();
    this.peer = peer;
    this.parts.help.hidden = true;
    const on = (type, act) => peer.addEventListener(type, ({ detail }) => peer === this.peer && act(detail));
    on("state", () => this.show());
    on("stream", (stream) => this.#play(stream));
    on("message", (message) => this.hear(message));
    on("problem", (problem) => this.explain(problem));
    await peer.start();
  }

  /** Shows the state of the connection. @param {Record<string, string>} words for each state */
  tell(words) {
    const { section, state } = this.parts;
    section.dataset.state = this.state;
    section.classList.toggle("live", this.live);
    this.toggleAttribute("data-live", this.live); // for the page's own style
    if (!["listening", "speaking", "reconnecting"].includes(this.state)) section.classList.remove("seen");
    if (!this.live) this.#captions.clear();
    state.textContent = words[this.state];
    if (section.dataset.shown === this.state) return;
    section.dataset.shown = this.state;
    this.emit("statechange", { state: this.state });
  }

  hear(message) {
    if (message.type === "notice") this.notify(NOTICES[message.code] ?? message.message);
    if (this.hasAttribute("captions")) this.#captions.hear(message);
    this.emit("message", message);
  }

  notify(text) {
    this.parts.state.textContent = text;
    setTimeout(() => this.parts.state.textContent === text && this.show(), NOTICE_S * 1000);
  }

  /** @param {Problem} problem */
  explain(problem) {
    const [title, help] = this.parts.help.children;
    title.textContent = problem.title;
    help.textContent = problem.help;
    this.parts.help.hidden = false;
    this.emit("problem", { code: problem.code, title: problem.title, help: problem.help });
  }

  emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }));
  }

  /** What the attribute `background` asks for. */
  get background() {
    return this.getAttribute("background") ?? "";
  }
  set background(asked) {
    this.setAttribute("background", asked);
  }

  /** Puts the person before what the page wants; a size of their own gives the stage its shape. */
  #stand() {
    const { cut, picture } = background(this.background);
    this.#cut = cut;
    this.parts.section.classList.toggle("cut", cut);
    this.parts.stage.style.backgroundImage = picture ? `url(${JSON.stringify(new URL(picture, document.baseURI).href)})` : "";
    if (cut) this.#matte.start();
    else this.#matte.stop();
  }

  #shape() {
    const { videoWidth, videoHeight } = this.parts.video;
    if (videoHeight) this.parts.stage.style.aspectRatio = `${videoWidth / (this.#cut ? 2 : 1)} / ${videoHeight}`;
  }

  async #play(stream) {
    const { video, unblock } = this.parts;
    if (video.srcObject === stream) return;
    video.srcObject = stream;
    try {
      await video.play();
    } catch (refusal) {
      if (refusal.name !== "NotAllowedError") return; // a newer stream took its place
      video.muted = true;
      unblock.hidden = false;
      video.play().catch(() => {});
    }
  }

  #unblock() {
    this.parts.video.muted = false;
    this.parts.video.play();
    this.parts.unblock.hidden = true;
  }
}
