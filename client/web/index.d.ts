/** Types of the npm package `continuum-avatar`. docs/elements.md has the words. */

export type State = "idle" | "asking" | "connecting" | "listening" | "speaking" | "reconnecting" | "ended" | "failed";
export type Mode = "mirror" | "text" | "answers";

/** An event of the session: docs/protocol.md, section 6, and docs/speech.md. */
export interface Message {
  type: string;
  [field: string]: unknown;
}

/** Numbers of the last second; `server` is the newest `quality` event. */
export interface Stats {
  fps?: number;
  bitrate?: number;
  frames?: number;
  freezes?: number;
  rttMs?: number;
  bufferMs?: number;
  offsetMs?: number;
  server?: Message;
}

export interface Trouble {
  code: string;
  title: string;
  help: string;
}

export class Problem extends Error implements Trouble {
  code: string;
  title: string;
  help: string;
  retryable: boolean;
}

interface PeerEvents {
  state: CustomEvent<State>;
  stream: CustomEvent<MediaStream>;
  message: CustomEvent<Message>;
  problem: CustomEvent<Problem>;
}

declare class Peer extends EventTarget {
  readonly state: State;
  readonly over: boolean;
  start(): Promise<void>;
  stop(): Promise<void>;
  send(message: Message): void;
  stats(): Promise<Stats | null>;
  addEventListener<T extends keyof PeerEvents>(type: T, act: (event: PeerEvents[T]) => void): void;
  addEventListener(type: string, act: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}

export interface CallOptions {
  server: URL | string;
  avatar: string;
  prompt?: string;
  token?: string;
  microphone?: boolean;
  source?: MediaStream | null;
  answers?: boolean | 1;
  [option: string]: unknown;
}

/** One call, without a page. */
export class Call extends Peer {
  constructor(options: CallOptions);
  readonly microphone: MediaStream | null;
  replace(source: MediaStream): Promise<void>;
  say(text: string): void;
  question(text: string): void;
  interrupt(): void;
  setPrompt(text: string): void;
  setMuted(muted: boolean): void;
}

/** One who watches, without a page. */
export class Viewer extends Peer {
  constructor(options: { server: URL | string; session: string; token: string });
}

export interface AvatarEvents {
  statechange: CustomEvent<{ state: State }>;
  message: CustomEvent<Message>;
  stats: CustomEvent<Stats>;
  problem: CustomEvent<Trouble>;
}

declare class AvatarElement extends HTMLElement {
  readonly state: State;
  readonly live: boolean;
  get server(): URL;
  set server(address: URL | string);
  token: string;
  muted: boolean;
  background: string;
  start(): Promise<void>;
  stop(): Promise<void>;
  addEventListener<T extends keyof AvatarEvents>(type: T, act: (event: AvatarEvents[T]) => void): void;
  addEventListener(type: string, act: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}

export class AvatarCall extends AvatarElement {
  mode: Mode;
  readonly stats: Stats;
  source: MediaStream | null;
  start(options?: { microphone?: boolean }): Promise<void>;
  say(text: string): Promise<void>;
  ask(text: string): Promise<void>;
  interrupt(): void;
  setPrompt(text: string): void;
  setMuted(muted: boolean): void;
}

export class AvatarView extends AvatarElement {}

declare global {
  interface HTMLElementTagNameMap {
    "avatar-call": AvatarCall;
    "avatar-view": AvatarView;
  }
}
