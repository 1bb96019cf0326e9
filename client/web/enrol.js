/** Enrolment of a photo: find its points, correct them, record consent, preview, add it to the avatars. */

import { Booth } from "./camera.js";
import { consentStep } from "./consent.js";
import { REQUIRED } from "./point-editor.js";
import { shows as shown } from "./signaling.js";
import { askForKey, forget, token } from "./sign-in.js";

const $ = (id) => document.getElementById(id);
const editor = $("editor");
const booth = new Booth($("booth").querySelector("video"));
const shows = shown(token);
// Where the points of a face lie that fills the middle of a picture, for those who place them all by hand.
const USUAL = {
  eye_outer_right: [-0.5, 0], eye_inner_right: [-0.17, 0.02], eye_inner_left: [0.17, 0.02], eye_outer_left: [0.5, 0],
  nose_tip: [0, 0.42], mouth_corner_right: [-0.27, 0.8], mouth_corner_left: [0.27, 0.8], lip_upper_outer: [0, 0.74],
  lip_upper_inner: [0, 0.79], lip_lower_inner: [0, 0.81], lip_lower_outer: [0, 0.91], chin: [0, 1.3],
  jaw_angle_right: [-0.66, 0.8], jaw_angle_left: [0.66, 0.8],
};
let file = null, image = null;

function say(text, kind = "") {
  $("status").textContent = text;
  $("status").className = kind;
}

/** An answer of the server, or null when it refused and the page has said so. */
async function ask(path, options) {
  const answer = await fetch(path, { method: "POST", ...options, headers: { ...shows, ...options.headers } }).catch(() => null);
  if (answer?.ok) return answer;
  const problem = await answer?.json().catch(() => null);
  say(sentence(problem?.detail ?? "the server does not answer"), "bad");
  return null;
}

async function open(chosen) {
  if (!/^image\/(png|jpeg|webp)$/.test(chosen.type)) return say("Choose a PNG, JPEG or WebP file.", "bad");
  URL.revokeObjectURL(image?.src ?? "");
  file = chosen;
  image = Object.assign(new Image(), { src: URL.createObjectURL(file) });
  try {
    await image.decode();
  } catch {
    return say("This file cannot be read as a picture. Export it again.", "bad");
  }
  show({});
  say("Finding the face", "busy");
  const answer = await ask("v1/enrolments", { body: file, headers: { "Content-Type": file.type } });
  const found = await answer?.json();
  show(found?.points ?? byHand(), Boolean(found));
  if (!found) $("status").append(" You can also place the points by hand: drag each one to its place.");
  else say([`${Object.keys(found.points).length} points found.`, ...found.notes.map(sentence)].join(" "));
}

const sentence = (note) => `${note[0].toUpperCase()}${note.slice(1).replace(/\.$/, "")}.`;

function byHand() {
  const { naturalWidth: width, naturalHeight: height } = image, eyes = 0.2 * Math.min(width, height);
  return Object.fromEntries(
    Object.entries(USUAL).map(([name, [x, y]]) => [name, [width / 2 + eyes * x, 0.4 * height + eyes * y]]),
  );
}

function show(points, close = true) {
  $("drop").hidden = $("camera").hidden = $("booth").hidden = true;
  editor.hidden = $("tools").hidden = false;
  $("preview").hidden = true;
  editor.picture = image;
  editor.points = points;
  editor.close = close;
  $("zoom").setAttribute("aria-pressed", close);
  for (const id of ["points", "agreement", "look", "call"]) $(id).disabled = !Object.keys(points).length;
  list();
}

function list() {
  const names = Object.keys(editor.points).sort();
  $("chosen").replaceChildren(...names.map((name) => new Option(name.replaceAll("_", " "), name)));
  $("chosen").value = editor.chosen;
  $("remove").disabled = REQUIRED.includes(editor.chosen);
}

function sidecar() {
  const { naturalWidth: width, naturalHeight: height } = image;
  return JSON.stringify({ width, height, points: editor.points }, null, 1);
}

function form() {
  const body = new FormData();
  body.append("picture", file);
  body.append("landmarks", new Blob([sidecar()], { type: "application/json" }));
  if ($("consent").value.trim()) body.append("consent", $("consent").value.trim());
  return body;
}

async function preview() {
  say("Fitting the body (a few seconds)", "busy");
  $("look").disabled = true;
  const answer = await ask("v1/enrolments/preview", { body: form() });
  $("look").disabled = false;
  if (!answer) return;
  URL.revokeObjectURL($("preview").src);
  $("preview").src = URL.createObjectURL(await answer.blob());
  $("preview").hidden = false;
  await $("preview").decode();
  const moving = $("consent").value.trim() ? ", and lips and eyelids should close" : "";
  say(`Done. The mesh should lie on the face${moving}. If not, drag the points and preview again.`);
  $("preview").scrollIntoView({ behavior: "smooth", block: "nearest" });
}

async function add() {
  const body = form();
  body.append("name", $("name").value);
  if (!$("consent").value.trim()) return say("Record the consent first (step 2).", "bad");
  say("Making the avatar (some seconds)", "busy");
  const answer = await ask("v1/avatars", { body });
  if (!answer) return;
  const { id, name } = await answer.json();
  say(`${name} is ready: `);
  $("status").append(Object.assign(document.createElement("a"), { href: `./?avatar=${encodeURIComponent(id)}`, textContent: "call now", className: "go" }));
  $("status").querySelector("a").focus();
}

function download() {
  const link = Object.assign(document.createElement("a"), {
    href: URL.createObjectURL(new Blob([sidecar()], { type: "application/json" })),
    download: `${file.name.replace(/\.[^.]*$/, "")}.landmarks.json`,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function photograph() {
  try {
    $("booth").hidden = false;
    $("drop").hidden = $("camera").hidden = true;
    await booth.open();
  } catch (failure) {
    leave();
    say(`${failure.message}, or choose a file.`, "bad");
  }
}

function leave() {
  booth.close();
  $("booth").hidden = true;
  $("drop").hidden = $("camera").hidden = false;
}

/** Only operators enrol; on a server with keys they sign in first. */
async function admitted() {
  const answer = await fetch("v1/consents?subject=-", { headers: shows }).catch(() => null);
  if (answer?.status !== 401 && answer?.status !== 403) return;
  const { type, detail } = await answer.json();
  if (type.endsWith("/local-only")) return say(detail, "bad");
  if (answer.status === 401) forget();
  $("main").classList.add("locked");
  askForKey($("sign-in"), "operator", token && "This key may not add avatars: sign in as an operator.");
}

$("camera").onclick = photograph;
$("shoot").onclick = async () => open(await booth.shoot());
$("leave").onclick = leave;
consentStep({ ask, say, picture: () => file, saved: (subject) => ($("name").value ||= subject) });
admitted();
$("file").onchange = ({ target }) => target.files[0] && open(target.files[0]);
addEventListener("dragover", (event) => (event.preventDefault(), $("drop").classList.add("over")));
addEventListener("dragleave", () => $("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
});
editor.addEventListener("choose", () => ($("chosen").value = editor.chosen, $("remove").disabled = REQUIRED.includes(editor.chosen)));
editor.addEventListener("change", list);
$("chosen").onchange = ({ target }) => (editor.choose(target.value), editor.focus());
$("remove").onclick = () => editor.remove();
$("zoom").onclick = ({ target }) => target.setAttribute("aria-pressed", (editor.close = !editor.close));
$("other").onclick = () => $("file").click();
$("download").onclick = download;
$("add").onclick = add;
$("steps").onsubmit = (event) => (event.preventDefault(), preview());
