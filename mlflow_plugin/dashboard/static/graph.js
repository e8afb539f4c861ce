// The pipeline as a graph: cards for phases, lines for inputs. Measured first, then laid out by dagre. Where no graph
// fits, as on a telephone, it is a list: each phase with its inputs as lines of text.
import {Graph, layout} from "./vendor/dagre.js";
import {html, useLayoutEffect, useRef, useState} from "./html.js";
import {Step, computes} from "./live.js";
import {Moment, QualityBar} from "./parts.js";
import {address} from "./route.js";
import {State, gradeState, toneOf} from "./states.js";
import {clock, cost, duration, isKnown, number, short} from "./words.js";

const UNLAID = {width: 0, height: 0, nodes: {}, edges: []};
const LISTED = {...UNLAID, listed: true, down: false};

/** `room` is the available width (px); `onLaid` gets {width, down} of the layout. */
export function PipelineGraph({experiment, project, phases, running, room, onLaid}) {
  const frame = useRef(null);
  const [last, setLast] = useState({of: "", ...UNLAID});
  const liveOf = (phase) => running.find((live) => live.phase === phase.phase) ?? phase.live;
  const shapes = phases.map((phase) => [
    phase.phase,
    phase.state,
    Boolean(liveOf(phase)),
    phase.inputs.map((edge) => edge.matches),
  ]);
  const of = JSON.stringify([room, shapes]);
  // What is listed has other sizes than what is measured for the graph.
  const laid = last.of === of || !last.listed ? last : UNLAID;
  useLayoutEffect(() => {
    if (!room) return;
    const found = arranged(frame.current, phases, room);
    setLast({of, ...found});
    onLaid(found);
  }, [of]);
  const form = laid.listed ? " listed" : laid.width ? "" : " unlaid";
  return html`<div class=${`graph${form}`} ref=${frame} role="group" aria-label="Pipeline">
    <div class="canvas" style=${laid.listed ? {} : {width: `${laid.width}px`, height: `${laid.height}px`}}>
      <svg class="wires" width=${laid.width} height=${laid.height} aria-hidden="true">
        ${laid.edges.map((edge) => html`<${Wire} key=${edge.key} edge=${edge} />`)}
      </svg>
      <ol class="cards">
        ${phases.map((phase) => {
          const href = address(experiment, project, "phase", phase.phase);
          return html`<li key=${phase.phase} data-node=${phase.phase} style=${placed(laid.nodes[phase.phase])}>
            <${Card} phase=${phase} live=${liveOf(phase)} href=${href} />
            ${phase.inputs.map(
              (edge) => html`<div class="edge-label" key=${edge.need} data-edge=${edgeKey(phase, edge)}
                style=${placedIn(
                  laid.nodes[phase.phase],
                  laid.edges.find((one) => one.key === edgeKey(phase, edge)),
                )}>
                <${laid.listed ? InputLine : EdgeLabel} edge=${edge} />
              </div>`,
            )}
          </li>`;
        })}
      </ol>
    </div>
  </div>`;
}

const edgeKey = (phase, edge) => JSON.stringify([edge.need, phase.phase]);
const placed = (box) => (box ? {left: `${box.x}px`, top: `${box.y}px`} : {});
const placedIn = (box, edge) =>
  box && edge?.label ? {left: `${edge.label.x - box.x}px`, top: `${edge.label.y - box.y}px`} : {};

/** The layout: to the right when that fits into `room` (px), else downwards, else one below another, else a list. */
function arranged(frame, phases, room) {
  const across = arrangedIn("LR", frame, phases);
  if (across.width <= room) return across;
  const down = arrangedIn("TB", frame, phases);
  if (down.width <= room) return {...down, down: true};
  const column = arrangedIn("TB", frame, phases, true);
  return column.width <= room ? {...column, down: true} : LISTED;
}

function arrangedIn(rankdir, frame, phases, oneByOne = false) {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const graph = new Graph().setDefaultEdgeLabel(() => ({}));
  const gap = rankdir === "LR" ? 0.5 * rem : 0.4 * rem;
  graph.setGraph({rankdir, nodesep: 1.4 * rem, ranksep: gap, edgesep: rem, marginx: 1, marginy: 2});
  const known = new Set(phases.map((phase) => phase.phase));
  const sizeOf = (selector) => frame.querySelector(selector)?.getBoundingClientRect() ?? {width: 0, height: 0};
  for (const phase of phases) {
    const {width, height} = sizeOf(`[data-node="${CSS.escape(phase.phase)}"] > .card`);
    graph.setNode(phase.phase, {width, height});
  }
  for (const phase of phases) {
    for (const edge of phase.inputs) {
      if (!known.has(edge.need)) continue;
      const {width, height} = sizeOf(`[data-edge="${CSS.escape(edgeKey(phase, edge))}"]`);
      graph.setEdge(edge.need, phase.phase, {
        width: width + rem,
        height: height + rem,
        labelpos: "c",
        matches: edge.matches,
      });
    }
  }
  if (oneByOne) {
    for (const [index, phase] of phases.slice(1).entries()) {
      const before = phases[index].phase;
      if (!graph.hasEdge(before, phase.phase)) graph.setEdge(before, phase.phase, {weight: 0, unseen: true});
    }
  }
  layout(graph);
  return measured(graph);
}

function measured(graph) {
  const {width, height} = graph.graph();
  const nodes = {};
  for (const name of graph.nodes()) {
    const box = graph.node(name);
    nodes[name] = {x: box.x - box.width / 2, y: box.y - box.height / 2};
  }
  const edges = graph
    .edges()
    .filter((ends) => !graph.edge(ends).unseen)
    .map(({v, w}) => {
      const edge = graph.edge(v, w);
      return {key: JSON.stringify([v, w]), points: edge.points, matches: edge.matches, label: {x: edge.x, y: edge.y}};
    });
  return {width: Math.ceil(width) || 1, height: Math.ceil(height) || 1, nodes, edges};
}

function wireTone(matches) {
  return {true: "good", false: "warn"}[matches] ?? "none";
}

function Wire({edge}) {
  const {points, matches} = edge;
  const path = points.map(({x, y}, index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join(" ");
  const [before, end] = points.slice(-2);
  const angle = (Math.atan2(end.y - before.y, end.x - before.x) * 180) / Math.PI;
  return html`<g class=${`wire ${wireTone(matches)}`}>
    <path d=${path} />
    <path class="head" d="M0 0L-8 -4.5L-8 4.5z" transform=${`translate(${end.x} ${end.y}) rotate(${angle})`} />
  </g>`;
}

function EdgeLabel({edge}) {
  const {need, matches, used, latest, sentence} = edge;
  if (matches !== false) {
    const [tone, sign, words] = matches
      ? ["good", "✓", `input ${need} matches`]
      : ["none", "?", `input ${need}: not known if it matches`];
    return html`<span class=${`match ${tone}`} title=${sentence}>
      <b aria-hidden="true">${sign}</b><span class="unseen">${words}</span>
    </span>`;
  }
  return html`<span class="match warn" title=${sentence}>
    <span class="unseen">input ${need} does not match:</span>
    <span class="row"><b>✗ used</b> <code>${short(used?.run_id)}</code></span>
    <span class="row">${clock(used?.completed_at)}</span>
    <span class="row"><b>latest</b> <code>${short(latest?.run_id)}</code></span>
    <span class="row">${clock(latest?.completed_at)}</span>
  </span>`;
}

/** An input where there is no line to it. */
function InputLine({edge}) {
  const {need, matches, used, latest} = edge;
  const [tone, sign, word] = {true: ["good", "✓", "matches"], false: ["warn", "✗", "does not match:"]}[matches] ?? [
    "none",
    "?",
    "not known if it matches",
  ];
  const when = (run) => html`<code>${short(run?.run_id)}</code> of <${Moment} at=${run?.completed_at} />`;
  return html`<span class=${`match ${tone}`}>
    <span class="row"><b>${sign} input <span class="name">${need}</span></b> <span>${word}</span></span>
    ${matches === false && html`<span class="row">used ${when(used)}</span><span class="row">latest ${when(latest)}</span>`}
  </span>`;
}

function Card({phase, live, href}) {
  const {run, quality} = phase;
  return html`<a class=${`card ${toneOf(phase.state)} is-${phase.state.replaceAll(" ", "-")}`} href=${href}>
    <span class="card-head">
      <b class="name" title=${phase.phase}>${phase.phase}</b>${" "}
      <${State} state=${phase.state} />
    </span>
    ${phase.matrix && html`<${CardRuns} matrix=${phase.matrix} />`}
    ${quality && html`<${CardQuality} quality=${quality} />`}
    ${phase.gates.map((gate) => html`<${Gate} key=${gate.text} gate=${gate} />`)}
    ${(run?.completed_at || !computes(live)) && html`<${Facts} run=${run} />`}
    ${computes(live) && html`<${Step} live=${live} />`}
  </a>`;
}

function Facts({run}) {
  if (!run) return html`<span class="facts">no run yet</span>`;
  return html`<span class="facts">
    ${run.completed_at ? html`<${Moment} at=${run.completed_at} />` : html`<span>not complete</span>`}
    ${isKnown(run.duration_seconds) && html`<span>${duration(run.duration_seconds)}</span>`}
    ${isKnown(run.cost_usd) && html`<span>${cost(run.cost_usd)}</span>`}
  </span>`;
}

/** One card stands for all runs of a matrix: how many of them are good, and which these are. */
function CardRuns({matrix}) {
  const {count, runs} = matrix;
  const tone = runs.length >= count ? "good" : "warn";
  const names = runs.map(({values}) => values).join("\n");
  return html`<span class="facts" title=${names}>
    <span><b class=${`figure ${tone}`}>${runs.length}</b> of ${count} runs</span>
  </span>`;
}

function CardQuality({quality}) {
  const tone = toneOf(gradeState(quality.grade));
  return html`<span class="card-quality">
    <span class="name">${quality.metric}</span> <b class=${`figure ${tone}`}>${number(quality.value)}</b>
    <${QualityBar} quality=${quality} numbered />
  </span>`;
}

function Gate({gate}) {
  const [sign, tone, word] = {true: ["✓", "good", "holds"], false: ["✗", "bad", "does not hold"]}[gate.passed] ?? [
    "?",
    "none",
    "not known",
  ];
  return html`<span class="gate">
    <b class=${tone} aria-hidden="true">${sign}</b> <span class="name">${gate.text}</span>
    <span class="unseen">${word}</span>
  </span>`;
}
