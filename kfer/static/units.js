// Which action units go with the model's answers: a regression's coefficients as bars. They tell of
// the model, not of the photo on the screen.
(() => {
  const sign = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
  const percent = (share) => `${(share * 100).toFixed(1)}\u00a0%`;

  function fill(text, values) {
    return text.replace(/\{(\w+)\}/g, (_, key) => values[key]);
  }

  window.kferMountUnits = (root, config) => {
    const { make } = window.kfer;
    const texts = config.texts;
    const section = root.querySelector(".kfer-units");
    const find = (selector) => section.querySelector(selector);
    const say = (element, key, values = [{}, {}]) => window.kfer.say(
      element, fill(texts[key][0], values[0]), fill(texts[key][1], values[1]));
    const select = find("select");
    let units = null; // what explains the answers of the model that was asked

    function listRows(label) {
      const at = units.labels.indexOf(label);
      const rows = units.units.map((unit, i) => ({
        unit,
        coefficient: units.coefficients[at][i],
        low: units.low[at][i],
        high: units.high[at][i],
      }));
      return rows.sort((a, b) => b.coefficient - a.coefficient);
    }

    function drawBar(cell, row, [least, most]) {
      const place = (value) => `${((value - least) / (most - least)) * 100}%`;
      const bar = make("i", "kfer-unit-bar", cell);
      bar.setAttribute("aria-hidden", "true");
      const [left, right] = [0, row.coefficient].sort((a, b) => a - b);
      bar.style.setProperty("--zero", place(0));
      bar.style.setProperty("--from", place(left));
      bar.style.setProperty("--to", place(right));
      bar.style.setProperty("--low", place(row.low));
      bar.style.setProperty("--high", place(row.high));
      make("u", "", bar);
      make("s", "", bar);
    }

    function drawRow(body, row, range) {
      const line = make("tr", "", body);
      const name = make("th", "", line);
      name.scope = "row";
      const [korean, english] = config.actionUnits[row.unit] ?? ["", ""];
      window.kfer.say(make("span", "", name), korean, english);
      make("small", "", name).textContent = row.unit.replace("AU0", "AU");
      const cell = make("div", "", make("td", "", line));
      drawBar(cell, row, range);
      const figure = make("span", "", cell);
      make("b", "", figure).textContent = sign(row.coefficient);
      const [low, high] = [sign(row.low), sign(row.high)];
      window.kfer.say(make("small", "", figure), `${low} ~ ${high}`, `${low} to ${high}`);
    }

    function drawGroup(table, key, rows, range) {
      if (!rows.length) return;
      const body = make("tbody", `kfer-unit-${key}`, table);
      const head = make("th", "", make("tr", "", body));
      head.colSpan = 2;
      head.scope = "rowgroup";
      say(head, `units_${key}`);
      rows.forEach((row) => drawRow(body, row, range));
    }

    function draw() {
      const label = select.value;
      const known = units.explained.includes(label);
      const count = units.counts[units.labels.indexOf(label)] ?? 0;
      const table = find("table");
      table.querySelectorAll("tbody").forEach((body) => body.remove());
      table.hidden = find(".kfer-units-how").hidden = !known;
      say(find(".kfer-units-count"), known ? "units_count" : "units_few",
        ["ko-KR", "en-US"].map((locale) => ({ count: count.toLocaleString(locale) })));
      section.style.setProperty("--emotion", config.colors[label]);
      if (!known) return;
      const rows = listRows(label);
      // Coefficients too: a skewed interval need not hold its own.
      const ends = [0, ...rows.flatMap((row) => [row.low, row.coefficient, row.high])];
      const range = [Math.min(...ends), Math.max(...ends)];
      drawGroup(table, "for", rows.filter((row) => row.low > 0), range);
      drawGroup(table, "against", rows.filter((row) => row.high < 0).reverse(), range);
      drawGroup(table, "unclear", rows.filter((row) => row.low <= 0 && row.high >= 0), range);
    }

    function drawScope() {
      const faces = texts[units.rendered ? "units_rendered" : "units_photographed"];
      say(find(".kfer-units-scope"), "units_scope", ["ko-KR", "en-US"].map((locale, i) => ({
        faces: faces[i],
        pictures: units.pictures.toLocaleString(locale),
        agreement: percent(units.agreement),
        baseline: percent(units.baseline),
      })));
    }

    function choose(label) {
      select.value = label;
      draw();
    }
    select.addEventListener("change", draw);

    return {
      // The explanation is of one label set; in another there is nothing to show.
      show(model, taxonomy, label) {
        units = model.units?.taxonomy === taxonomy ? model.units : null;
        section.hidden = !units;
        if (!units) return;
        select.replaceChildren();
        for (const [korean, english] of Object.entries(config.english[taxonomy])) {
          const option = make("option", "", select);
          option.value = korean;
          window.kfer.say(option, korean, english);
        }
        drawScope();
        choose(label);
      },
      follow(label) {
        if (units) choose(label);
      },
      hide() {
        units = null;
        section.hidden = true;
      },
    };
  };
})();
