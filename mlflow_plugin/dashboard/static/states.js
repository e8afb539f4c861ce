// Each state has a word, a colour and a shape of its own: any one of the three is enough to tell states apart.
import {html} from "./html.js";

const CIRCLE = "M8 1.2a6.8 6.8 0 1 0 0 13.6A6.8 6.8 0 0 0 8 1.2z";
const ring = (inner) => html`<path class="line" d=${CIRCLE} /><path class="line" d=${inner} />`;
const disc = (inner) => html`<path class="fill" d=${CIRCLE} /><path class="cut" d=${inner} />`;
const SQUARE = "M2 2h12v12H2z";
const OCTAGON = "M5 1.2h6L14.8 5v6L11 14.8H5L1.2 11V5z";
const HEXAGON = "M8 .9l6.2 3.55v7.1L8 15.1 1.8 11.55v-7.1z";
const shape = (outline, inner) => html`<path class="fill" d=${outline} /><path class="cut" d=${inner} />`;

const ICONS = {
  tick: () => disc("M4.8 8.3l2.2 2.2 4.3-4.7"),
  clock: () => ring("M8 4.4V8l2.6 1.7"),
  triangle: () => shape("M8 15L.8 2.2h14.4z", "M8 4.8v4M8 11v.6"),
  half: () => html`<path class="line" d=${CIRCLE} /><path class="fill" d="M8 1.2a6.8 6.8 0 0 1 0 13.6z" />`,
  gate: () => html`<path class="line" d="M2.4 14.5v-13M13.6 14.5v-13M2.4 5h11.2M2.4 10.6h11.2M8 5v5.6" />`,
  diamond: () => shape("M8 .8L15.2 8 8 15.2.8 8z", "M6.4 6.6c0-2.2 3.3-2 3.2-.1 0 1.2-1.6 1.3-1.6 2.6M8 10.9v.5"),
  play: () => html`<path class="line" d=${CIRCLE} /><path class="fill" d="M6.3 4.8v6.4L11.4 8z" />`,
  octagon: () => shape(OCTAGON, "M8 4.2v4.6M8 11v.7"),
  pause: () => shape(SQUARE, "M6 5v6M10 5v6"),
  bolt: () => html`<path class="fill" d="M9.6.8L2.8 9h4.1l-.9 6.2L13.2 7H8.7z" />`,
  cross: () => shape(SQUARE, "M5.2 5.2l5.6 5.6M10.8 5.2l-5.6 5.6"),
  speech: () =>
    shape("M1.2 1.8h13.6v9.4H8.4L4.6 15v-3.8H1.2z", "M6.3 5c0-2.1 3.4-2 3.3-.2 0 1-1.6 1.1-1.6 2.2M8 8.7v.5"),
  lock: () => shape(HEXAGON, "M5.4 7.4h5.2v3.6H5.4zM6.4 7.2V5.9a1.6 1.6 0 0 1 3.2 0v1.3"),
  struck: () => html`<path class="line" d=${CIRCLE} /><path class="line" d="M3.3 12.7l9.4-9.4" />`,
  dashed: () => html`<path class="line dashes" d=${CIRCLE} />`,
  back: () => ring("M5 8.6a3.2 3.2 0 1 0 1-2.6M5 4.2v2.4h2.4"),
};

const STATES = {
  "up to date": ["tick", "good", "up to date and good enough"],
  good: ["tick", "good", "complete and good enough"],
  reused: ["back", "good", "an earlier run was reused; nothing was computed"],
  stale: ["clock", "warn", "made from an input that is no longer the latest"],
  invalidated: ["struck", "warn", "an input of it is stale, or a later run superseded it"],
  poor: ["triangle", "bad", "its quality is below the poor threshold"],
  borderline: ["half", "warn", "its quality is between poor and good"],
  "gate failed": ["gate", "bad", "a condition on its metrics does not hold"],
  "quality unknown": ["diamond", "warn", "its quality was never logged"],
  running: ["play", "busy", "computing now"],
  waiting: ["pause", "busy", "waiting for a duplicate run that computes the same"],
  quiet: ["play", "busy", "computing, but without a step for a while"],
  stuck: ["octagon", "bad", "alive, but idle and without a step for a long time"],
  stopped: ["pause", "warn", "its process was paused"],
  interrupted: ["bolt", "warn", "ended before it was complete"],
  failed: ["cross", "bad", "ended with an error"],
  asking: ["speech", "ask", "waiting for a person's answer"],
  quarantined: ["lock", "bad", "marked as not to be used"],
  missing: ["dashed", "none", "never computed"],
};

const OTHER = ["diamond", "none", ""];

export const toneOf = (state) => (STATES[state] ?? OTHER)[1];
const meaningOf = (state) => (STATES[state] ?? OTHER)[2];

export function Icon({state}) {
  const [icon, tone] = STATES[state] ?? OTHER;
  return html`<svg class=${`icon ${tone}`} viewBox="0 0 16 16" aria-hidden="true">${ICONS[icon]()}</svg>`;
}

export function State({state, label}) {
  return html`<span class=${`state ${toneOf(state)}`} title=${meaningOf(state)}>
    <${Icon} state=${state} />${label ?? state}
  </span>`;
}

const GRADES = {good: "good", borderline: "borderline", poor: "poor", gate: "gate failed", unknown: "quality unknown"};

/** The state of one run. */
export function runState(run) {
  if (run.state) return run.state;
  if (run.quarantined) return "quarantined";
  if (run.invalidated_by) return "invalidated";
  if (run.reused_run_id) return "reused";
  if (run.completed_at) return GRADES[run.grade] ?? "good";
  if (run.verdict === "ask") return "asking";
  if (run.verdict === "wait" && run.status === "RUNNING") return "waiting";
  return {RUNNING: "running", FAILED: "failed", KILLED: "interrupted"}[run.status] ?? "interrupted";
}

export const gradeState = (grade) => GRADES[grade] ?? "missing";
