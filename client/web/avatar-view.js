/**
 * Somebody else's avatar, to be watched: `<avatar-view server session token captions muted>`.
 *
 *     <script type="module" src="https://avatars.example/avatar-view.js"></script>
 *     <avatar-view session="s-4f1c..." token="c_Zk..." captions></avatar-view>
 *
 * Your application makes the session (POST /v1/sessions) and speaks through it (docs/speech.md). It begins when
 * `session` and `token` are there. `muted` begins without sound, which browsers allow without a click.
 */

import { AvatarElement } from "./avatar-element.js";
import { below, picture, request } from "./signaling.js";
import { Viewer } from "./viewer.js";

const STATES = {
  idle: "Waiting",
  asking: "Connecting…",
  connecting: "Connecting…",
  listening: "Live",
  speaking: "Live",
  reconnecting: "Reconnecting…",
  ended: "Ended",
  failed: "No picture",
};

export class AvatarView extends AvatarElement {
  static observedAttributes = ["session", "token", "server", "muted"];

  get muted() {
    return this.hasAttribute("muted");
  }
  set muted(muted) {
    this.toggleAttribute("muted", Boolean(muted));
  }

  connectedCallback() {
    if (!this.shadowRoot) this.build([]);
    this.parts.video.muted = this.muted;
    this.show();
    this.#restart();
  }

  attributeChangedCallback(name, before, value) {
    if (!this.shadowRoot || before === value) return;
    if (name === "muted") this.parts.video.muted = this.muted;
    else queueMicrotask(() => this.#restart()); // session and token come one after the other
  }

  /** Watches; resolves when the offer was answered or refused. */
  async start() {
    const session = this.getAttribute("session");
    if (!session || this.live) return;
    const { server, token } = this;
    this.#introduce(server, session, token).catch(() => {}); // a picture until the first frame
    await this.connect(new Viewer({ server, session, token }));
  }

  show() {
    this.tell(STATES);
  }

  /** One attempt for the attributes as they are now. */
  async #restart() {
    const wanted = [this.server, this.getAttribute("session"), this.token].join(" ");
    if (this.#wanted === wanted || !this.isConnected) return;
    this.#wanted = wanted;
    await this.stop();
    if (this.#wanted === wanted && this.isConnected) await this.start();
  }
  #wanted = "";

  disconnectedCallback() {
    this.#wanted = "";
    super.disconnectedCallback();
  }

  async #introduce(server, session, token) {
    const described = await request("GET", below(server, `v1/sessions/${encodeURIComponent(session)}`), token);
    const { avatar } = await described.json();
    const source = await picture(below(server, `v1/avatars/${encodeURIComponent(avatar)}/picture`), token);
    if (source) this.parts.poster.src = source;
  }
}

if (!customElements.get("avatar-view")) customElements.define("avatar-view", AvatarView);
