// Counts down how long the visitor's own pin lasts. The page says the seconds that are left when it is made.
for (const element of document.querySelectorAll("[data-countdown]")) {
  const end = performance.now() + 1000 * Number(element.dataset.countdown);
  const show = () => {
    const left = Math.ceil((end - performance.now()) / 1000);
    if (left <= 0) {
      const pin = element.closest("[data-pin]");
      pin.textContent = "Your pin has ended. Read the board again: a replica answers.";
      pin.classList.remove("pinned");
      return;
    }
    const minutes = Math.floor(left / 60);
    element.textContent = (minutes ? `${minutes} min ` : "") + `${left % 60} s`;
    setTimeout(show, 100);
  };
  show();
}
