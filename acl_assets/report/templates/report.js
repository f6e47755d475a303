// Shows what a mark stands for, by pointer and keyboard, and brings out all marks of that name in its section.
(() => {
  "use strict";
  const MARKS = ".chart [aria-label]";
  const nameOf = (mark) => mark.dataset.name ?? mark.getAttribute("aria-label").split("\n")[0];
  const clamp = (value, least, most) => Math.max(least, Math.min(value, most));
  const tooltip = document.body.appendChild(document.createElement("div"));
  tooltip.id = "tooltip";
  tooltip.ariaHidden = "true"; // a mark has the same text as its label

  const hide = () => {
    tooltip.textContent = "";
    for (const mark of document.querySelectorAll(".faint")) mark.classList.remove("faint");
  };
  const show = (mark, x, y) => {
    hide();
    const name = nameOf(mark);
    for (const other of mark.closest("section").querySelectorAll(MARKS)) {
      other.classList.toggle("faint", nameOf(other) !== name);
    }
    tooltip.textContent = mark.getAttribute("aria-label");
    const { width, height } = tooltip.getBoundingClientRect();
    tooltip.style.left = `${clamp(x - width / 2, 8, document.documentElement.clientWidth - width - 8)}px`;
    const above = y - height - 14;
    tooltip.style.top = `${scrollY + clamp(above < 8 ? y + 18 : above, 8, innerHeight - height - 8)}px`;
  };

  document.addEventListener("pointerover", (event) => {
    const mark = event.target.closest(`${MARKS}, [data-name]`);
    if (mark) show(mark, event.clientX, event.clientY);
    else hide();
  });
  document.addEventListener("focusin", (event) => {
    if (!event.target.matches(MARKS)) return;
    const { left, width, top } = event.target.getBoundingClientRect();
    show(event.target, left + width / 2, top);
  });
  document.addEventListener("focusout", hide);

  // Tab enters a chart at one mark; arrow keys, Home and End move from mark to mark.
  for (const drawing of document.querySelectorAll(".chart > svg")) {
    const marks = [...drawing.querySelectorAll("[aria-label]")];
    for (const [place, mark] of marks.entries()) mark.setAttribute("tabindex", place === 0 ? "0" : "-1");
    drawing.addEventListener("keydown", (event) => {
      const at = marks.indexOf(document.activeElement);
      const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: marks.length - 1 }[
        event.key
      ];
      if (event.key === "Escape") hide();
      if (to === undefined) return;
      event.preventDefault();
      const mark = marks[clamp(to, 0, marks.length - 1)];
      marks[at].setAttribute("tabindex", "-1");
      mark.setAttribute("tabindex", "0");
      mark.focus();
    });
  }
})();
