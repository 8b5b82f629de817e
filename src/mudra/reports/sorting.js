// Tables sort by a click on a heading; without this script they are read as they stand.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const numbers = !heading.classList.contains("text");
      const up = heading.ariaSort ? heading.ariaSort === "descending" : !numbers;
      const key = (row) => row.cells[column].dataset.key;
      const order = numbers ? (a, b) => key(a) - key(b) : (a, b) => key(a).localeCompare(key(b));
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      body.append(...[...body.rows].sort((a, b) => (up ? order(a, b) : order(b, a))));
    });
  });
}
