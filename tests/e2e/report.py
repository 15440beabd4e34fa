#!/usr/bin/env python3
"""The page of `shmrec report`, in a real Chromium: what it says and shows is what the commands say.

usage: report.py --shmrec PATH PRODUCER_CONSUMER
Records the producer/consumer example until it fails, writes its page, and clicks through it: the paragraph of
the death, the timeline's zoom, a cell of the map and its accesses, a hot line, keys, dark colours, a narrow
window. Then the page of a program whose names are markup. Nothing may be fetched, and no error be on the console.
Exit status: 0 if so, 1 if not, 77: no Chromium.
"""

import argparse
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile

try:
    import html5lib
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

HOSTILE = """
import ctypes, mmap, os
name = "</script><img src=x onerror='document.title=1'>"
ctypes.CDLL(None).prctl(15, b"<b>bold</b>", 0, 0, 0)
file = os.memfd_create(name)
os.ftruncate(file, 4096)
memory = mmap.mmap(file, 4096)
memory[0:4] = b"abcd"
assert memory[0:4] == b"abcd"
os.kill(os.getpid(), 6)
"""


def record(shmrec, top, command):
    bundle = os.path.join(top, "run.shmrec.tar.zst")
    subprocess.run([shmrec, "run", "--spool", os.path.join(top, "spool"), "-o", bundle, "--", *command], cwd=top,
                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return bundle


def write_page(shmrec, bundle):
    page = os.path.join(os.path.dirname(bundle), "page.html")
    subprocess.run([shmrec, "report", bundle, "-o", page], check=True, stderr=subprocess.DEVNULL, timeout=100)
    assert stat.S_IMODE(os.stat(page).st_mode) == 0o600, oct(os.stat(page).st_mode)
    assert os.stat(page).st_size < 5000000, os.stat(page).st_size
    with open(page, encoding="utf-8") as text:
        html5lib.HTMLParser(strict=True).parse(text.read())  # raises where the page is not valid
    return page


def ask(shmrec, *arguments):
    done = subprocess.run([shmrec, *arguments, "--json"], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, timeout=100)
    return json.loads(done.stdout)


class Browser:
    def __init__(self, top):
        options = webdriver.ChromeOptions()
        for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,900",
                     "--user-data-dir=" + os.path.join(top, "profile")):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def open(self, page):
        self.driver.get("about:blank")
        self.driver.get_log("performance")  # of the browser's own first page
        self.page = page
        self.driver.get("file://" + page)

    def check_quiet(self):
        """No error on the console, and nothing asked for but the page."""
        errors = [entry for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]
        assert not errors, errors
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] != "Network.requestWillBeSent":
                continue
            url = message["params"]["request"]["url"]
            assert url == "file://" + self.page, "the page asks for " + url

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        found = self.all(selector)
        assert len(found) == 1, "%d of %s" % (len(found), selector)
        return found[0]

    def text(self, selector):
        return self.one(selector).text

    def keys(self, selector, *keys):
        self.driver.execute_script("arguments[0].focus()", self.one(selector))
        ActionChains(self.driver).send_keys(*keys).perform()

    def click(self, element):
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        ActionChains(self.driver).move_to_element(element).click().perform()

    def media(self, name, value):
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": name, "value": value}]})

    def back_colour(self):
        return self.driver.execute_script("return getComputedStyle(document.body).backgroundColor")

    def data(self):
        return json.loads(self.driver.execute_script("return document.getElementById('data').textContent"))


def expect(pattern, text):
    found = re.search(pattern, text)
    assert found, "no %r in:\n%s" % (pattern, text)
    return found


def check_story(browser, shmrec, bundle):
    """Who died, where, what it had read, and who had written that: as blame says."""
    story = browser.text("#story")
    expect(r"^consumer \(pid \d+\) died of SIGABRT in consumer_run \(shmem_producer_consumer\.c:\d+\), called from main, "
           r"\d+\.\d{6} s after", story)
    value, where, offset, place = expect(r"The last that it read of shared memory was (-?\d+) at (\S+)\+(0x[0-9a-f]+) "
                                         r"\(4 bytes\) in consumer_run \(shmem_producer_consumer\.c:(\d+)\)", story).groups()
    writer, line, time = expect(r"producer \(pid \d+\), recording (\S+), had written it in producer_run "
                                r"\(shmem_producer_consumer\.c:(\d+)\) at ([\d,]+:0x[0-9a-f]+)", story).groups()
    answer = ask(shmrec, "blame", bundle, "--recording", "consumer", "--len", "4", where + "+" + offset)
    writes = [row for row in answer["rows"] if not row["current"] and not row.get("later")]
    assert (writes[-1]["recording"], writes[-1]["line"], writes[-1]["time"]) == (writer, int(line), time), (writes, story)
    assert str(writes[-1]["number"]) == value if "number" in writes[-1] else True
    current = browser.all("#readings tr.current")
    assert current and "consumer_run" in current[0].text and value in current[0].text, [row.text for row in current]


def check_processes(browser):
    rows = [row.text for row in browser.all("#process-tree tbody tr")]
    assert len(rows) == 2 and "producer" in rows[0] and "consumer" in rows[1] and "└─" in rows[1], rows
    bad = [cell.text for cell in browser.all("#process-tree td.bad")]
    assert bad == ["exit 1", "SIGABRT"], bad


def span(browser):
    begin, end = re.findall(r"[\d,]+\.\d+", browser.text("#timeline-range"))
    return float(end.replace(",", "")) - float(begin.replace(",", ""))


def bars(browser):
    return [path.get_attribute("d") for path in browser.all("#timeline-chart path.reads, #timeline-chart path.writes")]


def check_timeline(browser):
    whole, drawn = span(browser), bars(browser)
    assert any(drawn), drawn
    browser.click(browser.one("#zoom-in"))
    assert abs(span(browser) - whole / 2) < whole / 100, (whole, span(browser))
    assert bars(browser) != drawn
    browser.keys("#timeline-chart svg", "+", "+")
    assert abs(span(browser) - whole / 8) < whole / 100, (whole, span(browser))
    before = browser.text("#timeline-range")
    browser.keys("#timeline-chart svg", Keys.ARROW_LEFT)
    assert browser.text("#timeline-range") != before
    browser.keys("#timeline-chart svg", "0")
    assert abs(span(browser) - whole) < 2e-6 and bars(browser) == drawn
    deaths = [glyph.get_attribute("textContent") for glyph in browser.all("#timeline-chart text.death")]
    assert len(deaths) == 2 and "exit 1 at " in deaths[0] and "SIGABRT at " in deaths[1], deaths


def check_map(browser, shmrec, bundle):
    """A cell's table has the accesses that shmrec timeline lists there."""
    data = browser.data()
    producer = [one["name"] for one in data["processes"]].index("producer")
    names = [chosen["label"] for chosen in data["maps"]]
    number, chosen, cell = next((i, chosen, cell) for i, chosen in enumerate(data["maps"])
                                for cell in reversed(chosen["cells"]) if cell[4] == producer and cell[7])
    Select(browser.one("#map-segment")).select_by_index(number)
    browser.click(browser.one("#map-chart rect[data-cell='%d,%d']" % (cell[0], cell[1])))
    table = browser.text("#map-accesses p.title")
    assert table.startswith("%s+0x%x" % (names[number], cell[0] * chosen["rowBytes"])), table
    heads = [head.text for head in browser.all("#map-accesses th")]
    rows = [dict(zip(heads, (entry.text for entry in row.find_elements(By.CSS_SELECTOR, "td"))))
            for row in browser.all("#map-accesses tbody tr")]
    assert len(rows) == len(cell[7]), (rows, cell)
    written = [row for row in rows if row["Type"] == "write"]
    assert written and all(row["Program"] == "producer" and row["Function"] == "producer_run" and
                           row["File:line"].startswith("shmem_producer_consumer.c:") for row in written), rows
    for row in rows:
        listed = ask(shmrec, "timeline", bundle, "--len", row["Len"], row["Segment"])["rows"]
        assert any((one["recording"], one["time"], one["type"], str(one["line"])) ==
                   (row["Recording ID"], row["Time in recording"], row["Type"], row["File:line"].split(":")[1])
                   for one in listed), (row, listed)
    assert "producer (pid" in browser.text("#map-accesses .notes"), browser.text("#map-accesses .notes")
    browser.keys("#map-chart svg", Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    expect(r"^%s\+0x[0-9a-f]+ to " % re.escape(names[number]), browser.text("#map-readout"))
    browser.keys("#map-chart svg", Keys.ARROW_UP, Keys.ARROW_LEFT, Keys.ENTER)
    assert browser.text("#map-accesses") != table


def check_lines(browser, shmrec, bundle):
    browser.click(browser.all("#hot tbody tr button")[0])
    line = browser.all("#hot tbody tr button")[0].text
    rows = browser.all("#line-accesses tbody tr")
    listed = ask(shmrec, "timeline", bundle, "--len", "64", "--limit", "12", line)["rows"]
    assert len(rows) == len(listed) > 0, (len(rows), len(listed))
    for row, one in zip(rows, listed):
        assert one["time"] in row.text and one["recording"] in row.text, (row.text, one)


def check_looks(browser):
    light = browser.back_colour()
    browser.media("prefers-color-scheme", "dark")
    assert browser.back_colour() != light
    browser.media("prefers-color-scheme", "light")
    assert browser.back_colour() == light
    browser.driver.set_window_size(500, 800)
    wide = browser.driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0, "the page is %d pixels too wide for a narrow window" % wide


def the_story(shmrec, program):
    with tempfile.TemporaryDirectory(prefix="shmrec-report-test-") as top, Browser(top) as browser:
        bundle = record(shmrec, top, [program])
        page = write_page(shmrec, bundle)
        browser.open(page)
        check_story(browser, shmrec, bundle)
        check_processes(browser)
        check_timeline(browser)
        check_map(browser, shmrec, bundle)
        check_lines(browser, shmrec, bundle)
        assert "read" in browser.text("#sharing-table") and "producer" in browser.text("#sharing-table")
        assert browser.text("#coverage-summary")
        check_looks(browser)
        browser.check_quiet()


def hostile_names(shmrec):
    with tempfile.TemporaryDirectory(prefix="shmrec-report-test-") as top, Browser(top) as browser:
        bundle = record(shmrec, top, [sys.executable, "-c", HOSTILE])
        browser.open(write_page(shmrec, bundle))
        assert "<b>bold</b> (pid" in browser.text("#story"), browser.text("#story")
        assert "</script><img src=x" in browser.text("#sharing-table"), browser.text("#sharing-table")
        assert not browser.all("img, b") and browser.driver.title.endswith("shmrec report"), browser.driver.title
        browser.check_quiet()


def errors(shmrec):
    with tempfile.TemporaryDirectory(prefix="shmrec-report-test-") as top:
        for words, status, said in ((["report"], 2, "BUNDLE is required"), (["report", "nothing"], 2, "nothing"),
                                    (["report", "--help"], 0, "BUNDLE")):
            done = subprocess.run([shmrec, *words], cwd=top, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
            assert done.returncode == status and said in done.stdout.decode(), (words, done)
        with open(os.path.join(top, "broken.shmlog"), "wb") as file:
            file.write(b"SHMRLOG1" + bytes(100))
        done = subprocess.run([shmrec, "report", "broken.shmlog"], cwd=top, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60)
        assert done.returncode == 2 and not os.path.exists(os.path.join(top, "broken.html")), done


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("program")
    options = parser.parse_args()
    options.shmrec = os.path.abspath(options.shmrec)
    errors(options.shmrec)
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        print("skipped: no chromium with chromedriver")
        return 77
    the_story(options.shmrec, os.path.abspath(options.program))
    hostile_names(options.shmrec)
    return 0


if __name__ == "__main__":
    sys.exit(main())
