/** The page around the call: choice of avatar and style, and the lines that embed it elsewhere. */

import { picture as shown, shows } from "./call.js";

const $ = (id) => document.getElementById(id);
const call = $("call");
const prompt = $("prompt");
const wanted = new URLSearchParams(location.search);
const INVENTED = "This person does not exist: picture and motion are AI-generated. The voice is yours.";
const REAL = "The motion is AI-generated from one picture, which is used with recorded consent. The voice is yours.";
const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? ""; // never sent as an address
if (token) call.setAttribute("token", token);
if (location.hash) $("own").hash = location.hash;
if (wanted.get("avatar")) call.setAttribute("avatar", wanted.get("avatar"));
await import("./avatar-call.js"); // the element begins when it is defined, and then needs its token

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
  if (!listed?.avatars) {
    place.textContent = listed?.detail ?? "The server does not answer. Reload the page to try again.";
    if (listed?.retryable) setTimeout(people, 1000 * (Number(answer.headers.get("Retry-After")) || 2));
    return;
  }
  const list = Object.assign(document.createElement("div"), { className: "people" });
  list.append(...listed.avatars.map(card));
  const about = Object.assign(document.createElement("p"), { id: "about" });
  place.replaceWith(list, about);
  const first = listed.avatars.find(({ id }) => id === wanted.get("avatar")) ?? listed.avatars[0];
  const describe = (id) => {
    const card = listed.avatars.find((one) => one.id === id);
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
  call.setPrompt(text);
  for (const chip of $("styles").children) chip.setAttribute("aria-pressed", chip.textContent === text);
  embed();
}

function embed() {
  const attributes = [["avatar", call.getAttribute("avatar")], ["prompt", prompt.value]];
  const shown = attributes.filter(([, value]) => value).map(([name, value]) => ` ${name}="${escape(value)}"`);
  $("snippet").textContent =
    `<script type="module"\n  src="${new URL("avatar-call.js", document.baseURI)}"></` + `script>\n<avatar-call${shown.join("")}></avatar-call>`;
}

$("choices").onsubmit = (event) => {
  event.preventDefault();
  restyle(prompt.value.trim());
};
$("say").onsubmit = (event) => {
  event.preventDefault();
  call.say(event.target.elements.text.value);
  event.target.reset();
};
$("styles").onclick = ({ target }) => target.matches("button") && restyle(target.textContent);
$("copy").onclick = async ({ target }) => {
  await navigator.clipboard.writeText($("snippet").textContent);
  target.textContent = "Copied";
};
restyle(wanted.get("prompt") ?? "calm, friendly");
people();
