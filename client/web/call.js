/**
 * One live call, without a page: the client side of docs/protocol.md.
 *
 *     const call = new Call({ server: "https://avatars.example", avatar: "mira" });
 *     call.addEventListener("stream", ({ detail }) => (video.srcObject = detail));
 *     await call.start();
 *
 * States: idle -> asking -> connecting -> listening <-> speaking -> ended | failed, and reconnecting
 * in between. Knows nothing of the DOM.
 */

const CONNECT_S = 15;
const ENDS = ["session_ended", "consent_revoked", "registry_unavailable", "generation_failed"];
const GRACE_S = 25; // longer than the server keeps a session whose caller’s network is away
const RETRY_S = 4; // for each attempt to come back: one begun in the dark finds its way too late
const SPEECH = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
const SDP = "application/sdp";
const FRAGMENT = "application/trickle-ice-sdpfrag";

/** Why a call failed and what to do, in words for people. `code` is stable. */
export class Problem extends Error {
  /** @param {string} code @param {string} title @param {string} help @param {boolean} retryable */
  constructor(code, title, help, retryable = false) {
    super(title);
    Object.assign(this, { code, title, help, retryable });
  }
}

const PROBLEMS = {
  insecure: ["This page may not use a microphone", "Browsers allow microphones on https:// and on localhost only. Open the page at such an address."],
  NotAllowedError: ["The microphone is blocked", "Allow it in the address bar, then call again."],
  NotFoundError: ["No microphone was found", "Connect one, or choose one in the system’s sound settings, then call again."],
  NotReadableError: ["The microphone is busy", "Another program is using it. Close that program, then call again."],
  unreachable: ["The server does not answer", "Check the network, that the server runs, and that it allows calls from this site. Then try again."],
  blocked: ["The network blocks the call", "A firewall or VPN may be the reason. Try another network, or ask for a TURN server."],
  lost: ["The connection was lost", "Check the network, then call again."],
};

/** @param {string} code @param {boolean} retryable */
const problem = (code, retryable = true) =>
  new Problem(code, ...(PROBLEMS[code] ?? PROBLEMS.NotReadableError), retryable);

const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** ICE servers out of a Link header (docs/protocol.md, section 3). @param {string | null} header */
export function iceServers(header) {
  return [...(header ?? "").matchAll(/<([^>]+)>([^<]*)/g)]
    .filter(([, , rest]) => /rel="?ice-server/.test(rest))
    .map(([, urls, rest]) => {
      const field = (name) => rest.match(new RegExp(`;\\s*${name}="([^"]*)"`))?.[1];
      return { urls, username: field("username"), credential: field("credential") };
    });
}

/** An address of the server, which may be in a folder of its site. @param {URL | string} server @param {string} path */
export const below = (server, path) => new URL(path, String(server).replace(/\/*$/, "/"));

/** The headers that show a token, if there is one. @param {string} token */
export const shows = (token) => (token ? { Authorization: `Bearer ${token}` } : {});

/** A picture's address for an <img>, which cannot show a token by itself. @param {URL | string} url @param {string} token */
export async function picture(url, token) {
  if (!token) return String(url);
  const answer = await fetch(url, { headers: shows(token) });
  return answer.ok ? URL.createObjectURL(await answer.blob()) : "";
}

/** A trickle-ice-sdpfrag of the candidates found so far. @param {string} sdp @param {(RTCIceCandidate | null)[]} found */
export function fragment(sdp, found) {
  const own = (name) => sdp.match(new RegExp(`a=${name}:.*`))[0];
  const media = sdp.match(/m=audio .*/)[0];
  const lines = found.map((one) => (one?.candidate ? `a=${one.candidate}` : "a=end-of-candidates"));
  return [own("ice-ufrag"), own("ice-pwd"), media, own("mid"), ...lines, ""].join("\r\n");
}

/** One call. Emits `state`, `stream`, `message` and `problem`; see the states above. */
export class Call extends EventTarget {
  state = "idle";
  /** @type {MediaStream | null} */ microphone = null;
  #server; #avatar; #prompt; #ice = []; #pc = null; #channel = null; #found = [];
  #session = null; #token = ""; #lost = 0; #speaks = true; #unsaid = []; #watch = 0; #before = null; #attempt = 0;

  /** `token` is what your application got from POST /v1/tokens, where the server asks for one.
   * Without `microphone` the avatar speaks only what `say` is given, and nobody is asked for anything.
   * @param {{server: string, avatar: string, prompt?: string, token?: string, microphone?: boolean}} options */
  constructor({ server, avatar, prompt = "", token = "", microphone = true }) {
    super();
    this.#speaks = microphone;
    this.#token = token;
    this.#server = server;
    this.#avatar = avatar;
    this.#prompt = prompt;
  }

  get over() {
    return this.state === "ended" || this.state === "failed";
  }

  async start() {
    try {
      this.#become("asking");
      const endpoint = below(this.#server, "v1/calls");
      this.#ice = iceServers((await this.#request("OPTIONS", endpoint)).headers.get("Link"));
      if (this.#speaks) this.microphone = await openMicrophone();
      if (this.over) return this.#release();
      this.#become("connecting");
      endpoint.search = new URLSearchParams({ avatar: this.#avatar, prompt: this.#prompt });
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

  interrupt() {
    this.#say({ type: "interrupt" });
  }

  /** The avatar speaks this, after what it still has to say. @param {string} text */
  say(text) {
    const message = { type: "say", text };
    if (this.#channel?.readyState === "open") this.#say(message);
    else this.#unsaid.push(message);
  }

  /** @param {string} text */
  setPrompt(text) {
    this.#prompt = text;
    this.#say({ type: "prompt", text });
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.microphone?.getTracks().forEach((track) => (track.enabled = !muted));
    this.#say({ type: "mute", muted });
  }

  /** Numbers of the last second, as far as this browser tells them; null before there are any. */
  async stats() {
    if (this.#pc?.connectionState !== "connected") return null;
    const rows = [...(await this.#pc.getStats()).values()];
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

  /** `late` is called when nothing has come through in time. @param {URL} endpoint @param {number} seconds @param {() => void} late */
  async #connect(endpoint, seconds = CONNECT_S, late = () => this.#fail(problem("blocked"))) {
    const pc = (this.#pc = new RTCPeerConnection({ iceServers: this.#ice, bundlePolicy: "max-bundle" }));
    this.#found = [];
    this.#before = null;
    for (const track of this.microphone?.getTracks() ?? []) pc.addTrack(track, this.microphone);
    if (!this.#speaks) pc.addTransceiver("audio", { direction: "recvonly" });
    pc.addTransceiver("video", { direction: "recvonly" });
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
    const response = await this.#request("POST", endpoint, pc.localDescription.sdp, SDP);
    this.#session = below(this.#server, `v1/sessions/${response.headers.get("Location").split("/").pop()}`);
    this.#token = response.headers.get("Session-Token") ?? this.#token;
    if (this.over) return this.#leave();
    if (pc !== this.#pc) return; // a later attempt has taken its place
    await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
    this.#trickle(pc);
  }

  #trickle(pc) {
    if (pc !== this.#pc || !pc.remoteDescription || !this.#found.length) return;
    const body = fragment(pc.localDescription.sdp, this.#found.splice(0));
    this.#request("PATCH", this.#session, body, FRAGMENT).catch(() => {}); // checks may succeed without
  }

  #connection(pc) {
    if (pc !== this.#pc || this.over) return;
    if (pc.connectionState === "connected") {
      this.#connected();
    } else if (pc.connectionState === "failed") {
      this.#reconnect();
    } else if (pc.connectionState === "disconnected") {
      wait(2).then(() => pc === this.#pc && pc.connectionState === "disconnected" && this.#reconnect());
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
    if (this.over || !this.#session) return;
    const attempt = ++this.#attempt;
    this.#lost ||= Date.now();
    if (Date.now() - this.#lost > GRACE_S * 1000) return this.#fail(problem("lost"));
    this.#become("reconnecting");
    this.#pc.close();
    const again = () => attempt === this.#attempt && this.#reconnect();
    try {
      await this.#connect(new URL(`${this.#session.pathname}/call`, this.#server), RETRY_S, again);
    } catch (failure) {
      if (attempt !== this.#attempt) return;
      clearTimeout(this.#watch);
      if (failure instanceof Problem && !failure.retryable) return this.#fail(problem("lost"));
      await wait(1);
      again();
    }
  }

  #listen(channel) {
    this.#channel = channel;
    channel.onopen = () => this.#unsaid.splice(0).forEach((message) => this.#say(message));
    channel.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      this.#connected();
      if (message.type === "speaking_started") this.#become("speaking");
      if (message.type === "idle") this.#become("listening");
      this.#emit("message", message);
      const ends = ENDS.includes(message.code);
      if (message.type === "error" && ends) this.#fail(new Problem(message.code, "The server ended the call", message.message));
    };
  }

  #say(message) {
    if (this.#channel?.readyState === "open") this.#channel.send(JSON.stringify(message));
  }

  async #request(method, url, body, type) {
    const headers = { ...(type && { "Content-Type": type }), ...shows(this.#token) };
    const options = { method, headers, body, keepalive: method === "DELETE" };
    const response = await fetch(url, options).catch(() => Promise.reject(problem("unreachable")));
    if (response.ok) return response;
    const said = await response.json().catch(() => ({ title: `The server answered ${response.status}`, detail: "" }));
    throw new Problem(said.type?.split("/").pop() ?? "refused", said.title, said.detail, said.retryable);
  }

  async #leave() {
    if (this.#session) await this.#request("DELETE", this.#session).catch(() => {}); // it may be gone
  }

  #release() {
    clearTimeout(this.#watch);
    this.#pc?.close();
    this.microphone?.getTracks().forEach((track) => track.stop());
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

async function openMicrophone() {
  if (!navigator.mediaDevices) throw problem("insecure", false);
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: SPEECH });
  } catch (failure) {
    throw problem(failure.name);
  }
}
