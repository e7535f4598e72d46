# SPDX-License-Identifier: Apache-2.0
"""What of a DICOM header's texts about the scanner may be stored: names of known makers, models and coils alone.

These fields are free text in which people, hospitals and rooms are written. A text that is not known completely becomes
``other``, and no part of it is kept.
"""

from __future__ import annotations

import re

__all__ = ["OTHER", "known_coil", "known_maker", "known_model"]

OTHER = "other"

_MAKERS = re.compile(
    r"siemens(?: healthineers| healthcare| healthcare gmbh| medical systems)?"
    r"|ge|ge medical systems|ge healthcare|general electric"
    r"|philips(?: medical systems| healthcare)?"
    r"|toshiba(?:[_ ]mec| medical systems)?|canon(?:[_ ]mec| medical systems)?"
    r"|hitachi(?: medical corporation| healthcare)?|fujifilm(?: healthcare)?|uih|united imaging(?: healthcare)?"
    r"|bruker|esaote|samsung|mediso|other",
    re.IGNORECASE,
)
# By their first word, so that a maker is known whatever stands after it.
_FIRST_WORDS = {
    "siemens": "SIEMENS",
    "ge": "GE",
    "philips": "Philips",
    "toshiba": "TOSHIBA",
    "canon": "Canon",
    "hitachi": "Hitachi",
    "uih": "UIH",
}

_SIEMENS = (
    r"(?:magnetom[ _-]?)?(?:trio(?: ?tim)?|skyra(?:[ _]fit)?|prisma(?:[ _]?fit)?|verio(?:[ _]dot)?|vida(?:[ _]fit)?"
    r"|lumina|aera|avanto(?:[ _]?fit)?|espree|essenza|sola(?:[ _]fit)?|altea|amira|sempra|symphony(?: ?tim)?|sonata"
    r"|harmony|allegra|spectra|terra(?:\.x)?|cima\.x|biograph[ _-]?mmr|free\.max|flow)"
)
_GE = (
    r"(?:signa|discovery|optima|genesis|signa[ _]excite|signa[ _]hdxt?|signa[ _]premier|signa[ _]pet/mr|signa[ _]architect"
    r"|signa[ _]artist|signa[ _]voyager|signa[ _]pioneer|signa[ _]hero|genesis[ _]signa|signa[ _]infinity)"
    r"(?:[ _]?mr ?\d{3}w?)?(?:[ _](?:twinspeed|echospeed))?"
)
_PHILIPS = (
    r"(?:achieva|ingenia|intera|gyroscan|panorama|multiva|prodiva|elition|ambition|evolution)"
    r"(?:[ _](?:nova|dstream|tx|cx|omega|elition|elition[ _][xs]|ambition|ambition[ _][xs]|evolution|nt|ir|hfo))*"
)
_OTHER_MAKERS = (
    r"(?:vantage|titan|elan|galan|orian|excelart|echelon|oasis|aperto|umr[ _-]?\d{3})"
    r"(?:[ _](?:titan|elan|galan|orian))?"
)
_STRENGTH = r"(?:[ _]?(?:0\.55|1\.5|3(?:\.0)?|7)[ _]?t)?"
_MODELS = re.compile(rf"(?:{_SIEMENS}|{_GE}|{_PHILIPS}|{_OTHER_MAKERS}){_STRENGTH}", re.IGNORECASE)

_COIL_WORDS = (
    r"endo|rectal|endorectal|ecoil|prostate|pelvi[cs]|torso|body|cardiac|spine|surface|array|phased|phasedarray|flex|matrix"
    r"|anterior|posterior|upper|lower|head|neck|knee|breast|abdomen|large|small|medium|integrated|quad|quadrature"
    r"|sense|dstream|coils?|channels?|ch|element|elements|gem|air|aa|medrad|torsopa|torsoc|xl|q"
)
_COIL_WORD = re.compile(rf"(?:\d{{1,2}} ?ch|8us|\d{{1,2}})?(?:{_COIL_WORDS})?(?<=[a-z])\d{{0,2}}", re.IGNORECASE)
# Siemens lists the elements in use: "BO1,2;SP1-3", "C:HEA;HEP".
_ELEMENTS = r"(?:(?:bo|sp|pa|bl|bp|bs|fl|fs|kn|sh)\d(?:[,-]\d)*|he[ap]?\d?(?:[,-]\d)*|hnp|ne\d|bc|sps|hea|hep)"
_COIL_ELEMENTS = re.compile(rf"(?:[a-z]:)?{_ELEMENTS}(?:[;,]{_ELEMENTS})*", re.IGNORECASE)


def known_maker(text: str) -> str:
    """Return a maker's name as it stands, its short name where more stands after it, or ``other``.

    Example:
        >>> known_maker("Philips Medical Systems"), known_maker("SIEMENS MERCY HOSPITAL"), known_maker("DOE")
        ('Philips Medical Systems', 'SIEMENS', 'other')
    """
    if _MAKERS.fullmatch(text):
        return text
    first = re.match(r"[A-Za-z]*", text)
    return _FIRST_WORDS.get(first[0].lower() if first else "", OTHER)


def known_model(text: str) -> str:
    """Return a model's name if all of it is known, or ``other``.

    Example:
        >>> known_model("TrioTim"), known_model("DISCOVERY MR750w"), known_model("Skyra MERCY HOSPITAL")
        ('TrioTim', 'DISCOVERY MR750w', 'other')
    """
    return text if _MODELS.fullmatch(text) else OTHER


def known_coil(text: str) -> str:
    """Return a coil's name if it consists of words for coils, with at most one number, or of element names, or ``other``.

    Example:
        >>> known_coil("Endorectal"), known_coil("BO1,2;SP1-3"), known_coil("DOE^JOHN coil"), known_coil("coil 01.02.50")
        ('Endorectal', 'BO1,2;SP1-3', 'other', 'other')
    """
    if _COIL_ELEMENTS.fullmatch(text):
        return text
    # The signs between words are not free either: another than these could be a name in letters that are no letters here.
    words = re.split(r"[ _.,:;/+()-]+", text)
    numbers = [word for word in words if re.fullmatch(r"\d{1,2}", word)]
    known = [word for word in words if _COIL_WORD.fullmatch(word)]
    empty = words.count("")
    complete = len(numbers) + len(known) + empty == len(words)
    return text if complete and known and len(numbers) <= 1 else OTHER
