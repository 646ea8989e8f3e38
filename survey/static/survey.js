// The survey: one thing per screen. The server alone knows where somebody is; this draws it, takes
// the time from the image on the screen to the answer, and fetches the next image meanwhile.
(() => {
  const LONG_GAP_MS = 30 * 60_000; // after which the instructions are shown again
  const KEEP = 3; // fetched images

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

  window.kferMountSurvey = async (root, config) => {
    const { texts } = config;
    const screen = root.querySelector(".kfer-survey");
    const both = (element, text) => window.kfer.say(element, text[0], text[1]);
    const say = (element, key) => both(element, texts[key]);
    const wish = new URLSearchParams(location.search);
    const study = await fetch(`survey/api/study?name=${encodeURIComponent(wish.get("study") ?? "")}`)
      .then((response) => (response.ok ? response.json() : null))
      .catch(() => null);
    if (!study) {
      say(make("p", "", screen), "no_study");
      return;
    }
    const KEY = `kfer-survey-${study.name}`;
    let code = null;
    let trial = null;
    let block = null; // of the last trial shown: a rest comes where it changes
    let shownAt = null; // performance.now() when the image was on the screen
    let shownTime = null;
    let blurred = false;
    let pending = false;
    let keys = {}; // of the screen that is shown
    const images = new Map(); // trial position in its phase -> promise of an object URL

    // --- asking the server ---------------------------------------------------------------------

    async function ask(route, body) {
      let response;
      try {
        response = await fetch(`survey/api/${route}`, {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify(body),
        });
      } catch {
        throw { ko: texts.error_network[0], en: texts.error_network[1], passing: true };
      }
      const answer = await response.json().catch(() => null);
      if (response.ok && answer) return answer;
      throw {
        ...(answer?.error ?? { ko: texts.error_network[0], en: texts.error_network[1] }),
        passing: response.status >= 500,
      };
    }

    // --- pieces of screens -----------------------------------------------------------------------

    function clear(name) {
      screen.replaceChildren();
      screen.dataset.screen = name;
      keys = {};
      // On a phone a face and all its answers just fit, without the header.
      const whole = name === "trial" && window.innerWidth <= 760;
      screen.scrollIntoView({ block: whole ? "start" : "nearest" });
      return make("div", "kfer-survey-page", screen);
    }

    function addButton(parent, key, action, primary = true) {
      const button = make("button", primary ? "kfer-primary" : "", parent);
      button.type = "button";
      say(button, key);
      button.addEventListener("click", action);
      return button;
    }

    function addHeading(page, key) {
      const heading = make("h2", "", page);
      heading.tabIndex = -1;
      say(heading, key);
      heading.focus({ preventScroll: true });
      return heading;
    }

    function showError(page, error, retry) {
      page.querySelector(".kfer-error")?.remove();
      const box = make("div", "kfer-error", page);
      box.setAttribute("role", "alert");
      window.kfer.say(make("p", "", box), error.ko, error.en);
      if (retry) addButton(box, "retry", retry);
    }

    // --- before the first image ------------------------------------------------------------------

    function showConsent() {
      const page = clear("consent");
      const heading = make("h2", "", page);
      both(heading, study.title);
      if (study.demo) say(make("p", "kfer-note", page), "demo");
      const consent = make("div", "kfer-consent", page);
      both(consent, study.consent);
      const label = make("label", "kfer-agree", page);
      const box = make("input", "", label);
      box.type = "checkbox";
      say(make("span", "", label), "agree");
      const row = make("div", "kfer-buttons", page);
      const begin = addButton(row, "begin", () => showBackground());
      begin.disabled = true;
      box.addEventListener("change", () => { begin.disabled = !box.checked; });
      const details = make("details", "kfer-have-code", page);
      say(make("summary", "", details), "have_code");
      const form = make("form", "", details);
      const field = make("label", "", form);
      say(make("span", "", field), "code");
      const input = make("input", "", field);
      input.autocomplete = "off";
      input.maxLength = 40;
      const go = make("button", "", form);
      say(go, "resume");
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        resume(input.value, (error) => showError(page, error));
      });
    }

    function showBackground() {
      const page = clear("background");
      addHeading(page, "about_you");
      say(make("p", "", page), "about_you_hint");
      const selects = Object.entries(config.background).map(([name, choices]) => {
        const label = make("label", "kfer-question", page);
        say(make("span", "", label), name);
        const select = make("select", "", label);
        for (const [value, text] of [["", texts.no_answer], ...choices]) {
          const option = make("option", "", select);
          option.value = value;
          both(option, text);
        }
        return [name, select];
      });
      const row = make("div", "kfer-buttons", page);
      addButton(row, "go_on", async (event) => {
        event.target.disabled = true;
        const told = selects.map(([name, select]) => [name, select.value]).filter(([, v]) => v);
        try {
          const begun = await ask("start", {
            study: study.name,
            consent: true,
            language: window.kfer.language,
            background: Object.fromEntries(told),
          });
          code = begun.code;
          storage.set(KEY, code);
          showInstructions(() => enter(begun.trial));
        } catch (error) {
          event.target.disabled = false;
          showError(page, error);
        }
      });
    }

    function showInstructions(next) {
      const page = clear("instructions");
      addHeading(page, "how");
      const list = make("ol", "", page);
      for (const key of ["how_1", "how_2", "how_3"]) say(make("li", "", list), key);
      const words = make("p", "kfer-words-row", page);
      for (const [label, text] of Object.entries(study.labels)) {
        if (!config.colors[label]) continue; // cannot tell
        const word = make("span", "kfer-word", words);
        word.style.setProperty("--emotion", config.colors[label]);
        both(word, text);
      }
      const row = make("div", "kfer-buttons", page);
      addButton(row, "go_on", next).focus({ preventScroll: true });
    }

    function showPause(name, heading, hint, button, next) {
      const page = clear(name);
      addHeading(page, heading);
      say(make("p", "", page), hint);
      if (name === "rest") addProgress(page, trial.position - 1, trial.total);
      const row = make("div", "kfer-buttons", page);
      addButton(row, button, next);
      keys = { Enter: next };
    }

    async function resume(typed, fail) {
      try {
        const found = await ask("resume", { code: typed });
        code = typed;
        storage.set(KEY, code);
        if (!found.trial) return showResult(await ask("result", { code }));
        const gap = Date.now() - Date.parse(found.last_seen_at);
        if (gap > LONG_GAP_MS) showInstructions(() => enter(found.trial));
        else enter(found.trial);
      } catch (error) {
        fail(error);
      }
    }

    function showWelcomeBack(kept) {
      const page = clear("welcome-back");
      addHeading(page, "welcome_back");
      say(make("p", "", page), "where_you_were");
      const row = make("div", "kfer-buttons", page);
      addButton(row, "resume", () => resume(kept, (error) => {
        if (!error.passing) storage.remove(KEY);
        showError(page, error);
      }));
      addButton(row, "anew", () => { storage.remove(KEY); showConsent(); }, false);
    }

    // --- images ------------------------------------------------------------------------------------

    const place = (phase, position) => `${phase} ${position}`;

    function fetchImage(phase, position, url) {
      const name = place(phase, position);
      if (!images.has(name)) {
        const fetched = fetch(url).then(async (response) => {
          if (!response.ok) throw response.status;
          return URL.createObjectURL(await response.blob());
        });
        fetched.catch(() => images.delete(name));
        images.set(name, fetched);
        for (const [old, promise] of images) {
          if (images.size <= KEEP) break;
          images.delete(old);
          promise.then((address) => URL.revokeObjectURL(address), () => {});
        }
      }
      return images.get(name);
    }

    async function loadImage() {
      try {
        return await fetchImage(trial.phase, trial.position, trial.image_url);
      } catch {
        // The link's two minutes are over: the server gives a fresh one.
        const found = await ask("resume", { code });
        if (found.trial?.id !== trial.id) throw { moved: found.trial };
        trial = found.trial;
        return fetchImage(trial.phase, trial.position, trial.image_url);
      }
    }

    function preload() {
      if (!trial.next_image_url) return;
      const last = trial.position === trial.total;
      fetchImage(last ? "main" : trial.phase, last ? 1 : trial.position + 1, trial.next_image_url)
        .catch(() => {}); // it is fetched again when its turn comes
    }

    // --- trials ------------------------------------------------------------------------------------

    function enter(next) {
      const before = trial;
      trial = next;
      if (trial.phase === "practice" && !before) {
        return showPause("practice", "practice", "practice_first", "start_practice", showTrial);
      }
      if (trial.phase === "main" && (!before || before.phase === "practice") && trial.position === 1) {
        block = trial.block;
        return showPause("main", "main_begins", "main_begins_hint", "begin", showTrial);
      }
      const rests = trial.phase === "main" && before?.phase === "main" && block !== null
        && trial.block > block && trial.answer === null;
      block = trial.block;
      if (rests) return showPause("rest", "rest", "rest_hint", "go_on", showTrial);
      return showTrial();
    }

    function addProgress(page, done, total) {
      const row = make("div", "kfer-progress", page);
      make("span", "", row).textContent = `${done} / ${total}`;
      const bar = make("i", "", row);
      bar.style.setProperty("--share", `${(100 * done) / total}%`);
    }

    function showTrial() {
      const page = clear("trial");
      page.classList.add("kfer-trial");
      const top = make("div", "kfer-trial-top", page);
      if (trial.phase === "practice") say(make("strong", "", top), "practice");
      addProgress(top, trial.position, trial.total);
      const frame = make("div", "kfer-face", page);
      const wait = make("span", "kfer-loading", frame);
      say(wait, "loading");
      const image = make("img", "", frame);
      image.alt = "";
      image.draggable = false;
      image.addEventListener("contextmenu", (event) => event.preventDefault());
      const side = make("div", "kfer-answers", page);
      const question = make("h2", "", side);
      say(question, "question");
      const grid = make("div", "kfer-options", side);
      trial.options.forEach((option, index) => {
        const cannot = option === "cannot_tell";
        const key = cannot ? "0" : String(index + 1);
        const button = make("button", cannot ? "kfer-cannot" : "", grid);
        button.type = "button";
        button.dataset.option = option;
        button.disabled = true; // until there is something to answer
        if (!cannot) button.style.setProperty("--emotion", config.colors[option]);
        make("kbd", "", button).textContent = key;
        both(make("span", "", button), study.labels[option]);
        button.setAttribute("aria-pressed", String(option === trial.answer));
        button.addEventListener("click", (event) => answer(option, event.pointerType || "key"));
        keys[key] = () => answer(option, "key");
      });
      const row = make("div", "kfer-buttons", side);
      const back = addButton(row, "back", goBack, false);
      make("kbd", "", back).textContent = "⌫";
      back.disabled = trial.position === 1;
      keys.Backspace = goBack;
      present(image, wait);
    }

    async function present(image, wait) {
      const mine = trial.id;
      shownAt = null;
      blurred = false;
      try {
        image.src = await loadImage();
        await image.decode();
      } catch (error) {
        if (error?.moved !== undefined) return error.moved ? enter(error.moved) : finish();
        showError(screen.firstChild, error?.ko ? error : {
          ko: texts.error_network[0], en: texts.error_network[1],
        }, showTrial);
        return;
      }
      if (trial.id !== mine || !image.isConnected) return;
      wait.remove();
      requestAnimationFrame((time) => {
        shownAt = time;
        shownTime = new Date().toISOString();
        screen.querySelectorAll("[data-option]").forEach((button) => { button.disabled = false; });
        screen.dataset.ready = trial.id;
      });
      preload();
    }

    async function answer(option, how) {
      if (pending || shownAt === null) return;
      const elapsed = performance.now() - shownAt;
      pending = true;
      const page = screen.firstChild;
      page.querySelectorAll("[data-option]").forEach((button) =>
        button.setAttribute("aria-pressed", String(button.dataset.option === option)));
      const device = ["mouse", "touch", "pen"].includes(how) ? how : "key";
      const send = async () => {
        pending = true;
        page.querySelector(".kfer-error")?.remove();
        try {
          const answered = await ask("answer", {
            code,
            trial_id: trial.id,
            label: option,
            response_ms: elapsed,
            client: { device, blurred, shown_at: shownTime },
          });
          pending = false;
          if (answered.feedback) showFeedback(page, answered, option);
          else if (answered.trial) enter(answered.trial);
          else showResult(answered.result);
        } catch (error) {
          pending = !error.passing; // what failed for good is not sent again by a key
          showError(page, error, error.passing ? send : () => location.reload());
        }
      };
      await send();
    }

    function showFeedback(page, answered, option) {
      const box = page.querySelector(".kfer-options");
      const { correct, label } = answered.feedback;
      const line = make("p", "kfer-feedback", null);
      line.setAttribute("role", "status");
      say(make("strong", "", line), correct ? "right" : "wrong");
      if (!correct) both(make("span", "", line), study.labels[label]);
      box.after(line);
      box.querySelectorAll("[data-option]").forEach((button) => {
        button.disabled = true;
        button.classList.toggle("kfer-true", button.dataset.option === label);
        button.classList.toggle("kfer-chosen", button.dataset.option === option);
      });
      const next = () => (answered.trial ? enter(answered.trial) : showResult(answered.result));
      const row = page.querySelector(".kfer-answers .kfer-buttons");
      row.replaceChildren();
      addButton(row, "next", next).focus({ preventScroll: true });
      keys = { Enter: next };
    }

    async function goBack() {
      if (pending || trial.position === 1) return;
      pending = true;
      try {
        const found = await ask("back", { code });
        if (found.trial) { block = null; enter(found.trial); }
      } catch (error) {
        showError(screen.firstChild, error);
      } finally {
        pending = false;
      }
    }

    // --- the end -------------------------------------------------------------------------------------

    async function finish() {
      showResult(await ask("result", { code }));
    }

    function addScore(list, name, score, total, kind) {
      const row = make("li", `kfer-score-${kind}`, list);
      row.style.setProperty("--share", `${(100 * score) / total}%`);
      if (Array.isArray(name)) both(make("span", "", row), name);
      else make("span", "", row).textContent = name;
      make("i", "", row);
      make("b", "", row).textContent = Number.isInteger(score) ? score : score.toFixed(1);
    }

    function showResult(result) {
      trial = null;
      const page = clear("result");
      addHeading(page, "result");
      if (study.demo) say(make("p", "kfer-note", page), "demo");
      const big = make("p", "kfer-score", page);
      both(big, [
        `${result.total}${texts.of[0]} ${result.score}${texts.hits[0]}`,
        `${result.score} ${texts.of[1]} ${result.total} ${texts.hits[1]}`,
      ]);
      const list = make("ul", "kfer-scale", page);
      addScore(list, texts.you, result.score, result.total, "you");
      for (const [name, score] of Object.entries(result.models)) {
        addScore(list, name.split("@")[0], score, result.total, "model");
      }
      if (result.people.mean === null) say(make("p", "kfer-hint", page), "people_later");
      else {
        addScore(list, texts.people, result.people.mean, result.total, "people");
        const line = make("p", "kfer-hint", page);
        both(line, texts.percentile.map((text) => `${text}: ${Math.round(result.people.percentile)} %`));
      }
      addParts(page, "by_label", result.by_label, (label) => study.labels[label]);
      addParts(page, "by_set", result.by_visibility, (name) => texts[`set_${name}`]);
      showReceipt(page);
    }

    function addParts(page, heading, parts, name) {
      say(make("h3", "", page), heading);
      const table = make("table", "kfer-parts", page);
      const models = Object.keys(Object.values(parts)[0].models);
      const head = make("tr", "", make("thead", "", table));
      make("th", "", head);
      say(make("th", "", head), "you");
      for (const model of models) make("th", "", head).textContent = model.split("@")[0];
      const body = make("tbody", "", table);
      for (const [key, part] of Object.entries(parts)) {
        if (!part.total) continue;
        const row = make("tr", "", body);
        const cell = make("th", "", row);
        cell.scope = "row";
        both(cell, name(key));
        make("td", "", row).textContent = `${part.score} / ${part.total}`;
        for (const model of models) make("td", "", row).textContent = `${part.models[model]} / ${part.total}`;
      }
    }

    function showReceipt(page) {
      say(make("h3", "", page), "receipt");
      say(make("p", "", page), "receipt_hint");
      const row = make("div", "kfer-receipt", page);
      make("code", "", row).textContent = code;
      const copy = addButton(row, "copy", async () => {
        await navigator.clipboard.writeText(code);
        say(copy, "copied");
      }, false);
      const remove = make("div", "kfer-buttons", page);
      addButton(remove, "delete", () => {
        remove.replaceChildren();
        say(make("strong", "", remove), "delete_sure");
        addButton(remove, "delete_yes", async () => {
          try {
            const gone = await ask("withdraw", { code });
            storage.remove(KEY);
            const end = clear("deleted");
            both(make("p", "", end), texts.deleted.map((text) => `${text} ${gone.deleted}`));
            addButton(make("div", "kfer-buttons", end), "anew", showConsent, false);
          } catch (error) {
            showError(page, error);
          }
        }, false);
        addButton(remove, "delete_no", () => { remove.remove(); }, false);
      }, false);
    }

    // --- keys, focus, the first screen -----------------------------------------------------------

    document.addEventListener("keydown", (event) => {
      if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
      if (root.offsetParent === null || event.target.closest("input, textarea, select")) return;
      const action = keys[event.key];
      if (!action || (event.key === "Enter" && event.target.closest("button"))) return;
      event.preventDefault();
      action();
    });
    for (const event of ["blur", "visibilitychange"]) {
      window.addEventListener(event, () => { blurred = true; });
    }
    const kept = wish.get("code") ?? storage.get(KEY);
    if (kept) showWelcomeBack(kept);
    else showConsent();
  };
})();
