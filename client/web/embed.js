/**
 * The call inside an iframe. Its page gets every event as a message {avatarCall: type, detail}, and
 * says {avatarCall: "start" | "stop" | "interrupt" | "setPrompt" | "setMuted", value} itself.
 */

import "./avatar-call.js";

const call = document.getElementById("call");
const COMMANDS = ["start", "stop", "interrupt", "setPrompt", "setMuted"];

for (const name of ["avatar", "prompt", "hud"]) {
  const value = new URLSearchParams(location.search).get(name);
  if (value !== null) call.setAttribute(name, value);
}
for (const type of ["statechange", "message", "stats", "problem"]) {
  call.addEventListener(type, ({ detail }) => parent !== window && parent.postMessage({ avatarCall: type, detail }, "*"));
}
window.addEventListener("message", ({ source, data }) => {
  if (source === parent && COMMANDS.includes(data?.avatarCall)) call[data.avatarCall](data.value);
});
