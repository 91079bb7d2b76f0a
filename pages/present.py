"""Present: one figure per screen with its sentence, walked through with the arrow keys; the storyboard; the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from analysis import storyboard
from engine.record import RecordError
from pages.ui import controls, deck, jobs, loading, measured, measuring, navigation, shell, show
from pages.ui.deck import Screen

EDIT, SHOW = "edit", "show"
UNDO = "present.undo"


# -- presenting ----------------------------------------------------------------------------------------------------


def present(screens: Sequence[Screen], place: int) -> None:
    """One screen and nothing else but what leads on."""
    last = len(screens) - 1
    deck.draw(screens[place], show.dark())
    back, on, where, live, leave = st.columns([1, 1, 2, 3, 2], vertical_alignment="center")
    back.button("Back", key="back", shortcut="Left", on_click=deck.put, args=("slide", str(max(1, place))), disabled=place == 0, width="stretch")  # fmt: skip
    on.button("Next", key="on", shortcut="Right", on_click=deck.put, args=("slide", str(min(last, place + 1) + 1)), disabled=place == last, width="stretch")  # fmt: skip
    where.caption(f"{place + 1} of {len(screens)}")
    with live:
        navigation.link(screens[place].page, "See it live", **screens[place].query)
    leave.button("Leave", key="leave", shortcut="Escape", type="tertiary", on_click=deck.put, args=("mode", EDIT))


# -- the storyboard ------------------------------------------------------------------------------------------------


def contents(study: str, which: str, screens: Sequence[Screen]) -> None:
    """What the deck holds; kept views can be put in order, given a sentence and taken out."""
    if which == deck.OWN:
        for number, screen in enumerate(screens, 1):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"{number}. {show.escape(screen.title)}", width="stretch")
                navigation.link(screen.page, "Open", **screen.query)
        return
    for place, screen in enumerate(screens):
        kept_view(study, place, len(screens), screen)


def kept_view(study: str, place: int, count: int, screen: Screen) -> None:
    """One kept view: what it shows, its sentence and its place."""
    key = f"{study}-{place}-{count}-{hash(screen.title)}"
    with st.container(border=True):
        st.caption(f"{place + 1}. {show.escape(navigation.place(screen.page).title)}: {show.escape(screen.title)}")
        said = st.text_input(
            "Sentence", screen.sentence, key=f"sentence-{key}", max_chars=300, placeholder="What it should say to the audience; empty: its own reading",
            label_visibility="collapsed", disabled=loading.readonly(),
        )  # fmt: skip
        if said != screen.sentence and not loading.readonly():
            edit(study, lambda slides: [*slides[:place], replace(slides[place], sentence=said), *slides[place + 1 :]])
        with st.container(horizontal=True, vertical_alignment="center"):
            if shell.action("Up", f"up-{key}", disabled=place == 0):
                edit(study, lambda slides: storyboard.moved(slides, place, -1))
            if shell.action("Down", f"down-{key}", disabled=place == count - 1):
                edit(study, lambda slides: storyboard.moved(slides, place, 1))
            if shell.action("Take out", f"out-{key}"):
                st.session_state[UNDO] = (study, storyboard.read(loading.store(), study))
                edit(study, lambda slides: [*slides[:place], *slides[place + 1 :]])
            navigation.link(screen.page, "See it live", **screen.query)


def edit(study: str, change: object) -> None:
    """Change the storyboard and draw the page anew."""
    slides = storyboard.read(loading.store(), study)
    storyboard.write(loading.store(), study, change(slides))  # type: ignore[operator]
    st.rerun()


def undo(study: str) -> None:
    """Bring back what was taken out last."""
    kept = st.session_state.get(UNDO)
    if kept and kept[0] == study and shell.action("Undo: put the view back", "undo"):
        del st.session_state[UNDO]
        storyboard.write(loading.store(), study, kept[1])
        st.rerun()


# -- the report ----------------------------------------------------------------------------------------------------


def report(study: str) -> None:
    """One HTML file to hand round: written by a process of its own, kept beside the study."""
    st.subheader("Report", anchor=False)
    st.markdown(
        "One HTML file with every figure, the tables, methods with their sources, seeds, versions, licences, caveats and the command "
        "that reproduces it. It opens offline and prints."
    )
    job = jobs.Job(loading.store() / ".jobs" / f"report-{study}")
    with st.container(horizontal=True, vertical_alignment="center"):
        without = st.toggle(
            "Without corpus sentences", key="report-no-text", help="For data that must not leave the house."
        )
        # Two files, so that nobody who asks for the one without sentences downloads the other.
        path = loading.store() / study / ("report-without-text.html" if without else "report.html")
        if shell.action("Write the report", "report", disabled=job.running()):
            options = ["--no-text"] if without else []
            job.start(
                ["analysis", "report", str(loading.store()), "--study", study, "--to", str(path), *options], study
            )
            st.rerun()
        if path.exists() and not job.running():
            st.download_button("Download the report", path.read_bytes, f"{study}{'-without-text' if without else ''}.html", "text/html", on_click="ignore", type="primary")  # fmt: skip
            st.caption(f"{show.size(path.stat().st_size)}, written {show.ago(path.stat().st_mtime)}")
    st.fragment(wait, run_every=1 if job.running() else None)(study)


def wait(study: str) -> None:
    """Look whether the report is written; what went wrong with it."""
    job = jobs.Job(loading.store() / ".jobs" / f"report-{study}")
    watched = "present.writing"
    if job.running():
        st.session_state[watched] = study
        st.caption("Writing the report …")
    elif st.session_state.pop(watched, None) == study:
        st.rerun()
    elif job.facts() and job.errors():
        show.problems(job.errors(), "The last report said:")


# -- the page ------------------------------------------------------------------------------------------------------


def prepare(study: str, which: str, screens: Sequence[Screen]) -> None:
    """The page before presenting: what the deck holds, the button that starts it, the report."""
    kept = len(storyboard.read(loading.store(), study))
    if screens:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button("Present", key="start", type="primary", icon="▶️", on_click=deck.put, args=("mode", SHOW))
            st.caption("Arrow keys walk through it, Escape leaves. The address of a screen opens exactly that screen.")
        contents(study, which, screens)
    elif which == deck.KEPT:
        show.empty("No view has been kept yet. Under every figure “Data and export” has a button that keeps it.", "degradation", "Open the figures", study=study)  # fmt: skip
    if which == deck.OWN:
        count = f"{kept} kept views. " if kept else ""
        st.caption(f"{count}Keep views of your own under “Data and export” of any figure.")
    undo(study)
    report(study)


def main() -> None:
    """Choose what the address asks for."""
    mode = deck.choice("mode", [EDIT, SHOW], EDIT)
    study = shell.study(hidden=mode == SHOW)
    assert study is not None
    measured.finished(study)
    if loading.measure(study, "degradation") is None:
        measuring.missing(study, measured.UNMEASURED, "present")
        shell.stop()
    if mode == SHOW:
        which = deck.choice("deck", list(deck.DECKS), deck.OWN)
    else:
        which = controls.choose(
            "deck", "Walk through", list(deck.DECKS), deck.OWN, deck.DECKS.__getitem__, kind="segments"
        )
    try:
        screens = deck.screens(study, which)
    except RecordError as error:
        show.problems([str(error)], "There is nothing to present.")
        screens = []
    numbers = [str(number + 1) for number in range(max(1, len(screens)))]
    place = int(deck.choice("slide", numbers, "1")) - 1
    if mode == SHOW and screens:
        present(screens, place)
    else:
        prepare(study, which, screens)


with shell.page("present"):
    main()
