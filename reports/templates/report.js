"use strict";
(function () {
  var said = document.getElementById("said");
  function key(cell) {
    var number = cell.getAttribute("data-n");
    return number === null ? null : parseFloat(number);
  }
  function compare(a, b) {
    var x = key(a), y = key(b);
    if (x !== null && y !== null) { return x - y; }
    if (x !== null) { return -1; }
    if (y !== null) { return 1; }
    return a.textContent.localeCompare(b.textContent, "en", { numeric: true });
  }
  function missing(cell) { return cell.classList.contains("missing"); }
  document.querySelectorAll("table").forEach(function (table) {
    var body = table.tBodies[0];
    Array.prototype.forEach.call(body.rows, function (row, index) { row.dataset.order = index; });
    table.querySelectorAll("th[aria-sort]").forEach(function (head) {
      head.querySelector("button").addEventListener("click", function () {
        var states = { none: "descending", descending: "ascending", ascending: "none" };
        if (head.classList.contains("t")) {
          states = { none: "ascending", ascending: "descending", descending: "none" };
        }
        var next = states[head.getAttribute("aria-sort")];
        table.querySelectorAll("th[aria-sort]").forEach(function (other) { other.setAttribute("aria-sort", "none"); });
        head.setAttribute("aria-sort", next);
        var column = head.cellIndex;
        var rows = Array.prototype.slice.call(body.rows);
        rows.sort(function (a, b) {
          var stable = a.dataset.order - b.dataset.order;
          if (next === "none") { return stable; }
          var p = a.cells[column], q = b.cells[column];
          if (missing(p) !== missing(q)) { return missing(p) ? 1 : -1; }
          var order = compare(p, q);
          return (next === "descending" ? -order : order) || stable;
        });
        rows.forEach(function (row) { body.appendChild(row); });
        said.textContent = head.textContent + (next === "none" ? ": original order" : ": sorted " + next);
      });
    });
  });
  var behind = document.getElementById("behind");
  function close() { behind.hidden = true; }
  behind.querySelector("button").addEventListener("click", close);
  document.addEventListener("keydown", function (event) { if (event.key === "Escape") { close(); } });
  function show(cell) {
    behind.querySelector("pre").textContent = cell.textContent.trim() + "\n" + cell.getAttribute("title");
    behind.hidden = false;
  }
  document.addEventListener("click", function (event) {
    var cell = event.target.closest("tbody [title]");
    if (cell && !String(window.getSelection())) { show(cell); }
  });
  // Numbers by keyboard: Tab enters a table's body once, arrows move, Enter shows the runs behind.
  function moved(cell, name) {
    var row = cell.parentElement, index = cell.cellIndex;
    if (name === "ArrowLeft") { return row.cells[index - 1]; }
    if (name === "ArrowRight") { return row.cells[index + 1]; }
    row = name === "ArrowUp" ? row.previousElementSibling : row.nextElementSibling;
    return row && row.cells[index];
  }
  document.querySelectorAll("tbody").forEach(function (body) {
    if (!body.querySelector("[title]")) { return; }
    Array.prototype.forEach.call(body.querySelectorAll("th, td"), function (cell) { cell.tabIndex = -1; });
    body.rows[0].cells[0].tabIndex = 0;
    body.addEventListener("keydown", function (event) {
      var cell = event.target.closest("th, td");
      if (event.key === "Enter" && cell.title) { show(cell); }
      if (event.key.slice(0, 5) !== "Arrow") { return; }
      var next = moved(cell, event.key);
      event.preventDefault();
      if (next) { cell.tabIndex = -1; next.tabIndex = 0; next.focus(); }
    });
  });
})();
