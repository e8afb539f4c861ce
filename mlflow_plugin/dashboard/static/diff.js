// Changes of code: unified diffs as text, each line marked by its sign. Cosmetic changes are folded away.
import {html, useState} from "./html.js";
import {Panel} from "./parts.js";
import {plural} from "./words.js";

const AT_FIRST = 400;
const WORDS = {
  changed: "changed",
  cosmetic: "cosmetic: changes no result",
  added: "only right",
  removed: "only left",
  unknown: "not known",
};

export function CodeChanges({code}) {
  const shown = code.files.filter((file) => file.change !== "same");
  const same = code.files.length - shown.length;
  return html`<${Panel} title="Code">
    <p class=${code.recorded ? "" : "quiet"}>${code.summary}</p>
    ${shown.map((file) => html`<${File} key=${file.path} file=${file} />`)}
    ${same > 0 && html`<p class="quiet">${plural(same, "more file")} the same.</p>`}
  <//>`;
}

function File({file}) {
  const cosmetic = file.change === "cosmetic";
  return html`<details class="file" open=${!cosmetic && file.diff !== null}>
    <summary>
      <span class="name">${file.path}</span>${" "}
      <span class=${`tag ${cosmetic ? "none" : "warn"}`}>${WORDS[file.change] ?? file.change}</span>
    </summary>
    ${
      file.diff
        ? html`<${Diff} text=${file.diff} label=${file.path} />`
        : html`<p class="quiet">${file.note ?? "Its content is not recorded."}</p>`
    }
  </details>`;
}

const kind = (line) => {
  if (line.startsWith("+++") || line.startsWith("---")) return "meta";
  return {"+": "added", "-": "removed", "@": "hunk"}[line[0]] ?? "";
};

function Diff({text, label}) {
  const lines = text.replace(/\n$/, "").split("\n");
  const [all, setAll] = useState(false);
  const shown = (all ? lines : lines.slice(0, AT_FIRST)).map(
    (line) => html`<span class=${kind(line)}>${line || " "}${"\n"}</span>`,
  );
  return html`<div>
    <pre class="diff" tabindex="0" role="group" aria-label=${`Changes of ${label}`}>${shown}</pre>
    ${
      shown.length < lines.length &&
      html`<button type="button" onClick=${() => setAll(true)}>Show all ${lines.length} lines</button>`
    }
  </div>`;
}
