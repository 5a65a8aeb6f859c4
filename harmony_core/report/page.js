// Shows what a figure's mark is, at the pointer or, from mark to mark with the arrow keys, at the keyboard's place.
const tip = document.getElementById("tip");
const REACH = 14;

function show(mark) {
  const box = mark.getBoundingClientRect();
  tip.textContent = mark.dataset.tip;
  const left = Math.min(box.right + 8, window.innerWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 8;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${above > 8 ? above : box.bottom + 8}px`;
}

function hide() {
  tip.textContent = "";
}

function center(mark) {
  const box = mark.getBoundingClientRect();
  return { mark, x: box.x + box.width / 2, y: box.y + box.height / 2 };
}

for (const plot of document.querySelectorAll(".plot")) {
  const marks = [...plot.querySelectorAll("[data-tip]")];
  let centers = [];
  let place = -1;
  plot.addEventListener("pointerenter", () => {
    centers = marks.map(center);
  });
  plot.addEventListener("pointermove", (event) => {
    // A line is met where it is drawn, a point also from nearby.
    let best = event.target.closest("[data-tip]");
    let least = best ? 0 : REACH;
    for (const one of centers) {
      const distance = Math.hypot(one.x - event.clientX, one.y - event.clientY);
      if (distance < least) [best, least] = [one.mark, distance];
    }
    if (best) show(best);
    else hide();
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step || !marks.length) return;
    event.preventDefault();
    // Marks with an edge are the front's, and the baselines'; of a picture without them, all.
    const edged = marks.filter((mark) => mark.hasAttribute("stroke"));
    const order = (edged.length ? edged : marks).map(center).sort((a, b) => a.x - b.x);
    place = (place + step + order.length) % order.length;
    show(order[place].mark);
  });
}
window.addEventListener("scroll", hide, { passive: true });
