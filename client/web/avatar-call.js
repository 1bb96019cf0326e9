/**
 * A live avatar on any page: `<avatar-call server avatar prompt hud>`. No dependency, no build step.
 *
 *     <script type="module" src="https://avatars.example/avatar-call.js"></script>
 *     <avatar-call avatar="mira" prompt="calm, friendly" hud></avatar-call>
 *
 * Methods: start, stop, say(text), interrupt, setPrompt(text), setMuted(bool). Properties: state, muted, stats.
 * Events, all bubbling: `statechange` {state}, `message` (of the data channel), `stats`, `problem`
 * {code, title, help}. `server` is where this file comes from, unless it is given. `token` is what your
 * application got from POST /v1/tokens; a server without keys needs none.
 */

import { below, Call, Problem, picture, shows } from "./call.js";

const STATES = {
  idle: "Ready",
  asking: "Allow the microphone…",
  connecting: "Connecting…",
  listening: "Listening",
  speaking: "Speaking",
  reconnecting: "Reconnecting…",
  ended: "Call ended",
  failed: "Call failed",
};
const STAGES = { intake: "receive", wait: "buffer", generate: "generate", playout: "play out" };
const NOTICES = {
  backlog_full: "Too much speech at once: some of it is skipped",
  quality_reduced: "The server is busy: reduced quality",
  quality_restored: "Full quality again",
  session_ending: "The server is about to stop",
};
const QUIET = "Your microphone is silent";
const QUIET_S = 6;
const NOTICE_S = 4;

const icon = (path) => `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${path}"/></svg>`;
const ICONS = {
  call: "M6.6 10.8a15 15 0 0 0 6.6 6.6l2.2-2.2a1 1 0 0 1 1-.25 11.4 11.4 0 0 0 3.6.57 1 1 0 0 1 1 1V20a1 1 0 0 1-1 1A17 17 0 0 1 3 4a1 1 0 0 1 1-1h3.5a1 1 0 0 1 1 1c0 1.25.2 2.45.57 3.6a1 1 0 0 1-.25 1z",
  mute: "M12 15a3.5 3.5 0 0 0 3.5-3.5v-5a3.5 3.5 0 0 0-7 0v5A3.5 3.5 0 0 0 12 15zm6-3.5a6 6 0 0 1-12 0H4a8 8 0 0 0 7 7.93V22h2v-2.57a8 8 0 0 0 7-7.93z",
  interrupt: "M8 6h8a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H8a2 2 0 0 1-2-2V8a2 2 0 0 1 2-2z",
  sound: "M4 9v6h4l5 4.5v-15L8 9zm11.5 3a3.5 3.5 0 0 0-2-3.15v6.3a3.5 3.5 0 0 0 2-3.15zm-2-7.5v2.1a5.8 5.8 0 0 1 0 10.8v2.1a7.8 7.8 0 0 0 0-15z",
};

const TEMPLATE = `
  <link rel="stylesheet" href="${new URL("avatar-call.css", import.meta.url)}">
  <section part="call" data-state="idle" hidden>
    <div class="stage" part="stage">
      <img class="poster" alt="">
      <video playsinline autoplay></video>
      <div class="top">
        <p class="state" part="state" role="status" aria-live="polite"></p>
        <p class="label" part="label">AI-generated</p>
      </div>
      <div class="help" role="alert" hidden><strong></strong><span></span></div>
      <button class="unblock" type="button" hidden>Turn the sound on</button>
      <div class="controls" role="group" aria-label="Call">
        <button class="mute" type="button" aria-pressed="false" title="Mute the microphone" aria-label="Mute the microphone">
          ${icon(ICONS.mute)}<span class="level" role="meter" aria-label="Microphone level" aria-valuemin="0" aria-valuemax="100" aria-valuenow="0"></span></button>
        <button class="interrupt" type="button" title="Interrupt" aria-label="Interrupt the avatar">${icon(ICONS.interrupt)}</button>
        <button class="sound" type="button" aria-pressed="false" title="Turn the avatar’s voice off" aria-label="Turn the avatar’s voice off">${icon(ICONS.sound)}</button>
        <button class="call" type="button">${icon(ICONS.call)}<span></span></button>
      </div>
    </div>
    <details class="hud" part="hud" hidden>
      <summary class="total"></summary>
      <div class="bar" role="img"></div>
      <p class="legend" aria-hidden="true"></p>
      <dl></dl>
    </details>
  </section>`;

export class AvatarCall extends HTMLElement {
  static observedAttributes = ["avatar", "server", "prompt", "hud", "token"];
  #call = null; #cards = null; #parts = {}; #muted = false; #stats = {}; #timer = 0; #meter = null;

  get state() {
    return this.#call?.state ?? "idle";
  }
  get live() {
    return ["asking", "connecting", "listening", "speaking", "reconnecting"].includes(this.state);
  }
  get muted() {
    return this.#muted;
  }
  get stats() {
    return this.#stats;
  }
  get server() {
    return new URL(this.getAttribute("server") ?? "./", this.hasAttribute("server") ? document.baseURI : import.meta.url);
  }

  get token() {
    return this.getAttribute("token") ?? "";
  }
  set token(text) {
    this.setAttribute("token", text);
  }

  connectedCallback() {
    if (!this.shadowRoot) this.#build();
    this.#introduce();
  }

  disconnectedCallback() {
    this.stop();
  }

  attributeChangedCallback(name, before, value) {
    if (!this.shadowRoot || before === value) return;
    if (name === "prompt") this.#call?.setPrompt(value ?? "");
    else if (name === "hud") this.#parts.hud.hidden = value === null;
    else {
      if (name === "token" || name === "server") this.#cards = null;
      this.#introduce();
    }
  }

  /** Calls. Resolves when the offer was answered or refused; `statechange` tells the rest. */
  async start({ microphone = true } = {}) {
    if (this.live) return;
    const [server, avatar, prompt] = [this.server, await this.#chosen(), this.getAttribute("prompt") ?? ""];
    if (!avatar || this.live) return;
    this.#parts.help.hidden = true;
    const call = (this.#call = new Call({ server, avatar, prompt, token: this.token, microphone }));
    const on = (type, act) => call.addEventListener(type, ({ detail }) => call === this.#call && act(detail));
    on("state", () => this.#show());
    on("stream", (stream) => this.#play(stream));
    on("message", (message) => this.#hear(message));
    on("problem", (problem) => this.#explain(problem));
    await call.start();
  }

  /** Hangs up; resolves when the server has ended the session. */
  async stop() {
    await this.#call?.stop();
  }

  interrupt() {
    this.#call?.interrupt();
  }

  /** The avatar speaks a text; without a call, one begins that asks for no microphone. @param {string} text */
  async say(text) {
    if (!this.live) await this.start({ microphone: false });
    this.#call?.say(text);
  }

  /** @param {string} text the style of speaking from now on */
  setPrompt(text) {
    this.setAttribute("prompt", text);
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.#muted = muted;
    this.#call?.setMuted(muted);
    this.#parts.mute.setAttribute("aria-pressed", muted);
    this.#show();
  }

  #build() {
    const root = this.attachShadow({ mode: "open" });
    root.innerHTML = TEMPLATE;
    const names = ["poster", "video", "state", "help", "unblock", "mute", "level", "interrupt", "sound", "hud", "total", "bar", "legend", "dl"];
    for (const name of names) this.#parts[name] = root.querySelector(`.${name}, ${name}`);
    Object.assign(this.#parts, { section: root.querySelector("section"), call: root.querySelector("button.call") });
    const { section, call, mute, interrupt, sound, unblock, video, hud } = this.#parts;
    const link = root.querySelector("link");
    link.onload = link.onerror = () => (section.hidden = false);
    call.onclick = () => (this.live ? this.stop() : this.start());
    mute.onclick = () => this.setMuted(!this.#muted);
    interrupt.onclick = () => this.interrupt();
    sound.onclick = () => sound.setAttribute("aria-pressed", (video.muted = !video.muted));
    unblock.onclick = () => this.#unblock();
    video.onplaying = () => section.classList.add("seen");
    hud.hidden = !this.hasAttribute("hud");
    window.addEventListener("pagehide", () => this.stop());
  }

  /** Shows who would be called. */
  async #introduce() {
    const avatar = await this.#chosen();
    if (!avatar) return;
    const address = below(this.server, `v1/avatars/${encodeURIComponent(avatar)}/picture`);
    this.#parts.poster.src = await picture(address, this.token).catch(() => "");
    this.#show();
  }

  async #chosen() {
    try {
      this.#cards ??= await (await fetch(below(this.server, "v1/avatars"), { headers: shows(this.token) })).json();
    } catch {
      this.#explain(new Problem("unreachable", "The server does not answer", "Check the network and that the server runs, then reload the page.", true));
    }
    return this.getAttribute("avatar") ?? this.#cards?.avatars?.[0]?.id;
  }

  get #name() {
    const cards = this.#cards?.avatars ?? [];
    return (cards.find((card) => card.id === this.getAttribute("avatar")) ?? cards[0])?.name ?? "";
  }

  #show() {
    const { section, state, call, poster } = this.#parts;
    const speaks = this.state === "listening" || this.state === "speaking";
    section.dataset.state = this.state;
    section.classList.toggle("live", this.live);
    this.toggleAttribute("data-live", this.live); // for the page's own style
    if (!speaks && this.state !== "reconnecting") section.classList.remove("seen");
    state.textContent = this.#muted && this.state === "listening" ? "You are muted" : STATES[this.state];
    call.lastElementChild.textContent = this.live ? "Hang up" : `Call ${this.#name}`;
    poster.alt = this.#name && `Picture of ${this.#name}`;
    this.#parts.mute.hidden = this.live && !this.#call.microphone;
    this.#observe(speaks);
    if (section.dataset.shown === this.state) return;
    section.dataset.shown = this.state;
    if (this.#muted && speaks) this.#call.setMuted(true);
    this.#emit("statechange", { state: this.state });
  }

  async #play(stream) {
    const { video, unblock } = this.#parts;
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
    this.#parts.video.muted = false;
    this.#parts.video.play();
    this.#parts.unblock.hidden = true;
  }

  #hear(message) {
    if (message.type === "quality") this.#stats = { ...this.#stats, server: message };
    if (message.type === "notice") this.#notify(NOTICES[message.code] ?? message.message);
    this.#emit("message", message);
  }

  #notify(text) {
    this.#parts.state.textContent = text;
    setTimeout(() => this.#parts.state.textContent === text && this.#show(), NOTICE_S * 1000);
  }

  #explain(problem) {
    const [title, help] = this.#parts.help.children;
    title.textContent = problem.title;
    help.textContent = problem.help;
    this.#parts.help.hidden = false;
    this.#emit("problem", { code: problem.code, title: problem.title, help: problem.help });
  }

  /** Measures while the call is up: the microphone's level ten times, the rest once a second. */
  #observe(up) {
    if (up === Boolean(this.#timer)) return;
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#meter?.close();
    this.#meter = null;
    if (!up) return;
    this.#meter = this.#call.microphone && new Meter(this.#call.microphone);
    let ticks = 0;
    this.#timer = setInterval(() => {
      this.#level();
      if (++ticks % 10 === 0) this.#measure();
    }, 100);
  }

  #level() {
    if (!this.#meter) return;
    const level = this.#muted ? 0 : this.#meter.read();
    this.#parts.level.style.setProperty("--level", level.toFixed(3));
    this.#parts.level.setAttribute("aria-valuenow", Math.round(level * 100));
    const quiet = this.#meter.silentFor > QUIET_S && !this.#muted && this.state === "listening";
    const warned = this.#parts.state.textContent === QUIET;
    if (quiet && !warned) this.#parts.state.textContent = QUIET;
    else if (warned && !quiet) this.#show();
  }

  async #measure() {
    const measured = await this.#call?.stats();
    if (!measured) return;
    this.#stats = { ...this.#stats, ...measured };
    this.#emit("stats", this.#stats);
    if (!this.#parts.hud.hidden) this.#draw(this.#stats);
  }

  #draw({ fps, bitrate, rttMs, offsetMs, freezes, server }) {
    const number = (value, unit, digits = 0) => (Number.isFinite(value) ? `${value.toFixed(digits)} ${unit}` : "–");
    const rows = {
      "Frame rate": number(fps, "fps"),
      "Sound to picture": number(offsetMs, "ms"),
      Bitrate: number(bitrate / 1e6, "Mbit/s", 2),
      "Round trip": number(rttMs, "ms"),
      Freezes: number(freezes, ""),
      Repeats: number(server?.repeats, ""),
    };
    this.#parts.dl.innerHTML = Object.entries(rows).map(([name, value]) => `<div><dt>${name}</dt><dd>${value}</dd></div>`).join("");
    const spent = Object.keys(STAGES).map((stage) => [stage, Math.round(server?.latency_ms?.[stage] ?? 0)]);
    const { total, bar, legend } = this.#parts;
    total.innerHTML = `Delay on the server <b>${number(server?.delay_ms, "ms")}</b>`;
    bar.innerHTML = spent.map(([stage]) => `<i class="${stage}"></i>`).join("");
    spent.forEach(([, ms], i) => (bar.children[i].style.flexGrow = ms)); // no inline style: pages forbid it
    bar.setAttribute("aria-label", `Latency by stage: ${spent.map(([stage, ms]) => `${STAGES[stage]} ${ms} ms`).join(", ")}`);
    legend.innerHTML = spent.map(([stage, ms]) => `<span><i class="${stage}"></i>${STAGES[stage]} ${ms}</span>`).join("");
    this.#parts.hud.classList.add("measured");
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }));
  }
}

/** How loud a stream is, 0 to 1, on a scale that a speaking voice fills. */
class Meter {
  #context = new AudioContext(); #analyser = this.#context.createAnalyser();
  #samples = new Float32Array(1024); #heard = performance.now();

  /** @param {MediaStream} stream */
  constructor(stream) {
    this.#analyser.fftSize = this.#samples.length;
    this.#context.createMediaStreamSource(stream).connect(this.#analyser);
    this.#context.resume().catch(() => {});
  }

  get silentFor() {
    return (performance.now() - this.#heard) / 1000;
  }

  read() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    const rms = Math.sqrt(this.#samples.reduce((sum, x) => sum + x * x, 0) / this.#samples.length);
    if (rms > 1e-4) this.#heard = performance.now();
    return Math.min(1, Math.max(0, 1 + Math.log10(rms + 1e-5) / 2.5));
  }

  close() {
    this.#context.close();
  }
}

customElements.define("avatar-call", AvatarCall);
