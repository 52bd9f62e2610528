"""A page that is open in a browser."""

import json
import re

import page_cases

GUTTER, RIGHT, ROW = 190, 10, 18
"""Pixels left and right of the common axis, and the height of a bar's row."""


class Page:
    """An open page: shorthand for what the tests ask of it."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path, text=None):
        if text is not None:
            path.write_text(text, encoding="utf-8")
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(path.as_uri())
        self.one("body[data-ready]")
        return self

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def one(self, css):
        return self.driver.find_element("css selector", css)

    def all(self, css):
        return self.driver.find_elements("css selector", css)

    def text(self, css):
        return self.run("return document.querySelector(arguments[0]).textContent", css)

    def rows(self, css):
        """The cells of a table's body, as texts."""
        script = (
            "return [...document.querySelectorAll(arguments[0] + ' tbody tr')]"
            ".map(row => [...row.cells].map(cell => cell.textContent))"
        )
        return self.run(script, css)

    def column(self, css, nth=0):
        return [row[nth] for row in self.rows(css)]

    def put(self, identifier, value):
        """Choose a value of a select, or type it into a field."""
        self.run(
            "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
            "e.dispatchEvent(new Event('input', {bubbles: true}))",
            identifier,
            value,
        )

    def open_bars(self):
        """Open the table of the bars and show all of it."""
        self.run("document.getElementById('bars-table').open = true")
        self.frame()

    def frame(self):
        """Wait until the page has drawn what it was asked for."""
        self.driver.execute_async_script(
            "requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(arguments[0])))"
        )

    def keys(self, identifier, *keys):
        element = self.one(f"#{identifier}")
        for key in keys:
            element.send_keys(key)

    def click_at(self, identifier, x, y):
        """Click a canvas, pixels from its upper left corner."""
        from selenium.webdriver import ActionChains

        element = self.one(f"#{identifier}")
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        box = element.size
        # From the middle, as WebDriver has it.
        offset = round(x - box["width"] // 2), round(y - box["height"] // 2)
        ActionChains(self.driver).move_to_element_with_offset(element, *offset).click().perform()
        self.frame()

    def width(self, identifier):
        return self.run("return document.getElementById(arguments[0]).clientWidth", identifier)

    def pixel(self, identifier, x, y):
        self.frame()
        return self.run(
            "const c = document.getElementById(arguments[0]);"
            "const d = c.getContext('2d').getImageData(arguments[1], arguments[2], 1, 1).data;"
            "return [...d]",
            identifier,
            round(x),
            round(y),
        )

    def choose_step(self, depth, batch, schedule):
        told = "inference" if schedule == "inference" else f"training with {schedule}"
        found = self.run(
            "const all = [...document.querySelectorAll('#step option')];"
            "return all.find(o => o.parentElement.label === arguments[0]"
            " && o.label.startsWith(arguments[1])).value",
            f"{told}, depth {depth}",
            f"batch {batch}:",
        )
        self.put("step", found)
        self.frame()
        return page_cases.traced(depth, batch, schedule)

    def media(self, kind="", scheme="light"):
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"media": kind, "features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )
        self.frame()

    def errors(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        """Every address that was asked for since the page was opened."""
        logged = (json.loads(entry["message"]) for entry in self.driver.get_log("performance"))
        return [
            entry["message"]["params"]["request"]["url"]
            for entry in logged
            if entry["message"]["method"] == "Network.requestWillBeSent"
        ]

    @property
    def instant(self):
        """The number of the chosen event."""
        return int(re.match(r"Event (\d+) of", self.text("#instant"))[1])
