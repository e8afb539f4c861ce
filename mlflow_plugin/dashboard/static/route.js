// The page's addresses: #/EXPERIMENT/PROJECT/VIEW..., all of them made and read here.

const VIEWS = ["pipeline", "questions", "money", "recoverable", "phase", "compare"];

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // Typed by hand, with a stray %.
  }
}

/** The view of an address. An unknown view is the pipeline. */
export function parse(hash) {
  const parts = hash
    .replace(/^#?\/?/, "")
    .split("/")
    .filter(Boolean)
    .map(decoded);
  if (!parts.length) return {view: "home"};
  if (parts[0] === "run" && parts[1]) return {view: "find", run: parts[1]};
  if (parts[0] === "compare" && parts[2]) return {view: "find", run: parts[1], left: parts[1], right: parts[2]};
  const [experiment, project = null, named = "pipeline", first = null, second = null] = parts;
  const view = VIEWS.includes(named) ? named : "pipeline";
  if (view === "phase" && first) return {view, experiment, project, phase: first, run: second};
  if (view === "compare" && second) return {view, experiment, project, left: first, right: second};
  return {view: view === "phase" || view === "compare" ? "pipeline" : view, experiment, project};
}

/** The address of a view of a project; `more` are the phase and its run, or the two runs to compare. */
export function address(experiment, project, view = "pipeline", ...more) {
  return `#/${[experiment, project, view, ...more].map((part) => encodeURIComponent(part ?? "")).join("/")}`;
}

export function runInMlflow(experiment, runId) {
  return `./#/experiments/${encodeURIComponent(experiment)}/runs/${encodeURIComponent(runId)}`;
}

export function compareInMlflow(experiment, runIds) {
  const list = (values) => encodeURIComponent(JSON.stringify(values));
  return `./#/compare-runs?runs=${list(runIds)}&experiments=${list([experiment])}`;
}

export function experimentInMlflow(experiment) {
  return `./#/experiments/${encodeURIComponent(experiment)}`;
}
