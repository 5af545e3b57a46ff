// Comfort for the page, which works without it: answers without a page load, drag and drop, copying, a filter that follows the typing.
"use strict";

const root = document.documentElement;
root.classList.add("js");
const byId = (id) => document.getElementById(id);
const announce = (words, seen = false) => { // heard by all, seen only where nothing else on the page tells it
  byId("status").textContent = words;
  byId("status").classList.toggle("spoken", !seen);
};
let running = null; // the request under way; a newer one ends it

// --- asking --------------------------------------------------------------------------------------------------

function why(status, words) {
  if (status === 413) return words.large;
  if (status === 429 || status === 503) return words.busy;
  return status === 401 || status === 403 || status === 421 ? words.refused : words.failed;
}

async function fetched(address, body) {
  running?.abort();
  const mine = running = new AbortController();
  try {
    const response = await fetch(address, { method: "POST", body, signal: mine.signal });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    return { page, status: response.status };
  } finally {
    if (running === mine) { // else the newer one is still waited for
      document.querySelector(".primary")?.removeAttribute("aria-busy");
      byId("rows")?.classList.remove("stale");
    }
  }
}

function tooLarge(form) {
  const files = [...byId("files").files];
  const size = files.reduce((sum, file) => sum + file.size, new Blob([form.elements.text.value]).size);
  return size > Number(form.dataset.bytes);
}

async function ask(form, submitter) {
  const button = form.querySelector(".primary");
  const words = form.dataset;
  if (tooLarge(form)) return problem(words.large);
  const part = submitter?.dataset.part ?? (submitter?.id === "filter" ? "rows" : "answer");
  const data = new FormData(form, submitter);
  button.setAttribute("aria-busy", "true");
  byId("rows")?.classList.add("stale");
  if (part === "answer") announce(words.working, true);
  try {
    const { page, status } = await fetched(form.action, data);
    const found = page.getElementById(part);
    if (!found) return problem(why(status, words));
    if (part === "rows") showRows(found, submitter);
    else showAnswer(found, page, submitter);
  } catch (error) {
    if (error.name !== "AbortError") problem(words.failed);
  }
}

function showAnswer(found, page, submitter) {
  if (submitter?.name === "example") byId("text").value = page.getElementById("text").value;
  replaceAnswer(found);
  byId("text").rows = page.getElementById("text").rows; // smaller, above an answer
  document.title = page.title;
  const heading = byId("answer-heading");
  announce(heading ? heading.textContent : found.textContent.trim());
  found.focus({ preventScroll: true });
  found.scrollIntoView({ block: "start" });
}

function replaceAnswer(found) {
  const old = byId("answer");
  if (old) old.replaceWith(found);
  else byId("status").after(found);
}

function problem(words) {
  const section = document.createElement("section");
  section.id = "answer";
  section.tabIndex = -1;
  const card = document.createElement("div");
  card.className = "card problem";
  card.textContent = words;
  section.append(card);
  replaceAnswer(section);
  announce(words);
  section.scrollIntoView({ block: "nearest" });
}

function showRows(found, submitter) {
  const kept = document.activeElement;
  byId("rows").replaceWith(found);
  if (kept?.matches("[data-again]")) { // somebody may still be typing there
    byId(kept.id).replaceWith(kept);
    kept.focus({ preventScroll: true });
  } else if (submitter?.name === "sort") {
    byId(submitter.id)?.focus({ preventScroll: true });
  } else {
    found.scrollIntoView({ block: "start" });
    byId("only")?.focus({ preventScroll: true });
  }
  announce(byId("rows-caption").textContent);
}

async function speakOther(link) {
  const form = byId("ask");
  const answered = byId("answer");
  const words = form.dataset;
  if (tooLarge(form)) return announce(words.large, true);
  const data = new FormData(form);
  if (answered) data.append("do", "filter");
  try {
    const { page, status } = await fetched(link.href, data);
    if (!page.getElementById("ask")) return announce(why(status, words), true);
    const kept = { text: byId("text"), files: byId("files") };
    root.lang = page.documentElement.lang;
    document.title = page.title;
    document.body.replaceWith(page.body);
    kept.text.placeholder = byId("text").placeholder;
    byId("text").replaceWith(kept.text);
    byId("files").replaceWith(kept.files);
    history.replaceState(null, "", link.href);
    tellFiles();
    byId("language").focus();
  } catch (error) {
    if (error.name !== "AbortError") announce(words.failed, true);
  }
}

async function correct(form) {
  const section = byId("correct");
  try {
    const { page, status } = await fetched(form.action, new URLSearchParams(new FormData(form)));
    const found = page.getElementById("correct");
    if (!found) return announce(why(status, byId("ask").dataset), true);
    section.replaceWith(found);
    announce(found.querySelector("p").textContent);
    found.focus({ preventScroll: true });
  } catch (error) {
    if (error.name !== "AbortError") announce(byId("ask").dataset.failed, true);
  }
}

document.addEventListener("submit", (event) => {
  const { target: form, submitter } = event;
  if (form.id === "correction") {
    event.preventDefault();
    correct(form);
  } else if (form.id === "ask" && submitter?.name === "do" && !["explain", "lines", "filter"].includes(submitter.value)) {
    if (!tooLarge(form)) return; // a download is the browser's own business
    event.preventDefault();
    problem(form.dataset.large);
  } else if (form.id === "ask") {
    event.preventDefault();
    if (submitter?.name === "pick") byId("only").value = submitter.value;
    ask(form, submitter);
  }
});

// --- files ---------------------------------------------------------------------------------------------------

function tellFiles() {
  const { files } = byId("files");
  const told = byId("files-chosen");
  const names = [...files].slice(0, 3).map((file) => file.name).join(", ") + (files.length > 3 ? " …" : "");
  told.textContent = files.length ? byId("ask").dataset.chosen.replace("{names}", () => names) : told.dataset.none;
  byId("files-clear").hidden = !files.length;
}

const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragover", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  byId("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  byId("drop").classList.remove("over");
  byId("files").files = event.dataTransfer.files;
  tellFiles();
});

// --- the rest ------------------------------------------------------------------------------------------------

let typing = 0;
function again(event) {
  if (!event.target.matches("[data-again]")) return;
  clearTimeout(typing);
  typing = setTimeout(() => ask(byId("ask"), byId("filter")), event.type === "input" && event.target.type === "search" ? 300 : 0);
}
document.addEventListener("input", again);
document.addEventListener("change", (event) => {
  if (event.target.id === "files") tellFiles();
  else if (event.target.name === "audience" && byId("copy")) ask(byId("ask"), document.querySelector(".primary"));
});

document.addEventListener("click", (event) => {
  const language = event.target.closest("#language");
  if (language && !(event.ctrlKey || event.metaKey || event.shiftKey) && (byId("text")?.value.trim() || byId("files")?.files.length)) {
    event.preventDefault();
    speakOther(language);
  } else if (event.target.id === "files-clear") {
    byId("files").value = "";
    tellFiles();
    byId("files").focus();
  } else if (event.target.id === "copy") {
    copy(event.target);
  }
});

async function copy(button) {
  const told = byId("answer").querySelectorAll(".answer h2, .answer .told p, .answer .meant, .answer .honest, .answer .tips li");
  const reply = byId("answer").querySelector(".reply").textContent;
  const words = [...[...told].map((element) => element.textContent.trim()), reply].join("\n\n");
  try {
    await navigator.clipboard.writeText(words);
  } catch { // no permission, or a page that came by plain HTTP
    const field = document.createElement("textarea");
    field.value = words;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    button.focus();
  }
  announce(byId("ask").dataset.copied);
  const before = button.textContent;
  button.textContent = byId("ask").dataset.copied;
  setTimeout(() => { button.textContent = before; }, 2000);
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.id === "text") {
    event.preventDefault();
    byId("ask").requestSubmit(document.querySelector(".primary"));
  } else if (event.key === "Enter" && event.target.matches("[data-again]")) {
    event.preventDefault(); // the first button of the form is not meant
    ask(byId("ask"), byId("filter"));
  }
});

if (byId("files")) tellFiles();
