// The Analyze tab: takes a photo or the webcam, posts it, draws what comes back.
// Live frames: the next one is taken only when the last one's answer is there, so that none queues
// up anywhere and what is shown is at most one service time old.
(() => {
  const LIVE_WIDTH = 640;
  const TIMELINE_MS = 10_000;
  const SAME_FACE = 0.3; // overlap from which a face counts as the one of the last frame
  const NUMBER_ONLY = 40; // px of a box's width, below which its tag is just the number
  const NO_SHARE = 90; // px, below which the tag leaves out the probability
  const NAMED_LINE = 0.12; // share from which the timeline says which emotion a line is
  const LINE_NAME = 0.2; // of the timeline's height, that a name takes
  const LEAST_HEIGHT = 120; // px, at which smaller photos are shown
  const SMOOTHING = 0.5; // share of the newest frame in what is shown live

  const CAMERA_ERRORS = {
    SecurityError: "error_camera_https",
    NotFoundError: "error_camera_none",
    NotReadableError: "error_camera_taken",
  };

  const percent = (share) => `${Math.round(share * 100)} %`;
  const message = ([ko, en]) => ({ ko, en });

  function overlap(a, b) {
    const w = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]);
    const h = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]);
    if (w <= 0 || h <= 0) return 0;
    return (w * h) / (a[2] * a[3] + b[2] * b[3] - w * h);
  }

  function save(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  window.kferMountAnalyze = (root, config) => {
    const { make } = window.kfer;
    const find = (selector) => root.querySelector(selector);
    const texts = config.texts;
    const say = (element, key) => window.kfer.say(element, texts[key][0], texts[key][1]);
    const frame = find(".kfer-frame");
    const view = find(".kfer-view");
    const photo = find(".kfer-photo");
    const video = find(".kfer-video");
    const boxes = find(".kfer-boxes");
    const cards = find(".kfer-cards");
    const file = find(".kfer-file");
    const setting = Object.fromEntries(
      ["model", "detector", "taxonomy"].map((name) => [name, find(`[data-setting=${name}]`)]));
    const units = window.kferMountUnits(root, config);
    let shown = null; // {blob, name, analysis, csv} of the photo on the screen
    let stream = null;
    let mode = "photo"; // photo, camera or live
    let ticket = 0; // answers to an older question than the newest are dropped
    let previous = null; // the last live frame's analysis
    let history = [];

    // --- asking the server ---------------------------------------------------------------------

    function address(route) {
      const query = new URLSearchParams(
        { model: setting.model.value, detector: setting.detector.value });
      if (setting.taxonomy.value) query.set("taxonomy", setting.taxonomy.value);
      if (route === "annotate") query.set("language", window.kfer.language);
      return `kfer/${route}?${query}`;
    }

    // ``kind``: json or blob. A body that breaks off counts as a server out of reach.
    async function read(request, kind) {
      let refused = null;
      try {
        const response = await request;
        if (response.ok) return await response[kind]();
        refused = await response.json();
      } catch { /* below */ }
      throw refused?.error ?? message(texts.error_network);
    }

    function ask(route, kind, blob, name = "") {
      const headers = { "X-KFER-Name": encodeURIComponent(name) };
      return read(fetch(address(route), { method: "POST", body: blob, headers }), kind);
    }

    // --- states of the screen --------------------------------------------------------------------

    function showBusy(key) {
      const busy = find(".kfer-busy");
      busy.hidden = !key;
      if (key) say(find(".kfer-busy-text"), key);
      root.firstElementChild?.setAttribute("aria-busy", String(Boolean(key)));
    }

    function showError(reason) {
      const error = find(".kfer-error");
      error.hidden = !reason;
      if (reason) window.kfer.say(error, reason.ko, reason.en);
    }

    function showMode(next) {
      mode = next;
      const off = mode === "photo";
      const buttons = { choose: off, camera: off, live: off, snap: mode === "camera", stop: !off };
      const pressed = find("[data-action]:focus");
      const first = find(`[data-action=${off ? "choose" : "stop"}]`);
      first.hidden = false;
      if (pressed && !buttons[pressed.dataset.action]) first.focus(); // the keyboard goes on here
      for (const [action, offered] of Object.entries(buttons)) {
        find(`[data-action=${action}]`).hidden = !offered;
      }
      video.hidden = off;
      photo.hidden = !off;
      find(".kfer-timeline").hidden = mode !== "live";
      // Cards that come anew with every frame would never let a screen reader finish.
      find(".kfer-results").setAttribute("aria-live", mode === "live" ? "off" : "polite");
    }

    function clearReadings() {
      boxes.replaceChildren();
      cards.replaceChildren();
      say(make("p", "kfer-hint", cards), "readings_empty");
      for (const name of ["note", "approximate", "after"]) find(`.kfer-${name}`).hidden = true;
      units.hide();
    }

    function openView() {
      find(".kfer-empty").hidden = true;
      view.hidden = false;
      frame.dataset.state = "open";
    }

    function closeView() {
      find(".kfer-empty").hidden = false;
      view.hidden = true;
      frame.dataset.state = "empty";
    }

    // --- drawing readings --------------------------------------------------------------------------

    const english = (analysis, label) => config.english[analysis.taxonomy][label];
    const model = () => config.models.find((entry) => entry.identity === setting.model.value);
    const hasNoFace = (analysis) => analysis.note === config.noFace;

    function drawBox(analysis, face, index, live) {
      // Live ones are drawn anew with every frame: a button would lose the keyboard's focus.
      const box = make(live ? "span" : "button", "kfer-box", boxes);
      const [x, y, w, h] = face.rect;
      // In shares of the photo; of a face across the border, the part inside.
      const left = Math.max(x / analysis.width, 0);
      const top = Math.max(y / analysis.height, 0);
      const width = Math.min((x + w) / analysis.width, 1) - left;
      const height = Math.min((y + h) / analysis.height, 1) - top;
      for (const [side, share] of Object.entries({ left, top, width, height })) {
        box.style[side] = `${share * 100}%`;
      }
      box.style.setProperty("--emotion", config.colors[face.label]);
      box.style.setProperty("--at", `${(left + width / 2) * 100}%`); // keeps the tag in the photo
      if (top < 0.09) box.classList.add("kfer-box-top");
      const tag = make("span", "kfer-tag", box);
      const share = percent(face.probs[face.label]);
      const words = (label) => {
        const room = width * boxes.clientWidth;
        if (room < NUMBER_ONLY) return `${index + 1}`; // the card says the rest
        const answer = `${index + 1} ${label}${face.unsure ? "?" : ""}`;
        return room < NO_SHARE ? answer : `${answer} ${share}`;
      };
      window.kfer.say(tag, words(face.label), words(english(analysis, face.label)));
      if (live) return;
      box.type = "button";
      box.addEventListener("click", () => highlight(index, true));
    }

    function drawCard(analysis, face, index) {
      const card = make("article", "kfer-card", cards);
      card.style.setProperty("--emotion", config.colors[face.label]);
      const head = make("header", "", card);
      const name = make("span", "kfer-card-name", head);
      if (analysis.note) say(name, "whole_photo");
      else window.kfer.say(name, `${texts.face[0]} ${index + 1}`, `${texts.face[1]} ${index + 1}`);
      const answer = make("strong", "kfer-card-answer", head);
      window.kfer.say(answer, face.label, english(analysis, face.label));
      make("span", "kfer-card-share", head).textContent = percent(face.probs[face.label]);
      if (face.unsure) say(make("span", "kfer-unsure", head), "unsure");
      const list = make("ul", "", card);
      const ranked = Object.entries(face.probs).sort((a, b) => b[1] - a[1]);
      for (const [label, share] of ranked) {
        const row = make("li", "", list);
        row.style.setProperty("--emotion", config.colors[label]);
        row.style.setProperty("--share", `${share * 100}%`);
        const words = make("span", "kfer-words", row);
        window.kfer.say(words, label, english(analysis, label));
        const other = make("small", "", row);
        window.kfer.say(other, english(analysis, label), label);
        make("i", "", row);
        make("b", "", row).textContent = percent(share);
      }
      card.addEventListener("click", () => highlight(index, false));
    }

    function highlight(index, scroll) {
      root.querySelectorAll(".kfer-card, .kfer-box").forEach((element) =>
        element.classList.remove("kfer-chosen"));
      boxes.children[index]?.classList.add("kfer-chosen");
      const card = cards.children[index];
      card?.classList.add("kfer-chosen");
      if (shown?.analysis) units.follow(shown.analysis.faces[index].label);
      if (scroll) card?.scrollIntoView({ behavior: "smooth", block: "nearest" });
    }

    function drawTable(analysis) {
      const body = find(".kfer-table tbody");
      body.replaceChildren();
      analysis.faces.forEach((face, index) => {
        const row = make("tr", "", body);
        make("td", "", row).textContent = index + 1;
        window.kfer.say(make("td", "", row), face.label, english(analysis, face.label));
        make("td", "", row).textContent = percent(face.probs[face.label]);
        make("td", "", row).textContent = face.rect.map(Math.round).join(", ");
      });
    }

    function drawApproximation(analysis) {
      const line = find(".kfer-approximate");
      line.hidden = !analysis.approximate;
      if (line.hidden) return;
      const missing = model().unreachable[analysis.taxonomy];
      const tail = (at) => missing.length
        ? ` ${texts.unreachable[at]}: ${missing.map((label) => at ? english(analysis, label) : label).join(", ")}.`
        : "";
      window.kfer.say(line, texts.approximate[0] + tail(0), texts.approximate[1] + tail(1));
    }

    function draw(analysis, live) {
      boxes.replaceChildren();
      cards.replaceChildren();
      const nobody = live && hasNoFace(analysis);
      const faces = nobody ? [] : analysis.faces;
      if (!analysis.note) faces.forEach((face, index) => drawBox(analysis, face, index, live));
      faces.forEach((face, index) => drawCard(analysis, face, index));
      const note = find(".kfer-note");
      note.hidden = !hasNoFace(analysis);
      if (!note.hidden) say(note, nobody ? "no_face_live" : "no_face");
      drawApproximation(analysis);
      drawTable(analysis);
      find(".kfer-after").hidden = live;
      if (live) units.hide();
      else units.show(model(), analysis.taxonomy, faces[0].label);
    }

    // --- photos ------------------------------------------------------------------------------------

    function showPhoto(blob) {
      URL.revokeObjectURL(photo.src);
      photo.src = URL.createObjectURL(blob);
      namePhoto();
      openView();
    }

    function namePhoto() {
      photo.alt = texts.photo_alt[window.kfer.language === "ko" ? 0 : 1];
    }
    window.kfer.onLanguage(namePhoto);
    // The tags' words depend on the size of the photo on the screen.
    photo.addEventListener("load", () => {
      const enlarged = LEAST_HEIGHT / photo.naturalHeight;
      photo.style.width = enlarged > 1 ? `${photo.naturalWidth * enlarged}px` : "";
      if (mode === "photo" && shown?.analysis) draw(shown.analysis, false);
    });

    // Browsers cannot show HEIC: the server's rendering stands in, without the drawn boxes twice.
    photo.addEventListener("error", async () => {
      if (!shown?.blob || shown.preview) return;
      const mine = shown;
      mine.preview = true;
      try {
        const rendering = await ask("preview", "blob", mine.blob);
        if (shown === mine) showPhoto(rendering); // no other photo has come meanwhile
      } catch { /* the message of the reading itself already stands */ }
    });

    async function readPhoto(blob, name) {
      stopCamera();
      const mine = ++ticket;
      shown = null;
      showError(null);
      clearReadings();
      if (blob.size > config.maxBytes) {
        showBusy(null);
        closeView();
        showError(message(texts.error_size));
        return;
      }
      shown = { blob, name };
      showPhoto(blob);
      showBusy("busy");
      try {
        const answer = await ask("analyze", "json", blob, name);
        // Not every browser turns such a photo as the server does, and the boxes are the server's.
        const rendering = answer.turned && await ask("preview", "blob", blob);
        if (mine !== ticket) return;
        if (rendering) showPhoto(rendering);
        Object.assign(shown, answer);
        draw(answer.analysis, false);
      } catch (error) {
        if (mine !== ticket) return;
        shown = null;
        closeView();
        showError(error);
      } finally {
        if (mine === ticket) showBusy(null);
      }
    }

    // --- webcam ------------------------------------------------------------------------------------

    async function startCamera(next) {
      showError(null);
      const mine = ++ticket;
      shown = null;
      clearReadings();
      showMode(next);
      openView();
      showBusy("starting_camera");
      try {
        // Browsers have none where the page came over plain http from another machine.
        if (!navigator.mediaDevices) throw new DOMException("", "SecurityError");
        const opened = await navigator.mediaDevices.getUserMedia(
          { video: { width: 640, height: 480, facingMode: "user" }, audio: false });
        if (mine !== ticket) { // stopped, or a photo came, while the visitor was asked
          opened.getTracks().forEach((track) => track.stop());
          return;
        }
        stream = opened;
        opened.getTracks().forEach((track) => track.addEventListener("ended", () => {
          if (stream === opened) loseCamera(); // unplugged, or forbidden meanwhile
        }));
        video.srcObject = stream;
        await video.play();
      } catch (error) {
        if (mine === ticket) loseCamera(CAMERA_ERRORS[error.name]);
      } finally {
        if (mine === ticket) showBusy(null);
      }
      if (mine === ticket && mode === "live") runLive();
    }

    function loseCamera(reason = "error_camera") {
      actions.stop();
      showError(message(texts[reason]));
    }

    function stopCamera() {
      stream?.getTracks().forEach((track) => track.stop());
      stream = null;
      video.srcObject = null;
      previous = null;
      history = [];
      showMode("photo");
    }

    // The screen shows the webcam as a mirror does. Live frames are sent as they are shown, so
    // that boxes and reading order fit them; a photo that is kept is not mirrored.
    function takeFrame(width, mirrored) {
      const canvas = make("canvas");
      canvas.width = Math.min(width, video.videoWidth);
      canvas.height = Math.round((video.videoHeight * canvas.width) / video.videoWidth);
      const drawing = canvas.getContext("2d");
      if (mirrored) drawing.setTransform(-1, 0, 0, 1, canvas.width, 0);
      drawing.drawImage(video, 0, 0, canvas.width, canvas.height);
      return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.85));
    }

    async function runLive() {
      const mine = ++ticket;
      while (mine === ticket && mode === "live") {
        if (document.hidden) {
          await new Promise((resolve) =>
            document.addEventListener("visibilitychange", resolve, { once: true }));
          continue;
        }
        const taken = performance.now();
        try {
          const answer = await ask("analyze", "json", await takeFrame(LIVE_WIDTH, true));
          if (mine !== ticket || mode !== "live") return;
          showError(null);
          smooth(answer.analysis);
          draw(answer.analysis, true);
          drawTimeline(answer.analysis);
          frame.dataset.ageMs = Math.round(performance.now() - taken);
          frame.dataset.frames = Number(frame.dataset.frames ?? 0) + 1;
        } catch (error) {
          if (mine !== ticket) return;
          showError(error);
          await new Promise((resolve) => setTimeout(resolve, 1000));
        }
        await new Promise(requestAnimationFrame);
      }
    }

    function smooth(analysis) {
      // A frame that was on its way when the model or the labels were changed is of the old ones.
      const alike = previous?.model === analysis.model && previous?.taxonomy === analysis.taxonomy;
      for (const face of analysis.faces) {
        const before = alike && previous.faces.find((old) => overlap(old.rect, face.rect) > SAME_FACE);
        if (before) {
          for (const label of Object.keys(face.probs)) {
            face.probs[label] =
              SMOOTHING * face.probs[label] + (1 - SMOOTHING) * (before.probs[label] ?? 0);
          }
          face.label = Object.entries(face.probs).reduce((a, b) => (b[1] > a[1] ? b : a))[0];
          face.unsure = face.probs[face.label] < (model().unsureBelow ?? 0);
        }
      }
      previous = hasNoFace(analysis) ? null : analysis;
    }

    function drawTimeline(analysis) {
      const now = performance.now();
      if (!hasNoFace(analysis)) history.push({ at: now, probs: analysis.faces[0].probs });
      history = history.filter((entry) => now - entry.at < TIMELINE_MS);
      const svg = find(".kfer-timeline svg");
      svg.replaceChildren();
      nameLines(analysis);
      for (const label of Object.keys(history.at(-1)?.probs ?? {})) {
        const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
        line.setAttribute("points", history
          .filter((entry) => label in entry.probs)
          .map((entry) =>
            `${100 - ((now - entry.at) / TIMELINE_MS) * 100},${39 - entry.probs[label] * 38}`)
          .join(" "));
        line.style.stroke = config.colors[label];
        svg.append(line);
      }
    }

    // Words where the lines end, for those who cannot tell them by colour.
    function nameLines(analysis) {
      const ends = find(".kfer-line-ends");
      ends.replaceChildren();
      const now = Object.entries(history.at(-1)?.probs ?? {})
        .filter(([label, share]) => share >= NAMED_LINE && label in config.english[analysis.taxonomy])
        .sort((a, b) => b[1] - a[1])
        .slice(0, Math.round(1 / LINE_NAME));
      let free = 0; // from the top, below the name before, with room for those that follow
      for (const [index, [label, share]] of now.entries()) {
        const top = Math.max(Math.min(1 - share, 1 - LINE_NAME * (now.length - index)), free);
        free = top + LINE_NAME;
        const name = make("span", "", ends);
        name.style.setProperty("--emotion", config.colors[label]);
        name.style.top = `${top * 100}%`;
        window.kfer.say(name, label, english(analysis, label));
      }
    }

    // --- what the visitor does -----------------------------------------------------------------------

    const actions = {
      choose: () => file.click(),
      camera: () => startCamera("camera"),
      live: () => startCamera("live"),
      snap: async () => {
        if (video.videoWidth) readPhoto(await takeFrame(Infinity, false), "webcam.jpg");
      },
      stop: () => { ++ticket; stopCamera(); showBusy(null); clearReadings(); closeView(); },
    };
    // Who goes to another tab is filmed no longer.
    new IntersectionObserver(() => {
      if (mode !== "photo" && root.offsetParent === null) actions.stop();
    }).observe(root);
    root.querySelectorAll("[data-action]").forEach((button) =>
      button.addEventListener("click", () => actions[button.dataset.action]()));

    file.addEventListener("change", () => {
      if (file.files[0]) readPhoto(file.files[0], file.files[0].name);
      file.value = ""; // so that the same photo can be chosen again
    });
    for (const type of ["dragover", "dragleave", "drop"]) {
      frame.addEventListener(type, (event) => {
        event.preventDefault();
        frame.classList.toggle("kfer-dragging", type === "dragover");
        const dropped = type === "drop" && event.dataTransfer.files[0];
        if (dropped) readPhoto(dropped, dropped.name);
      });
    }
    document.addEventListener("paste", (event) => {
      const pasted = [...(event.clipboardData?.files ?? [])][0];
      if (pasted && root.offsetParent !== null) readPhoto(pasted, pasted.name);
    });
    root.querySelectorAll("[data-example]").forEach((button) =>
      button.addEventListener("click", async () => {
        stopCamera();
        const mine = ++ticket;
        const name = `${button.dataset.example}.webp`;
        showBusy("busy");
        try {
          const example = await read(fetch(`kfer/examples/${name}`), "blob");
          if (mine === ticket) readPhoto(example, name);
        } catch (error) {
          if (mine !== ticket) return;
          shown = null;
          actions.stop();
          showError(error);
        }
      }));
    const downloads = {
      json: () => save(new Blob([JSON.stringify(shown.analysis, null, 2)],
        { type: "application/json" }), "kfer.json"),
      // The mark in front lets spreadsheets read the Korean.
      csv: () => save(new Blob(["\ufeff", shown.csv], { type: "text/csv" }), "kfer.csv"),
      photo: async () => {
        try {
          save(await ask("annotate", "blob", shown.blob), "kfer.jpg");
        } catch (error) {
          showError(error);
        }
      },
    };
    root.querySelectorAll("[data-download]").forEach((button) =>
      button.addEventListener("click", () => shown && downloads[button.dataset.download]()));

    function fillTaxonomies() {
      const select = setting.taxonomy;
      const before = select.value;
      select.replaceChildren();
      for (const name of model().taxonomies) {
        const option = make("option", "", select);
        option.value = name;
        const words = (at) => model().own.includes(name)
          ? texts[`taxonomy_${name}`][at]
          : `${texts[`taxonomy_${name}`][at]} · ${texts.taxonomy_approximate[at]}`;
        window.kfer.say(option, words(0), words(1));
      }
      if (model().taxonomies.includes(before)) select.value = before;
    }
    setting.model.addEventListener("change", fillTaxonomies);
    for (const select of Object.values(setting)) {
      select.addEventListener("change", () => {
        previous = null; // other labels, or other faces, than those to come
        if (mode === "photo" && shown) readPhoto(shown.blob, shown.name);
      });
    }
    fillTaxonomies();
    find(".kfer-settings").open = window.innerWidth > 760;
    window.kfer.translate(root);
  };
})();
