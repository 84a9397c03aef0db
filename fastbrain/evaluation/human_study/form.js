"use strict";
(function () {
  const main = document.querySelector("main");
  const items = Array.from(document.querySelectorAll(".item"));
  const key = "fastbrain-human-study-" + main.dataset.digest;
  let answers = {};
  let current = 0;

  function isAnswer(position, value) {
    const place = Number(position);
    return Number.isInteger(place) && place >= 1 && place <= items.length && ["0", "1", "2"].includes(value);
  }

  function load() {
    try {
      const stored = JSON.parse(localStorage.getItem(key) || "{}");
      for (const [position, value] of Object.entries(stored)) {
        if (isAnswer(position, value)) answers[position] = value;
      }
    } catch (error) {
      document.getElementById("warning").hidden = false;
    }
  }

  function keep() {
    try {
      localStorage.setItem(key, JSON.stringify(answers));
    } catch (error) {
      document.getElementById("warning").hidden = false;
    }
  }

  function firstOpen() {
    const found = items.findIndex((item) => !(item.dataset.item in answers));
    return found < 0 ? items.length - 1 : found;
  }

  function progress() {
    const done = Object.keys(answers).length;
    const end = done === items.length ? " All pairs are answered: save the answers." : "";
    document.getElementById("progress").textContent = done + " of " + items.length + " answered." + end;
  }

  function show(index, focus) {
    current = Math.max(0, Math.min(items.length - 1, index));
    items.forEach((item, i) => item.classList.toggle("current", i === current));
    document.getElementById("previous").disabled = current === 0;
    document.getElementById("next").disabled = current === items.length - 1;
    progress();
    if (focus) {
      items[current].querySelector("h2").focus({ preventScroll: true });
      items[current].scrollIntoView({ block: "start" });
    }
  }

  function choose(value) {
    answers[items[current].dataset.item] = value;
    items[current].querySelector('input[value="' + value + '"]').checked = true;
    keep();
    progress();
  }

  function save() {
    const name = main.dataset.form;
    const contents = { format: main.dataset.format, form: name, digest: main.dataset.digest, answers: answers };
    const file = new Blob([JSON.stringify(contents, null, 2) + "\n"], { type: "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = name + "-answers.json";
    document.body.appendChild(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  document.addEventListener("change", (event) => {
    if (event.target.type === "radio") choose(event.target.value);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (["0", "1", "2"].includes(event.key)) {
      event.preventDefault();
      choose(event.key);
      if (current < items.length - 1) show(current + 1, true);
    } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      event.preventDefault();
      show(current + (event.key === "ArrowRight" ? 1 : -1), true);
    }
  });
  document.getElementById("previous").addEventListener("click", () => show(current - 1, true));
  document.getElementById("next").addEventListener("click", () => show(current + 1, true));
  document.getElementById("open").addEventListener("click", () => show(firstOpen(), true));
  document.getElementById("save").addEventListener("click", save);

  main.classList.add("scripted");
  // a browser may restore radio buttons of an earlier visit
  document.querySelectorAll('input[type="radio"]').forEach((input) => { input.checked = false; });
  load();
  for (const [position, value] of Object.entries(answers)) {
    items[Number(position) - 1].querySelector('input[value="' + value + '"]').checked = true;
  }
  show(firstOpen(), false);
})();
