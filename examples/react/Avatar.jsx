// <Avatar server="https://avatars.example" avatar="mira" mode="text" captions onState={setState} ref={avatar} />
// avatar.current.say("Good morning."). With `session` and `token` it watches a session instead (docs/elements.md).
import "continuum-avatar";
import { createElement, forwardRef, useEffect, useImperativeHandle, useRef } from "react";

const EVENTS = { statechange: "onState", message: "onMessage", stats: "onStats", problem: "onProblem" };

export const Avatar = forwardRef(function Avatar({ source, session, ...props }, ref) {
  const element = useRef(null);
  const latest = useRef(props);
  latest.current = props;
  useImperativeHandle(ref, () => element.current, [session]);
  useEffect(() => {
    const act = ({ type, detail }) => latest.current[EVENTS[type]]?.(detail);
    const here = element.current;
    for (const type of Object.keys(EVENTS)) here.addEventListener(type, act);
    return () => {
      for (const type of Object.keys(EVENTS)) here.removeEventListener(type, act);
    };
  }, [session]);
  useEffect(() => {
    if (source !== undefined) element.current.source = source;
  }, [source]);
  const attributes = Object.entries(props).filter(([name]) => !name.startsWith("on"));
  const plain = attributes.map(([name, value]) => [name, value === false ? undefined : value]);
  return createElement(session ? "avatar-view" : "avatar-call", { ...Object.fromEntries(plain), session, ref: element });
});
