// A convenience: tables are sorted by a click on a heading, and the replies filtered. The page tells everything without it.
for (const table of document.querySelectorAll("table[data-sort]")) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th[data-key]").forEach((head) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== (head.dataset.key === "text" ? "ascending" : "descending");
      const falls = head.dataset.key === "text" ? !down : down;
      table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const value = (row) => row.cells[head.cellIndex].dataset.value ?? row.cells[head.cellIndex].textContent.trim();
      const order = (a, b) => head.dataset.key === "number" ? value(a) - value(b) : value(a).localeCompare(value(b));
      body.append(...[...body.rows].sort((a, b) => (falls ? -1 : 1) * order(a, b)));
    });
  });
}
for (const label of document.querySelectorAll("label.filter")) {
  label.hidden = false;
  const body = document.getElementById(label.dataset.table).tBodies[0];
  label.querySelector("input").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
