"""Text of PowerPoint's slides: titles, texts also of groups, tables, charts and diagrams, and the speaker's notes."""

from __future__ import annotations

from collections.abc import Iterator

from folkmoot.files.formats.parts import Element, Parts, all_of, attribute, children, first, local, row

TITLES = ("title", "ctrTitle")
NOT_READ = ("sldNum", "dt")
"""Placeholders of what changes by itself."""


def read(path: str) -> Iterator[str]:
    """Yield a presentation's text, slide by slide."""
    parts = Parts(path)
    main = parts.main()
    slides = parts.related(main)
    order = (attribute_of_relation(each) for each in all_of(parts.root(main), "sldId"))
    for number, name in enumerate((slides[each][1] for each in order if each in slides), 1):
        yield from _slide(parts, name, number)


def attribute_of_relation(element: Element) -> str:
    """Return the identifier of the part that an element names; its own has no namespace."""
    return next((value for key, value in element.attrib.items() if key.endswith("}id")), "")


def _slide(parts: Parts, name: str, number: int) -> Iterator[str]:
    tree = first(parts.root(name), "cSld", "spTree")
    shapes = [] if tree is None else list(_shapes(tree))
    title = next((shape for shape in shapes if _placeholder(shape) in TITLES), None)
    words = "" if title is None else " ".join(_text(title).split())
    yield f"## Slide {number}: {words}" if words else f"## Slide {number}"
    for shape in shapes:
        if shape is not title:
            yield from _of_shape(parts, name, shape)
    for notes in parts.of_type(name, "notesSlide"):
        bodies = (shape for shape in all_of(parts.root(notes), "sp") if _placeholder(shape) == "body")
        said = "\n".join(map(_text, bodies)).strip()
        yield f"Notes: {said}" if said else ""


def _shapes(tree: Element) -> Iterator[Element]:
    """Yield the shapes of a slide, those in groups too."""
    for child in children(tree):
        if local(child) == "grpSp":
            yield from _shapes(child)
        elif local(child) in ("sp", "graphicFrame"):
            yield child


def _of_shape(parts: Parts, slide: str, shape: Element) -> Iterator[str]:
    if local(shape) == "sp":
        yield "" if _placeholder(shape) in NOT_READ else _text(shape)
        return
    for table in all_of(shape, "tbl"):
        rows = (each for each in table if local(each) == "tr")
        yield "\n".join(row(_text(cell) for cell in each if local(cell) == "tc") for each in rows)
    related = parts.related(slide)
    for chart in all_of(shape, "chart"):
        if (identifier := attribute_of_relation(chart)) in related:
            yield from _chart(parts.root(related[identifier][1]))
    for diagram in all_of(shape, "relIds"):
        if (identifier := attribute(diagram, "dm") or "") in related:
            yield _text(parts.root(related[identifier][1]))


def _placeholder(shape: Element) -> str | None:
    """Return what a shape is a place for; None when it is none."""
    found = next(all_of(shape, "ph"), None)
    return None if found is None else found.get("type", "obj")


def _text(element: Element) -> str:
    """Return the paragraphs in an element, a line each."""
    return "\n".join(filter(None, map(_paragraph, all_of(element, "p"))))


def _paragraph(paragraph: Element) -> str:
    read = (each for each in paragraph.iter() if local(each) in ("t", "br"))
    return "".join((each.text or "") if local(each) == "t" else "\n" for each in read)


def _chart(chart: Element) -> Iterator[str]:
    """Yield what is drawn: its title, and each series with its values."""
    title = next(all_of(chart, "title"), None)
    yield "" if title is None else f"Chart: {_text(title)}"
    lines: list[str] = []
    for series in all_of(chart, "ser"):
        names, categories, values = (_points(first(series, name)) for name in ("tx", "cat", "val"))
        if not lines and categories:
            lines.append(row(["", *categories]))
        lines.append(row([*(names or [""]), *values]))
    yield "\n".join(lines)


def _points(element: Element | None) -> list[str]:
    return [] if element is None else [each.text or "" for each in all_of(element, "v")]
