"""Times as vendors write them."""

from __future__ import annotations

import pytest

from core.stamps import iso_text

SAME = "2011-03-14T09:15:00-04:00"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Mon, 14 Mar 2011 09:15:00 -0400", SAME),
        ("14 Mar 2011 09:15 -04:00", SAME),
        ("Mon, 14 Mar 2011 09:15:00 EDT", SAME),
        ("Monday, 14-Mar-11 09:15:00 EDT", SAME),
        ("Mon, 14 Mar 2011 09:15:00 -0400 (EDT)", SAME),
        ("Mon Mar 14 09:15:00 -0400 2011", SAME),
        ("Mon Mar 14 09:15:00 EDT 2011", SAME),
        ("March 14, 2011, 9:15 AM EDT", SAME),
        ("Mar 14, 2011 at 09:15 a.m. EDT", SAME),
        ("20110314T091500-0400", SAME),
        ("20110314T0915-04", SAME),
        ("20110314 091500-0400", SAME),
        ("2011-03-14 09:15:00 EDT", SAME),
        ("Wed Oct 10 20:19:24 +0000 2018", "2018-10-10T20:19:24+00:00"),
        ("Wed, 10 Oct 2018 20:19:24 GMT", "2018-10-10T20:19:24+00:00"),
        ("Wed, 10 Oct 2018 20:19:24 UT", "2018-10-10T20:19:24+00:00"),
        ("Wed, 10 Oct 2018 20:19:24 GMT+0200", "2018-10-10T20:19:24+02:00"),
        ("20181010T201924Z", "2018-10-10T20:19:24+00:00"),
        ("20181010201924", "2018-10-10T20:19:24"),  # no zone is made up
        ("Wed Oct 10 20:19:24 2018", "2018-10-10T20:19:24"),
        ("Sun, 01 Jan 50 00:00:00 GMT", "1950-01-01T00:00:00+00:00"),
        ("Fri, 01 Jan 49 00:00:00 GMT", "2049-01-01T00:00:00+00:00"),
        ("12 Oct 2018 12:30 AM GMT", "2018-10-12T00:30:00+00:00"),
        ("1539202764.5", "1539202764500000000"),
    ],
)
def test_forms_of_mail_feeds_and_networks(text: str, told: str) -> None:
    assert iso_text(text) == told


@pytest.mark.parametrize(
    "text",
    [
        "Tue, 14 Mar 2011 09:15:00 -0400",  # a Monday
        "Mon, 14 Mar 2011 09:15:00 IST",  # India, Israel or Ireland
        "30 Feb 2011 09:15:00 GMT", "14 Mrz 2011 09:15 GMT", "14 Mar 2011 13:15 PM GMT",
        "2011-03-14T09:15:00-04:00", "2011-03-14", "1300108500", "1300108500000", "20110314", "soon", "",
    ],
)  # fmt: skip
def test_everything_else_comes_back_as_it_was(text: str) -> None:
    assert iso_text(text) == text
