/**
 * One live call, without a page: the client side of docs/protocol.md, sections 3 and 4.
 *
 *     const call = new Call({ server: "https://avatars.example", avatar: "mira" });
 *     call.addEventListener("stream", ({ detail }) => (video.srcObject = detail));
 *     await call.start();
 *
 * States and events: peer.js.
 */

import { Peer } from "./peer.js";
import { problem } from "./problem.js";
import { events, linked } from "./moves.js";
import { below, request, shows } from "./signaling.js";

const SPEECH = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

export class Call extends Peer {
  /** @type {MediaStream | null} what is sent */ microphone = null;
  #own = false; #wanted; #asked; #session = null; #grant; #resume = ""; #following = null;

  /** `token` is what your application got from POST /v1/tokens, where the server asks for one. `source`
   * is sent instead of the microphone. Without both the avatar speaks only what `say` is given, and nobody
   * is asked for anything. Further options go to the server as they are.
   * @param {{server: URL | string, avatar: string, prompt?: string, token?: string, microphone?: boolean,
   *   source?: MediaStream | null, [option: string]: unknown}} options */
  constructor({ server, token, microphone = true, source = null, ...asked }) {
    super({ server, token });
    this.#grant = this.token; // a session has a token of its own
    this.#wanted = microphone && !source;
    this.microphone = source;
    this.#asked = Object.fromEntries(Object.entries({ prompt: "", ...asked }).filter(([, value]) => value ?? false));
  }

  offers() {
    const endpoint = below(this.server, "v1/calls");
    endpoint.search = new URLSearchParams({ ...this.#asked, ...(this.#resume && { resume: this.#resume }) });
    return endpoint;
  }

  rejoins() {
    return this.#resume ? this.offers() : new URL(`${this.#session.pathname}/call`, this.server);
  }

  async ask() {
    if (!this.#wanted) return;
    this.microphone = await openMicrophone();
    this.#own = true;
  }

  prepare(pc) {
    const tracks = this.microphone?.getAudioTracks() ?? [];
    for (const track of tracks) pc.addTrack(track, this.microphone);
    if (!tracks.length) pc.addTransceiver("audio", { direction: "recvonly" });
    pc.addTransceiver("video", { direction: "recvonly" });
  }

  answered(response) {
    this.#session = this.resource = below(this.server, `v1/sessions/${response.headers.get("Location").split("/").pop()}`);
    this.token = response.headers.get("Session-Token") ?? this.token;
    this.#resume = "";
    this.#following?.abort();
    const events = linked(response, "events");
    if (events) this.#follow(events, (this.#following = new AbortController()).signal);
  }

  /** In a cluster: hears when the session's worker has ended, and calls again at once. */
  async #follow(url, signal) {
    while (!signal.aborted && !this.over) {
      try {
        for await (const { type, resume } of events(url, shows(this.token), signal)) if (type === "session_moved") return this.moves(resume);
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 500)); // another front may answer
      }
    }
  }

  /** The session goes on elsewhere, by this token. @param {string | undefined} resume */
  moves(resume) {
    if (!resume || this.#resume || this.over) return;
    this.#resume = resume;
    this.comeBack();
  }

  request(method, url, body, type) {
    const token = /\/v1\/calls$/.test(url.pathname) ? this.#grant : this.token;
    return request(method, url, token, body, type);
  }

  release() {
    this.#following?.abort();
    if (this.#own) this.microphone.getTracks().forEach((track) => track.stop());
  }

  /** Sends another stream from now on; only a call that sends can change what it sends. @param {MediaStream} source */
  async replace(source) {
    const sender = this.pc?.getSenders().find(({ track }) => track?.kind === "audio");
    if (!sender) throw new Error("this call sends nothing: set the source before it begins");
    await sender.replaceTrack(source.getAudioTracks()[0]);
    this.release();
    [this.microphone, this.#own] = [source, false];
  }

  interrupt() {
    this.send({ type: "interrupt" });
  }

  /** The avatar speaks this, after what it still has to say. @param {string} text */
  say(text) {
    this.send({ type: "say", text });
  }

  /** The avatar answers this, in a call with `answers`. @param {string} text */
  question(text) {
    this.send({ type: "ask", text });
  }

  /** @param {string} text */
  setPrompt(text) {
    this.#asked.prompt = text;
    if (this.pc) this.send({ type: "prompt", text });
  }

  /** How much the body moves, 0 to 1.5. @param {number} scale */
  setGesture(scale) {
    this.#asked.gesture = scale;
    if (this.pc) this.send({ type: "gesture", scale });
  }

  /** A gesture or an emotion at a media time (docs/protocol.md, section 6).
   * @param {{gesture?: string, emotion?: string, at?: number}} cue */
  cue(cue) {
    this.send({ type: "cue", ...cue });
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.microphone?.getTracks().forEach((track) => (track.enabled = !muted));
    this.send({ type: "mute", muted });
  }
}

async function openMicrophone() {
  if (!navigator.mediaDevices) throw problem("insecure", false);
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: SPEECH });
  } catch (failure) {
    throw problem(failure.name);
  }
}
