/** What the npm package `continuum-avatar` gives: both elements, and calls without a page. */

export { AvatarCall } from "./avatar-call.js";
export { AvatarView } from "./avatar-view.js";
export { Call } from "./call.js";
export { Viewer } from "./viewer.js";
export { Problem } from "./problem.js";
