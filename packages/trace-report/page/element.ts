/**
 * Makes elements. Text is always set as text, so the content of a trace cannot
 * become markup.
 */

type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;
type Content = Node | string;

/** An HTML element. An attribute that is false or undefined is omitted; one that is true is empty. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...content: readonly Content[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    made.setAttribute(name, value === true ? "" : `${value}`);
  }
  made.append(...content);
  return made;
}

export function button(label: string, attributes: Attributes, onClick: () => void): HTMLButtonElement {
  const made = element("button", { type: "button", ...attributes }, label);
  made.addEventListener("click", onClick);
  return made;
}

/** A part of the page with a heading and one sentence on how to read it. */
export function section(
  id: string,
  title: string,
  hint: string,
  ...content: readonly Content[]
): HTMLElement {
  return element(
    "section",
    { id, class: "card", "aria-labelledby": `${id}-title` },
    element("h2", { id: `${id}-title` }, title),
    element("p", { class: "hint" }, hint),
    ...content,
  );
}

/** The text in place of a picture without data. */
export function emptyState(sentence: string, command?: string): HTMLElement {
  const lines: Content[] = [element("p", {}, sentence)];
  if (command !== undefined) lines.push(element("code", {}, command));
  return element("div", { class: "empty" }, ...lines);
}

/** Buttons of which one is selected. */
export function choice<T extends string>(
  label: string,
  options: readonly (readonly [value: T, text: string])[],
  onChange: (value: T) => void,
): HTMLElement {
  const buttons = options.map(([value, text], n) => {
    const made = button(text, { "aria-pressed": n === 0 ? "true" : "false" }, () => {
      for (const each of buttons) each.setAttribute("aria-pressed", each === made ? "true" : "false");
      onChange(value);
    });
    return made;
  });
  return element("div", { class: "choice", role: "group", "aria-label": label }, ...buttons);
}
