/**
 * Who this page is, on a server with keys: a key or a token, kept for this tab of the browser.
 *
 * `#token=...` behind the page's address is one as well; it is never sent as an address.
 */

const KEPT = "continuum-token";

const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) sessionStorage.setItem(KEPT, given);

/** What requests show; empty where nothing is known. */
export const token = given ?? sessionStorage.getItem(KEPT) ?? "";

/** Asks for a key in `form`. @param {HTMLFormElement} form @param {string} role that is needed @param {string} why */
export function askForKey(form, role, why = "") {
  form.hidden = false;
  form.innerHTML = `
    <h2>Sign in</h2>
    <p>This server asks for an API key or a token. Its operator makes one with<br><code></code></p>
    <div class="row">
      <input name="key" type="password" autocomplete="current-password" required aria-label="Key or token" placeholder="Key or token">
      <button type="submit" class="main">Sign in</button>
    </div>
    <p class="bad" role="alert"></p>`;
  form.querySelector("code").textContent = `continuum key create NAME --role ${role}`;
  form.querySelector(".bad").textContent = why;
  form.onsubmit = (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEPT, form.elements.key.value.trim());
    history.replaceState(null, "", location.pathname + location.search);
    location.reload();
  };
}

/** What was refused is forgotten. */
export function forget() {
  sessionStorage.removeItem(KEPT);
}
