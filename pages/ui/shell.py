"""What every page begins with: routing, title, sidebar, the study asked for, and the link to exactly this view."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from engine.record import RecordError
from pages.ui import link, loading, navigation, notify, show, tour


class _EndedError(Exception):
    """The page has said all it can say; raised by `stop`, ended by `page`."""


def stop() -> None:
    """End the page here. Unlike `st.stop` this leaves the address and the link button in order."""
    raise _EndedError


@contextmanager
def page(key: str) -> Iterator[navigation.Place]:
    """Everything around a page's own body. Use it as the page's outermost statement:

    with shell.page("degradation"):
        study = shell.study()
        …
    """
    navigation.guard(key)
    place = navigation.place(key)
    bare = navigation.bare(key)
    st.set_page_config(
        page_title=f"{place.title} · {navigation.NAME}", page_icon="✂️", layout="wide",
        initial_sidebar_state="collapsed" if bare else "auto",
    )  # fmt: skip
    link.begin(key)
    corner = None if bare else _head(place)
    notices = st.container()
    if not bare:
        _sidebar(key)
        tour.banner(key)
    complete = False
    try:
        with loading.one_look():
            yield place
        complete = True
    except _EndedError:
        pass
    except RecordError as error:
        show.problems([str(error)], "A file of this store cannot be read.")
    link.finish(complete)
    _notices(notices)
    if corner is not None:
        with corner:
            _copy_link()


def _head(place: navigation.Place) -> st.delta_generator.DeltaGenerator:
    """Title and sentence of a page; returns the corner for the link."""
    head, corner = st.columns([5, 1], vertical_alignment="bottom")
    head.title(place.heading, anchor=False)
    st.caption(place.what)
    return corner


def _sidebar(key: str) -> None:
    with st.sidebar:
        if key != "monitor":  # which looks by itself, and more often
            notify.watch()
        if loading.readonly():
            st.badge(
                "Read-only",
                color="gray",
                help="PRUNOSCOPE_READONLY is set: nothing can be started, stopped or written here.",
            )
        st.caption(f"Store {show.escape(loading.store().name)}", help=show.escape(loading.store()))


def _notices(where: st.delta_generator.DeltaGenerator) -> None:
    found = [text for text, _ in link.current().problems.values()]
    if found:
        where.warning(
            "\n".join(
                ["The link asks for what this page cannot show:", "", *(f"- {show.escape(text)}" for text in found)]
            )
        )


def _copy_link() -> None:
    with st.popover("Copy link", width="stretch"):
        st.caption("Opens exactly this view: every setting is written out, defaults too.")
        st.code(link.address(), language=None, wrap_lines=True)


def study(optional: bool = False, hidden: bool = False) -> str | None:
    """The study in the address or the sidebar; ends the page where there is none to show.

    One that is not in this store is reported and nothing is shown in its place. With `optional`, None means all. With
    `hidden` there is no picker: the address alone says which.
    """
    names = loading.studies()
    if not names and not optional:
        show.empty(f"There is no study in this store yet: {loading.store()}.", "new-study", "Describe a first study")
        stop()
    with st.sidebar:
        chosen = _pick(names, optional, hidden)
    if "study" in link.current().problems:
        st.info("Choose a study in the sidebar, or go back to the list of studies.")
        navigation.link("home", "All studies of this store")
        stop()
    if chosen is not None:
        _report_broken(chosen)
    return chosen


def _report_broken(study: str) -> None:
    broken = loading.facts(study).broken
    if broken:
        lines = "\n".join(f"- {show.escape(run)}: {show.escape(reason)}" for run, reason in broken.items())
        st.warning(f"{len(broken)} of the study's run folders cannot be read and are left out:\n\n{lines}")


def _pick(names: list[str], optional: bool, hidden: bool) -> str | None:
    """The picker; None for all studies, and for a study in the address that is not there."""
    options = ["", *names] if optional else names

    def decode(raw: list[str]) -> str:
        if raw[-1] not in options:
            raise ValueError(f"there is no such study in this store; studies here: {', '.join(names) or 'none'}")
        return raw[-1]

    key = link.settle("study", decode, lambda value: value in options, options[0], instead=None)
    now = st.session_state[key]
    place = None if now is None else options.index(now)
    chosen = (
        now
        if hidden
        else st.selectbox(
            "Study", options, place, lambda name: name or "All studies", key=key, placeholder="Choose a study"
        )
    )
    if chosen is not None:
        link.record("study", chosen, [chosen])
    return chosen or None


def action(label: str, key: str, primary: bool = False, help: str | None = None, disabled: bool = False) -> bool:
    """A button that changes something; on a read-only server it is there, disabled, and says why."""
    blocked = loading.readonly()
    return bool(
        st.button(
            label, key=key, type="primary" if primary else "secondary", disabled=disabled or blocked,
            help="This server is read-only." if blocked else help,
        )
        and not blocked
    )  # fmt: skip
