// The chosen theme, before anything is drawn: a class on the page, kept by this browser.
// Not a module: those run too late.

(() => {
  const KEY = "foretoken-theme";
  const NAMES = { auto: "automatic", light: "light", dark: "dark" };
  const root = document.documentElement;
  const order = Object.keys(NAMES);

  function kept() {
    try {
      const name = localStorage.getItem(KEY);
      return name in NAMES ? name : "auto";
    } catch {
      return "auto"; // storage may be switched off
    }
  }

  function apply(name) {
    if (name === "auto") delete root.dataset.theme;
    else root.dataset.theme = name;
    const button = document.getElementById("theme");
    if (button) button.textContent = `Theme: ${NAMES[name]}`;
    root.dispatchEvent(new Event("theme"));
  }

  apply(kept());
  document.addEventListener("DOMContentLoaded", () => {
    apply(kept());
    document.getElementById("theme").addEventListener("click", () => {
      const next = order[(order.indexOf(kept()) + 1) % order.length];
      try {
        localStorage.setItem(KEY, next);
      } catch {
        // it then lasts as long as the page
      }
      apply(next);
    });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => root.dispatchEvent(new Event("theme")));
})();
