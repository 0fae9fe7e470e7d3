// Draws the figures that notebooks have stored, when they come into view. Their ink reads on light and dark.
document.addEventListener("DOMContentLoaded", () => {
  const draw = (holder) => {
    const block = document.querySelector(`script[data-figure="${holder.id}"]`);
    const figure = JSON.parse(block.textContent);
    Plotly.newPlot(holder, figure.data, figure.layout, { responsive: true, displaylogo: false });
  };
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        seen.unobserve(entry.target);
        draw(entry.target);
      }
    }
  }, { rootMargin: "400px" });
  document.querySelectorAll(".stored-figure").forEach((holder) => seen.observe(holder));
});
