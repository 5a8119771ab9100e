"use strict";
// Searches and filters the rows. Without it the page shows all of them.
(() => {
  const PAGE = 20;
  const entries = [...document.querySelectorAll(".entries > .entry")];
  const form = document.querySelector(".tools");
  if (!form) return;
  const words = document.getElementById("words");
  const kind = document.getElementById("kind");
  const status = form.querySelector(".status");
  const more = document.getElementById("more");
  const texts = new Map();
  let limit = PAGE;

  const fold = (text) => text.normalize("NFKC").toLowerCase();
  const textOf = (entry) => {
    if (!texts.has(entry)) texts.set(entry, fold(entry.textContent));
    return texts.get(entry);
  };

  function matching() {
    const wanted = fold(words.value).split(/\s+/).filter(Boolean);
    return entries.filter(
      (entry) =>
        (!kind.value || entry.dataset.kinds.split(" ").includes(kind.value)) &&
        wanted.every((word) => textOf(entry).includes(word)),
    );
  }

  function update() {
    const found = matching();
    const shown = new Set(found.slice(0, limit));
    for (const entry of entries) entry.hidden = !shown.has(entry);
    const all = found.length === entries.length ? "" : ` of ${entries.length}`;
    const rows = entries.length === 1 ? "row" : "rows";
    status.textContent =
      found.length === 0
        ? "No row matches."
        : `${found.length}${all} ${rows}` + (shown.size < found.length ? `, the first ${shown.size} shown` : "");
    more.parentElement.hidden = shown.size === found.length;
    mark([...shown]);
  }

  // Highlights the search words, if the browser can do so without changing the texts.
  function mark(shown) {
    if (!("highlights" in CSS)) return;
    CSS.highlights.delete("found");
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!wanted.length) return;
    const found = new Highlight();
    for (const entry of shown) {
      const walker = document.createTreeWalker(entry, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const text = node.data.toLowerCase();
        if (text.length !== node.data.length) continue;
        for (const word of wanted) {
          for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
            const range = new Range();
            range.setStart(node, at);
            range.setEnd(node, at + word.length);
            found.add(range);
          }
        }
      }
    }
    CSS.highlights.set("found", found);
  }

  function restart() {
    limit = PAGE;
    update();
  }

  // A link to a row clears the search and opens the row.
  function follow() {
    const entry = entries.find((one) => `#${one.id}` === location.hash);
    if (!entry) return;
    words.value = "";
    kind.value = "";
    limit = Math.max(PAGE, entries.indexOf(entry) + 1);
    update();
    entry.querySelector("details").open = true;
    entry.scrollIntoView({ block: "start" });
    entry.querySelector("summary").focus();
  }

  words.addEventListener("input", restart);
  kind.addEventListener("change", restart);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const first = limit;
    limit += PAGE;
    update();
    matching()[first]?.querySelector("summary").focus();
  });
  for (const link of document.querySelectorAll("a[data-reason]")) {
    link.addEventListener("click", () => {
      words.value = "";
      kind.value = link.dataset.reason;
      restart();
    });
  }
  // A link to a row that the page does not have becomes plain text.
  const ids = new Set(entries.map((entry) => `#${entry.id}`));
  for (const link of document.querySelectorAll('a[href^="#row-"]')) {
    if (!ids.has(link.hash)) link.removeAttribute("href");
  }
  window.addEventListener("hashchange", follow);
  form.hidden = false;
  update();
  follow();
})();
