/**
 * The call inside an iframe. Its page gets every event as a message {avatarCall: type, detail}, and
 * says {avatarCall: "start" | "stop" | "say" | "ask" | "interrupt" | "setPrompt" | "setMuted" | "setToken", value}
 * itself. Where the server asks for a token, send it, or put it behind the address as #token=...
 */

const call = document.getElementById("call");
const COMMANDS = ["start", "stop", "say", "ask", "interrupt", "setPrompt", "setMuted"];

const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) call.setAttribute("token", token);
for (const name of ["avatar", "prompt", "mode", "captions", "muted", "background", "size", "hud"]) {
  const value = new URLSearchParams(location.search).get(name);
  if (value !== null) call.setAttribute(name, value);
}
await import("./avatar-call.js"); // the element begins when it is defined, and then needs its token
for (const type of ["statechange", "message", "stats", "problem"]) {
  call.addEventListener(type, ({ detail }) => parent !== window && parent.postMessage({ avatarCall: type, detail }, "*"));
}
window.addEventListener("message", ({ source, data }) => {
  if (source === parent && data?.avatarCall === "setToken") call.token = data.value;
  if (source === parent && COMMANDS.includes(data?.avatarCall)) call[data.avatarCall](data.value);
});
