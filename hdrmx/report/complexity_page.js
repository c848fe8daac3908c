"use strict";
(() => {
  const whole = JSON.parse(document.getElementById("study").textContent);
  const NS = "http://www.w3.org/2000/svg";
  const find = (name) => name.split(".").slice(1).reduce((s, i) => Object.values(s.parts)[+i], whole);

  function el(tag, attributes, parent, text) {
    const made = document.createElementNS(NS, tag);
    for (const [k, v] of Object.entries(attributes)) made.setAttribute(k, v);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.appendChild(made);
    return made;
  }

  // cost(n) of a fit: sum of coefficient * (n / scale)^power * (log n / log scale)^logs
  function cost(fit, n) {
    return fit.terms.reduce((sum, t) => sum + t.coefficient * Math.pow(n / fit.scale, t.power) *
      (t.logs ? Math.pow(Math.log(Math.max(n, 1)) / Math.log(fit.scale), t.logs) : 1), 0);
  }
  function exponent(fit, n) {
    const a = cost(fit, n), b = cost(fit, n * 1.01);
    return a > 0 && b > 0 ? Math.log(b / a) / Math.log(1.01) : 0;
  }

  function quantity(v, unit) {
    if (!isFinite(v)) return "–";
    const three = (x) => (x >= 1e6 ? x.toExponential(2) : String(+x.toPrecision(3)));
    if (unit === "s") {
      if (v >= 172800) return three(v / 86400) + " days";
      if (v >= 7200) return three(v / 3600) + " h";
      for (const [s, name] of [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]]) if (v >= s || s === 1e-6) return three(v / s) + " " + name;
    }
    for (const [s, name] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]]) {
      if (v >= s || s === 1) return three(v / s) + " " + name + (unit === "bytes" ? "B" : unit === "calls" ? "" : "");
    }
  }

  // value and interval at n, between the points of the forecast (straight lines in log-log)
  function forecast(m, n) {
    const f = m.forecast, last = f.length - 1;
    let i = f.findIndex((p) => p[0] >= n);
    if (i < 0) i = last;
    if (i === 0) i = 1;
    const [a, b] = [f[i - 1], f[i]], t = Math.log(n / a[0]) / Math.log(b[0] / a[0]);
    const value = cost(m.fit, n);
    const between = (k) => Math.exp(Math.log(Math.max(a[k] / a[1], 1e-9)) * (1 - t) + Math.log(Math.max(b[k] / b[1], 1e-9)) * t);
    return [value, value * between(2), value * between(3)];
  }

  const WIDTH = 420, HEIGHT = 250, REST = 70, LEFT = 62, RIGHT = 12, TOP = 10, BOTTOM = 34;

  function plot(name, m, driver, figure) {
    const svg = el("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + REST}`, role: "img" });
    figure.appendChild(svg);
    const points = Object.entries(m.values).flatMap(([n, vs]) => vs.filter((v) => v > 0).map((v) => [+n, v]));
    const largest = Math.max(...points.map((p) => p[0]));
    const shown = m.forecast ? m.forecast.filter((p) => p[0] <= largest * 4 && p[1] > 0) : [];
    const xs = points.map((p) => p[0]).concat(shown.map((p) => p[0]));
    const ys = points.map((p) => p[1]).concat(shown.flatMap((p) => [p[1], Math.max(p[2], p[1] / 20), Math.min(p[3], p[1] * 20)]));
    const scale = (values, from, to) => {
      let low = Math.log10(Math.min(...values)), high = Math.log10(Math.max(...values));
      if (high - low < 0.2) { low -= 0.1; high += 0.1; }
      const f = (v) => from + (Math.log10(v) - low) / (high - low) * (to - from);
      f.ticks = [];
      const step = Math.max(1, Math.ceil((high - low) / 5));
      for (let k = Math.ceil(low); k <= high; k += step) f.ticks.push(Math.pow(10, k));
      if (f.ticks.length < 2) f.ticks = [Math.pow(10, low + (high - low) * .1), Math.pow(10, high - (high - low) * .1)];
      return f;
    };
    const x = scale(xs, LEFT, WIDTH - RIGHT), y = scale(ys, HEIGHT - BOTTOM, TOP);
    for (const t of x.ticks) {
      el("line", { class: "grid", x1: x(t), x2: x(t), y1: TOP, y2: HEIGHT - BOTTOM }, svg);
      el("text", { x: x(t), y: HEIGHT - BOTTOM + 14, "text-anchor": "middle" }, svg, quantity(t, ""));
    }
    for (const t of y.ticks) {
      el("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(t), y2: y(t) }, svg);
      el("text", { x: LEFT - 5, y: y(t) + 4, "text-anchor": "end" }, svg, quantity(t, m.unit));
    }
    el("path", { class: "axis", d: `M${LEFT},${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}` }, svg);
    el("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, svg, driver);
    if (shown.length) {
      const clip = (v, mid) => Math.min(Math.max(v, mid / 20), mid * 20);
      const up = shown.map((p) => `${x(p[0]).toFixed(1)},${y(clip(p[3], p[1])).toFixed(1)}`);
      const down = shown.map((p) => `${x(p[0]).toFixed(1)},${y(clip(p[2], p[1])).toFixed(1)}`).reverse();
      el("polygon", { class: "band", points: up.concat(down).join(" ") }, svg);
      el("polyline", { class: "fit", points: shown.map((p) => `${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`).join(" ") }, svg);
    }
    for (const [n, v] of points) el("title", {}, el("circle", { class: "point", cx: x(n), cy: y(v), r: 2.5 }, svg), `n = ${n}: ${quantity(v, m.unit)}`);
    if (m.fit) residuals(m, points, x, svg);
    const here = el("line", { class: "here", y1: TOP, y2: HEIGHT - BOTTOM, x1: -9, x2: -9 }, svg);
    return (n) => {
      const at = x(n), inside = at >= LEFT && at <= WIDTH - RIGHT;
      here.setAttribute("x1", inside ? at : -9);
      here.setAttribute("x2", inside ? at : -9);
    };
  }

  function residuals(m, points, x, svg) {
    const values = points.map(([n, v]) => [n, v / cost(m.fit, n) - 1]);
    const most = Math.max(0.001, ...values.map((p) => Math.abs(p[1])));
    const middle = HEIGHT + REST / 2, y = (r) => middle - r / most * (REST / 2 - 8);
    el("line", { class: "zero", x1: LEFT, x2: WIDTH - RIGHT, y1: middle, y2: middle }, svg);
    el("text", { x: LEFT - 5, y: y(most) + 4, "text-anchor": "end" }, svg, `+${(100 * most).toPrecision(2)} %`);
    el("text", { x: LEFT - 5, y: middle + 4, "text-anchor": "end" }, svg, "residual");
    for (const [n, r] of values) el("circle", { class: "point", cx: x(n), cy: y(r), r: 2 }, svg);
  }

  const STEPS = [[0.3, "#b8c4d0", "up to n^0.3"], [1.15, "#7fc8a9", "up to n^1.15"], [1.4, "#f0dc82", "up to n^1.4"],
    [1.8, "#f2ab58", "up to n^1.8"], [2.4, "#e8684a", "up to n^2.4"], [99, "#c2408f", "above"]];
  const colour = (e) => STEPS.find((s) => e <= s[0])[1];

  function flame(study, holder) {
    const f = study.functions, largest = Math.max(...study.sizes);
    const callers = f.map(() => 0);
    f.forEach((g, i) => g.callees.forEach(([k, n]) => { if (k !== i) callers[k] += n; }));
    const own = (g, n) => {
      const last = g.own_s[largest] || 0;
      if (g.own) return Math.max(cost(g.own.fit, n), 0);
      const e = g.made ? g.made.exponent : g.inherited ? g.inherited.exponent : 0;
      return last * Math.pow(n / largest, e);
    };
    const rise = (g, n) => g.own ? exponent(g.own.fit, n) : g.made ? exponent(g.made.fit, n) : 0;
    const legend = document.createElement("div");
    legend.className = "legend";
    for (const [, c, words] of STEPS) {
      const item = document.createElement("span");
      item.textContent = words;
      item.style.setProperty("--swatch", c);
      legend.appendChild(item);
    }
    holder.before(legend);
    return (n) => {
      const roots = f.map((_, i) => i).filter((i) => callers[i] === 0);
      const total = (i, path) => own(f[i], n) + f[i].callees.reduce((sum, [k, calls]) =>
        path.includes(k) || k === i ? sum : sum + total(k, path.concat(i)) * calls / callers[k], 0);
      const all = roots.reduce((sum, i) => sum + total(i, []), 0) || 1;
      holder.textContent = "";
      const rows = [];
      const place = (i, share, left, depth, path) => {
        rows.push([i, share, left, depth]);
        let at = left;
        for (const [k, calls] of f[i].callees) {
          if (path.includes(k) || k === i) continue;
          const part = share * (total(k, path.concat(i)) * calls / callers[k]) / (total(i, path) || 1);
          if (part > 0.002 && depth < 30) place(k, part, at, depth + 1, path.concat(i));
          at += part;
        }
      };
      let left = 0;
      for (const i of roots) { const share = total(i, []) / all; if (share > 0.002) place(i, share, left, 0, []); left += share; }
      const depth = Math.max(0, ...rows.map((r) => r[3])) + 1;
      const svg = el("svg", { viewBox: `0 0 1100 ${depth * 22}`, role: "img" });
      for (const [i, share, at, d] of rows) {
        const g = f[i], e = rise(g, n), w = share * 1100;
        const box = el("rect", { x: at * 1100, y: d * 22, width: w, height: 21, fill: colour(e), tabindex: 0 }, svg);
        el("title", {}, box, `${g.function} (${g.file}:${g.line})\nown work n^${e.toFixed(2)}, ${quantity(own(g, n), "s")} of its own; ${(100 * share).toFixed(1)} % with all below`);
        if (w > 40) el("text", { x: at * 1100 + 4, y: d * 22 + 15 }, svg, g.function.slice(0, Math.floor(w / 6.5)));
      }
      holder.appendChild(svg);
    };
  }

  document.querySelectorAll("section.study").forEach((section) => {
    const name = section.dataset.study, study = find(name), draw = [];
    const plots = section.querySelector(".plots");
    for (const [measure, m] of Object.entries(study.measures)) {
      if (!Object.values(m.values).flat().some((v) => v > 0)) continue;
      const figure = document.createElement("figure"), caption = document.createElement("figcaption");
      caption.textContent = `${measure}: ${m.class || m.verdict}`;
      figure.appendChild(caption);
      plots.appendChild(figure);
      draw.push(plot(measure, m, study.driver, figure));
    }
    const holder = document.querySelector(`[data-flame="${name}"]`);
    if (holder && study.functions.length) draw.push(flame(study, holder));
    const first = Math.min(...study.sizes), last = Math.max(...study.sizes);
    const slider = section.querySelector(".slider");
    slider.innerHTML = "<label>at n = </label>";
    const number = Object.assign(document.createElement("input"), { type: "number", min: 1, step: 1, value: last });
    const range = Object.assign(document.createElement("input"), { type: "range", min: Math.log(first), max: Math.log(last * 1000), step: "any", value: Math.log(last) });
    number.setAttribute("aria-label", "size n");
    range.setAttribute("aria-label", "size n, logarithmic");
    const out = document.createElement("output");
    slider.append(number, range, out);
    const show = (n) => {
      out.textContent = `${study.driver} = ${n.toLocaleString("en")}: ` + Object.entries(study.measures).filter(([, m]) => m.fit).map(([k, m]) => {
        const [v, low, high] = forecast(m, n);
        return `${k} ${quantity(v, m.unit)} (${quantity(low, m.unit)} to ${quantity(high, m.unit)})`;
      }).join("; ");
      draw.forEach((d) => d(n));
    };
    range.addEventListener("input", () => { const n = Math.round(Math.exp(+range.value)); number.value = n; show(n); });
    number.addEventListener("input", () => { const n = Math.max(1, +number.value || 1); range.value = Math.log(n); show(n); });
    show(last);
  });
})();
