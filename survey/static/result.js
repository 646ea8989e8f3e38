// How a study ends: the score beside the models' and everybody's, and the code that leads back.
(() => {
  window.kferSurveyResult = ({ texts }, pieces) => {
    const { make, both, say, addButton, addAskingButton, addHeading, showError } = pieces;

    function addScore(list, name, score, total, kind) {
      const row = make("li", `kfer-score-${kind}`, list);
      row.style.setProperty("--share", `${(100 * score) / total}%`);
      if (Array.isArray(name)) both(make("span", "", row), name);
      else make("span", "", row).textContent = name;
      make("i", "", row);
      make("b", "", row).textContent = Number.isInteger(score) ? score : score.toFixed(1);
    }

    function addParts(page, heading, parts, titles, name) {
      const title = make("h3", "", page);
      title.id = `kfer-${heading}`;
      say(title, heading);
      const table = make("table", "kfer-parts", page);
      table.setAttribute("aria-labelledby", title.id);
      const models = Object.keys(titles);
      const head = make("tr", "", make("thead", "", table));
      make("td", "", head);
      const columns = [texts.you, ...Object.values(titles)];
      for (const column of columns) {
        const cell = make("th", "", head);
        cell.scope = "col";
        if (Array.isArray(column)) both(cell, column);
        else cell.textContent = column;
      }
      const body = make("tbody", "", table);
      for (const [key, part] of Object.entries(parts)) {
        if (!part.total) continue;
        const row = make("tr", "", body);
        const cell = make("th", "", row);
        cell.scope = "row";
        both(cell, name(key));
        for (const score of [part.score, ...models.map((model) => part.models[model])]) {
          make("td", "", row).textContent = `${score} / ${part.total}`;
        }
      }
    }

    function addResult(page, study, result) {
      addHeading(page, "result");
      if (study.demo) say(make("p", "kfer-note", page), "demo");
      both(make("p", "kfer-score", page), [
        `${result.total}${texts.of[0]} ${result.score}${texts.hits[0]}`,
        `${result.score} ${texts.of[1]} ${result.total} ${texts.hits[1]}`,
      ]);
      const list = make("ul", "kfer-scale", page);
      addScore(list, texts.you, result.score, result.total, "you");
      for (const [name, score] of Object.entries(result.models)) {
        addScore(list, result.titles[name], score, result.total, "model");
      }
      if (result.people?.mean === null) say(make("p", "kfer-hint", page), "people_later");
      else if (result.people) {
        addScore(list, texts.people, result.people.mean, result.total, "people");
        for (const part of ["below", "equal"]) {
          const share = Math.round(result.people[part]);
          both(make("p", "kfer-hint", page), texts[part].map((text) => `${text}: ${share} %`));
        }
      }
      addParts(page, "by_label", result.by_label, result.titles, (label) => study.labels[label]);
      addParts(page, "by_set", result.by_visibility, result.titles, (name) => texts[`set_${name}`]);
      if (result.completion) addCompletion(page, result.completion);
    }

    // For a panel that pays: its code to copy there, or its link to go back by.
    function addCompletion(page, completion) {
      say(make("h3", "", page), "completion");
      say(make("p", "", page), "completion_hint");
      const row = make("div", "kfer-receipt", page);
      if (completion.startsWith("https://")) {
        const link = make("a", "kfer-completion", row);
        link.href = completion;
        say(link, "completion_link");
        return;
      }
      const shown = make("code", "", row);
      shown.textContent = completion;
      addCopy(row, "copy", shown, completion);
    }

    // Where it cannot be copied, ``shown`` shows the text, marked to be copied by hand.
    function addCopy(row, key, shown, text) {
      const copy = addButton(row, key, () => copyText(shown, text, copy), false);
      copy.setAttribute("aria-live", "polite");
    }

    async function copyText(shown, text, button) {
      let done = "copied";
      try {
        await navigator.clipboard.writeText(text);
      } catch { // a browser gives its clipboard over https only, and not in every frame
        shown.textContent = text;
        getSelection().selectAllChildren(shown);
        done = "marked";
      }
      say(button.firstChild, done);
    }

    // ``link`` leads back here; ``withdraw`` deletes everything and shows that it is done.
    function addReceipt(page, code, link, withdraw) {
      const row = make("div", "kfer-receipt", page);
      const shown = make("code", "", row);
      shown.textContent = code;
      addCopy(row, "copy", shown, code);
      addCopy(row, "copy_link", shown, link);
      addAskingButton(make("div", "kfer-buttons", page), "delete", async () => {
        try {
          await withdraw();
        } catch (error) {
          showError(page, error);
        }
      });
    }

    return { addResult, addReceipt };
  };
})();
