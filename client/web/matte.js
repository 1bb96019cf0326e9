/**
 * Shows a person without what is behind them: frames that hold colours at the left and the matte at the right
 * (docs/protocol.md, section 2) become one picture with transparency, on a canvas.
 */

/** What a page asks for as `background`, as the server understands it. A picture is put behind here. @param {string} asked */
export function background(asked) {
  if (!asked || asked === "green" || asked.startsWith("#")) return { server: asked || null, picture: null, cut: false };
  return { server: "transparent", picture: asked === "transparent" ? null : asked, cut: true };
}

export class Matte {
  #video; #canvas; #frame = 0;

  /** @param {HTMLVideoElement} video @param {HTMLCanvasElement} canvas */
  constructor(video, canvas) {
    this.#video = video;
    this.#canvas = canvas;
  }

  start() {
    this.stop();
    const draw = () => {
      this.#draw();
      this.#frame = this.#video.requestVideoFrameCallback(draw);
    };
    this.#frame = this.#video.requestVideoFrameCallback(draw);
  }

  stop() {
    if (this.#frame) this.#video.cancelVideoFrameCallback(this.#frame);
    this.#frame = 0;
  }

  #draw() {
    const [width, height] = [this.#video.videoWidth >> 1, this.#video.videoHeight];
    if (!width) return;
    if (this.#canvas.width !== width || this.#canvas.height !== height) Object.assign(this.#canvas, { width, height });
    const behind = (this.#behind ??= document.createElement("canvas").getContext("2d", { willReadFrequently: true }));
    if (behind.canvas.width !== 2 * width || behind.canvas.height !== height) Object.assign(behind.canvas, { width: 2 * width, height });
    behind.drawImage(this.#video, 0, 0, 2 * width, height);
    const person = behind.getImageData(0, 0, width, height);
    const matte = behind.getImageData(width, 0, width, height).data;
    for (let i = 0; i < matte.length; i += 4) person.data[i + 3] = matte[i];
    this.#canvas.getContext("2d").putImageData(person, 0, 0);
  }
  #behind = null;
}
