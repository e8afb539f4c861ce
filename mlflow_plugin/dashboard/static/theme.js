// Dark or light: as the system says, until one is chosen. A plain script in the head, so that the first paint is right.
(() => {
  const KEY = "phases.theme";

  function chosen() {
    try {
      return localStorage.getItem(KEY) ?? "";
    } catch {
      return ""; // Storage may be forbidden.
    }
  }

  function apply(theme) {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    window.dispatchEvent(new Event("phases-theme"));
  }

  window.phasesTheme = {
    chosen,
    choose(theme) {
      try {
        if (theme) localStorage.setItem(KEY, theme);
        else localStorage.removeItem(KEY);
      } catch {
        // It then holds until the page is left.
      }
      apply(theme);
    },
  };
  apply(chosen());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(chosen()));
})();
