/** Numbers of a call for those who want to see them: delay by stage, frame rate, network. */

const STAGES = { intake: "receive", wait: "buffer", generate: "generate", playout: "play out" };

export const HUD = `
    <details class="hud" part="hud" hidden>
      <summary class="total"></summary>
      <div class="bar" role="img"></div>
      <p class="legend" aria-hidden="true"></p>
      <dl></dl>
    </details>`;

/** @param {Record<string, HTMLElement>} parts hud, total, bar, legend and dl @param {object} stats */
export function draw({ hud, total, bar, legend, dl }, { fps, bitrate, rttMs, offsetMs, freezes, server }) {
  const number = (value, unit, digits = 0) => (Number.isFinite(value) ? `${value.toFixed(digits)} ${unit}` : "–");
  const rows = {
    "Frame rate": number(fps, "fps"),
    "Sound to picture": number(offsetMs, "ms"),
    Bitrate: number(bitrate / 1e6, "Mbit/s", 2),
    "Round trip": number(rttMs, "ms"),
    Freezes: number(freezes, ""),
    Repeats: number(server?.repeats, ""),
  };
  dl.innerHTML = Object.entries(rows).map(([name, value]) => `<div><dt>${name}</dt><dd>${value}</dd></div>`).join("");
  const spent = Object.keys(STAGES).map((stage) => [stage, Math.round(server?.latency_ms?.[stage] ?? 0)]);
  total.innerHTML = `Delay on the server <b>${number(server?.delay_ms, "ms")}</b>`;
  bar.innerHTML = spent.map(([stage]) => `<i class="${stage}"></i>`).join("");
  spent.forEach(([, ms], i) => (bar.children[i].style.flexGrow = ms)); // no inline style: pages forbid it
  bar.setAttribute("aria-label", `Latency by stage: ${spent.map(([stage, ms]) => `${STAGES[stage]} ${ms} ms`).join(", ")}`);
  legend.innerHTML = spent.map(([stage, ms]) => `<span><i class="${stage}"></i>${STAGES[stage]} ${ms}</span>`).join("");
  hud.classList.add("measured");
}
