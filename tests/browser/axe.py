"""axe-core on a part of a page."""

from importlib import resources

from playwright.sync_api import Page

AXE = (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
RUN_AXE = """async (part) => {
  // Gradio fades from light to dark: what is measured is the end of that.
  const listFades = () => document.getAnimations().filter((one) => one instanceof CSSTransition);
  for (let fades; (fades = listFades()).length;) fades.forEach((fade) => fade.finish());
  const { violations } = await axe.run(part, { resultTypes: ["violations"] });
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`));
}"""


def find_violations(page: Page, part: str) -> list[str]:
    """What breaks a rule of axe's, one line per element; ``part`` is a selector."""
    page.evaluate(f"window.axe || {AXE}")
    found: list[str] = page.evaluate(RUN_AXE, part)
    return found
