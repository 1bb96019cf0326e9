/** The first page: who speaks, how, what they do, and the lines that embed them elsewhere. */

import { picture as shown, shows } from "./signaling.js";
import { ask, panels } from "./panels.js";
import { askForKey, forget, token } from "./sign-in.js";

const $ = (id) => document.getElementById(id);
const call = $("call");
const prompt = $("prompt");
const wanted = new URLSearchParams(location.search);
const INVENTED = "This person does not exist: picture and motion are AI-generated.";
const REAL = "The motion is AI-generated from one picture, which is used with recorded consent.";
if (token) call.setAttribute("token", token);
if (wanted.get("avatar")) call.setAttribute("avatar", wanted.get("avatar"));
panels(call, wanted.get("mode"), embed);

function escape(text) {
  return new Option(text).innerHTML.replaceAll('"', "&quot;");
}

function card({ id, name, picture }) {
  const label = document.createElement("label");
  label.className = "person";
  label.innerHTML = `<input type="radio" name="avatar" value="${escape(id)}"><i><img alt=""></i><span>${escape(name)}</span>`;
  shown(picture.slice(1), token).then((source) => (label.querySelector("img").src = source));
  return label;
}

async function people() {
  const place = $("people").querySelector(".waiting");
  const answer = await fetch("v1/avatars", { headers: shows(token) }).catch(() => null);
  const listed = await answer?.json().catch(() => null);
  if (answer?.status === 401) return locked();
  if (!listed?.avatars) {
    place.textContent = listed?.detail ?? "The server does not answer. Reload the page to try again.";
    if (listed?.retryable) setTimeout(people, 1000 * (Number(answer.headers.get("Retry-After")) || 2));
    return;
  }
  open(listed.avatars, place);
  ask();
}

function locked() {
  forget();
  $("main").classList.add("locked");
  askForKey($("sign-in"), "application", token && "This key or token is not valid here, or not any more.");
}

function open(avatars, place) {
  const list = Object.assign(document.createElement("div"), { className: "people" });
  list.append(...avatars.map(card));
  const about = Object.assign(document.createElement("p"), { id: "about" });
  place.replaceWith(list, about);
  const first = avatars.find(({ id }) => id === wanted.get("avatar")) ?? avatars[0];
  const describe = (id) => {
    const card = avatars.find((one) => one.id === id);
    about.textContent = card.description;
    $("origin").textContent = card.synthetic ? INVENTED : REAL;
  };
  list.querySelector(`[value="${CSS.escape(first.id)}"]`).checked = true;
  list.onchange = ({ target }) => {
    describe(target.value);
    choose(target.value);
  };
  describe(first.id);
  call.setAttribute("avatar", first.id); // whoever has called before the list came, has called them
  embed();
}

/** A choice during a call calls the other person. */
async function choose(id) {
  const again = call.live;
  await call.stop();
  call.setAttribute("avatar", id);
  embed();
  if (again) await call.start();
}

function restyle(text) {
  prompt.value = text;
  call.setAttribute("prompt", text);
  for (const chip of $("styles").children) chip.setAttribute("aria-pressed", chip.textContent === text);
  embed();
}

function embed() {
  const attributes = ["avatar", "mode", "prompt"].map((name) => [name, call.getAttribute(name)]);
  const shown = attributes.filter(([, value]) => value).map(([name, value]) => ` ${name}="${escape(value)}"`);
  $("snippet").textContent =
    `<script type="module"\n  src="${new URL("avatar-call.js", document.baseURI)}"></` + `script>\n<avatar-call${shown.join("")} captions></avatar-call>`;
}

$("choices").onsubmit = (event) => {
  event.preventDefault();
  restyle(prompt.value.trim());
};
$("styles").onclick = ({ target }) => target.matches("button") && restyle(target.textContent);
$("copy").onclick = async ({ target }) => {
  await navigator.clipboard.writeText($("snippet").textContent);
  target.textContent = "Copied";
};
restyle(wanted.get("prompt") ?? "calm, friendly");
await import("./avatar-call.js"); // the element begins when it is defined, and then needs its token
people();
