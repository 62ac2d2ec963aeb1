"""Every case of every page in `meaning/` holds. `support.cases` says how a case is written."""

from pathlib import Path

import pytest
from support.cases import cases_of, check

PAGES = sorted((Path(__file__).parent / "meaning").glob("*.md"))


@pytest.mark.parametrize("case", [c for page in PAGES for c in cases_of(page)])
def test_the_language_means_what_the_case_says(case):
    check(case)
