/** A session's events over HTTP, which outlive the worker that it runs on (docs/cluster.md). */

/** The address of a relation in a Link header. @param {Response} response @param {string} relation */
export function linked(response, relation) {
  const links = [...(response.headers.get("Link") ?? "").matchAll(/<([^>]+)>([^<]*)/g)];
  const found = links.find(([, , rest]) => rest.includes(`rel="${relation}"`));
  return found && new URL(found[1], response.url);
}

/** Server-sent events as objects, until the session is over; `EventSource` could show no token.
 * @param {URL} url @param {HeadersInit} headers @param {AbortSignal} signal */
export async function* events(url, headers, signal) {
  const response = await fetch(url, { headers, signal });
  if (!response.ok) return yield { type: "session_moved", ...(await response.json()) };
  let text = "";
  for (const reader = response.body.pipeThrough(new TextDecoderStream()).getReader(); ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (text + value).split("\n\n");
    text = parts.pop();
    for (const part of parts) yield JSON.parse(part.slice("data: ".length));
  }
}
