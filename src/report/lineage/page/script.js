"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const canvas = byId("canvas"), view = byId("view"), details = byId("details");
  const search = byId("search"), results = byId("results");
  const NS = "http://www.w3.org/2000/svg";
  // Drawn smaller than this, columns cannot be read, and boxes show their names only.
  const FAR = 0.42;
  const key = (dataset, column) => dataset + ":" + column;

  // Edges by both ends.
  const into = new Map(), outOf = new Map();
  const put = (map, at, value) => { (map.get(at) || map.set(at, []).get(at)).push(value); };
  const edges = data.edges.map(([fd, fc, td, tc, how, direct, expression, place]) => {
    const edge = { from: [fd, fc], to: [td, tc], how, direct: !!direct, expression, place };
    put(into, key(td, tc), edge);
    put(outOf, key(fd, fc), edge);
    return edge;
  });

  const nameOf = ([dataset, column]) => {
    const it = data.datasets[dataset];
    return column < 0 ? it.n : it.n + "." + it.c[column].n;
  };

  function svg(name, attributes, parent, text) {
    const node = document.createElementNS(NS, name);
    for (const [attribute, value] of Object.entries(attributes)) node.setAttribute(attribute, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }
  function html(name, className, parent, text) {
    const node = document.createElement(name);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }
  const cut = (text, most) => text.length > most ? text.slice(0, Math.max(most - 1, 1)) + "…" : text;

  // Boxes.
  const boxes = data.datasets.map((it, index) => {
    const box = svg("g", {
      class: "box", transform: `translate(${it.x} ${it.y})`, style: `--kind: var(--${it.k})`,
    }, byId("boxes"));
    svg("rect", { class: "card", width: it.w, height: it.h, rx: 7 }, box);
    const top = svg("g", { class: "top", "data-d": index, "data-c": -1, tabindex: 0, role: "button",
      "aria-label": `${it.n}, ${it.k}, ${it.c.length} columns` }, box);
    svg("rect", { class: "back", width: it.w, height: data.head, rx: 7 }, top);
    svg("rect", { class: "bar", width: 4, height: data.head - 12, x: 7, y: 6, rx: 2 }, top);
    const room = Math.floor((it.w - 38 - it.k.length * 6.3) / 8.2);
    svg("text", { class: "head", x: 17, y: 20 }, top, cut(it.n, room));
    svg("text", { class: "kind", x: it.w - 9, y: 19.5 }, top, it.k);
    svg("title", {}, top, it.n);
    const shown = Math.min(it.c.length, data.most);
    for (let column = 0; column < shown; column++) {
      const { n, t, g } = it.c[column];
      const row = svg("g", { class: "row", "data-d": index, "data-c": column }, box);
      const y = data.head + data.row * column;
      svg("rect", { class: "back", x: 1, y, width: it.w - 2, height: data.row, rx: 4 }, row);
      const type = cut(t.replace(/\(.*/, ""), 12);
      const letters = Math.floor((it.w - 32 - type.length * 6.4) / 7.25);
      svg("text", { class: "name", x: 17, y: y + 13 }, row, cut(n, letters));
      svg("text", { class: "type", x: it.w - 9, y: y + 13 }, row, type);
      if (g) svg("circle", { class: "pii", cx: 9, cy: y + 9, r: 3 }, row);
      svg("title", {}, row, n + (t ? " " + t : "") + (g ? " [" + g.join(", ") + "]" : ""));
    }
    if (it.c.length > shown) {
      const row = svg("g", { class: "row", "data-d": index, "data-c": -1 }, box);
      const y = data.head + data.row * shown;
      svg("rect", { class: "back", x: 1, y, width: it.w - 2, height: data.row, rx: 4 }, row);
      svg("text", { class: "more", x: 17, y: y + 13 }, row, `… ${it.c.length - shown} more`);
    }
    return box;
  });

  // Lines between boxes, through the gaps that the layout left for them.
  function through(points) {
    let path = `M${points[0][0]} ${points[0][1]}`;
    for (let at = 1; at < points.length; at++) {
      const [x0, y0] = points[at - 1], [x1, y1] = points[at];
      const middle = (x0 + x1) / 2;
      path += y0 === y1 ? `L${x1} ${y1}` : `C${middle} ${y0} ${middle} ${y1} ${x1} ${y1}`;
    }
    return path;
  }
  const routes = data.routes.map(([from, to, joints]) => {
    const a = data.datasets[from], b = data.datasets[to];
    const start = [a.x + a.w, a.y + data.head / 2], end = [b.x - 2, b.y + data.head / 2];
    const line = svg("path", { d: through([start, ...joints, end]), "marker-end": "url(#tip)" },
      byId("routes"));
    return { from, to, line, joints };
  });
  const joints = new Map(routes.map((it) => [it.from + ">" + it.to, it.joints]));

  // Where the lines of a column begin and end.
  function height([dataset, column]) {
    const it = data.datasets[dataset];
    if (column < 0) return it.y + data.head / 2;
    return it.y + data.head + data.row * (Math.min(column, data.most) + 0.5);
  }
  function curve(edge) {
    const a = data.datasets[edge.from[0]], b = data.datasets[edge.to[0]];
    const x0 = a.x + a.w, y0 = height(edge.from), x1 = b.x - 2, y1 = height(edge.to);
    return through([[x0, y0], ...joints.get(edge.from[0] + ">" + edge.to[0]) || [], [x1, y1]]);
  }

  // Moving and zooming.
  let scale = 1, left = 0, top = 0;
  function draw() {
    view.setAttribute("transform", `translate(${left} ${top}) scale(${scale})`);
    canvas.classList.toggle("far", scale < FAR);
    canvas.style.setProperty("--far", Math.min(13 / scale, 26) + "px");
  }
  function zoom(factor, x, y) {
    const next = Math.min(3, Math.max(0.05, scale * factor));
    left = x - (x - left) * next / scale;
    top = y - (y - top) * next / scale;
    scale = next;
    draw();
  }
  const middle = () => [canvas.clientWidth / 2, canvas.clientHeight / 2];
  // The part of the canvas that the details leave free.
  function room() {
    const { clientWidth: width, clientHeight: tall } = canvas;
    if (details.hidden) return [0, 0, width, tall];
    return innerWidth <= 720 ? [0, 0, width, tall - details.offsetHeight - 8]
      : [0, 0, width - details.offsetWidth - 12, tall];
  }
  function fit(x0, y0, x1, y1, most) {
    const [, , width, tall] = room();
    const gap = 28;
    scale = Math.min(most, (width - 2 * gap) / Math.max(x1 - x0, 1),
      (tall - 2 * gap) / Math.max(y1 - y0, 1));
    scale = Math.max(scale, 0.05);
    left = width / 2 - (x0 + x1) / 2 * scale;
    top = tall / 2 - (y0 + y1) / 2 * scale;
    draw();
  }
  const everything = () => fit(0, 0, data.width, data.height, 1.1);

  const pointers = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.offsetX, event.offsetY];
    const dx = now[0] - before[0], dy = now[1] - before[1];
    moved += Math.abs(dx) + Math.abs(dy);
    if (moved > 4 && !canvas.hasPointerCapture(event.pointerId)) {
      canvas.setPointerCapture(event.pointerId);
      canvas.classList.add("moving");
    }
    if (pointers.size === 1) {
      left += dx; top += dy;
      draw();
    } else {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
      const centre = [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2];
      zoom(apart(now) / Math.max(apart(before), 1), ...centre);
    }
    pointers.set(event.pointerId, now);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => {
      pointers.delete(event.pointerId);
      if (pointers.size === 0) canvas.classList.remove("moving");
    });
  }
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 18 : 1;
    zoom(Math.exp(-event.deltaY * lines * 0.0016), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("click", (event) => {
    if (moved > 4) return;
    const target = event.target.closest("[data-d]");
    if (target) choose([+target.dataset.d, +target.dataset.c]);
    else clear();
  });
  canvas.addEventListener("keydown", (event) => {
    const target = event.target.closest("[data-d]");
    if (target && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      choose([+target.dataset.d, +target.dataset.c]);
      return;
    }
    const by = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (by[event.key]) {
      event.preventDefault();
      left += by[event.key][0]; top += by[event.key][1];
      draw();
    }
  });
  byId("in").addEventListener("click", () => zoom(1.3, ...middle()));
  byId("out").addEventListener("click", () => zoom(1 / 1.3, ...middle()));
  byId("fit").addEventListener("click", everything);

  // What a column comes from and goes into.
  let chosen = null;
  const wanted = (edge) =>
    (edge.direct || byId("indirect").checked) && (edge.to[1] >= 0 || byId("rows").checked);

  function walk(node, up) {
    const found = new Set([key(...node)]), lines = [];
    const queue = [node];
    while (queue.length) {
      const at = queue.pop();
      // A walk ends at rows, which are of all columns of a table.
      if (at[1] < 0 && at !== node) continue;
      for (const edge of (up ? into : outOf).get(key(...at)) || []) {
        if (!wanted(edge)) continue;
        lines.push(edge);
        const next = up ? edge.from : edge.to;
        if (!found.has(key(...next))) { found.add(key(...next)); queue.push(next); }
      }
    }
    return { found, lines };
  }
  function walkDatasets(dataset, up) {
    const found = new Set([dataset]), queue = [dataset];
    while (queue.length) {
      const at = queue.pop();
      for (const { from, to } of routes) {
        const next = up ? (to === at ? from : -1) : (from === at ? to : -1);
        if (next >= 0 && !found.has(next)) { found.add(next); queue.push(next); }
      }
    }
    return found;
  }
  function unmark() {
    canvas.classList.remove("chosen");
    for (const node of canvas.querySelectorAll(".on, .it, .up, .down")) {
      node.classList.remove("on", "it", "up", "down");
    }
    byId("lines").replaceChildren();
  }
  function mark() {
    unmark();
    if (!chosen) return;
    canvas.classList.add("chosen");
    const [dataset, column] = chosen;
    const place = column < 0 ? ".top" : `.row[data-c="${column}"]`;
    boxes[dataset].querySelector(place)?.classList.add("it");
    if (column < 0) {
      const up = walkDatasets(dataset, true), down = walkDatasets(dataset, false);
      for (const index of [...up, ...down]) boxes[index].classList.add("on");
      for (const { from, to, line } of routes) {
        if ((up.has(from) && up.has(to)) || (down.has(from) && down.has(to))) {
          line.classList.add("on");
        }
      }
      return;
    }
    boxes[dataset].classList.add("on");
    const drawn = new Set();
    for (const way of ["up", "down"]) {
      const { found, lines } = walk(chosen, way === "up");
      for (const node of found) {
        const [d, c] = node.split(":").map(Number);
        boxes[d].classList.add("on");
        if (d !== dataset || c !== column) {
          boxes[d].querySelector(c < 0 ? ".top" : `.row[data-c="${c}"]`)?.classList.add(way);
        }
      }
      // One line for each pair of columns; a direct use covers the others.
      lines.sort((a, b) => b.direct - a.direct);
      for (const edge of lines) {
        const pair = key(...edge.from) + ">" + key(...edge.to);
        if (drawn.has(pair)) continue;
        drawn.add(pair);
        svg("path", { d: curve(edge), class: way + (edge.direct ? "" : " indirect") },
          byId("lines"));
      }
    }
  }

  // The panel.
  function list(title, className, found, end) {
    if (!found.length) return;
    html("h3", "", details, title);
    const ul = html("ul", className, details);
    const byNode = new Map();
    for (const edge of found) put(byNode, key(...edge[end]), edge);
    const sorted = [...byNode.values()].sort((a, b) =>
      b.some((e) => e.direct) - a.some((e) => e.direct));
    for (const group of sorted) {
      const node = group[0][end];
      const button = html("button", "", html("li", "", ul));
      const rows = node[1] < 0 ? "rows of " : "";
      html("b", "", button, rows + nameOf(node));
      for (const edge of group) {
        html("span", edge.direct ? "how direct" : "how", button, edge.how.replace("_", " "));
      }
      const told = group.find((edge) => edge.direct) || group[0];
      if (told.expression || told.place) {
        const small = html("small", "", button);
        if (told.expression) html("code", "", small, cut(told.expression, 140));
        if (told.place) small.append((told.expression ? " · " : "") + told.place);
      }
      button.addEventListener("click", () => { choose(node); bring(node); });
    }
  }
  function tell() {
    details.replaceChildren();
    details.hidden = !chosen;
    document.body.classList.toggle("with-details", !!chosen);
    if (!chosen) return;
    const [dataset, column] = chosen;
    const it = data.datasets[dataset];
    const close = html("button", "close", details, "×");
    close.setAttribute("aria-label", "Close");
    close.addEventListener("click", clear);
    html("h2", "", details, nameOf(chosen));
    const about = html("p", "", details);
    const what = [it.k];
    if (it.p) what.push("pipeline " + it.p);
    if (column >= 0) {
      const { t, g, e, l } = it.c[column];
      for (const tag of g || []) html("span", "tag", about, tag);
      if (t) what.unshift(t);
      about.append(what.join(" · "));
      if (e) html("pre", "", details, e);
      if (l || it.f) html("p", "", details, l || it.f);
      list("Made from", "up-list", into.get(key(dataset, column)) || [], "from");
      list("Goes into", "down-list", outOf.get(key(dataset, column)) || [], "to");
      list("Which rows there are", "up-list", into.get(key(dataset, -1)) || [], "from");
    } else {
      about.append(what.join(" · "));
      if (it.f) html("p", "", details, it.f);
      html("h3", "", details, `Columns (${it.c.length})`);
      const ul = html("ul", "", details);
      it.c.forEach((one, index) => {
        const button = html("button", "", html("li", "", ul));
        html("b", "", button, one.n);
        if (one.t) html("span", "how", button, one.t);
        for (const tag of one.g || []) { button.append(" "); html("span", "tag", button, tag); }
        if (one.e && one.e !== one.n) html("code", "", html("small", "", button), cut(one.e, 110));
        button.addEventListener("click", () => { choose([dataset, index]); });
      });
      list("Which rows there are", "up-list", into.get(key(dataset, -1)) || [], "from");
    }
    for (const one of data.unknown.filter((one) => one.dataset === it.n)) {
      html("p", "", details, `Not followed${one.column ? ", " + one.column : ""}: ${one.reason}`);
    }
    details.scrollTop = 0;
  }
  function choose(node) {
    chosen = node;
    mark();
    tell();
    history.replaceState(null, "", "#" + encodeURIComponent(nameOf(node)));
  }
  function clear() {
    chosen = null;
    mark();
    tell();
    history.replaceState(null, "", location.pathname + location.search);
  }
  // Moves the drawing so that a column is in sight, with all that it is lit with if that fits.
  function bring(node) {
    const lit = data.datasets.filter((_, index) => boxes[index].classList.contains("on"));
    const x0 = Math.min(...lit.map((it) => it.x)), y0 = Math.min(...lit.map((it) => it.y));
    const x1 = Math.max(...lit.map((it) => it.x + it.w));
    const y1 = Math.max(...lit.map((it) => it.y + it.h));
    const [, , width, tall] = room();
    const scaled = Math.min((width - 56) / (x1 - x0), (tall - 56) / (y1 - y0));
    if (lit.length && scaled >= 0.55) return fit(x0, y0, x1, y1, 1);
    const it = data.datasets[node[0]];
    if (scale < 0.6) scale = 0.9;
    left = width / 2 - (it.x + it.w / 2) * scale;
    const y = node[1] < 0 ? it.y + Math.min(it.h, tall / scale * 0.8) / 2 : height(node);
    top = tall / 2 - y * scale;
    // No more emptiness at the drawing's ends than it takes.
    const within = (at, size, space) =>
      size * scale > space - 56 ? Math.min(28, Math.max(space - 28 - size * scale, at)) : at;
    left = within(left, data.width, width);
    top = within(top, data.height, tall);
    draw();
  }

  // Search.
  const all = [];
  data.datasets.forEach((it, dataset) => {
    all.push({ node: [dataset, -1], text: it.n, kind: it.k });
    it.c.forEach((one, column) =>
      all.push({ node: [dataset, column], text: it.n + "." + one.n, kind: one.t || "column" }));
  });
  let active = 0, hits = [];
  function ranked(query) {
    const words = query.toLowerCase().split(/[\s]+/).filter(Boolean);
    if (!words.length) return [];
    const rank = (text) => {
      const low = text.toLowerCase(), name = low.slice(low.lastIndexOf(".") + 1);
      if (!words.every((word) => low.includes(word))) return -1;
      return low === words[0] ? 0 : name === words[0] ? 1 : low.startsWith(words[0]) ? 2
        : name.startsWith(words[0]) ? 3 : 4;
    };
    return all.map((it) => ({ ...it, rank: rank(it.text) })).filter((it) => it.rank >= 0)
      .sort((a, b) => a.rank - b.rank || a.text.length - b.text.length).slice(0, 60);
  }
  function show() {
    hits = ranked(search.value);
    active = 0;
    results.replaceChildren();
    const asked = search.value.trim() !== "";
    results.hidden = !asked;
    search.setAttribute("aria-expanded", String(asked));
    hits.forEach((hit, index) => {
      const li = html("li", "", results, hit.text);
      li.id = "hit-" + index;
      li.setAttribute("role", "option");
      html("span", "", li, hit.kind);
      li.addEventListener("pointerdown", (event) => { event.preventDefault(); take(hit); });
    });
    if (asked && !hits.length) html("li", "none", results, "Nothing has such a name");
    light();
  }
  function light() {
    [...results.children].forEach((li, index) =>
      li.setAttribute("aria-selected", String(hits.length > 0 && index === active)));
    if (hits.length) {
      search.setAttribute("aria-activedescendant", "hit-" + active);
      results.children[active].scrollIntoView({ block: "nearest" });
    } else search.removeAttribute("aria-activedescendant");
  }
  function take(hit) {
    results.hidden = true;
    search.setAttribute("aria-expanded", "false");
    search.value = hit.text;
    choose(hit.node);
    bring(hit.node);
  }
  search.addEventListener("input", show);
  search.addEventListener("focus", () => { search.select(); });
  search.addEventListener("blur", () => { results.hidden = true; });
  search.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (results.hidden) return show();
      const by = event.key === "ArrowDown" ? 1 : -1;
      active = (active + by + hits.length) % Math.max(hits.length, 1);
      light();
    } else if (event.key === "Enter" && hits[active]) {
      event.preventDefault();
      take(hits[active]);
    } else if (event.key === "Escape") {
      event.stopPropagation();
      if (results.hidden) { search.value = ""; canvas.focus(); } else results.hidden = true;
    }
  });
  addEventListener("keydown", (event) => {
    if (event.target === search || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") { event.preventDefault(); search.focus(); }
    else if (event.key === "Escape") clear();
    else if (event.key === "+" || event.key === "=") zoom(1.3, ...middle());
    else if (event.key === "-") zoom(1 / 1.3, ...middle());
    else if (event.key === "0") everything();
  });
  for (const id of ["indirect", "rows"]) byId(id).addEventListener("change", mark);

  // Legend, and what is shown first.
  for (const kind of new Set(data.datasets.map((it) => it.k))) {
    const li = html("li", "", byId("legend"));
    li.style.setProperty("--kind", `var(--${kind})`);
    html("i", "", li);
    li.append(kind);
  }
  function find(name) {
    const hit = all.find((it) => it.text === name);
    return hit && hit.node;
  }
  function first() {
    const hash = decodeURIComponent(location.hash.slice(1));
    const node = find(hash) || find(data.asked);
    everything();
    if (node) { choose(node); bring(node); }
  }
  document.title = (data.asked ? data.asked + " · " : "") + "Lineage";
  addEventListener("hashchange", () => {
    const node = find(decodeURIComponent(location.hash.slice(1)));
    if (node) { choose(node); bring(node); }
  });
  first();
})();
