// Conditions on the catalogue's columns: a range of numbers, true or false, or one value of a text.

import { byId, count, element } from "./element.js";

const UNFOLDED = 5; // further columns are folded
const ELSEWHERE = new Set(["title", "category"]); // the finder and the list of categories are for these

let controls = null; // by column, once the columns are known
let change = null;

// columns: as the API lists them. changed: callback for a column and its new condition; undefined for none.
export function makeConditions(columns, changed) {
  change = changed;
  const kinds = { number: range, truth, text };
  const usable = columns.filter(({ name, kind, values }) => !ELSEWHERE.has(name) && (kind !== "text" || values.length));
  controls = new Map(usable.map((column) => [column.name, kinds[column.kind](column)]));
  const made = [...controls.values()].map((control) => control.made);
  const rest = made.slice(UNFOLDED);
  const more = element("details", {}, element("summary", {}, `${count(rest.length)} more columns`), rest);
  byId("conditions").replaceChildren(...made.slice(0, UNFOLDED), ...(rest.length ? [more] : []));
}

// where: as in a request. A condition that no control can show, as a link may have one, stands as a button that removes it.
export function showConditions(where) {
  if (!controls) return;
  for (const [name, control] of controls) control.show(where[name]);
  const odd = Object.keys(where).filter((name) => !controls.get(name)?.shows(where[name]));
  byId("odd-conditions").replaceChildren(
    ...odd.map((name) => {
      const label = { "aria-label": `Remove the condition on ${name}`, title: "Remove" };
      const remove = () => {
        change(name);
        byId("unseen").focus(); // the focused button is removed
      };
      return element("button", { type: "button", ...label, onclick: remove }, `${stated(name, where[name])} ×`);
    }),
  );
}

function stated(name, condition) {
  const words = Array.isArray(condition) ? condition.join(" or ") : JSON.stringify(condition);
  return `${name}: ${words}`;
}

const isRange = (condition) => typeof condition === "object" && condition !== null && !Array.isArray(condition);

function range({ name, min, max }) {
  const ends = [["from", "min", min], ["to", "max", max]];
  const both = ends.map(([word, key, end]) => {
    const labels = { "aria-label": `${name} ${word}`, placeholder: `${word} ${count(end)}` };
    return element("input", { type: "number", step: "any", ...labels, "data-key": key });
  });
  const changed = (event) => {
    if (!event.target.checkValidity()) return event.target.reportValidity();
    const given = both.filter((input) => input.value).map((input) => [input.dataset.key, Number(input.value)]);
    return change(name, given.length ? Object.fromEntries(given) : undefined);
  };
  for (const input of both) input.addEventListener("change", changed);
  const shows = (condition) => condition === undefined || isRange(condition);
  const show = (condition) => {
    const given = shows(condition) ? (condition ?? {}) : {};
    for (const input of both) if (document.activeElement !== input) input.value = given[input.dataset.key] ?? "";
  };
  return { made: element("div", { class: "range", role: "group" }, element("span", {}, name), both), show, shows };
}

function truth({ name }) {
  return chosen(name, [["true", "yes"], ["false", "no"]], (value) => value === "true");
}

function text({ name, values }) {
  return chosen(name, values.map((value) => [value.name, `${value.name} (${count(value.num_items)})`]), (value) => value);
}

// read: the condition that an option's value stands for.
function chosen(name, values, read) {
  const options = values.map(([value, label]) => element("option", { value }, label));
  const select = element("select", {}, element("option", { value: "" }, "any"), options);
  const known = new Map(values.map(([value]) => [read(value), value]));
  select.addEventListener("change", () => change(name, select.selectedIndex ? read(select.value) : undefined));
  const show = (condition) => {
    select.selectedIndex = known.has(condition) ? 1 + [...known.keys()].indexOf(condition) : 0;
  };
  const shows = (condition) => condition === undefined || known.has(condition);
  return { made: element("label", {}, `${name} `, select), show, shows };
}
