// The data of the page: from the server, or from the data inside a report.

const BASE = "ajax-api/3.0/mlflow/phases/";
const PATIENCE_MS = 30000;
/** For a request that a person made although it takes long. */
const LONG_PATIENCE_MS = 120000;
// MLflow's workspaces: the one that the page's address names, else the server's default.
const WORKSPACE = new URLSearchParams(location.search).get("workspace");

// Control characters but tab and line break, marks of direction, and characters without width.
const ODD = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]",
  "g",
);

/** The error of a request; `status` is 0 when the server did not answer. */
export class RequestError extends Error {
  constructor(message, status, body = {}) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

/** The data of a report; the model `Report` in mlflow_plugin/reports/models/page.py describes it. */
export const report = readReport();

function readReport() {
  const carried = document.getElementById("report-data");
  return carried ? readJson(carried.textContent) : null;
}

/** JSON in whose texts nothing turns the direction of writing or hides: people read them, and copy commands. */
function readJson(text) {
  return JSON.parse(text, (key, value) => (typeof value === "string" ? value.replace(ODD, codePoint) : value));
}

function codePoint(character) {
  return `U+${character.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

async function request(path, parameters = {}, body = null) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined);
  const query = new URLSearchParams(given).toString();
  const workspace = WORKSPACE ? {"X-MLFLOW-WORKSPACE": WORKSPACE} : {};
  const options = body
    ? {method: "POST", headers: {"Content-Type": "application/json", ...workspace}, body: JSON.stringify(body)}
    : {headers: workspace, cache: "no-cache"};
  let response;
  try {
    const signal = AbortSignal.timeout(parameters?.all ? LONG_PATIENCE_MS : PATIENCE_MS);
    response = await fetch(BASE + path + (query ? `?${query}` : ""), {...options, signal, credentials: "same-origin"});
  } catch {
    throw new RequestError("The server does not answer.", 0);
  }
  const answer = await response.text().then(readJson).catch(() => null);
  if (response.ok && answer !== null) return answer;
  throw new RequestError(explanation(response, answer), response.status, answer ?? {});
}

function explanation(response, answer) {
  if (answer?.message) return answer.message;
  if (response.status === 401) return "You are not signed in. Load the page again and enter your name and password.";
  if (response.status === 403) return "You may not read this experiment.";
  return `The server answered ${response.status} ${response.statusText}.`;
}

const view = (path, key) => (experiment, project, more) =>
  report ? Promise.resolve(report[key]) : request(path, {experiment_id: experiment, project, ...more});

export const experiments = () => request("experiments");
export const pipeline = view("pipeline", "pipeline");
export const accounts = view("accounts", "accounts");
export const recoverable = view("recoverable", "recoverable");
export const live = view("live", "live");
export const find = (runId) => request("find", {run_id: runId});

export function runs(experiment, project, phase, atMost) {
  if (!report) return request("runs", {experiment_id: experiment, project, phase, at_most: atMost});
  const carried = report.runs?.[phase];
  return carried
    ? Promise.resolve(carried)
    : Promise.reject(new RequestError(`The report does not contain the phase ${phase}.`, 404));
}

export function compare(experiment, project, left, right) {
  return request("compare", {experiment_id: experiment, project, left, right});
}

/** Answers a question: {counted, letter, answered_by, answered_at, message?, command?}. A late answer is no error. */
export async function answer(question, letter) {
  try {
    return await request("answer", {}, {run_id: question.run_id, letter, asked_at: question.asked_at});
  } catch (error) {
    if (error.status === 409 || error.status === 410) return {counted: false, ...error.body};
    throw error;
  }
}
