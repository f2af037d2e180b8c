"""The SEC's shapes: lists of filings and filings, as its servers give them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


def submission(cik: int, number: str, accepted: str, words: str) -> str:
    return f"""<SEC-DOCUMENT>{number}.txt : 20240201
<SEC-HEADER>{number}.hdr.sgml : 20240201
<ACCEPTANCE-DATETIME>{accepted}
ACCESSION NUMBER:\t\t{number}
CONFORMED SUBMISSION TYPE:\t8-K
PUBLIC DOCUMENT COUNT:\t\t1
CONFORMED PERIOD OF REPORT:\t20240201
FILED AS OF DATE:\t\t20240201

FILER:

\tCOMPANY DATA:
\t\tCOMPANY CONFORMED NAME:\t\t\tACME CORP
\t\tCENTRAL INDEX KEY:\t\t\t000{cik}
</SEC-HEADER>
<DOCUMENT>
<TYPE>8-K
<SEQUENCE>1
<FILENAME>acme.htm
<DESCRIPTION>8-K
<TEXT>
<html><body><p>{words}</p></body></html>
</TEXT>
</DOCUMENT>
</SEC-DOCUMENT>
"""


def submissions(cik: int, numbers: Sequence[str]) -> dict[str, Any]:
    count = len(numbers)
    recent = {
        "accessionNumber": list(numbers),
        "filingDate": ["2024-02-01"] * count,
        "reportDate": ["2024-02-01"] * count,
        "acceptanceDateTime": ["2024-02-01T21:05:00.000Z"] * count,
        "act": ["34"] * count,
        "form": ["8-K"] * count,
        "fileNumber": ["001-1"] * count,
        "filmNumber": ["1"] * count,
        "items": ["2.02"] * count,
        "size": [1000] * count,
        "isXBRL": [0] * count,
        "isInlineXBRL": [0] * count,
        "isXBRLNumeric": [0] * count,
        "core_type": ["8-K"] * count,
        "primaryDocument": ["acme.htm"] * count,
        "primaryDocDescription": ["8-K"] * count,
    }
    return {
        "cik": f"{cik:010d}", "entityType": "operating", "sic": "3571", "sicDescription": "Electronics",
        "insiderTransactionForOwnerExists": 0, "insiderTransactionForIssuerExists": 1,
        "name": "ACME CORP", "tickers": ["ACME"], "exchanges": ["NYSE"], "ein": "1", "description": "",
        "website": "", "investorWebsite": "", "category": "", "fiscalYearEnd": "1231",
        "stateOfIncorporation": "DE", "stateOfIncorporationDescription": "DE",
        "addresses": {
            kind: {"street1": "1 Road", "street2": None, "city": "X", "stateOrCountry": "NY",
                   "zipCode": "1", "stateOrCountryDescription": "NY"}
            for kind in ("mailing", "business")
        },
        "phone": "1", "flags": "", "formerNames": [],
        "filings": {"recent": recent, "files": []},
    }  # fmt: skip


ACCEPTED = ("20240201160500", "20240701070000")
WORDS = ("Acme reports record results.", "Acme names a chairman.")


@dataclass(frozen=True)
class Company:
    """One company of the server's, with two filings."""

    symbol: str
    cik: int

    @property
    def numbers(self) -> tuple[str, str]:
        return f"000{self.cik}-24-000001", f"000{self.cik}-24-000002"

    @property
    def list_path(self) -> str:
        return f"/submissions/CIK{self.cik:010d}.json"

    def path(self, at: int) -> str:
        number = self.numbers[at]
        return f"/Archives/edgar/data/{self.cik}/{number.replace('-', '')}/{number}.txt"

    def filing(self, at: int) -> str:
        return submission(self.cik, self.numbers[at], ACCEPTED[at], WORDS[at])


ACME = Company("ACME-B", 1_234_501)
