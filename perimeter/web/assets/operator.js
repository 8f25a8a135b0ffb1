"use strict";
// The live figures of the operator's page: draws the charts with uPlot, and moves them with the events of the stream.
(() => {
  const KEPT = 300;
  const TROUBLE = ["nothing is served", "requests fail", "works for now"];
  const live = document.getElementById("live");
  const state = document.getElementById("stream-state");
  const history = JSON.parse(document.getElementById("history").textContent);
  const times = history.times;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const figures = [...document.querySelectorAll("figure[data-chart]")].map((figure, place) => {
    const lines = [...figure.querySelectorAll(".legend li")];
    return {
      place, lines,
      box: figure.querySelector(".plot"),
      rows: figure.querySelector("tbody"),
      values: lines.map((line) => line.querySelector("b")),
      unit: figure.dataset.unit,
      digits: Number(figure.dataset.digits),
      series: lines.map((_, line) => history.series.map((sample) => sample[place][line])),
      plot: null,
    };
  });

  const shown = (figure, value, digits = figure.digits) => {
    if (value === null || value === undefined) return "-";
    const text = value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    return figure.unit.startsWith("/") ? text + figure.unit : `${text} ${figure.unit}`.trim();
  };
  const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 19);
  const colour = (element, name) => getComputedStyle(element).getPropertyValue(name).trim();
  const data = (figure) => [times, ...figure.series];

  const draw = (figure) => {
    if (figure.plot) figure.plot.destroy();
    figure.box.replaceChildren();
    const soft = colour(document.documentElement, "--soft");
    const grid = { stroke: colour(document.documentElement, "--line"), width: 1 };
    const font = "12px system-ui, sans-serif";
    figure.plot = new uPlot({
      width: figure.box.clientWidth,
      height: 180,
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 7 } },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: {
        x: { range: () => { const end = times.length ? times[times.length - 1] : Date.now() / 1000; return [end - KEPT, end]; } },
        y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] },
      },
      axes: [
        { stroke: soft, grid, ticks: grid, font, space: 70, values: (_, ticks) => ticks.map((tick) => clock(tick).slice(0, 5)), incrs: [60, 120, 300] },
        { stroke: soft, grid, ticks: grid, font, size: 60, space: 36, values: (_, ticks) => ticks.map((tick) => tick.toLocaleString("en-US", { maximumFractionDigits: 2 })) },
      ],
      series: [{}, ...figure.lines.map((line) => ({ stroke: colour(line, "--line-colour"), width: 2, spanGaps: false, points: { show: false } }))],
    }, data(figure), figure.box);
  };

  const cell = (text, number) => {
    const made = document.createElement("td");
    made.textContent = text;
    if (number) made.className = "number";
    return made;
  };
  const table = (figure) => {
    if (!figure.rows.closest("details").open) return;
    const rows = [];
    for (let at = times.length - 1; at >= 0 && rows.length < 12; at -= Math.max(1, Math.floor(times.length / 12))) {
      const row = document.createElement("tr");
      row.append(cell(clock(times[at])), ...figure.series.map((line) => cell(shown(figure, line[at]), true)));
      rows.push(row);
    }
    figure.rows.replaceChildren(...rows);
  };

  const downFor = (next) => (next ? `down, next try in ${next} s` : "down, the next request tries it");
  const badge = (row, good, text) => {
    const made = row.querySelector(".badge");
    made.className = good ? "badge good" : "badge bad";
    made.textContent = text;
  };
  const table_of = (id, rows, show) => {
    const there = document.querySelectorAll(`#${id} tr`);
    if (there.length !== rows.length) return location.reload(); // another configuration is in force
    rows.forEach((row, at) => show(there[at], row));
  };

  const minute = history.refusals;
  // authenticators that did not answer when they were asked
  let mute = new Set([...document.querySelectorAll("#authenticators tr[data-faulty]")].map((row) => row.dataset.name));
  // servers that did not answer when they were asked, by upstream and URL
  let faulty = new Set([...document.querySelectorAll("#servers tr")].filter((row) => row.querySelector(".bad")).map((row) => row.dataset.server));
  const refusals = (latest) => {
    minute.push(latest);
    if (minute.length > 60) minute.shift();
    const sums = new Map();
    for (const one of minute) for (const [reason, count] of one) sums.set(reason, (sums.get(reason) || 0) + count);
    const found = [...sums].sort((one, other) => other[1] - one[1]).slice(0, 8).map(([reason, count]) => {
      const item = document.createElement("li");
      const name = document.createElement("span");
      const value = document.createElement("b");
      name.textContent = reason;
      value.textContent = count.toLocaleString("en-US");
      item.append(name, " ", value);
      return item;
    });
    if (!found.length) {
      const none = document.createElement("li");
      none.className = "soft";
      none.textContent = "None";
      found.push(none);
    }
    document.getElementById("refusals").replaceChildren(...found);
  };

  const take = (sample) => {
    times.push(sample.time);
    for (const figure of figures) figure.series.forEach((line, at) => line.push(sample.series[figure.place][at]));
    if (times.length > KEPT) {
      times.shift();
      for (const figure of figures) figure.series.forEach((line) => line.shift());
    }
    for (const figure of figures) {
      figure.plot.setData(data(figure));
      figure.values.forEach((value, at) => { value.textContent = shown(figure, sample.series[figure.place][at]); });
      table(figure);
    }
    state.textContent = `Live, ${clock(sample.time)} UTC`;
    refusals(sample.refusals);
    if (document.getElementById("servers")) table_of("servers", sample.servers, (row, [name, busy, idle, word]) => {
      if (row.dataset.server !== name) return location.reload(); // its address has changed
      const text = faulty.has(name) && word === "up" ? "unreachable" : word;
      badge(row, text === "up" || text === "starting", text);
      row.cells[2].textContent = busy;
      row.cells[3].textContent = idle;
    });
    if (document.getElementById("authenticators")) table_of("authenticators", sample.authenticators, (row, next) => {
      const silent = mute.has(row.dataset.name);
      badge(row, next < 0 && !silent, next >= 0 ? downFor(next) : silent ? "cannot be used" : "in use");
    });
  };

  const troubles = (found) => {
    mute = new Set(found.filter((one) => one.subject === "authenticator").map((one) => one.name));
    faulty = new Set(found.filter((one) => one.subject === "upstream").map((one) => `${one.name} ${one.message.split(": ")[0]}`));
    const title = document.getElementById("troubles-title");
    const kind = !found.length ? "good" : found[0].severity < 2 ? "bad" : "warn";
    const text = !found.length ? "Nothing is wrong" : found.length === 1 ? "1 problem" : `${found.length} problems`;
    if (title.textContent !== text) title.textContent = text;
    title.className = `verdict ${kind}`;
    const items = found.map((one) => {
      const item = document.createElement("li");
      const mark = document.createElement("span");
      const name = document.createElement("strong");
      const what = document.createElement("span");
      mark.className = one.severity < 2 ? "badge bad" : "badge warn";
      mark.textContent = TROUBLE[one.severity];
      name.textContent = `${one.subject} ${one.name}`;
      what.className = "what";
      what.textContent = one.message;
      item.append(mark, " ", name, " ", what);
      return item;
    });
    const list = document.querySelector("#troubles ul");
    if (list.textContent.trim().replace(/\s+/g, " ") !== items.map((item) => item.textContent).join(" ").trim().replace(/\s+/g, " ")) list.replaceChildren(...items);
  };

  const ended = () => {
    const again = document.createElement("a");
    again.href = location.pathname;
    again.textContent = "Load the page again";
    state.replaceChildren("The figures have stopped. ", again, ".");
    live.classList.add("stopped");
  };

  figures.forEach(draw);
  for (const figure of figures) {
    figure.rows.closest("details").addEventListener("toggle", () => table(figure));
    new ResizeObserver(() => figure.plot.setSize({ width: figure.box.clientWidth, height: 180 })).observe(figure.box);
  }
  dark.addEventListener("change", () => figures.forEach(draw));

  const stream = new EventSource(live.dataset.stream);
  stream.addEventListener("sample", (event) => take(JSON.parse(event.data)));
  stream.addEventListener("troubles", (event) => troubles(JSON.parse(event.data)));
  stream.addEventListener("error", () => {
    if (stream.readyState === EventSource.CLOSED) ended();
    else state.textContent = "The connection is lost; trying again …";
  });
})();
