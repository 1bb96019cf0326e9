/**
 * One connection to a session, without a page: what calls and viewers have in common.
 *
 * States: idle -> asking -> connecting -> listening <-> speaking -> ended | failed, and reconnecting
 * in between. Emits `state`, `stream`, `message` and `problem`. Knows nothing of the DOM.
 */

import { Problem, problem } from "./problem.js";
import { FRAGMENT, fragment, iceServers, request, SDP } from "./signaling.js";

const CONNECT_S = 15;
const ENDS = ["session_ended", "consent_revoked", "registry_unavailable", "generation_failed"];
const GRACE_S = 25; // longer than the server keeps a session whose caller’s network is away
const RETRY_S = 4; // for each attempt to come back: one begun in the dark finds its way too late

const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** A subclass says where offers go (`offers`), what is sent (`prepare`) and what an answer means (`answered`). */
export class Peer extends EventTarget {
  state = "idle";
  /** @type {RTCPeerConnection | null} */ pc = null;
  /** @type {URL | null} what is patched and deleted */ resource = null;
  #ice = []; #channel = null; #found = []; #unsaid = []; #lost = 0; #watch = 0; #before = null; #attempt = 0;

  /** @param {{server: URL | string, token?: string}} options */
  constructor({ server, token = "" }) {
    super();
    this.server = server;
    this.token = token;
  }

  get over() {
    return this.state === "ended" || this.state === "failed";
  }

  async start() {
    try {
      this.#become("asking");
      const endpoint = this.offers();
      this.#ice = iceServers((await this.request("OPTIONS", endpoint)).headers.get("Link"));
      await this.ask();
      if (this.over) return this.#release();
      this.#become("connecting");
      await this.#connect(endpoint);
    } catch (failure) {
      this.#fail(failure);
    }
  }

  async stop() {
    if (this.over) return;
    this.#become("ended");
    this.#release();
    await this.#leave();
  }

  /** Sends an order, as soon as it can be sent. @param {{type: string}} message */
  send(message) {
    if (this.#channel?.readyState === "open") this.#channel.send(JSON.stringify(message));
    else if (!this.over) this.#unsaid.push(message);
  }

  /** Numbers of the last second, as far as this browser tells them; null before there are any. */
  async stats() {
    if (this.pc?.connectionState !== "connected") return null;
    const rows = [...(await this.pc.getStats()).values()];
    const inbound = (kind) => rows.find((r) => r.type === "inbound-rtp" && r.kind === kind) ?? {};
    const [video, audio] = [inbound("video"), inbound("audio")];
    const pair = rows.find((r) => r.type === "candidate-pair" && r.nominated && r.state === "succeeded");
    const [before, seconds] = [this.#before ?? video, (video.timestamp - this.#before?.timestamp) / 1000];
    this.#before = video;
    const per = (name) => (video[name] - before[name]) / seconds;
    const held = (video.jitterBufferDelay - before.jitterBufferDelay) / (video.jitterBufferEmittedCount - before.jitterBufferEmittedCount);
    return {
      fps: per("framesDecoded"),
      bitrate: per("bytesReceived") * 8,
      frames: video.framesDecoded ?? 0,
      freezes: video.freezeCount ?? 0,
      rttMs: pair?.currentRoundTripTime * 1000,
      bufferMs: held * 1000,
      offsetMs: video.estimatedPlayoutTimestamp - audio.estimatedPlayoutTimestamp,
    };
  }

  request(method, url, body, type) {
    return request(method, url, this.token, body, type);
  }

  /** What is needed before an offer can be made. */
  async ask() {}

  /** Where the session goes on; a viewer stays behind. @param {string} resume */
  moves(resume) {}

  /** Connects anew, now. */
  comeBack() {
    return this.#reconnect();
  }

  /** What has to be let go. */
  release() {}

  /** `late` is called when nothing has come through in time. @param {URL} endpoint @param {number} seconds @param {() => void} late */
  async #connect(endpoint, seconds = CONNECT_S, late = () => this.#fail(problem("blocked"))) {
    const pc = (this.pc = new RTCPeerConnection({ iceServers: this.#ice, bundlePolicy: "max-bundle" }));
    this.#found = [];
    this.#before = null;
    this.prepare(pc);
    this.#listen(pc.createDataChannel("events"));
    pc.ontrack = ({ streams, receiver }) => {
      receiver.jitterBufferTarget = 0;
      this.#emit("stream", streams[0]);
    };
    pc.onicecandidate = ({ candidate }) => this.#found.push(candidate) && this.#trickle(pc);
    pc.onconnectionstatechange = () => this.#connection(pc);
    clearTimeout(this.#watch);
    this.#watch = setTimeout(late, seconds * 1000);
    await pc.setLocalDescription();
    const response = await this.request("POST", endpoint, pc.localDescription.sdp, SDP);
    this.answered(response, endpoint);
    if (this.over) return this.#leave();
    if (pc !== this.pc) return; // a later attempt has taken its place
    await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
    this.#trickle(pc);
  }

  #trickle(pc) {
    if (pc !== this.pc || !pc.remoteDescription || !this.#found.length) return;
    const body = fragment(pc.localDescription.sdp, this.#found.splice(0));
    this.request("PATCH", this.resource, body, FRAGMENT).catch(() => {}); // checks may succeed without
  }

  #connection(pc) {
    if (pc !== this.pc || this.over) return;
    if (pc.connectionState === "connected") {
      this.#connected();
    } else if (pc.connectionState === "failed") {
      this.#reconnect();
    } else if (pc.connectionState === "disconnected") {
      wait(2).then(() => pc === this.pc && pc.connectionState === "disconnected" && this.#reconnect());
    }
  }

  /** A message may be here before the event that says so. */
  #connected() {
    clearTimeout(this.#watch);
    this.#lost = 0;
    if (this.state !== "speaking") this.#become("listening");
  }

  /** Comes back to the same session with fresh offers while the server keeps it. */
  async #reconnect() {
    if (this.over || !this.resource) return;
    const attempt = ++this.#attempt;
    this.#lost ||= Date.now();
    if (Date.now() - this.#lost > GRACE_S * 1000) return this.#fail(problem("lost"));
    this.#become("reconnecting");
    this.pc.close();
    const again = () => attempt === this.#attempt && this.#reconnect();
    try {
      await this.#connect(this.rejoins(), RETRY_S, again);
    } catch (failure) {
      if (attempt !== this.#attempt) return;
      clearTimeout(this.#watch);
      if (failure.resume) return this.moves(failure.resume);
      if (failure instanceof Problem && !failure.retryable) return this.#fail(problem("lost"));
      await wait(1);
      again();
    }
  }

  #listen(channel) {
    this.#channel = channel;
    channel.onopen = () => this.#unsaid.splice(0).forEach((message) => this.send(message));
    channel.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      this.#connected();
      if (message.type === "speaking_started") this.#become("speaking");
      if (message.type === "idle") this.#become("listening");
      this.#emit("message", message);
      if (message.type === "session_moved") this.moves(message.resume);
      const ends = ENDS.includes(message.code);
      if (message.type === "error" && ends) this.#fail(new Problem(message.code, "The server ended the call", message.message));
    };
  }

  async #leave() {
    if (this.resource) await this.request("DELETE", this.resource).catch(() => {}); // it may be gone
  }

  #release() {
    clearTimeout(this.#watch);
    this.pc?.close();
    this.release();
  }

  #fail(failure) {
    if (this.over) return;
    const shown = failure instanceof Problem ? failure : new Problem("failed", "The call failed", String(failure.message ?? failure), true);
    this.#become("failed");
    this.#release();
    this.#leave();
    this.#emit("problem", shown);
  }

  #become(state) {
    if (this.over || state === this.state) return;
    this.state = state;
    this.#emit("state", state);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
