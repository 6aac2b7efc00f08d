"use strict";

document.documentElement.classList.add("js");

// ---- tables: each heading sorts; up, down, and back to the order of the matrix

const collator = new Intl.Collator(undefined, { numeric: true });
const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

function keysOf(table, column, isNumber) {
    return (body) => {
        const key = body.rows[0].cells[column].dataset.key;
        return isNumber && key !== "" ? Number(key) : key;
    };
}

function sort(table, column, order) {
    const heading = table.tHead.rows[0].cells[column];
    const isNumber = heading.classList.contains("number");
    const keyOf = keysOf(table, column, isNumber);
    const bodies = [...table.tBodies];
    const sign = order === "descending" ? -1 : 1;
    const keyed = bodies.map((body) => ({ body, key: keyOf(body), place: Number(body.dataset.place) }));
    keyed.sort((one, other) => {
        if (order === "none") return one.place - other.place;
        // What is missing is neither large nor small: it comes last either way.
        if (one.key === "" || other.key === "") {
            return (one.key === "") - (other.key === "") || one.place - other.place;
        }
        const difference = isNumber ? one.key - other.key : collator.compare(one.key, other.key);
        return sign * difference || one.place - other.place;
    });
    table.append(...keyed.map(({ body }) => body));
    for (const cell of table.tHead.rows[0].cells) cell.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", order);
}

for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tBodies].forEach((body, place) => { body.dataset.place = place; });
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
        const button = document.createElement("button");
        button.type = "button";
        button.title = "sort";
        button.append(...heading.childNodes);
        heading.append(button);
        heading.setAttribute("aria-sort", "none");
        button.addEventListener("click", () => sort(table, column, NEXT[heading.ariaSort]));
    });
}

// ---- runs: each can be opened, and all be searched

for (const button of document.querySelectorAll(".toggle")) {
    button.addEventListener("click", () => {
        const isOpen = button.closest("tbody").classList.toggle("open");
        button.setAttribute("aria-expanded", isOpen);
    });
}

for (const input of document.querySelectorAll(".filter input")) {
    const table = document.getElementById(input.getAttribute("aria-controls"));
    const count = input.closest(".filter").querySelector("output");
    const bodies = [...table.tBodies].map((body) => ({ body, text: body.textContent.toLowerCase() }));
    input.addEventListener("input", () => {
        const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
        let shown = 0;
        for (const { body, text } of bodies) {
            body.hidden = !words.every((word) => text.includes(word));
            shown += !body.hidden;
        }
        count.value = words.length ? `${shown} of ${bodies.length} runs` : `${bodies.length} runs`;
    });
}

// ---- figures: the value of the nearest point, under the pointer or by the arrow keys

const REACH_PX = 30;
const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("role", "status");
tip.hidden = true;
document.body.append(tip);

function nearest(series, x, y, reach) {
    let found = null;
    let least = reach * reach;
    series.forEach(({ at }, line) => at.forEach(([px, py], point) => {
        const distance = (px - x) ** 2 + (py - y) ** 2;
        if (distance < least) [least, found] = [distance, { line, point }];
    }));
    return found;
}

function showTip(svg, mark, series, { line, point }) {
    const { name, at, said } = series[line];
    const [x, y] = at[point];
    mark.setAttribute("cx", x);
    mark.setAttribute("cy", y);
    svg.append(mark);
    tip.textContent = `${name}\n${said[point]}`;
    tip.hidden = false;
    const on = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(on.x + 14, innerWidth - width - 4))}px`;
    tip.style.top = `${on.y - height - 12 > 0 ? on.y - height - 12 : on.y + 12}px`;
}

const STEPS = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };

function moved(series, { line, point }, [lines, points]) {
    const to = (line + lines + series.length) % series.length;
    return { line: to, point: Math.max(0, Math.min(point + points, series[to].at.length - 1)) };
}

for (const drawing of document.querySelectorAll(".drawing")) {
    const svg = drawing.querySelector("svg");
    const series = JSON.parse(drawing.querySelector("script").textContent);
    if (!series.length) continue;
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    mark.setAttribute("class", "mark");
    mark.setAttribute("r", 5);
    let shown = null;
    const show = (found) => {
        shown = found;
        if (found) return showTip(svg, mark, series, found);
        tip.hidden = true;
        mark.remove();
    };
    const point = (event) => {
        const toDrawing = svg.getScreenCTM().inverse();
        const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(toDrawing);
        show(nearest(series, x, y, REACH_PX * toDrawing.a));
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", () => show(null));
    drawing.tabIndex = 0;
    drawing.addEventListener("blur", () => show(null));
    drawing.addEventListener("keydown", (event) => {
        if (event.key === "Escape") return show(null);
        if (!(event.key in STEPS)) return;
        event.preventDefault();
        show(shown ? moved(series, shown, STEPS[event.key]) : { line: 0, point: 0 });
    });
}
