/** The three things an avatar does on the page: it says what is typed, it answers, it mirrors. */

import { shows } from "./signaling.js";
import { token } from "./sign-in.js";

const MODES = ["text", "answers", "mirror"];
const TEACH = `Nothing answers here yet. Start the server with a language model:
  <code>make serve ARGS="--chat-url http://localhost:11434/v1 --chat-model qwen3"</code>
  Its key, if it needs one, goes into <code>CONTINUUM_CHAT_KEY</code>.`;
const SPEAK = "Press Call and speak. It stops when you interrupt.";
const WHAT = {
  text: "Type a sentence. The avatar says it.",
  answers: "Ask something. The avatar answers.",
  mirror: "Speak. The avatar says what you say.",
};
const $ = (id) => document.getElementById(id);

/** @param {HTMLElement} call the <avatar-call> @param {string} first a mode @param {() => void} changed */
export function panels(call, first, changed) {
  const tabs = MODES.map((mode) => $(`tab-${mode}`));
  const show = async (mode) => {
    MODES.forEach((each, i) => {
      tabs[i].ariaSelected = String(each === mode);
      tabs[i].tabIndex = each === mode ? 0 : -1;
      $(each).hidden = each !== mode;
    });
    $("what").textContent = WHAT[mode];
    if (call.getAttribute("mode") === mode) return;
    await call.stop?.(); // it may not be defined yet
    call.setAttribute("mode", mode);
    changed();
  };
  tabs.forEach((tab, i) => {
    tab.onclick = () => show(MODES[i]);
    tab.onkeydown = ({ key }) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: 2 }[key];
      if (to === undefined) return;
      const next = (to + MODES.length) % MODES.length;
      tabs[next].focus();
      show(MODES[next]);
    };
  });
  show(MODES.includes(first) ? first : "text");
  sends($("say"), (text) => call.say(text));
  sends($("ask"), (text) => (note("You", text), call.ask(text)));
  $("ideas").onclick = ({ target }) => target.matches("button") && call.say(target.textContent);
  call.addEventListener("message", ({ detail }) => hear(call, detail));
}

function sends(form, send) {
  form.onsubmit = async (event) => {
    event.preventDefault();
    const text = form.elements.text.value;
    form.reset();
    await customElements.whenDefined("avatar-call");
    send(text);
  };
}

/** What the page says of events: answers as a conversation, refusals under the box. */
function hear(call, { type, text, code, message }) {
  if (type === "transcript") note("You", text);
  if (type === "utterance_started" && call.mode === "answers" && text) note("Avatar", text);
  if (type === "error") hint(call.mode === "answers" ? "ask" : "say", message, true);
  if (type === "utterance_started") hint(call.mode === "answers" ? "ask" : "say");
}

function note(who, text) {
  const last = $("talk").lastElementChild;
  if (who === "Avatar" && last?.dataset.who === who) {
    last.lastChild.textContent += ` ${text}`;
  } else {
    const line = Object.assign(document.createElement("li"), { textContent: text });
    line.dataset.who = who;
    line.prepend(Object.assign(document.createElement("b"), { textContent: `${who}: ` }));
    $("talk").append(line);
  }
  $("talk").scrollTop = $("talk").scrollHeight;
}

const usual = { say: "", ask: "" };

function hint(form, text = usual[form], bad = false) {
  const place = $(`${form}-hint`);
  if (place.textContent === text) return;
  place.textContent = text;
  place.classList.toggle("bad", bad);
}

/** Asks what this server reads and answers with, and says what is missing. */
export async function ask() {
  const get = async (path) => (await fetch(path, { headers: shows(token) })).json().catch(() => ({}));
  const [voices, answers] = await Promise.all([get("v1/voices"), get("v1/answers")]);
  if (voices.voices?.length === 0) usable("say", false, voices.notice);
  usable("ask", answers.text !== false, answers.speech ? SPEAK : answers.notice);
  if (answers.text === false) $("ask-hint").innerHTML = TEACH;
  return answers;
}

function usable(form, can, text) {
  for (const element of $(form).elements) element.disabled = !can;
  if (form === "say") $("ideas").hidden = !can;
  else [$("talk").hidden, $("ask").hidden] = [!can, !can];
  usual[form] = text;
  hint(form);
}
