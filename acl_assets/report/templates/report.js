// Draws the charts and links those that show the same thing.
(async () => {
  "use strict";
  const specifications = JSON.parse(document.getElementById("specifications").textContent);
  // Expressions are interpreted (ast), as the page's policy lets nothing compile code from text.
  const options = {
    mode: "vega-lite",
    renderer: "svg",
    ast: true,
    actions: false,
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
  };
  const views = {};
  const draw = async ([id, specification]) => {
    const element = document.getElementById(id);
    views[id] = (await window.vegaEmbed(element, specification, options)).view;
    element.dataset.painted = "true";
  };
  await Promise.all(Object.entries(specifications).map(draw));

  const years = views["sales-by-festival"];
  const months = views["sales-by-month"];
  const choice = document.getElementById("festival-choice");
  if (years && months && choice) {
    const chooseFestival = (year) => {
      choice.value = year === null ? "" : String(year);
      for (const view of [years, months]) view.signal("festival", year).runAsync();
    };
    choice.addEventListener("change", () => chooseFestival(choice.value === "" ? null : Number(choice.value)));
    years.addEventListener("click", (_, item) => {
      const year = item?.datum?.festival_year ?? null;
      chooseFestival(year === years.signal("festival") ? null : year);
    });
  }

  const venues = views["venues-over-time"];
  const legend = [...document.querySelectorAll("[data-venue]")];
  if (venues) {
    let pinned = null;
    const bringOut = (venue) => venues.signal("venue", venue ?? pinned).runAsync();
    const venueOf = (item) => item?.datum?.venue_id ?? null;
    venues.addEventListener("pointermove", (_, item) => {
      if ((venueOf(item) ?? pinned) !== venues.signal("venue")) bringOut(venueOf(item));
    });
    venues.addEventListener("pointerout", () => bringOut(null));
    for (const button of legend) {
      const venue = Number(button.dataset.venue);
      button.addEventListener("pointerenter", () => bringOut(venue));
      button.addEventListener("pointerleave", () => bringOut(null));
      button.addEventListener("click", () => {
        pinned = pinned === venue ? null : venue;
        for (const other of legend) other.setAttribute("aria-pressed", String(Number(other.dataset.venue) === pinned));
        bringOut(null);
      });
    }
  }
  document.documentElement.dataset.painted = "true";
})();
