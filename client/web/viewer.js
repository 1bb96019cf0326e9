/** One who watches a session and sends nothing: WHEP (docs/protocol.md, section 5). States and events: peer.js. */

import { Peer } from "./peer.js";
import { below } from "./signaling.js";

export class Viewer extends Peer {
  #session;

  /** @param {{server: URL | string, session: string, token: string}} options */
  constructor({ server, session, token }) {
    super({ server, token });
    this.#session = session;
  }

  offers() {
    return below(this.server, `v1/sessions/${encodeURIComponent(this.#session)}/whep`);
  }

  rejoins() {
    return this.offers();
  }

  prepare(pc) {
    for (const kind of ["audio", "video"]) pc.addTransceiver(kind, { direction: "recvonly" });
  }

  answered(response) {
    const name = response.headers.get("Location").split("/").pop();
    this.resource = new URL(`${this.offers().pathname}/${name}`, this.server);
  }
}
