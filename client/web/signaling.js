/** HTTP around a call: addresses, tokens, ICE servers, candidates (docs/protocol.md, section 3). Pure but for `fetch`. */

import { problem, refusal } from "./problem.js";

export const SDP = "application/sdp";
export const FRAGMENT = "application/trickle-ice-sdpfrag";

/** ICE servers out of a Link header. @param {string | null} header */
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

/** An answer of the server; throws a `Problem`. @param {string} method @param {URL} url @param {string} token */
export async function request(method, url, token, body, type) {
  const headers = { ...(type && { "Content-Type": type }), ...shows(token) };
  const options = { method, headers, body, keepalive: method === "DELETE" };
  const response = await fetch(url, options).catch(() => Promise.reject(problem("unreachable")));
  if (!response.ok) throw await refusal(response);
  return response;
}

/** A trickle-ice-sdpfrag of the candidates found so far. @param {string} sdp @param {(RTCIceCandidate | null)[]} found */
export function fragment(sdp, found) {
  const own = (name) => sdp.match(new RegExp(`a=${name}:.*`))[0];
  const media = sdp.match(/m=audio .*/)[0];
  const lines = found.map((one) => (one?.candidate ? `a=${one.candidate}` : "a=end-of-candidates"));
  return [own("ice-ufrag"), own("ice-pwd"), media, own("mid"), ...lines, ""].join("\r\n");
}
