/** A camera for one photo, and one for a person who speaks. Throws a `Problem` where there is none. */

import { problem, Problem } from "./problem.js";

const LONGEST_S = 60;
const KINDS = ["video/webm;codecs=vp8,opus", "video/webm", "video/mp4"];

/** @param {MediaStreamConstraints} wanted */
async function open(wanted) {
  if (!navigator.mediaDevices) throw problem("insecure", false);
  try {
    return await navigator.mediaDevices.getUserMedia(wanted);
  } catch (failure) {
    const blocked = failure.name === "NotAllowedError";
    throw new Problem(failure.name, blocked ? "The camera is blocked. Allow it in the address bar" : "No camera could be opened. Close other programs that use it", "");
  }
}

const close = (stream) => stream.getTracks().forEach((track) => track.stop());

/** A camera in `video`, until a photo was taken or it is closed. */
export class Booth {
  #video; #stream = null;

  /** @param {HTMLVideoElement} video */
  constructor(video) {
    this.#video = video;
  }

  async open() {
    this.#stream = await open({ video: { width: { ideal: 1920 }, height: { ideal: 1080 }, facingMode: "user" } });
    this.#video.srcObject = this.#stream;
    await this.#video.play();
  }

  /** What the camera sees now. @returns {Promise<File>} */
  async shoot() {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [this.#video.videoWidth, this.#video.videoHeight];
    canvas.getContext("2d").drawImage(this.#video, 0, 0);
    const photo = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
    this.close();
    return new File([photo], "photo.jpg", { type: photo.type });
  }

  close() {
    if (this.#stream) close(this.#stream);
    this.#stream = this.#video.srcObject = null;
  }
}

/** A person who speaks into the camera; `video` shows them, and then what was recorded. */
export class Testimony {
  /** @type {Blob | null} what was recorded */ recording = null;
  #video; #recorder = null; #timer = 0;

  /** @param {HTMLVideoElement} video */
  constructor(video) {
    this.#video = video;
  }

  get running() {
    return this.#recorder?.state === "recording";
  }

  /** Records until `stop`, a minute at most. @param {() => void} ended */
  async start(ended) {
    const stream = await open({ video: { width: { ideal: 640 }, facingMode: "user" }, audio: true });
    const type = KINDS.find((kind) => MediaRecorder.isTypeSupported(kind));
    const recorder = (this.#recorder = new MediaRecorder(stream, { mimeType: type, videoBitsPerSecond: 1_500_000 }));
    const pieces = [];
    recorder.ondataavailable = ({ data }) => pieces.push(data);
    recorder.onstop = () => {
      clearTimeout(this.#timer);
      close(stream);
      this.recording = new Blob(pieces, { type });
      Object.assign(this.#video, { srcObject: null, muted: false, src: URL.createObjectURL(this.recording) });
      ended();
    };
    URL.revokeObjectURL(this.#video.src);
    this.#video.removeAttribute("src");
    Object.assign(this.#video, { srcObject: stream, muted: true });
    await this.#video.play();
    recorder.start(1000);
    this.#timer = setTimeout(() => this.stop(), LONGEST_S * 1000);
  }

  stop() {
    if (this.running) this.#recorder.stop();
  }
}
