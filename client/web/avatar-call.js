/**
 * A live avatar on any page: `<avatar-call server avatar prompt mode captions hud muted background size>`.
 *
 *     <script type="module" src="https://avatars.example/avatar-call.js"></script>
 *     <avatar-call avatar="mira" prompt="calm, friendly" captions></avatar-call>
 *
 * `mode` is what it does: `mirror` says what the microphone hears, `text` says what `say` is given, `answers`
 * answers what is said or asked. docs/elements.md has every attribute, method and event. `token` is what your
 * application got from POST /v1/tokens; a server without keys needs none.
 */

import { AvatarElement, icon } from "./avatar-element.js";
import { Call } from "./call.js";
import { draw, HUD } from "./hud.js";
import { background } from "./matte.js";
import { Meter } from "./meter.js";
import { Problem } from "./problem.js";
import { below, picture, request, shows } from "./signaling.js";

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
const MUTE = { asking: "Connecting…", listening: "Ready" }; // where nobody is listened to
const QUIET = "Your microphone is silent";
const QUIET_S = 6;

const ICONS = {
  call: "M6.6 10.8a15 15 0 0 0 6.6 6.6l2.2-2.2a1 1 0 0 1 1-.25 11.4 11.4 0 0 0 3.6.57 1 1 0 0 1 1 1V20a1 1 0 0 1-1 1A17 17 0 0 1 3 4a1 1 0 0 1 1-1h3.5a1 1 0 0 1 1 1c0 1.25.2 2.45.57 3.6a1 1 0 0 1-.25 1z",
  mute: "M12 15a3.5 3.5 0 0 0 3.5-3.5v-5a3.5 3.5 0 0 0-7 0v5A3.5 3.5 0 0 0 12 15zm6-3.5a6 6 0 0 1-12 0H4a8 8 0 0 0 7 7.93V22h2v-2.57a8 8 0 0 0 7-7.93z",
  interrupt: "M8 6h8a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H8a2 2 0 0 1-2-2V8a2 2 0 0 1 2-2z",
  sound: "M4 9v6h4l5 4.5v-15L8 9zm11.5 3a3.5 3.5 0 0 0-2-3.15v6.3a3.5 3.5 0 0 0 2-3.15zm-2-7.5v2.1a5.8 5.8 0 0 1 0 10.8v2.1a7.8 7.8 0 0 0 0-15z",
};

const CONTROLS = `
      <div class="controls" role="group" aria-label="Call">
        <button class="mute" type="button" aria-pressed="false" title="Mute the microphone" aria-label="Mute the microphone">
          ${icon(ICONS.mute)}<span class="level" role="meter" aria-label="Microphone level" aria-valuemin="0" aria-valuemax="100" aria-valuenow="0"></span></button>
        <button class="interrupt" type="button" title="Interrupt" aria-label="Interrupt the avatar">${icon(ICONS.interrupt)}</button>
        <button class="sound" type="button" aria-pressed="false" title="Turn the avatar’s voice off" aria-label="Turn the avatar’s voice off">${icon(ICONS.sound)}</button>
        <button class="call" type="button">${icon(ICONS.call)}<span></span></button>
      </div>`;

export class AvatarCall extends AvatarElement {
  static observedAttributes = ["avatar", "server", "prompt", "mode", "hud", "token", "muted"];
  #cards = null; #source = null; #muted = false; #understood = false; #stats = {}; #timer = 0; #meter = null;

  get muted() {
    return this.#muted;
  }
  set muted(muted) {
    this.setMuted(Boolean(muted));
  }
  get stats() {
    return this.#stats;
  }
  get mode() {
    const mode = this.getAttribute("mode");
    return ["text", "answers"].includes(mode) ? mode : "mirror";
  }

  set mode(mode) {
    this.setAttribute("mode", mode);
  }

  /** What is sent instead of the microphone: any stream with sound. @type {MediaStream | null} */
  get source() {
    return this.#source;
  }
  set source(stream) {
    this.#source = stream;
    if (this.live && stream) this.peer.replace(stream).then(() => this.#measureSource()).catch((error) => this.explain(new Problem("source", "The sound cannot be changed", error.message)));
  }

  connectedCallback() {
    if (!this.shadowRoot) this.#build();
    this.#introduce();
  }

  attributeChangedCallback(name, before, value) {
    if (name === "muted") this.#muted = value !== null;
    if (!this.shadowRoot || before === value) return;
    if (name === "prompt") this.peer?.setPrompt(value ?? "");
    else if (name === "hud") this.parts.hud.hidden = value === null;
    else if (name === "muted") this.setMuted(this.#muted);
    else {
      if (name === "token" || name === "server") this.#cards = null;
      if (name === "mode" && !this.live) this.peer = null; // what has ended was something else
      this.#introduce();
    }
  }

  /** Calls. Resolves when the offer was answered or refused; `statechange` tells the rest. */
  async start({ microphone } = {}) {
    if (this.live) return;
    const [server, token, avatar, prompt, size] = [this.server, this.token, await this.#chosen(), this.getAttribute("prompt") ?? "", this.getAttribute("size")];
    if (!avatar || this.live) return;
    const answers = this.mode === "answers";
    microphone ??= answers ? this.#understood : this.mode === "mirror";
    await this.connect(new Call({ server, token, avatar, prompt, microphone, source: this.#source, size, background: background(this.background).server, ...(answers && { answers: 1 }) }));
  }

  interrupt() {
    this.peer?.interrupt();
  }

  /** The avatar speaks a text; without a call, one begins that asks for no microphone. @param {string} text */
  async say(text) {
    if (!this.live) await this.start({ microphone: false });
    this.peer?.say(text);
  }

  /** The avatar answers a text, in the mode `answers`; without a call, one begins. @param {string} text */
  async ask(text) {
    if (!this.live) await this.start({ microphone: false });
    this.peer?.question(text);
  }

  /** @param {string} text the style of speaking from now on */
  setPrompt(text) {
    this.setAttribute("prompt", text);
  }

  /** @param {boolean} muted whether the microphone is */
  setMuted(muted) {
    this.#muted = muted;
    if (this.live) this.peer.setMuted(muted);
    this.parts.mute?.setAttribute("aria-pressed", muted);
    if (this.shadowRoot) this.show();
  }

  hear(message) {
    if (message.type === "quality") this.#stats = { ...this.#stats, server: message };
    super.hear(message);
  }

  show() {
    const { call, poster, mute } = this.parts;
    const speaks = this.state === "listening" || this.state === "speaking";
    const mutely = this.live && !this.peer.microphone;
    if (this.#muted && speaks && this.parts.section.dataset.shown !== this.state) this.peer.setMuted(true);
    this.tell({ ...STATES, ...(this.#muted && { listening: "You are muted" }), ...(mutely && this.mode !== "answers" && MUTE), ...(mutely && { asking: MUTE.asking }) });
    const called = this.mode === "mirror" || (this.mode === "answers" && this.#understood); // or a text begins it
    call.lastElementChild.textContent = this.live ? (called ? "Hang up" : "End") : `Call ${this.#name}`;
    call.hidden = !this.live && !called;
    poster.alt = this.#name && `Picture of ${this.#name}`;
    mute.hidden = mutely;
    this.#observe(speaks);
  }

  #build() {
    this.build(["mute", "level", "interrupt", "sound", "hud", "total", "bar", "legend", "dl"], CONTROLS, HUD);
    this.parts.call = this.shadowRoot.querySelector("button.call");
    const { call, mute, interrupt, sound, video, hud } = this.parts;
    call.onclick = () => (this.live ? this.stop() : this.start());
    mute.onclick = () => this.setMuted(!this.#muted);
    interrupt.onclick = () => this.interrupt();
    sound.onclick = () => sound.setAttribute("aria-pressed", (video.muted = !video.muted));
    mute.setAttribute("aria-pressed", this.#muted);
    hud.hidden = !this.hasAttribute("hud");
  }

  /** Shows who would be called. */
  async #introduce() {
    const [avatar] = await Promise.all([this.#chosen(), this.#listens()]);
    if (!avatar) return this.show();
    const address = below(this.server, `v1/avatars/${encodeURIComponent(avatar)}/picture`);
    this.parts.poster.src = await picture(address, this.token).catch(() => "");
    this.show();
  }

  async #chosen() {
    try {
      this.#cards ??= await (await fetch(below(this.server, "v1/avatars"), { headers: shows(this.token) })).json();
    } catch {
      this.explain(new Problem("unreachable", "The server does not answer", "Check the network and that the server runs, then reload the page.", true));
    }
    return this.getAttribute("avatar") ?? this.#cards?.avatars?.[0]?.id;
  }

  /** Whether the server recognises speech; where it does not, questions are typed. */
  async #listens() {
    if (this.mode !== "answers") return;
    const told = await request("GET", below(this.server, "v1/answers"), this.token).catch(() => null);
    this.#understood = Boolean((await told?.json())?.speech);
  }

  get #name() {
    const cards = this.#cards?.avatars ?? [];
    return (cards.find((card) => card.id === this.getAttribute("avatar")) ?? cards[0])?.name ?? "";
  }

  /** Measures while the call is up: the microphone's level ten times, the rest once a second. */
  #observe(up) {
    if (up === Boolean(this.#timer)) return;
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#measureSource(up);
    if (!up) return;
    let ticks = 0;
    this.#timer = setInterval(() => {
      this.#level();
      if (++ticks % 10 === 0) this.#measure();
    }, 100);
  }

  #measureSource(up = true) {
    this.#meter?.close();
    this.#meter = up && this.peer.microphone?.getAudioTracks().length ? new Meter(this.peer.microphone) : null;
  }

  #level() {
    if (!this.#meter) return;
    const level = this.#muted ? 0 : this.#meter.read();
    this.parts.level.style.setProperty("--level", level.toFixed(3));
    this.parts.level.setAttribute("aria-valuenow", Math.round(level * 100));
    const quiet = this.#meter.silentFor > QUIET_S && !this.#muted && this.state === "listening";
    const warned = this.parts.state.textContent === QUIET;
    if (quiet && !warned) this.parts.state.textContent = QUIET;
    else if (warned && !quiet) this.show();
  }

  async #measure() {
    const measured = await this.peer?.stats();
    if (!measured) return;
    this.#stats = { ...this.#stats, ...measured };
    this.emit("stats", this.#stats);
    if (!this.parts.hud.hidden) draw(this.parts, this.#stats);
  }
}

if (!customElements.get("avatar-call")) customElements.define("avatar-call", AvatarCall);
