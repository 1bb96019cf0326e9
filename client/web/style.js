/** How the elements look. A page changes colours and roundness through the custom properties of :host. */

export const style = new CSSStyleSheet();
style.replaceSync(`
:host {
  --accent: #0f766e;
  --danger: #c2413a;
  --radius: 28px;
  display: block;
  font: 500 15px/1.4 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
[hidden] { display: none !important; }
button { font: inherit; color: inherit; cursor: pointer; border: 0; }
button:focus-visible { outline: 3px solid #fff; outline-offset: 2px; box-shadow: 0 0 0 6px var(--accent); }
svg { width: 22px; height: 22px; fill: currentColor; }

.stage {
  position: relative;
  aspect-ratio: 1;
  overflow: hidden;
  border-radius: var(--radius);
  background: #20262a;
  color: #fff;
  isolation: isolate;
  transition: box-shadow 0.4s;
}
[data-state="speaking"] .stage { box-shadow: 0 0 0 4px color-mix(in srgb, var(--accent) 55%, transparent); }
.stage::after { /* keeps the controls legible on a bright picture */
  content: "";
  position: absolute;
  inset: 0;
  z-index: 1;
  pointer-events: none;
  background: linear-gradient(#0d121400 72%, #0d12148c);
}
.poster, video, canvas, .stage::after { border-radius: inherit; }
.poster, video, canvas { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: cover; }
.poster { transition: filter 0.5s; }
.poster:not([src]) { visibility: hidden; }
.live .poster { filter: brightness(0.8) saturate(0.85); }
canvas { display: none; }
video, canvas { opacity: 0; transition: opacity 0.35s; }
.seen :is(video, canvas) { opacity: 1; }
.cut canvas { display: block; }
.cut video { visibility: hidden; }
.cut .stage { background: none center / cover no-repeat; }
.cut.seen .poster { visibility: hidden; }
.cut .stage::after { display: none; }

.top, .bottom, .unblock { position: absolute; z-index: 2; margin: 0; }
.bottom { inset: auto 16px 24px; display: grid; gap: 14px; justify-items: center; }
.top { top: 16px; left: 16px; right: 84px; display: flex; flex-wrap: wrap; gap: 8px; } /* frames carry a mark of their own on the right */
.state, .label { margin: 0; padding: 4px 12px; border-radius: 99px; background: #0d1214a8; backdrop-filter: blur(10px); font-size: 13.5px; }
.state { display: flex; align-items: center; gap: 8px; }
.state::before { content: ""; flex: none; width: 9px; height: 9px; border-radius: 50%; background: #cbd5d1; }
[data-state="listening"] .state::before { background: #6ee7b7; }
[data-state="speaking"] .state::before { background: #6ee7b7; box-shadow: 0 0 0 4px #6ee7b755; }
[data-state="asking"] .state::before, [data-state="connecting"] .state::before,
[data-state="reconnecting"] .state::before { background: #fcd34d; animation: breathe 1.2s infinite alternate; }
[data-state="failed"] .state::before { background: #fca5a5; }
.captions {
  max-width: 34em; margin: 0; padding: 8px 16px; border-radius: 14px;
  background: #0d1214c4; color: #d5dbd8; font-size: 18px; line-height: 1.4; text-align: center; text-wrap: balance;
}
.captions b { color: #fff; font-weight: inherit; }
.help {
  justify-self: stretch;
  display: grid; gap: 3px;
  padding: 14px 18px;
  border-radius: 16px;
  background: #fffdf9; color: #33261f;
  border-left: 5px solid var(--danger);
  font-weight: 400;
  box-shadow: 0 8px 30px #0005;
}
.unblock { left: 50%; top: 50%; translate: -50% -50%; padding: 14px 24px; border-radius: 99px; background: #fff; color: #1d2926; }

.controls { display: flex; justify-content: center; gap: 14px; }
.controls button {
  position: relative;
  display: grid; place-items: center;
  width: 54px; height: 54px;
  border-radius: 50%;
  background: #0d12148f;
  backdrop-filter: blur(14px);
  transition: background 0.2s, transform 0.2s;
}
.controls button:hover { background: #0d1214c4; }
.controls button[aria-pressed="true"] { background: #fff; color: var(--danger); }
.controls button[aria-pressed="true"]::after {
  content: ""; position: absolute; width: 30px; height: 3px; border-radius: 2px;
  background: currentColor; rotate: 45deg; box-shadow: 0 3px 0 #fff;
}
section:not(.live) .controls button:not(.call) { display: none; }
.controls .call {
  display: flex; align-items: center; justify-content: center; gap: 10px;
  width: auto; height: 60px; min-width: 200px; padding: 0 34px;
  border-radius: 99px;
  background: var(--accent);
  font-size: 18px; font-weight: 600;
  box-shadow: 0 6px 24px #0d121466;
}
.controls .call:hover { background: color-mix(in srgb, var(--accent) 88%, #fff); }
.live .controls .call { min-width: 0; height: 54px; padding: 0 24px; background: var(--danger); font-size: 15px; }
.live .controls .call:hover { background: color-mix(in srgb, var(--danger) 88%, #fff); }
.live .call svg { rotate: 135deg; }
.level {
  position: absolute; inset: -4px; border-radius: 50%; pointer-events: none;
  border: 3px solid #6ee7b7;
  opacity: calc(0.15 + var(--level, 0) * 0.85);
  scale: calc(0.94 + var(--level, 0) * 0.2);
  transition: scale 0.1s, opacity 0.1s;
}
[aria-pressed="true"] .level { display: none; }

.hud { margin-top: 10px; font-size: 13px; font-variant-numeric: tabular-nums; }
.hud:not(.measured), section:not(.live) .hud { visibility: hidden; } /* its place is kept */
.hud p { margin: 0; }
summary { cursor: pointer; }
summary:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 6px; }
.total { font-size: 14px; }
.total b { font-size: 17px; font-weight: 650; }
.bar { display: flex; gap: 2px; height: 8px; margin: 7px 0 8px; overflow: hidden; border-radius: 99px; }
.bar i { flex: 1 1 0; min-width: 3px; transition: flex-grow 0.5s; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; opacity: 0.8; }
.legend span { display: inline-flex; align-items: center; gap: 6px; }
.legend i { width: 8px; height: 8px; border-radius: 50%; }
.intake { background: #d08b3e; } .wait { background: #4a86b8; } .generate { background: var(--accent); } .playout { background: #8f6f9f; }
dl { display: grid; grid-template-columns: repeat(6, auto); justify-content: space-between; gap: 8px 12px; margin: 12px 0 0; padding-top: 10px; border-top: 1px solid color-mix(in srgb, currentColor 16%, transparent); }
dt { opacity: 0.75; font-size: 12px; }
dd { margin: 0; font-weight: 600; }

@keyframes breathe { to { opacity: 0.35; } }
@media (max-width: 520px) {
  .bottom { inset: auto 12px 16px; gap: 10px; }
  .captions { font-size: 15px; padding: 6px 12px; }
  .controls { gap: 9px; }
  .controls button { width: 48px; height: 48px; }
  .controls .call { height: 54px; }
  .live .controls .call { height: 48px; padding: 0 16px; }
  dl { grid-template-columns: repeat(3, 1fr); }
}
@media (prefers-reduced-motion: reduce) {
  * { transition: none !important; animation: none !important; }
}
`);
