// Quality over time, with its thresholds. Each grade has a colour and a shape. The table below shows the same as text.
import {html, useEffect, useRef, useState} from "./html.js";
import {gradeState, toneOf} from "./states.js";
import {clock, number, short} from "./words.js";

const SHAPES = {
  good: (path, x, y, r) => path.arc(x, y, r, 0, 2 * Math.PI),
  borderline: (path, x, y, r) =>
    polygon(path, [
      [x, y - 1.3 * r],
      [x + 1.3 * r, y],
      [x, y + 1.3 * r],
      [x - 1.3 * r, y],
    ]),
  poor: (path, x, y, r) =>
    polygon(path, [
      [x - 1.2 * r, y - r],
      [x + 1.2 * r, y - r],
      [x, y + 1.2 * r],
    ]),
  gate: (path, x, y, r) => path.rect(x - r, y - r, 2 * r, 2 * r),
};
const NAMES = {good: "● good", borderline: "◆ borderline", poor: "▼ poor", gate: "■ gate failed"};

function polygon(path, [first, ...others]) {
  path.moveTo(...first);
  for (const corner of others) path.lineTo(...corner);
  path.closePath();
}

/** The colour that a custom property has now, in this theme. */
function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const {color} = getComputedStyle(probe);
  probe.remove();
  return color;
}

export function QualityPlot({runs, quality}) {
  const frame = useRef(null);
  const [under, setUnder] = useState(null);
  const points = runs
    .filter((run) => Number.isFinite(run.quality) && (run.completed_at || run.started_at))
    .map((run) => ({run, x: Date.parse(run.completed_at ?? run.started_at) / 1000, y: run.quality}))
    .sort((a, b) => a.x - b.x);
  const contents = points.map(({run, y}) => `${run.run_id}${y}${run.grade}`).join();
  useEffect(() => {
    if (points.length) return drawn(frame.current, points, quality, setUnder);
  }, [contents]);
  if (!points.length) return null;
  const last = points.at(-1);
  const label =
    `${quality.metric} of ${points.length} runs over time, the latest ${number(last.y)}; ` +
    `good from ${number(quality.good)}, poor beyond ${number(quality.poor)}. The table below lists them.`;
  const grades = Object.keys(NAMES).filter((grade) => points.some(({run}) => run.grade === grade));
  return html`<figure class="plot">
    <div ref=${frame} role="img" aria-label=${label}></div>
    <figcaption>
      <span class="legend">
        ${grades.map((grade) => html`<span class=${toneOf(gradeState(grade))}>${NAMES[grade]}</span>`)}
      </span>
      <span class="quiet">${under ? named(under, quality) : `dashed: the thresholds of ${quality.metric}`}</span>
    </figcaption>
  </figure>`;
}

function named({run, y}, quality) {
  return `${short(run.run_id)} · ${clock(run.completed_at ?? run.started_at)} · ${quality.metric} ${number(y)}`;
}

function drawn(frame, points, quality, setUnder) {
  let plot;
  const build = () => {
    plot?.destroy();
    plot = new window.uPlot(
      options(frame, points, quality, setUnder),
      [points.map(({x}) => x), points.map(({y}) => y)],
      frame,
    );
  };
  build();
  const watcher = new ResizeObserver(() => plot.setSize(size(frame)));
  watcher.observe(frame);
  window.addEventListener("phases-theme", build);
  return () => {
    watcher.disconnect();
    window.removeEventListener("phases-theme", build);
    plot.destroy();
  };
}

const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);
const size = (frame) => ({width: Math.max(200, Math.floor(frame.clientWidth)), height: Math.round(15 * rem())});

function options(frame, points, quality, setUnder) {
  const axis = {
    stroke: colour("--muted"),
    grid: {stroke: colour("--line"), width: 1},
    ticks: {show: false},
    font: `${0.75 * rem()}px system-ui`,
  };
  return {
    ...size(frame),
    legend: {show: false},
    cursor: {drag: {x: true, y: false}, points: {size: 12}},
    tzDate: (seconds) => window.uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    scales: {x: {range: (_, low, high) => widened(low, points.length > 1 ? high : low)}, y: {range: (_, low, high) => reach(low, high, quality)}},
    axes: [
      {
        ...axis,
        space: 5 * rem(),
        size: 2.2 * rem(),
        values: (_, moments, axisIndex, space, step) => moments.map((at) => moment(at, step)),
      },
      {...axis, size: 4 * rem()},
    ],
    series: [{}, {label: quality.metric, paths: () => null, points: {show: false}, stroke: colour("--text")}],
    hooks: {
      draw: [(plot) => drawAll(plot, points, quality)],
      setCursor: [(plot) => setUnder(points[plot.cursor.idx] ?? null)],
    },
  };
}

/** With room at both ends. Around a single point uPlot itself would put years. */
function widened(low, high) {
  const margin = (high - low || 3600) * 0.02;
  return [low - margin, high + margin];
}

/** A time on the axis, as precise as the step (s) between two of them. */
function moment(seconds, step) {
  const text = clock(new Date(seconds * 1000).toISOString());
  if (step >= 86400) return text.slice(0, 10);
  const time = step < 60 ? text.slice(11) : text.slice(11, 16);
  return time.startsWith("00:00") ? text.slice(5, 10) : time;
}

function reach(low, high, quality) {
  const [least, most] = [Math.min(low, quality.good, quality.poor), Math.max(high, quality.good, quality.poor)];
  const margin = (most - least || 1) * 0.08;
  return [least - margin, most + margin];
}

function drawAll(plot, points, quality) {
  const {ctx, bbox} = plot;
  const thresholds = [
    ["good", quality.good, colour("--good")],
    ["poor", quality.poor, colour("--bad")],
  ].map(([name, value, tone]) => ({tone, text: `${name} ${number(value)}`, y: plot.valToPos(value, "y", true)}));
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  drawPoints(plot, points, ctx);
  for (const threshold of thresholds) drawThreshold(ctx, bbox, threshold);
  ctx.restore();
}

function drawThreshold(ctx, bbox, {tone, text, y}) {
  ctx.strokeStyle = ctx.fillStyle = tone;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.setLineDash([]);
  ctx.font = `${0.75 * rem() * devicePixelRatio}px system-ui`;
  ctx.textAlign = "left";
  ctx.textBaseline = "alphabetic";
  const place = [bbox.left + 4 * devicePixelRatio, y - 4 * devicePixelRatio];
  // An edge in the colour of the ground keeps the text readable over points.
  ctx.strokeStyle = colour("--panel");
  ctx.lineWidth = 4 * devicePixelRatio;
  ctx.strokeText(text, ...place);
  ctx.fillText(text, ...place);
}

function drawPoints(plot, points, ctx) {
  const radius = (points.length > 1000 ? 2 : 4) * devicePixelRatio * (rem() / 16);
  const paths = new Map();
  for (const {run, x, y} of points) {
    const grade = SHAPES[run.grade] ? run.grade : "gate";
    if (!paths.has(grade)) paths.set(grade, new Path2D());
    const [left, top] = [plot.valToPos(x, "x", true), plot.valToPos(y, "y", true)];
    const path = paths.get(grade);
    path.moveTo(left + radius, top);
    SHAPES[grade](path, left, top, radius);
  }
  for (const [grade, path] of paths) {
    ctx.fillStyle = colour(`--${toneOf(gradeState(grade))}`);
    ctx.fill(path);
  }
}
