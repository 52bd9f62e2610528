"""A browser for the tests of pages, without a window and without a network."""

import pytest
from browsed import Page
from optional import find_program, load_optional

ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"),
    *("--window-size=1280,800", "--force-device-scale-factor=1", "--hide-scrollbars"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
)


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium, driven by selenium."""
    webdriver = load_optional("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = find_program("chromium", "chromium-browser", "google-chrome")
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=find_program("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium):
    made = Page(chromium)
    made.media()
    return made
