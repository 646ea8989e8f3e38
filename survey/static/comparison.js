// The tab that shows how people and models did: filters above, findings below. The server computes
// and words everything; here it is laid out, drawn and saved.
(() => {
  const PATIENCE_MS = 120_000;
  const FEW_ROWS = 12; // of the images, before all are asked for
  const charts = () => window.kferCharts;

  window.kferMountComparison = (root, { texts, plotly }) => {
    const { make, both, nameFor } = window.kferSurveyPieces({ texts });
    const say = (element, key) => { both(element, texts[key]); return element; };
    // Figures and intervals, which no line break may take apart.
    const FIGURES = /(-?\d[\d.]* %|\[[^\]]*\])/;

    function write(element, text) {
      text.split(FIGURES).forEach((part, at) => {
        if (at % 2) make("span", "kfer-figure", element).textContent = part;
        else element.append(part);
      });
    }

    const word = (key) => texts[key][window.kfer.language === "ko" ? 0 : 1];

    const state = { study: null, filters: {}, token: null, page: null, asked: null };
    const holder = root.querySelector(".kfer-comparison") ?? root;
    const top = make("div", "kfer-filters", holder);
    const status = make("p", "kfer-status", holder);
    status.setAttribute("role", "status");
    const content = make("div", "kfer-content", holder);
    const researcher = make("div", "", holder);

    // --- asking --------------------------------------------------------------------------------

    async function ask(path, body) {
      const headers = {};
      if (state.token) headers.Authorization = `Bearer ${state.token}`;
      if (body) headers["Content-Type"] = "application/json";
      // Not AbortSignal.any, which browsers have only since 2023 and 2024.
      const own = new AbortController();
      const stop = () => own.abort();
      state.asked.signal.addEventListener("abort", stop);
      setTimeout(stop, PATIENCE_MS);
      const sent = body && { method: "POST", body: JSON.stringify(body) };
      const response = await fetch(
        `survey/comparison/${path}`, { ...sent, headers, signal: own.signal },
      );
      if (response.ok) return response;
      throw (await response.json()).error;
    }

    // The last wish counts: what was asked before it is dropped. For ``below``, see showError.
    async function load(below = null) {
      state.asked?.abort();
      const own = state.asked = new AbortController();
      content.setAttribute("aria-busy", "true");
      const patience = setTimeout(() => say(status, "computing"), 300);
      try {
        if (!state.study) {
          const studies = await (await ask("studies")).json();
          if (!studies.length) { say(status, "no_study"); return; }
          state.studies = studies;
          state.study = studies[0].name;
        }
        const { study, filters } = state;
        const answer = await ask("view", { study, filters, language: window.kfer.language });
        const page = await answer.json();
        const library = await charts().loadPlotly(plotly);
        if (state.asked !== own) return;
        state.page = page;
        show(page, library);
      } catch (error) {
        if (own.signal.aborted) return;
        if (state.token && !state.page?.admin) state.token = null;
        status.textContent = "";
        if (!error?.ko) console.error(error);
        showError(error, below);
      } finally {
        clearTimeout(patience);
        if (state.asked === own) content.removeAttribute("aria-busy");
      }
    }

    // Below what is there to be tried again, or above the findings.
    function showError(error, below = null) {
      holder.querySelector(".kfer-error")?.remove();
      const box = make("div", "kfer-error");
      box.setAttribute("role", "alert");
      both(make("p", "", box), error?.ko ? [error.ko, error.en] : texts.error);
      if (below) below.after(box);
      else {
        const retry = make("button", "", box);
        retry.type = "button";
        say(retry, "retry").addEventListener("click", () => { box.remove(); load(); });
        content.prepend(box);
      }
      box.scrollIntoView({ block: "nearest" });
    }

    // --- filters -------------------------------------------------------------------------------

    function change(name, value) {
      state.filters = { ...state.filters, [name]: value };
      if (value === null) delete state.filters[name];
      load();
    }

    function addField(parent, key) {
      const field = make("label", "kfer-field", parent);
      say(make("span", "", field), key);
      return field;
    }

    function addSelect(parent, key, options, value, onChange) {
      const select = make("select", "", addField(parent, key));
      for (const [name, text] of options) {
        const option = make("option", "", select);
        option.value = name;
        if (Array.isArray(text)) both(option, text); else option.textContent = text;
        option.selected = name === value;
      }
      select.addEventListener("change", () => onChange(select.value));
    }

    // Several of a list; ``all`` when what is chosen by default is everything, else nothing is.
    function addChoices(parent, key, options, all) {
      const chosen = state.filters[key] ?? (all ? options.map(([name]) => name) : []);
      const details = make("details", "kfer-choices", parent);
      details.dataset.filter = key;
      details.open = state.opened === key;
      details.addEventListener("toggle", () => {
        if (details.open) state.opened = key;
        else if (state.opened === key) state.opened = null;
      });
      const summary = make("summary", "", details);
      say(make("span", "", summary), key);
      const told = make("b", "", summary);
      if (chosen.length === options.length && all) say(told, "all");
      else if (!chosen.length) say(told, "none");
      else told.textContent = `${chosen.length} / ${options.length}`;
      const list = make("div", "kfer-list", details);
      for (const [name, text] of options) {
        const label = make("label", "", list);
        const box = make("input", "", label);
        box.type = "checkbox";
        box.value = name;
        box.checked = chosen.includes(name);
        const shown = make("span", "", label);
        if (Array.isArray(text)) both(shown, text); else shown.textContent = text;
        box.addEventListener("change", () => {
          // As the boxes stand: an earlier tick may not have come back from the server yet.
          const now = [...list.querySelectorAll("input:checked")].map((each) => each.value);
          change(key, now.length === (all ? options.length : 0) ? null : now);
        });
      }
    }

    // A list lies over what is below it until anything else is used, or Escape is pressed.
    function closeLists(except = null) {
      for (const list of top.querySelectorAll(".kfer-choices[open]")) {
        if (list !== except) list.open = false;
      }
    }
    for (const use of ["pointerdown", "focusin"]) {
      document.addEventListener(use, ({ target }) => closeLists(target.closest(".kfer-choices")));
    }
    top.addEventListener("keydown", (event) => {
      const list = top.querySelector(".kfer-choices[open]");
      if (event.key !== "Escape" || !list) return;
      closeLists();
      list.querySelector("summary").focus();
    });

    function addDay(parent, key) {
      const input = make("input", "", addField(parent, key));
      input.type = "date";
      input.value = state.filters[key] ?? "";
      input.addEventListener("change", () => change(key, input.value || null));
    }

    function showFilters(page) {
      const focused = document.activeElement?.closest?.("[data-filter]")?.dataset.filter;
      const ticked = document.activeElement?.value;
      top.replaceChildren();
      if (state.studies.length > 1) {
        const options = state.studies.map(({ name, title }) => [name, title]);
        addSelect(top, "study", options, state.study, (name) => {
          Object.assign(state, { study: name, filters: {}, opened: null });
          load();
        });
      }
      const sets = ["all", "public", "private"].map((name) => [name, texts[`visibility_${name}`]]);
      addSelect(top, "visibility", sets, state.filters.visibility ?? "all", (name) => (
        change("visibility", name === "all" ? null : name)
      ));
      const { labels, models, rules } = page.choices;
      addChoices(top, "labels", Object.entries(labels), true);
      if (Object.keys(models).length) {
        addChoices(top, "models", Object.entries(models), true);
      }
      addChoices(top, "leave_out", Object.entries(rules).map(([rule, count]) => (
        [rule, texts[`rule_${rule}`].map((text) => (count === null ? text : `${text} (${count})`))]
      )), false);
      addDay(top, "since");
      addDay(top, "until");
      if (Object.keys(state.filters).length) {
        const reset = make("button", "kfer-reset", top);
        reset.type = "button";
        say(reset, "reset").addEventListener("click", () => { state.filters = {}; load(); });
      }
      // The choice that was just made keeps the keyboard.
      if (focused) {
        const again = top.querySelector(`[data-filter=${focused}]`);
        const box = [...again.querySelectorAll("input")].find(({ value }) => value === ticked);
        (box ?? again.querySelector("summary")).focus({ preventScroll: true });
      }
    }

    function tellEffect({ counts, images }) {
      const parts = [];
      const fill = (key, values) => parts.push(texts[key].map((text) => (
        text.replace(/\{(\w+)\}/g, (_, name) => values[name])
      )));
      if (counts.n !== null && counts.finished) fill("of_people", counts);
      if (images) fill("of_images", { images: images.rows.length });
      if (counts.flagged) fill("left_out", counts);
      if (counts.outside) fill("outside", counts);
      if (counts.unfinished) fill("unfinished", counts);
      both(status, [0, 1].map((at) => parts.map((part) => part[at]).join(" · ")));
    }

    // --- findings ------------------------------------------------------------------------------

    function show(page, library) {
      const opened = new Set(
        [...content.querySelectorAll("details[open]")].map((each) => each.dataset.chapter),
      );
      showFilters(page);
      tellEffect(page);
      content.replaceChildren();
      if (page.study.demo) say(make("p", "kfer-note", content), "demo");
      if (page.withheld) showNothing(page, library);
      else showFindings(page, library, opened);
      showResearcher(page);
    }

    function showNothing(page, library) {
      say(make("p", "kfer-lead", content), page.withheld);
      say(make("h3", "", content), "published");
      addChart(content, page.references, library, true);
    }

    function showFindings(page, library, opened) {
      write(make("h2", "kfer-headline", content), page.headline);
      const [first, ...others] = page.chapters;
      for (const chart of first.charts) addChart(content, chart, library, true, false);
      addRaters(page.raters);
      for (const chapter of others) {
        const details = make("details", "kfer-chapter", content);
        details.dataset.chapter = chapter.key;
        make("summary", "", details).textContent = chapter.title;
        const draws = chapter.charts.map((chart) => addChart(details, chart, library, false));
        if (chapter.key === "difficulty") addImages(details, page);
        details.addEventListener("toggle", () => {
          if (details.open) draws.forEach((draw) => draw());
        });
        details.open = opened.has(chapter.key);
      }
    }

    function addChart(parent, chart, library, now, titled = true) {
      const figure = make("figure", "kfer-chart", parent);
      figure.dataset.chart = chart.key;
      if (titled) write(make("h3", "", figure), chart.title);
      const canvas = make("div", "kfer-canvas", figure);
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${chart.title} ${chart.caption}`);
      const caption = make("figcaption", "", figure);
      write(caption, chart.caption);
      const name = `kfer-${state.study}-${chart.key}`;
      addSaves(figure, {
        PNG: async () => [await charts().paint(library, chart.figure, "png"), `${name}.png`],
        SVG: async () => [await charts().paint(library, chart.figure, "svg"), `${name}.svg`],
        CSV: async () => [new Blob([`\ufeff${chart.csv}`], { type: "text/csv" }), `${name}.csv`],
      }, caption);
      const draw = () => charts().draw(library, canvas, chart.figure);
      if (now) draw();
      return draw;
    }

    function addSaves(parent, saves, caption) {
      const row = make("div", "kfer-saves", parent);
      for (const [format, build] of Object.entries(saves)) {
        const button = make("button", "", row);
        button.type = "button";
        button.textContent = format;
        nameFor(button, texts.download.map((text) => `${format} ${text}`));
        button.addEventListener("click", async () => {
          button.setAttribute("aria-busy", "true");
          try {
            charts().save(...await build());
          } finally {
            button.removeAttribute("aria-busy");
          }
        });
      }
      if (!caption) return;
      const copy = make("button", "", row);
      copy.type = "button";
      copy.setAttribute("aria-live", "polite");
      say(copy, "copy_caption").addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(caption.textContent);
          say(copy, "copied");
        } catch { // a browser gives its clipboard over https only, and not in every frame
          getSelection().selectAllChildren(caption);
          say(copy, "marked");
        }
      });
    }

    function addTable(parent, columns, rows, className) {
      const frame = make("div", "kfer-table", parent);
      frame.tabIndex = 0; // so that the keyboard can scroll it
      frame.setAttribute("role", "group");
      const table = make("table", className, frame);
      const head = make("tr", "", make("thead", "", table));
      for (const column of columns) {
        const cell = make("th", "", head);
        cell.scope = "col";
        if (Array.isArray(column)) both(cell, column); else cell.textContent = column;
      }
      const body = make("tbody", "", table);
      for (const row of rows) {
        const line = make("tr", "", body);
        row.forEach((value, at) => {
          const cell = make(at ? "td" : "th", "", line);
          if (!at) cell.scope = "row";
          if (value instanceof Node) cell.append(value); else write(cell, String(value));
        });
      }
      return frame;
    }

    function addRaters({ caption, columns, rows, csv }) {
      const section = make("section", "kfer-chart", content);
      section.dataset.chart = "raters";
      const heading = say(make("h3", "", section), "raters");
      heading.id = "kfer-raters";
      addTable(section, columns, rows, "kfer-raters").setAttribute("aria-labelledby", heading.id);
      const words = make("p", "kfer-caption", section);
      write(words, caption);
      const name = `kfer-${state.study}-raters.csv`;
      addSaves(section, {
        CSV: async () => [new Blob([`\ufeff${csv}`], { type: "text/csv" }), name],
      }, words);
    }

    const share = (value) => (value === null ? "–" : `${Math.round(100 * value)} %`);

    function addImages(parent, page) {
      const { rows, csv } = page.images;
      const section = make("section", "kfer-chart", parent);
      section.dataset.chart = "images";
      const heading = say(make("h3", "", section), "images");
      heading.id = "kfer-images";
      say(make("p", "", section), "images_hint");
      const models = Object.entries(page.models);
      const columns = [
        texts.image, texts.truth, texts.set, texts.answers, texts.people_right, texts.entropy,
        ...models.map(([, title]) => texts.model_says.map((text) => `${title}: ${text}`)),
      ];
      const describe = (row) => [
        nameImage(row, page),
        row.label,
        word(`visibility_${row.visibility}`),
        row.answers,
        share(row.people_right),
        row.entropy_bits === null ? "–" : row.entropy_bits.toFixed(2),
        ...models.map(([name]) => `${row[`${name} answer`]} ${share(row[`${name} p(truth)`])}`),
      ];
      const show = (some) => {
        const frame = addTable(section, columns, some.map(describe), "kfer-images");
        frame.setAttribute("aria-labelledby", heading.id);
        return frame;
      };
      const few = show(rows.slice(0, FEW_ROWS));
      const name = `kfer-${state.study}-images.csv`;
      if (rows.length > FEW_ROWS) {
        const more = make("button", "kfer-more", section);
        more.type = "button";
        say(more, "show_all").addEventListener("click", () => {
          few.replaceWith(show(rows));
          more.remove();
        });
      }
      addSaves(section, {
        CSV: async () => [new Blob([`\ufeff${csv}`], { type: "text/csv" }), name],
      });
    }

    function nameImage(row, page) {
      if (!page.thumbnails.includes(row.image)) return row.image;
      const image = make("img", "kfer-thumbnail");
      image.alt = word("thumbnail").replace("{label}", row.label);
      image.title = row.image;
      image.width = image.height = 56;
      const query = new URLSearchParams({ study: state.study, image: row.image });
      ask(`thumbnail?${query}`)
        .then(async (response) => { image.src = URL.createObjectURL(await response.blob()); })
        .catch(() => image.replaceWith(row.image));
      return image;
    }

    // --- the researcher --------------------------------------------------------------------------

    function showResearcher(page) {
      const wasOpen = researcher.querySelector("details")?.open;
      researcher.replaceChildren();
      const details = make("details", "kfer-chapter kfer-researcher", researcher);
      details.open = wasOpen || page.admin;
      say(make("summary", "", details), "researcher");
      if (!page.admin) {
        say(make("p", "", details), "researcher_hint");
        const form = make("form", "", details);
        const input = make("input", "", addField(form, "token"));
        input.type = "password";
        input.autocomplete = "off";
        const button = make("button", "", form);
        say(button, "open");
        form.addEventListener("submit", (event) => {
          event.preventDefault();
          const token = input.value.trim();
          if (/[^ -~]/.test(token)) { // which no header can carry, and no token has
            const [ko, en] = texts.token_wrong;
            return showError({ ko, en }, form);
          }
          state.token = token || null;
          load(form);
        });
        return;
      }
      const row = make("div", "kfer-saves", details);
      for (const suffix of [".csv", ".parquet"]) {
        const button = make("button", "", row);
        button.type = "button";
        say(button, `export_${suffix.slice(1)}`).addEventListener("click", async () => {
          button.setAttribute("aria-busy", "true");
          try {
            const query = new URLSearchParams({ study: state.study, suffix });
            const answer = await ask(`export?${query}`);
            charts().save(await answer.blob(), `kfer-${state.study}${suffix}`);
          } catch (error) {
            showError(error, row);
          } finally {
            button.removeAttribute("aria-busy");
          }
        });
      }
      const leave = make("button", "", row);
      leave.type = "button";
      say(leave, "close").addEventListener("click", () => { state.token = null; load(); });
      const heading = say(make("h3", "", details), "participants");
      heading.id = "kfer-participants";
      const columns = ["subj", "answers", "right", "median_seconds", "day", "flags"];
      const rows = (page.participants ?? []).map((each) => [
        each.subj, each.answers, share(each.right), each.median_seconds?.toFixed(1) ?? "–",
        each.day, each.flags.map(({ rule, detail }) => `${word(`rule_${rule}`)} (${detail})`).join("; "),
      ]);
      addTable(details, columns.map((key) => texts[key]), rows)
        .setAttribute("aria-labelledby", heading.id);
    }

    // --- when it is opened -----------------------------------------------------------------------

    // A study that is under way has new answers every time that somebody comes back to the tab.
    new IntersectionObserver(([{ isIntersecting }]) => {
      if (isIntersecting) load();
    }).observe(holder);
    window.kfer.onLanguage(() => { if (state.page) load(); });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      if (state.page) load();
    });
  };
})();
