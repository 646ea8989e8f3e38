// One language for the whole page: every element with data-ko and data-en shows one of them.
// The choice follows the browser until the visitor switches, and is kept in localStorage.
(() => {
  const KEY = "kfer-language";
  const listeners = [];

  function choose() {
    let kept = null;
    try { kept = localStorage.getItem(KEY); } catch { /* storage may be blocked in a frame */ }
    if (kept === "ko" || kept === "en") return kept;
    return (navigator.language || "ko").toLowerCase().startsWith("ko") ? "ko" : "en";
  }

  const kfer = window.kfer = { language: choose() };

  kfer.make = (tag, className, parent) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    parent?.append(element);
    return element;
  };

  // Texts of nodes that are made or changed later are set through this, too.
  kfer.say = (element, ko, en) => {
    element.dataset.ko = ko;
    element.dataset.en = en;
    element.textContent = element.dataset[kfer.language];
  };

  kfer.onLanguage = (listener) => listeners.push(listener);

  kfer.translate = (root) => {
    root.querySelectorAll("[data-ko]").forEach((element) => {
      element.textContent = element.dataset[kfer.language];
    });
    root.querySelectorAll("[data-ko-label]").forEach((element) => {
      element.setAttribute("aria-label", element.dataset[`${kfer.language}Label`]);
    });
  };

  function apply(language) {
    kfer.language = language;
    document.documentElement.lang = language;
    kfer.translate(document);
    document.querySelectorAll("[data-language]").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.language === language));
    });
    listeners.forEach((listener) => listener(language));
  }

  window.kferMountHeader = (element) => {
    element.querySelectorAll("[data-language]").forEach((button) => {
      button.addEventListener("click", () => {
        try { localStorage.setItem(KEY, button.dataset.language); } catch { /* as above */ }
        apply(button.dataset.language);
      });
    });
    apply(kfer.language);
  };

  window.kferMountTexts = (element) => kfer.translate(element);
})();
