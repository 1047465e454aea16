// Elements, and formatting of numbers and names. Data is inserted as text only: nothing here parses markup.

export function element(tag, settings = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(settings)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

const whole = new Intl.NumberFormat();
const scores = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const percents = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 0 });
const smallPercents = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });

export const count = (number) => whole.format(number);
export const score = (number) => scores.format(number);
export const items = (number) => `${count(number)} ${number === 1 ? "item" : "items"}`;

export function percent(share) {
  if (share > 0 && share < 0.001) return `<${smallPercents.format(0.001)}`;
  return (share < 0.1 ? smallPercents : percents).format(share);
}

const STEP = " > "; // between the steps of a category's path

// The end of a category's path is the most specific part.
export const lastStep = (name) => name.split(STEP).at(-1);
export const lastSteps = (name) => (name ?? "").split(STEP).slice(-2).join(" › ");

// A bar's length is set on the style object: the page's policy forbids style attributes.
export function bar(share) {
  const filled = element("i");
  filled.style.width = `${Math.max(0.5, Math.min(100, 100 * share))}%`;
  return element("i", { class: "bar", "aria-hidden": "true" }, filled);
}

export function addButton(title, onclick) {
  const labels = { title: "Add to the history", "aria-label": `Add ${title} to the history` };
  return element("button", { type: "button", class: "mark", ...labels, onclick }, "+");
}

export function say(sentence) {
  byId("live").textContent = sentence;
}
