// Durations, sums, numbers and times as text, as `mlflow_plugin/format.py` writes them.

const NOTHING = "–";
export const isKnown = (value) => value !== null && value !== undefined;
const two = (value) => String(value).padStart(2, "0");

export function duration(seconds) {
  if (!isKnown(seconds)) return NOTHING;
  if (!Number.isFinite(seconds)) return "unknown";
  if (seconds < 1) return "less than 1 s";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 600) return whole % 60 ? `${Math.floor(whole / 60)} min ${two(whole % 60)} s` : `${whole / 60} min`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  const hours = Math.round(seconds / 3600);
  return `${Math.floor(hours / 24)} d ${two(hours % 24)} h`;
}

export function approximately(seconds) {
  const shown = duration(seconds);
  return shown.startsWith("less than") || shown === NOTHING ? shown : `about ${shown}`;
}

export function cost(usd) {
  if (!isKnown(usd)) return NOTHING;
  if (!Number.isFinite(usd)) return "unknown";
  if (usd <= 0) return "$0";
  if (usd < 0.01) return "< $0.01";
  return Number(usd.toFixed(2)) < 10 ? `$${usd.toFixed(2)}` : `$${Math.round(usd).toLocaleString("en-US")}`;
}

export function number(value) {
  if (!isKnown(value)) return NOTHING;
  return Number.isInteger(value) && Math.abs(value) < 1e15 ? String(value) : String(Number(value.toPrecision(4)));
}

/** "2026-11-20 07:53:29", UTC; the page says once that its times are UTC. */
export function clock(at) {
  if (!at) return NOTHING;
  const moment = new Date(at);
  return Number.isNaN(moment.getTime()) ? String(at) : moment.toISOString().slice(0, 19).replace("T", " ");
}

export function percent(value) {
  return !isKnown(value) ? NOTHING : `${Math.round(value)}%`;
}

export function plural(count, one, many = `${one}s`) {
  return `${count} ${String(count) === "1" ? one : many}`;
}

export function short(id) {
  return String(id ?? "").slice(0, 8);
}
