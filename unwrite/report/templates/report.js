"use strict";
// Draws the charts, and runs the map's slider and the responses' filters. Without it, text and tables are all there.
(() => {
  const json = (id) => JSON.parse(document.getElementById(id).textContent);
  const draw = (place, points = []) =>
    vegaEmbed(place, { ...json(place.dataset.spec), ...(points.length ? { datasets: { points } } : {}) }, {
      actions: false,
      renderer: "svg",
      ast: true, // expressions are interpreted: the page's policy forbids code made from text
      tooltip: { offsetX: 12, offsetY: 12 },
    }).then((result) => {
      place.classList.add("drawn");
      return result.view;
    });

  for (const place of document.querySelectorAll("[data-spec]:not([data-spec=spec-map])")) draw(place);

  const map = document.getElementById("map-controls");
  if (map) runMap(document.querySelector("[data-spec=spec-map]"), json("map-data"), map);

  const responses = document.getElementById("response-controls");
  if (responses) runFilters(responses);

  // Charts and folded text are in print too.
  const folded = () => [...document.querySelectorAll("details:not([open])")];
  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = folded();
    for (const one of unfolded) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of unfolded) one.open = false;
  });

  function runMap(place, data, controls) {
    const slider = controls.querySelector("input");
    const play = controls.querySelector("button");
    const label = controls.querySelector("output");
    const position = controls.querySelector("select");
    const frames = () => data.frames.filter((frame) => !position || frame.position === Number(position.value));
    const named = () => {
      const frame = frames()[Number(slider.value)];
      label.textContent = frame.index === 0 ? "0, the embedding" : String(frame.index);
      slider.setAttribute("aria-valuetext", `residual index ${label.textContent}`);
      return frame.x.map((x, i) => {
        const [set, split] = data.groups[data.group[i]];
        return { x, y: frame.y[i], set, split, prompt: data.prompts[i] };
      });
    };
    const chart = draw(place, named());
    const show = () => chart.then((view) => view.data("points", named()).runAsync());
    let timer = null;
    const stop = () => {
      clearInterval(timer);
      timer = null;
      play.textContent = "Play";
    };
    play.addEventListener("click", () => {
      if (timer !== null) return stop();
      if (slider.value === slider.max) slider.value = 0;
      play.textContent = "Pause";
      timer = setInterval(() => {
        slider.value = Number(slider.value) + 1;
        show();
        if (slider.value === slider.max) stop();
      }, 700);
    });
    slider.addEventListener("input", () => { stop(); show(); });
    position?.addEventListener("change", show);
    controls.hidden = false;
  }

  function runFilters(controls) {
    const STEP = 25;
    const all = [...document.querySelectorAll("article.pair")];
    const words = new Map();
    const textOf = (one) => {
      if (!words.has(one)) words.set(one, one.textContent.toLowerCase());
      return words.get(one);
    };
    const set = controls.querySelector("[name=set]");
    const tag = controls.querySelector("[name=tag]");
    const search = controls.querySelector("[name=search]");
    const count = controls.querySelector("output");
    const more = document.getElementById("more-responses");
    let most = STEP;
    const apply = () => {
      const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const fits = (one) =>
        (!set.value || one.dataset.set === set.value) &&
        (!tag.value || one.dataset.tags.split(" ").includes(tag.value)) &&
        wanted.every((word) => textOf(one).includes(word));
      let found = 0;
      for (const one of all) {
        const fit = fits(one);
        if (fit) found += 1;
        one.hidden = !fit || found > most;
      }
      const shown = Math.min(found, most);
      count.textContent = found === 0 ? "No pair fits." : `${shown} of ${found} pairs`;
      more.hidden = found <= most;
      more.textContent = `Show ${Math.min(STEP, found - shown)} more`;
    };
    const restart = () => { most = STEP; apply(); };
    for (const one of [set, tag]) one.addEventListener("change", restart);
    search.addEventListener("input", restart);
    more.addEventListener("click", () => {
      const next = all.filter((one) => !one.hidden).length;
      most += STEP;
      apply();
      const visible = all.filter((one) => !one.hidden);
      visible[next]?.focus();
    });
    controls.hidden = false;
    apply();
  }
})();
