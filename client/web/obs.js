/** A session as a browser source: what is behind the address names it, and no control is shown. */

const view = document.getElementById("view");
const asked = new URLSearchParams(location.search);
for (const name of ["session", "captions", "background"]) {
  if (asked.has(name)) view.setAttribute(name, asked.get(name));
}
view.setAttribute("token", new URLSearchParams(location.hash.slice(1)).get("token") ?? "");
await import("./avatar-view.js"); // begins when it is defined, and then needs its token
