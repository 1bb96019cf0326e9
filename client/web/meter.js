/** How loud a stream is, 0 to 1, on a scale that a speaking voice fills. */
export class Meter {
  #context = new AudioContext(); #analyser = this.#context.createAnalyser();
  #samples = new Float32Array(1024); #heard = performance.now();

  /** @param {MediaStream} stream */
  constructor(stream) {
    this.#analyser.fftSize = this.#samples.length;
    this.#context.createMediaStreamSource(stream).connect(this.#analyser);
    this.#context.resume().catch(() => {});
  }

  get silentFor() {
    return (performance.now() - this.#heard) / 1000;
  }

  read() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    const rms = Math.sqrt(this.#samples.reduce((sum, x) => sum + x * x, 0) / this.#samples.length);
    if (rms > 1e-4) this.#heard = performance.now();
    return Math.min(1, Math.max(0, 1 + Math.log10(rms + 1e-5) / 2.5));
  }

  close() {
    this.#context.close();
  }
}
