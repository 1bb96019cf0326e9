/** The consent of the person in a picture: told, spoken or signed, and recorded by the server (docs/consent.md). */

import { Testimony } from "./camera.js";

const $ = (id) => document.getElementById(id);
const testimony = new Testimony($("testimony"));
let challenge = null; // {code, subject}: for this person, once

/** @param {{ask: Function, say: Function, picture: () => File, saved: (id: string) => void}} page */
export function consentStep({ ask, say, picture, saved }) {
  const proof = () => $("proof").value;

  /** The words that show that a recording or signature was made for this occasion. */
  async function issued() {
    const subject = $("subject").value.trim();
    if (!subject) return void (say("Enter the name of the person first.", "bad"), $("subject").focus());
    if (challenge?.subject === subject) return challenge.code;
    const answer = await ask("v1/challenges", json({ subject }));
    challenge = answer && (await answer.json());
    return challenge?.code;
  }

  async function showProof() {
    for (const kind of ["spoken", "signed"]) $(kind).hidden = proof() !== kind;
    if (proof() !== "signed" || !(await issued())) return;
    $("lines").textContent = [challenge.code, await sha256(picture()), $("statement").value.trim()].join("\n");
  }

  async function record() {
    if (testimony.running) return testimony.stop();
    if (!(await issued())) return;
    $("aloud").textContent = `“${$("statement").value.trim()} ${challenge.code.replaceAll("-", " ")}.”`;
    $("aloud").hidden = $("testimony").hidden = false;
    try {
      await testimony.start(() => {
        $("record").textContent = "Record again";
        say("Recorded. Look at it, then save the consent.");
      });
      $("record").textContent = "Stop: I have read it";
      say("Recording: read the text aloud, then stop.");
    } catch (failure) {
      say(`${failure.message}, or choose another proof.`, "bad");
    }
  }

  async function save() {
    testimony.stop();
    const missing = await body();
    if (typeof missing === "string") return say(missing, "bad");
    const answer = await ask("v1/consents", { body: missing });
    if (!answer) return;
    const { id } = await answer.json();
    challenge = null;
    $("consent").value = id;
    say(`The consent is recorded as ${id}. Look at the preview next.`);
    saved($("subject").value.trim());
  }

  /** What is sent, or what is still missing. @returns {Promise<FormData | string>} */
  async function body() {
    const [subject, statement] = ["subject", "statement"].map((id) => $(id).value.trim());
    if (!subject || !statement) return "Enter the name of the person and what is agreed.";
    if (!$("adult").checked) return "Only adults can be made avatars. Tick the box if the person is 18 or older.";
    const record = { subject, statement, kind: $("kind").value, adult: true };
    const form = new FormData();
    if (proof() !== "word") {
      if (challenge?.subject !== subject) return proof() === "spoken" ? "Record it first." : "Choose the proof again: the name has changed.";
      record.challenge = challenge.code;
    }
    if (proof() === "spoken") {
      if (!testimony.recording) return "Record it first, or choose another proof.";
      form.append("evidence", testimony.recording);
    } else if (proof() === "signed") {
      if (!$("signature").value.trim() || !$("key").files[0]) return "Enter the signature and choose the public key.";
      form.append("signature", $("signature").value.trim());
      form.append("subject_key", $("key").files[0]);
    }
    form.append("record", new Blob([JSON.stringify(record)], { type: "application/json" }));
    form.append("picture", picture());
    return form;
  }

  $("proof").onchange = showProof;
  $("statement").onchange = showProof;
  $("record").onclick = record;
  $("agree").onclick = save;
}

const json = (fields) => ({ body: JSON.stringify(fields), headers: { "Content-Type": "application/json" } });

async function sha256(file) {
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
