// What the survey's screens are made of: elements, buttons, errors, steps asked of the server, and
// images fetched ahead. None of it knows where somebody is in the study.
(() => {
  const KEEP = 3; // fetched images
  const PATIENCE_MS = 30_000; // after which a server that says nothing counts as out of reach

  function make(tag, className, parent) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (parent) parent.append(element);
    return element;
  }

  const storage = {
    get(key) { try { return localStorage.getItem(key); } catch { return null; } },
    set(key, value) { try { localStorage.setItem(key, value); } catch { /* blocked in a frame */ } },
    remove(key) { try { localStorage.removeItem(key); } catch { /* as above */ } },
  };

  const both = (element, text) => window.kfer.say(element, text[0], text[1]);

  // A name for those who hear the page; it follows the language like every text.
  function nameFor(element, [ko, en]) {
    Object.assign(element.dataset, { koLabel: ko, enLabel: en });
    element.setAttribute("aria-label", window.kfer.language === "ko" ? ko : en);
  }

  // Shows a sign of life on the button until what it set off is done, and takes no second click.
  async function keepBusy(button, action) {
    if (button.getAttribute("aria-busy")) return;
    button.setAttribute("aria-busy", "true");
    try {
      await action();
    } finally {
      button.removeAttribute("aria-busy");
    }
  }

  function buildImages() {
    const fetched = new Map(); // name -> promise of an object URL
    return (name, url) => {
      if (!fetched.has(name)) {
        const promise = fetch(url, { signal: AbortSignal.timeout(PATIENCE_MS) })
          .then(async (response) => {
            if (!response.ok) throw response.status;
            return URL.createObjectURL(await response.blob());
          });
        promise.catch(() => fetched.delete(name));
        fetched.set(name, promise);
        for (const [old, its] of fetched) {
          if (fetched.size <= KEEP) break;
          fetched.delete(old);
          its.then((address) => URL.revokeObjectURL(address), () => {});
        }
      }
      return fetched.get(name);
    };
  }

  window.kferSurveyPieces = ({ texts, code }) => {
    const say = (element, key) => both(element, texts[key]);

    // As the server makes them; its 32 letters are drawn alike by a byte.
    function makeCode() {
      const drawn = crypto.getRandomValues(new Uint8Array(code.length));
      const letters = [...drawn].map((byte) => code.letters[byte % code.letters.length]);
      return letters.join("").match(/.{4}/g).join("-");
    }

    // --- asking the server ---------------------------------------------------------------------

    // ``passing``: the same may be asked again, and go well.
    async function ask(route, body) {
      const [ko, en] = texts[route === "answer" ? "error_network" : "error_reach"];
      const post = body && {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      };
      let response;
      let answer;
      try {
        const signal = AbortSignal.timeout(PATIENCE_MS);
        response = await fetch(`survey/api/${route}`, { ...post, signal });
        answer = await response.json();
      } catch {
        throw { ko, en, passing: true }; // a proxy's or a hotel's page, or half an answer
      }
      // Only what our own server says is final.
      if (response.ok && answer) return answer;
      throw { ko, en, ...answer?.error, passing: response.status >= 500 || !answer?.error?.ko };
    }

    // --- pieces of screens ---------------------------------------------------------------------

    function addButton(parent, key, action, primary = true) {
      const button = make("button", primary ? "kfer-primary" : "", parent);
      button.type = "button";
      say(make("span", "", button), key);
      button.addEventListener("click", (event) => {
        // The second half of a double click is not meant for what has come up meanwhile.
        if (event.detail < 2) keepBusy(button, () => action(event));
      });
      return button;
    }

    // A button for what cannot be taken back: its own words, then the question, then yes or no.
    function addAskingButton(parent, key, action) {
      const place = make("div", "kfer-asking", parent);
      const offer = () => {
        place.replaceChildren();
        return addButton(place, key, () => {
          place.replaceChildren();
          const sure = make("strong", "", place);
          sure.tabIndex = -1;
          say(sure, `${key}_sure`);
          addButton(place, `${key}_yes`, action, false);
          addButton(place, `${key}_no`, () => offer().focus(), false);
          sure.focus({ preventScroll: true });
        }, false);
      };
      offer();
    }

    // What had the focus is gone, or nothing had it: nobody is using another part of the page.
    const isFocusFree = () => [null, document.body].includes(document.activeElement);

    // The keyboard and the screen reader go on from the heading of the screen that has come up.
    function addHeading(page, text) {
      const heading = make("h2", "", page);
      heading.tabIndex = -1;
      both(heading, Array.isArray(text) ? text : texts[text]);
      if (isFocusFree()) heading.focus({ preventScroll: true });
      return heading;
    }

    // Names the face that is shown or waits; the bar says how many are done.
    function addProgress(page, { position, total }) {
      const row = make("div", "kfer-progress", page);
      make("span", "", row).textContent = `${position} / ${total}`;
      const bar = make("i", "", row);
      bar.style.setProperty("--share", `${(100 * (position - 1)) / total}%`);
    }

    // Stays unseen for the moment that most waits take.
    function addWait(parent) {
      const wait = make("p", "kfer-wait", parent);
      wait.setAttribute("role", "status");
      return wait;
    }

    function clearError(page) {
      page.querySelector(".kfer-error")?.remove();
    }

    function showError(page, error, retry) {
      clearError(page);
      const box = make("div", "kfer-error", page.querySelector(".kfer-answers") ?? page);
      box.setAttribute("role", "alert");
      both(make("p", "", box), [error.ko, error.en]);
      if (retry) {
        const button = addButton(box, "retry", retry);
        if (isFocusFree()) button.focus({ preventScroll: true });
      }
      box.scrollIntoView({ block: "nearest" });
    }

    return {
      make, makeCode, storage, both, say, nameFor, keepBusy, ask, addButton, addAskingButton, addHeading,
      addProgress, addWait, clearError, showError, fetchImage: buildImages(),
    };
  };
})();
