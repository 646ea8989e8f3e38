// The survey: one thing per screen. The server alone knows where somebody is; this draws it, takes
// the time from the image on the screen to the answer, and fetches the next image meanwhile.
(() => {
  const LONG_GAP_MS = 30 * 60_000; // after which the instructions are shown again
  const SETTLE_MS = 200; // sooner nobody has seen a face: it is the last one's key, pressed again
  const PANEL = ["PROLIFIC_PID", "STUDY_ID", "SESSION_ID"]; // what a panel's link says of its people

  window.kferMountSurvey = (root, config) => {
    const { texts } = config;
    const screen = root.querySelector(".kfer-survey");
    const pieces = window.kferSurveyPieces(config);
    const {
      make, makeCode, storage, both, say, nameFor, keepBusy, ask, addButton, addAskingButton,
      addHeading, addProgress, addWait, clearError, showError, fetchImage,
    } = pieces;
    const { addResult, addReceipt } = window.kferSurveyResult(config, pieces);
    const wish = new URLSearchParams(location.search);
    let study = null;
    let code = null;
    let trial = null;
    let block = null; // of the last trial shown: a rest comes where it changes
    const left = new Set(); // ids of trials: for a rest, a window or by the code
    const spent = new Map(); // ms on trials that were looked at before going back
    let shownAt = null; // performance.now() when the image was on the screen
    let shownTime = null;
    let blurred = false;
    let pending = false;
    let proposed = null; // code of a participation whose beginning may be asked for twice
    let keys = {}; // of the screen that is shown

    // After the #, a code is sent to no server and stands in no log.
    const buildLink = () => (
      `${location.origin}${location.pathname}?study=${encodeURIComponent(study.name)}#code=${code}`
    );
    const getKey = () => `kfer-survey-${study.name}`;
    const getFinishedKey = () => `${getKey()}-finished`; // the code that has seen its result here
    // A code in the address has had its turn: the next visit is of the one that is kept.
    const clearAddress = () => {
      const query = String(wish);
      history.replaceState(null, "", location.pathname + (query && `?${query}`));
    };

    function keepCode(next) {
      code = next;
      storage.set(getKey(), code);
      wish.set("study", study.name); // whichever is offered at the next visit
      if (storage.get(getKey()) === code) clearAddress();
      else history.replaceState(null, "", buildLink()); // storage is blocked
    }

    // Only this one: another participation that the device keeps is not to be lost with it.
    function dropCode() {
      for (const key of [getKey(), getFinishedKey()]) {
        if (storage.get(key) === code) storage.remove(key);
      }
      clearAddress();
    }

    function clear(name) {
      screen.replaceChildren();
      screen.dataset.screen = name;
      keys = {};
      // On a phone a face and all its answers just fit, without the header.
      const whole = name === "trial" && (window.innerWidth <= 760 || window.innerHeight <= 560);
      // No screen begins above what can be seen.
      if (whole || screen.getBoundingClientRect().top < 0) screen.scrollIntoView();
      return make("div", "kfer-survey-page", screen);
    }

    // --- before the first image ------------------------------------------------------------------

    function showConsent() {
      const page = clear("consent");
      addHeading(page, study.title);
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
      addCodeForm(page);
    }

    function addCodeForm(page, typed = null) {
      const details = make("details", "kfer-have-code", page);
      details.open = typed !== null;
      say(make("summary", "", details), "have_code");
      const form = make("form", "", details);
      const field = make("label", "", form);
      say(make("span", "", field), "code");
      const input = make("input", "", field);
      input.autocomplete = "off";
      input.spellcheck = false;
      input.maxLength = 40;
      input.value = typed ?? "";
      const go = make("button", "", form);
      say(go, "resume");
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        keepBusy(go, () => resume(input.value, (error) => showError(page, error)));
      });
    }

    function showBackground() {
      const page = clear("background");
      addHeading(page, "about_you");
      const panel = study.demo ? [] : PANEL.filter((name) => wish.get(name));
      say(make("p", "", page), panel.length ? "about_you_panel" : "about_you_hint");
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
      proposed ??= makeCode();
      addButton(row, "go_on", async () => {
        clearError(page);
        const answers = selects.map(([name, select]) => [name, select.value]);
        const told = answers.filter(([, value]) => value);
        for (const name of panel) told.push([name.toLowerCase(), wish.get(name)]);
        try {
          const begun = await ask("start", {
            study: study.name,
            version: study.version,
            code: proposed,
            consent: true,
            language: study.languages.includes(window.kfer.language)
              ? window.kfer.language : study.languages[0],
            background: Object.fromEntries(told),
          });
          proposed = null;
          keepCode(begun.code);
          showInstructions(() => enter(begun.trial));
        } catch (error) {
          if (!error.passing) proposed = null;
          showError(page, error, error.passing ? undefined : begin);
        }
      });
    }

    function showInstructions(next) {
      const page = clear("instructions");
      addHeading(page, "how");
      const list = make("ol", "", page);
      for (const key of ["how_1", "how_2", "how_3"]) say(make("li", "", list), key);
      const words = make("ul", "kfer-words-list", page);
      for (const [label, text] of Object.entries(study.labels)) {
        const item = make("li", "", words);
        const word = make("span", "kfer-word", item);
        if (config.colors[label]) word.style.setProperty("--emotion", config.colors[label]);
        both(word, text);
        if (config.meanings[label]) both(make("span", "", item), config.meanings[label]);
      }
      const row = make("div", "kfer-buttons", page);
      addButton(row, "go_on", next);
      keys = { Enter: next };
    }

    function showPause(name, heading, hint, button, next) {
      const page = clear(name);
      addHeading(page, heading);
      say(make("p", "", page), hint);
      const resting = name === "rest" || name === "pause";
      if (resting) addProgress(page, trial);
      const row = make("div", "kfer-buttons", page);
      addButton(row, button, next);
      keys = { Enter: next };
      if (resting) addCode(page);
    }

    // On the way, not only at its end: whoever stops needs the code to go on or to withdraw.
    function addCode(page) {
      const details = make("details", "kfer-my-code", page);
      say(make("summary", "", details), "my_code");
      say(make("p", "", details), "my_code_hint");
      addReceipt(details, code, buildLink(), withdraw);
      return details;
    }

    async function resume(typed, fail) {
      try {
        const found = await ask("resume", { code: typed });
        study = found.study; // the code may be of another one, or of an earlier version
        keepCode(found.code);
        if (!found.trial) return showResult(await ask("result", { code }));
        if (study.closed) return showClosed();
        left.add(found.trial.id);
        const gap = Date.now() - Date.parse(found.last_seen_at);
        if (gap > LONG_GAP_MS) showInstructions(() => enter(found.trial));
        else enter(found.trial);
      } catch (error) {
        fail(error);
      }
    }

    function showWelcomeBack(kept) {
      const page = clear("welcome-back");
      code = kept;
      addHeading(page, "welcome_back");
      const finished = storage.get(getFinishedKey()) === kept;
      say(make("p", "", page), finished ? "you_finished" : "where_you_were");
      const row = make("div", "kfer-buttons", page);
      addButton(row, finished ? "see_result" : "resume", () => resume(kept, (error) => {
        if (!error.passing) dropCode();
        showError(page, error);
      }));
      // Who forgets the code can neither go on nor delete: it is shown before they are asked.
      if (!study.closed) addAskingButton(row, "anew", () => { dropCode(); showConsent(); });
      addCode(page).open = true;
    }

    // Nobody starts or goes on; whoever has a code can still see their result, or delete all.
    function showClosed() {
      trial = null;
      const page = clear("closed");
      addHeading(page, study.title);
      say(make("p", "", page), "closed");
      if (code) addCode(page);
      else addCodeForm(page);
    }

    // --- images ------------------------------------------------------------------------------------

    const name = (phase, position) => `${code} ${phase} ${position}`;
    const fetchShown = () => fetchImage(name(trial.phase, trial.position), trial.image_url);

    async function loadImage() {
      try {
        return await fetchShown();
      } catch {
        // The link's two minutes are over: the server gives a fresh one.
        const found = await ask("resume", { code });
        if (found.study.closed && found.trial) throw { closed: true };
        if (found.trial?.id !== trial.id) throw { moved: found.trial };
        trial = found.trial;
        return fetchShown();
      }
    }

    function preload() {
      if (!trial.next_image_url) return;
      const last = trial.position === trial.total;
      const next = last ? name("main", 1) : name(trial.phase, trial.position + 1);
      fetchImage(next, trial.next_image_url)
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

    function pause() {
      if (pending) return;
      left.add(trial.id);
      showPause("pause", "paused", "paused_hint", "go_on", showTrial);
    }

    function showTrial() {
      const page = clear("trial");
      page.classList.add("kfer-trial");
      const top = make("div", "kfer-trial-top", page);
      if (trial.phase === "practice") say(make("strong", "", top), "practice");
      addProgress(top, trial);
      addKey(addButton(top, "pause", pause, false), "Esc");
      const frame = make("div", "kfer-face", page);
      const wait = addWait(frame);
      say(wait, "loading");
      const image = make("img", "", frame);
      nameFor(image, texts.face);
      image.draggable = false;
      image.addEventListener("contextmenu", (event) => event.preventDefault());
      const side = make("div", "kfer-answers", page);
      addHeading(side, "question").id = "kfer-question";
      const grid = make("div", "kfer-options", side);
      grid.setAttribute("role", "group");
      grid.setAttribute("aria-labelledby", "kfer-question");
      keys = { Backspace: goBack, Escape: pause };
      trial.options.forEach((option, index) => addOption(grid, option, index));
      // The verdict's place is kept, so that nothing moves when it is told.
      if (trial.phase === "practice") make("p", "kfer-verdict", side).setAttribute("role", "status");
      const row = make("div", "kfer-buttons", side);
      const back = addButton(row, "back", goBack, false);
      addKey(back, "⌫");
      back.disabled = trial.position === 1;
      present(image, wait);
    }

    function addKey(button, key) {
      const shown = make("kbd", "", button);
      shown.textContent = key;
      shown.setAttribute("aria-hidden", "true");
    }

    function addOption(grid, option, index) {
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
      // Of clicks, browsers tell the pointer only since 2024, and some of them a wrong one.
      let pointer;
      button.addEventListener("pointerdown", (event) => { pointer = event.pointerType; });
      button.addEventListener("click", (event) => {
        // The second half of a double click is no answer to the face that has come up meanwhile.
        if (event.detail < 2) answer(option, event.detail === 0 ? "key" : pointer);
      });
      keys[key] = () => answer(option, "key");
    }

    async function present(image, wait) {
      const mine = trial.id;
      shownAt = null;
      blurred = left.has(mine); // what somebody has come back to tells nothing by its time
      try {
        image.src = await loadImage();
        await image.decode();
      } catch (error) {
        if (error?.closed) return showClosed();
        if (error?.moved) return enter(error.moved);
        if (error?.moved === null) return finish();
        const [ko, en] = texts.error_reach;
        if (image.isConnected) showError(screen.firstChild, { ko, en, ...error }, showTrial);
        return;
      }
      if (trial.id !== mine || !image.isConnected) return;
      wait.remove();
      requestAnimationFrame((time) => {
        shownAt = time;
        blurred ||= !document.hasFocus() || root.offsetParent === null; // something is in front
        shownTime = new Date().toISOString();
        screen.querySelectorAll("[data-option]").forEach((button) => { button.disabled = false; });
        screen.dataset.ready = trial.id;
      });
      preload();
    }

    async function answer(option, how) {
      if (pending || shownAt === null) return;
      const elapsed = performance.now() - shownAt;
      if (elapsed < SETTLE_MS) return;
      const looked = elapsed + (spent.get(trial.id) ?? 0);
      const page = screen.firstChild;
      const buttons = [...page.querySelectorAll("[data-option]")];
      buttons.forEach((button) =>
        button.setAttribute("aria-pressed", String(button.dataset.option === option)));
      const device = ["mouse", "touch", "pen"].includes(how) ? how : "key";
      const send = async () => {
        pending = true;
        clearError(page);
        try {
          const answered = await ask("answer", {
            code,
            trial_id: trial.id,
            label: option,
            // Who comes back to a face after hours has not looked at it all the while.
            response_ms: Math.min(looked, config.maxResponseMs),
            client: {
              device, blurred: blurred || looked > config.maxResponseMs, shown_at: shownTime,
            },
          });
          pending = false;
          if (answered.feedback) showFeedback(page, answered);
          else if (answered.trial) enter(answered.trial);
          else showResult(answered.result);
        } catch (error) {
          pending = !error.passing; // what failed for good is not sent again by a key
          showError(page, error, error.passing ? sendVisibly : () => location.reload());
        }
      };
      const sendVisibly = () =>
        keepBusy(buttons.find((button) => button.dataset.option === option), send);
      await sendVisibly();
    }

    function showFeedback(page, answered) {
      const box = page.querySelector(".kfer-options");
      const { correct, label } = answered.feedback;
      const line = page.querySelector(".kfer-verdict");
      line.classList.add("kfer-feedback");
      say(make("strong", "", line), correct ? "right" : "wrong");
      if (!correct) both(make("span", "", line), study.labels[label]);
      box.querySelectorAll("[data-option]").forEach((button) => {
        button.disabled = true;
        button.classList.toggle("kfer-true", button.dataset.option === label);
      });
      const next = () => (answered.trial ? enter(answered.trial) : showResult(answered.result));
      page.querySelector(".kfer-trial-top button").disabled = true; // the face is answered
      const row = page.querySelector(".kfer-answers .kfer-buttons");
      row.replaceChildren();
      addButton(row, "next", next).focus({ preventScroll: true });
      keys = { Enter: next };
    }

    async function goBack() {
      if (pending || trial.position === 1) return;
      pending = true;
      const { id } = trial;
      const looked = shownAt === null ? 0 : performance.now() - shownAt;
      clearError(screen);
      try {
        const found = await ask("back", { code });
        if (!found.trial) return;
        spent.set(id, (spent.get(id) ?? 0) + looked);
        if (blurred) left.add(id);
        block = null;
        enter(found.trial);
      } catch (error) {
        showError(screen.firstChild, error, goBack);
      } finally {
        pending = false;
      }
    }

    // --- the end -------------------------------------------------------------------------------------

    async function finish() {
      try {
        showResult(await ask("result", { code }));
      } catch (error) {
        showError(screen.firstChild, error, finish);
      }
    }

    function showResult(result) {
      trial = null;
      storage.set(getFinishedKey(), code);
      const page = clear("result");
      addResult(page, study, result);
      say(make("h3", "", page), "receipt");
      say(make("p", "", page), "receipt_hint");
      addReceipt(page, code, buildLink(), withdraw);
    }

    async function withdraw() {
      const gone = await ask("withdraw", { code });
      dropCode();
      trial = null;
      const page = clear("deleted");
      addHeading(page, texts.deleted.map((text) => `${text} ${gone.deleted}`));
      if (study.closed) return;
      // What is agreed to is the newest version's text, whichever version this was.
      addButton(make("div", "kfer-buttons", page), "anew", begin, false);
    }

    // --- keys, focus, the first screen -----------------------------------------------------------

    const pressed = "button, summary, a"; // by Enter, which is then not for us
    document.addEventListener("keydown", (event) => {
      if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
      if (root.offsetParent === null || event.target.closest("input, textarea, select")) return;
      const action = keys[event.key];
      if (!action || (event.key === "Enter" && event.target.closest(pressed))) return;
      event.preventDefault();
      action();
    });
    for (const event of ["blur", "visibilitychange"]) {
      window.addEventListener(event, () => { blurred = true; });
    }
    // Another tab of the app's own hides the page without either.
    new IntersectionObserver(() => { blurred ||= root.offsetParent === null; }).observe(root);

    async function begin() {
      const page = clear("opening");
      const linked = new URLSearchParams(location.hash.slice(1)).get("code");
      say(addWait(page), "opening");
      try {
        study = await ask(`study?name=${encodeURIComponent(wish.get("study") ?? "")}`);
      } catch (error) {
        page.replaceChildren();
        if (error.passing) return showError(page, error, begin);
        both(make("p", "", page), [error.ko, error.en]); // none is open, or none has this name
        return addCodeForm(page, linked); // their study may be closed
      }
      const kept = linked ?? storage.get(getKey());
      if (kept) showWelcomeBack(kept);
      else if (study.closed) showClosed();
      else showConsent();
    }
    begin();
  };
})();
