// A link from MLflow's own pages to the page of the phases: an element of its own over them, so that nothing in them
// can break it nor it them. It is there on experiments that hold phases, on their runs, and where two are compared.
(() => {
  // MLflow 3.17 opens experiments on traces until a mode is chosen. Phases are training runs. A choice is kept.
  const WORKFLOW = "mlflow.workflowType_v1";
  try {
    if (localStorage.getItem(WORKFLOW) === null) localStorage.setItem(WORKFLOW, JSON.stringify("machine_learning"));
  } catch {
    // A browser that keeps nothing.
  }

  const DATA = "ajax-api/3.0/mlflow/phases/";
  const STYLE = `position:fixed;top:12px;left:50%;transform:translateX(-50%);z-index:900;
    padding:3px 14px;border-radius:14px;background:#0b5cad;color:#fff;
    font:600 13px/20px system-ui,sans-serif;text-decoration:none;box-shadow:0 1px 4px rgba(0,0,0,.35);outline-offset:2px`;
  const seen = new Map();
  let shown = null;
  let link = null;

  /** The subject of an address inside MLflow: {experiment}, {experiment, run} or {experiment, pair}. */
  function subject(hash) {
    const [path, query = ""] = hash.replace(/^#/, "").split("?");
    const [, experiment, run] = path.match(/^\/experiments\/(\d+)(?:\/runs\/([0-9a-zA-Z]+))?(?:\/|$)/) ?? [];
    if (experiment) return {experiment, run};
    if (!/^\/compare-runs\/?$/.test(path)) return null;
    const asked = new URLSearchParams(query);
    const [runs, experiments] = ["runs", "experiments"].map((name) => JSON.parse(asked.get(name) ?? "[]"));
    return runs.length === 2 ? {experiment: String(experiments[0]), pair: runs.map(String)} : null;
  }

  /** The workspace that is looked at, as MLflow's addresses name it. */
  function workspaceHere() {
    return new URLSearchParams(location.hash.split("?")[1] ?? "").get("workspace");
  }

  /** An answer of the server, requested once; null without one, as for a user without permission to read. */
  function get(path) {
    const workspace = workspaceHere();
    const key = `${workspace ?? ""} ${path}`;
    if (!seen.has(key)) {
      const headers = workspace ? {"X-MLFLOW-WORKSPACE": workspace} : {};
      const asked = fetch(DATA + path, {headers, credentials: "same-origin"}).then((reply) =>
        reply.ok ? reply.json() : null,
      );
      seen.set(
        key,
        asked.catch(() => null),
      );
      // Phases may be started in an experiment while its page is open.
      setTimeout(() => seen.delete(key), 60000);
    }
    return seen.get(key);
  }

  /** The target of the link for a subject, as the part of the page's address after its #; null for no link. */
  async function target({experiment, run, pair}) {
    const known = await get("experiments");
    const found = (known?.experiments ?? []).find((one) => one.experiment_id === experiment);
    if (!found) return null;
    const pipeline = `/${[experiment, found.projects[0]].map(encodeURIComponent).join("/")}/pipeline`;
    if (!run && !pair) return pipeline;
    const about = await Promise.all((pair ?? [run]).map((one) => get(`find?run_id=${encodeURIComponent(one)}`)));
    const [first, second = first] = about;
    const together = first?.phase && first.phase === second?.phase && first.project === second.project;
    if (!together) return pipeline;
    return pair ? `/compare/${pair.map(encodeURIComponent).join("/")}` : `/run/${encodeURIComponent(run)}`;
  }

  function show(where) {
    if (!where) {
      link?.remove();
      return;
    }
    if (!link) {
      link = document.createElement("a");
      link.id = "mlflow-phases-link";
      link.textContent = "Phases";
      link.title = "The phases of this experiment: their states, and the updates that are needed with time and cost";
      link.style.cssText = STYLE;
    }
    const workspace = workspaceHere();
    link.href = `phases${workspace ? `?workspace=${encodeURIComponent(workspace)}` : ""}#${where}`;
    if (!link.isConnected) document.body.append(link);
  }

  async function follow() {
    if (location.hash === shown) return;
    const here = (shown = location.hash);
    let where = null;
    try {
      const about = subject(here);
      where = about && (await target(about));
    } catch {
      // An address that is written in another way than MLflow wrote it so far: no link there.
    }
    if (here === location.hash) show(where);
  }

  follow();
  addEventListener("hashchange", follow);
  // MLflow's pages change the address without any event.
  setInterval(follow, 500);
})();
