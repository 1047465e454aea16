// The page: sends the requests for the state in the address, and shows the responses.

import { agreement, answersOf, ranksIn, showFailure } from "./answers.js";
import { ask, curlOf, get } from "./api.js";
import { treeOf } from "./beam.js";
import { openAt, showCatalogue } from "./catalogue.js";
import { makeConditions, showConditions } from "./conditions.js";
import { byId, count, element, items, say } from "./element.js";
import { makeFinder } from "./finder.js";
import { exampleHistories, focusHistory, showExamples, showHistory } from "./history.js";
import { begin, isNew, read, write } from "./state.js";

const POPULAR = 120; // number of items that the examples are chosen from
const CATEGORIES = 400; // maximum length of the list of categories

const cards = new Map(); // all received cards by id; a response includes those of its history
const OF_ONE_CATALOGUE = { category: "", where: {}, at: "" }; // what another model's catalogue may not have
let models = [];
let standard = "";
let lastRequest = ""; // the request of the displayed answers, so that it is not repeated
let running = null; // the controller of the current request
let shownModel = ""; // the model of the displayed examples, categories and catalogue
let shownHistory = [];

const named = (name) => models.find((model) => model.name === name);
const chosen = (state) => named(state.model) ?? named(standard);
const beside = (state) => (state.other && state.other !== chosen(state).name ? named(state.other) : undefined);

function add(card) {
  cards.set(card.item_id, card);
  write({ history: [...shownHistory, card.item_id], user: "", at: "" });
  say(`Added ${card.title || card.item_id}`);
}

function remove(place) {
  write({ history: shownHistory.filter((_, at) => at !== place), user: "" });
  showIds(read().history, new Set());
  focusHistory(place);
}

function showIds(ids, unknown) {
  shownHistory = ids;
  const card = (id) => (unknown.has(id) ? null : (cards.get(id) ?? { item_id: id, title: id }));
  showHistory(ids.map((id) => ({ id, card: card(id) })), remove);
}

function find(codes) {
  at = ""; // scrolls there again, even if it is the current place
  if (read().at === codes.join(".")) update();
  else write({ at: codes.join(".") });
}

function requestsFor(state) {
  const filters = { exclude_seen: state.unseen, sets: state.sets };
  if (state.category) filters.categories = [state.category];
  if (Object.keys(state.where).length) filters.where = state.where;
  const given = state.user ? { user_id: state.user } : { history: state.history };
  const models = [chosen(state), beside(state)].filter(Boolean);
  const when = (model) => (model.reads.times && state.time ? { at: state.time } : {});
  return models.map((model) => ({ model: model.name, ...given, ...when(model), k: state.k, filters, explain: true }));
}

async function answer(state) {
  const requests = requestsFor(state);
  const request = JSON.stringify(requests);
  if (request === lastRequest) return;
  lastRequest = request;
  byId("curl").textContent = requests.map(curlOf).join("\n");
  if (!state.user && state.history.every((id) => cards.has(id))) showIds(state.history, new Set());
  running?.abort();
  const mine = new AbortController();
  running = mine;
  byId("told").setAttribute("aria-busy", "true");
  const results = await Promise.allSettled(requests.map((body) => ask(body, mine.signal)));
  if (mine.signal.aborted) return;
  byId("told").removeAttribute("aria-busy");
  show(state, results);
}

// results: one settled promise per model; a failure of one model does not hide the answers of the other.
function show(state, results) {
  const answers = results.map((each) => each.value ?? null);
  const whose = [chosen(state), beside(state)].filter(Boolean);
  const first = answers.find(Boolean);
  if (first) {
    for (const card of first.history) cards.set(card.item_id, card);
    showIds(state.user ? first.history.map((card) => card.item_id) : state.history, new Set(first.unknown));
  } else {
    showIds(state.user ? [] : state.history, new Set());
  }
  if (!answers.every(Boolean)) lastRequest = ""; // the same request may succeed the next time
  byId("history-note").textContent = noteOn(state, first);

  const both = answers.length === 2 && answers.every(Boolean);
  const columns = whose.map((model, place) => {
    const column = element("section", { class: "column", "aria-label": `Recommendations of ${model.name}` });
    const method = model.method === model.name ? null : element("span", { class: "quiet" }, ` ${model.method}`);
    const heading = whose.length > 1 ? element("h3", {}, model.name, method) : null;
    if (!answers[place]) showFailure(column, results[place].reason.message, update);
    else {
      const ranks = both ? ranksIn(answers[1 - place]) : null;
      column.append(...answersOf({ answer: answers[place], model, ranks, add, find: place ? null : find }));
    }
    if (heading) column.prepend(heading);
    return column;
  });
  const summary = both ? [element("p", { class: "agreement" }, agreement(...answers))] : [];
  const place = byId("told");
  if (place.contains(document.activeElement)) byId("answers").focus({ preventScroll: true });
  place.replaceChildren(...summary, ...columns);
  place.classList.toggle("two", whose.length > 1);
  showTrees(whose, answers);
  say(first ? `${items(first.recommendations.length)} recommended` : results[0].reason.message);
}

function showTrees(whose, answers) {
  const paths = answers.map((each) => each?.recommendations.some((found) => found.path));
  byId("beams").hidden = !paths.some(Boolean);
  byId("trees").replaceChildren(
    ...whose.filter((_, place) => answers[place]).map((model) => {
      const heading = whose.length > 1 ? element("h3", {}, model.name) : null;
      return element("div", { class: "column" }, heading, treeOf(answers[whose.indexOf(model)], model));
    }),
  );
  byId("trees").classList.toggle("two", whose.length > 1);
}

function noteOn(state, first) {
  if (state.user && first) {
    if (!first.history.length) return `No events are stored for the user ${state.user}.`;
    return `The stored history of the user ${state.user}; if you add or remove an item, you edit a copy.`;
  }
  return shownHistory.length > 1 ? "The oldest first." : "";
}

function showSettings(state) {
  byId("model").value = chosen(state).name;
  byId("other").value = beside(state)?.name ?? "";
  if (document.activeElement !== byId("k")) byId("k").value = state.k;
  byId("unseen").checked = state.unseen;
  byId("when").hidden = ![chosen(state), beside(state)].some((model) => model?.reads.times);
  if (document.activeElement !== byId("time")) byId("time").value = state.time;
  if (document.activeElement !== byId("user")) byId("user").value = state.user;
  const category = byId("category");
  if (state.category && ![...category.options].some((option) => option.value === state.category)) {
    category.append(element("option", { value: state.category }, state.category));
  }
  category.value = state.category;
  showConditions(state.where);
  const filters = Object.keys(state.where).length + state.sets.length + (state.category ? 1 : 0);
  byId("more-title").textContent = filters ? `Filters (${count(filters)} on), models, users` : "Filters, models, users";
  for (const box of byId("sets").querySelectorAll("input")) box.checked = state.sets.includes(box.value);
  for (const option of byId("other").options) option.disabled = option.value === chosen(state).name;
}

// The parts that depend on the model's catalogue, not on the history.
async function showWorld(model) {
  if (shownModel === model.name) return;
  shownModel = model.name;
  const sizes = `${items(model.num_items)} · ${model.method}`;
  byId("about").textContent = `Sidestep · ${model.name === model.method ? sizes : `${model.name} · ${sizes}`}`;
  byId("shelves").hidden = !model.num_levels;
  if (model.num_levels) await showCatalogue(model.name, add);
  const [popular, counted, held] = await Promise.all([
    get("items", { limit: POPULAR, model: model.name }),
    get("categories", { model: model.name }),
    get("columns", { model: model.name }),
  ]);
  if (shownModel !== model.name) return;
  showExamples(exampleHistories(popular.items), (example) => {
    for (const card of example.cards) cards.set(card.item_id, card);
    write({ history: example.cards.map((card) => card.item_id), user: "", at: "" });
  });
  showCategories(counted.categories);
  makeConditions(held.columns, setCondition);
}

// condition: undefined for none.
function setCondition(column, condition) {
  const { [column]: _, ...others } = read().where;
  write({ where: condition === undefined ? others : { ...others, [column]: condition } });
}

function showCategories(counted) {
  const largest = [...counted].sort((one, other) => other.num_items - one.num_items).slice(0, CATEGORIES);
  const kept = counted.filter((category) => largest.includes(category)); // in path order
  const options = kept.map(({ name, num_items }) => {
    const steps = name.split(" > ");
    const indent = "\u2003".repeat(steps.length - 1);
    return element("option", { value: name }, `${indent}${steps.at(-1)} (${count(num_items)})`);
  });
  byId("category").replaceChildren(element("option", { value: "" }, "all categories"), ...options);
  byId("category").closest("label").hidden = !options.length;
}

function showSets(sets) {
  const place = byId("sets");
  place.hidden = !sets.length;
  place.replaceChildren(
    ...sets.map(({ name, num_items }) => {
      const box = element("input", { type: "checkbox", value: name });
      return element("label", { class: "check" }, box, ` Only ${name} (${count(num_items)})`);
    }),
  );
}

function listen() {
  byId("more").open = window.matchMedia("(min-width: 861px)").matches; // on a phone the recommendations come first
  byId("settings").addEventListener("submit", (event) => event.preventDefault());
  byId("model").addEventListener("change", (event) => write({ model: event.target.value, ...OF_ONE_CATALOGUE }));
  byId("other").addEventListener("change", (event) => write({ other: event.target.value }));
  byId("category").addEventListener("change", (event) => write({ category: event.target.value }));
  byId("unseen").addEventListener("change", (event) => write({ unseen: event.target.checked }));
  byId("time").addEventListener("change", (event) => write({ time: event.target.value }));
  byId("user").addEventListener("change", (event) => write({ user: event.target.value.trim(), history: [] }));
  byId("k").addEventListener("change", (event) => {
    if (event.target.checkValidity() && event.target.value) write({ k: Number(event.target.value) });
    else event.target.reportValidity();
  });
  byId("sets").addEventListener("change", () => {
    write({ sets: [...byId("sets").querySelectorAll("input:checked")].map((box) => box.value) });
  });
  byId("copy").addEventListener("click", async () => {
    await navigator.clipboard?.writeText(byId("curl").textContent); // only on https or this machine
    say(navigator.clipboard ? "Copied" : "Select the text to copy it");
  });
  byId("clear").addEventListener("click", () => {
    write({ history: [], user: "" });
    byId("find").focus();
  });
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the fragment is the page's state
    byId("answers").focus();
  });
  window.addEventListener("hashchange", update);
}

let at = "";

async function update() {
  const state = read();
  const world = showWorld(chosen(state));
  showSettings(state);
  try {
    await Promise.all([answer(state), world]);
  } catch (error) {
    shownModel = "";
    showFailure(byId("told"), error.message, update);
    return;
  }
  showSettings(read()); // the categories may have arrived only now
  if (state.at && state.at !== at) await openAt(state.at.split(".").map(Number));
  at = state.at;
}

async function start() {
  try {
    const [served, sets] = await Promise.all([get("models"), get("sets")]);
    models = served.models;
    standard = served.default;
    showSets(sets.sets);
  } catch (error) {
    showFailure(byId("told"), error.message, start);
    return;
  }
  byId("model").replaceChildren(...models.map(({ name }) => element("option", { value: name }, name)));
  const others = models.map(({ name }) => element("option", { value: name }, name));
  byId("other").replaceChildren(element("option", { value: "" }, "no other"), ...others);
  byId("beside").hidden = models.length < 2;
  listen();
  makeFinder(add, () => chosen(read()).name);
  if (isNew()) {
    // A new visitor sees an example with thoughts instead of an empty page.
    const popular = await get("items", { limit: POPULAR });
    const example = exampleHistories(popular.items)[0];
    for (const card of example?.cards ?? []) cards.set(card.item_id, card);
    begin({ history: example?.cards.map((card) => card.item_id) ?? [] });
  }
  await update();
}

start();
