// Pages of a group, one at a time, with buttons and arrow keys; without this script all of them show.
"use strict";

for (const group of document.querySelectorAll(".pager")) {
  const pages = [...group.querySelectorAll(":scope > .page")];
  if (pages.length < 2) continue;
  const bar = document.createElement("div"), place = document.createElement("span");
  const label = group.dataset.label;
  let shown = 0;
  const turn = (step) => {
    shown = (shown + step + pages.length) % pages.length;
    pages.forEach((page, number) => { page.hidden = number !== shown; });
    place.textContent = `${label} ${shown + 1} of ${pages.length}`;
  };
  const button = (text, name, step) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.setAttribute("aria-label", `${name} ${label}`);
    made.addEventListener("click", () => turn(step));
    return made;
  };
  bar.className = "turn";
  place.setAttribute("aria-live", "polite");
  bar.append(button("←", "previous", -1), place, button("→", "next", 1));
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) turn(step);
  });
  group.prepend(bar);
  turn(0);
}
