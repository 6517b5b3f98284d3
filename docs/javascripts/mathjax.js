// The settings that MkDocs Material documents for MathJax with pymdownx.arithmatex. MathJax itself lies beside this file,
// with fonts drawn as paths, so that formulas need no network.
window.MathJax = {
  tex: {
    inlineMath: [["\\(", "\\)"], ["$", "$"]],  // notebooks have dollars
    displayMath: [["\\[", "\\]"], ["$$", "$$"]],
    processEscapes: true,
    processEnvironments: true,
  },
  options: { ignoreHtmlClass: ".*|", processHtmlClass: "arithmatex" },
};

document$.subscribe(() => {
  const text = document.querySelectorAll(".jp-RenderedMarkdown :is(p, li, td)");
  text.forEach((element) => element.classList.add("arithmatex"));
  if (!MathJax.typesetPromise) return; // still loading: it typesets the first page by itself
  MathJax.startup.output.clearFontCache();
  MathJax.typesetClear();
  MathJax.texReset();
  MathJax.typesetPromise();
});
