/** What can go wrong in a call, in words for people. Knows nothing of the DOM. */

/** Why a call failed and what to do. `code` is stable. */
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
export const problem = (code, retryable = true) =>
  new Problem(code, ...(PROBLEMS[code] ?? PROBLEMS.NotReadableError), retryable);

/** A refusal of the server. @param {Response} response */
export async function refusal(response) {
  const said = await response.json().catch(() => ({ title: `The server answered ${response.status}`, detail: "" }));
  const refused = new Problem(said.type?.split("/").pop() ?? "refused", said.title, said.detail, said.retryable);
  return Object.assign(refused, { resume: said.resume });
}
