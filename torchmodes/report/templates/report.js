"use strict";
(() => {
  const root = document.documentElement;

  // Theme: the system's, until the reader chooses; the choice is kept where the browser allows it.
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = localStorage.getItem("torchmodes-theme");
  } catch {
    chosen = null; // files opened from disk may have no storage
  }
  const isDark = () => (chosen ? chosen === "dark" : system.matches);
  const paint = () => {
    const dark = isDark();
    if (chosen) root.dataset.theme = chosen; // else the style sheet follows the system by itself
    button.setAttribute("aria-pressed", String(dark));
    button.querySelector(".label").textContent = dark ? "Light" : "Dark";
    button.title = dark ? "Show in light colours" : "Show in dark colours";
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    chosen = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("torchmodes-theme", chosen);
    } catch {
      // the choice then lasts as long as the page
    }
    paint();
  });
  system.addEventListener("change", paint);
  paint();

  // Sorting: by number where every filled cell of a column is one; empty cells stay at the end.
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    return (cell.dataset.value ?? cell.textContent).trim();
  };
  const sortBy = (table, head, column) => {
    const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, value: valueOf(row, column) }));
    const filled = rows.filter(({ value }) => value !== "" && value !== "—");
    const empty = rows.filter(({ value }) => value === "" || value === "—");
    const numeric = filled.every(({ value }) => Number.isFinite(Number(value)));
    filled.sort((a, b) =>
      direction * (numeric ? a.value - b.value : a.value.localeCompare(b.value)));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    body.append(...[...filled, ...empty].map(({ row }) => row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const sorter = document.createElement("button");
      sorter.type = "button";
      sorter.textContent = head.textContent;
      sorter.addEventListener("click", () => sortBy(table, head, column));
      head.replaceChildren(sorter);
    });
  }

  // Filters are applied to the table of all cases. What else on the page is about one case, a row of
  // another table or a mark in a figure, follows the row of that case; what is about a whole model
  // follows the facets that it has. They stand in the address: a link shows what its sender saw.
  const form = document.getElementById("filters");
  const cases = document.getElementById("cases");
  if (form && cases) {
    const rows = [...cases.tBodies[0].rows];
    const parts = [...document.querySelectorAll("[data-model]")];
    const followers = [...document.querySelectorAll("[data-case]")]
      .map((part) => ({ part, row: document.getElementById(part.dataset.case) }))
      .filter(({ row }) => row);
    const filter = () => {
      const wanted = [...new FormData(form)].filter(([, value]) => value !== "");
      const chosen = wanted.filter(([name]) => name !== "text");
      const text = form.elements.text.value.trim().toLowerCase();
      for (const part of parts) {
        part.hidden = chosen.some(
          ([name, value]) => name in part.dataset && part.dataset[name] !== value);
      }
      for (const row of rows) row.hidden ||= !row.textContent.toLowerCase().includes(text);
      // An attribute: an element of SVG has no property of that name.
      for (const { part, row } of followers) part.toggleAttribute("hidden", row.hidden);
      const all = rows.length;
      const shown = rows.filter((row) => !row.hidden).length;
      document.getElementById("shown").textContent =
        shown === all ? `${all} case${all === 1 ? "" : "s"}` : `${shown} of ${all} cases`;
      const query = wanted.length ? `?${new URLSearchParams(wanted)}` : location.pathname;
      history.replaceState(null, "", query + location.hash);
    };
    for (const [name, value] of new URLSearchParams(location.search)) {
      const field = form.elements.namedItem(name);
      const known = field && [...(field.options ?? [{ value }])].some((one) => one.value === value);
      if (known) field.value = value;
    }
    filter();
    form.hidden = false;
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(filter));
  }

  // A table that goes on beyond its edge is shaded there.
  const shade = (region) => region.toggleAttribute("data-more",
    region.scrollWidth - region.clientWidth - region.scrollLeft > 1);
  const resized = new ResizeObserver((entries) => entries.forEach(({ target }) => shade(target)));
  for (const region of document.querySelectorAll(".scroll")) {
    resized.observe(region);
    region.addEventListener("scroll", () => shade(region), { passive: true });
  }

  // A flame graph is searched: what is found is marked, and its share of the step told.
  for (const flame of document.querySelectorAll(".flame")) {
    const form = flame.querySelector("form");
    const frames = [...flame.querySelectorAll("svg g")].map((frame) => {
      const { x, width } = frame.querySelector("rect");
      return {
        frame,
        text: frame.querySelector("title").textContent.toLowerCase(),
        start: x.baseVal.value,
        end: x.baseVal.value + width.baseVal.value,
      };
    });
    const whole = flame.querySelector("svg").viewBox.baseVal.width;
    const search = () => {
      const wanted = form.querySelector("input").value.trim().toLowerCase();
      const found = frames.filter(({ text }) => wanted && text.includes(wanted));
      for (const { frame } of frames) frame.classList.remove("found");
      for (const { frame } of found) frame.classList.add("found");
      // A frame within another that is found counts once.
      let covered = 0;
      let last = 0;
      for (const { start, end } of found.sort((a, b) => a.start - b.start)) {
        covered += Math.max(0, end - Math.max(start, last));
        last = Math.max(last, end);
      }
      form.querySelector("output").textContent = wanted
        ? `${found.length} frame${found.length === 1 ? "" : "s"}, ${
          (100 * covered / whole).toFixed(1)} % of the step` : "";
    };
    form.hidden = false;
    form.addEventListener("input", search);
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  // The section being read is marked in the navigation.
  const links = new Map(
    [...document.querySelectorAll("nav.sections a")].map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  document.querySelectorAll("main > section").forEach((section) => seen.observe(section));

  // On paper everything is open.
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
})();
