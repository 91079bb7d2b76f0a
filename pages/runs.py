"""Runs: every run of the store in one table; names, tags and notes; archive, delete with a way back, take out, bring in."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from analysis import storyboard
from engine import record
from engine.record import RecordError
from pages.ui import controls, jobs, keeping, live, loading, measuring, navigation, shell, show

MOST_PICKED = 20
CONTROLS = ("dense", "dense_continued")
SAID = "runs.said"


def table(runs: list[live.Live], archived: bool, tag: str) -> pd.DataFrame:
    """One row per run that is shown."""
    rows = []
    for run in runs:
        study, _, name = run.name.partition("/")
        own, whole = keeping.labels(study, name), keeping.labels(study)
        hidden = bool(own.get("archived") or whole.get("archived"))
        found = [*(own.get("tags") or []), *(whole.get("tags") or [])]
        if (hidden and not archived) or (tag and tag not in found):
            continue
        rows.append(
            {
                "run": run.name, "title": str(own.get("title") or ""), "state": run.state + (", archived" if hidden else ""),
                "tags": found, "disk": keeping.disk(study, name), "changed": pd.Timestamp(run.changed, unit="s") if run.changed else None,
                "note": str(own.get("note") or ""), "open": _results(study, name), "watch": f"monitor?study={study}&run={run.name}",
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _results(study: str, run: str) -> str:
    """The address of a run's results: its own method where it prunes."""
    method = run.rpartition("-s")[0]
    return f"degradation?study={study}" + ("" if method in CONTROLS else f"&method={method}")


def tags_of(runs: list[live.Live]) -> list[str]:
    """Every tag in use."""
    studies = dict.fromkeys(run.name.partition("/")[0] for run in runs)
    places = [(study, "") for study in studies] + [tuple(run.name.split("/", 1)) for run in runs]
    return sorted({str(tag) for study, run in places for tag in keeping.labels(study, run).get("tags") or []})


def draw(frame: pd.DataFrame) -> list[str]:
    """The table; returns the runs that are ticked."""
    column = st.column_config
    event = st.dataframe(
        frame.assign(disk=frame["disk"] / 1e6), hide_index=True, key="runs-table", on_select="rerun", selection_mode="multi-row",
        height=min(560, 38 + 35 * len(frame)),
        column_config={
            "disk": column.NumberColumn("disk (MB)", format="%.1f"), "changed": column.DatetimeColumn("changed", format="distance"),
            "tags": column.ListColumn("tags"), "open": column.LinkColumn("results", display_text="Open"),
            "watch": column.LinkColumn("log", display_text="Monitor"),
        },
    )  # fmt: skip
    places = event["selection"]["rows"] if event else []
    return frame["run"].iloc[places].tolist()


def describe(name: str) -> None:
    """Title, tags and note of a run or study."""
    study, _, run = name.partition("/")
    now = keeping.labels(study, run)
    with st.form(f"label-{name}", border=True):
        st.markdown(f"**{show.escape(name)}**")
        first, second = st.columns(2)
        title = first.text_input("Name", str(now.get("title") or ""), max_chars=100)
        tags = second.text_input("Tags", keeping.as_text(now.get("tags")), max_chars=200, help="Separated by commas.")
        note = st.text_area("Note", str(now.get("note") or ""), max_chars=2000, height=80)
        hidden = st.checkbox("Archived: leave it out of lists", bool(now.get("archived")))
        saved = st.form_submit_button("Save", disabled=loading.readonly())
    if saved and not loading.readonly():
        storyboard.label(loading.store(), study, run, title=title.strip(), tags=keeping.tags(tags), note=note.strip(), archived=hidden)  # fmt: skip
        say(f"{name} is described.")


def say(text: str) -> None:
    """Say something after the page has been drawn anew."""
    st.session_state[SAID] = text
    st.rerun()


def actions(names: list[str]) -> None:
    """What can be done with the ticked runs."""
    total = sum(keeping.disk(*name.split("/", 1)) for name in names)
    st.markdown(f"**{len(names)} ticked**, {show.size(total)}")
    with st.container(horizontal=True, vertical_alignment="center"):
        if shell.action("Delete", "delete", help="They go to the trash below and can be put back."):
            delete(names)
        if shell.action("Archive", "archive", help="Left out of lists, and kept."):
            archive(names)
    if len(names) == 1:
        take_out(names[0])
        hand_over(names[0])
        describe(names[0])


def delete(names: list[str]) -> None:
    """Move runs to the trash."""
    wrong = []
    for name in names:
        try:
            keeping.delete(name)
        except (RecordError, OSError) as error:
            wrong.append(str(error))
    if wrong:
        show.problems(wrong, "Not deleted:")
    else:
        say(f"{len(names)} deleted. The trash below has them until they are deleted for good.")


def archive(names: list[str]) -> None:
    """Leave runs out of lists."""
    for name in names:
        study, _, run = name.partition("/")
        storyboard.label(loading.store(), study, run, archived=True)
    say(f"{len(names)} archived. “Show archived” brings them back into view.")


def take_out(name: str) -> None:
    """Download a run folder as a zip file."""
    with st.container(horizontal=True, vertical_alignment="center"):
        heavy = st.toggle("With weights and activations", key="heavy")
        total = sum(path.stat().st_size for path in keeping.files(name, heavy))
        if total > keeping.MOST_DOWNLOAD:
            st.caption(f"{show.size(total)} are too much for a browser; on the server copy the folder:")
            st.code(f"cp -r {loading.store() / name} …", language=None)
        else:
            st.download_button("Take out as a zip file", lambda: keeping.pack(name, heavy), f"{name.replace('/', '--')}.zip", "application/zip", on_click="ignore")  # fmt: skip
            st.caption(show.size(total))


def hand_over(name: str) -> None:
    """Write a level as a Hugging Face folder, by a process of its own; says where it is."""
    study, _, run = name.partition("/")
    levels = [level for level in record.Run(loading.store() / name).levels() if level.has("weights.safetensors")]
    if not levels:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        level = st.selectbox(
            "Model of level", levels, len(levels) - 1, lambda one: one.path.name, key="export-level", width=200
        )
        target = loading.store() / ".exports" / f"{study}--{run}--{level.path.name}"
        job = jobs.Job(loading.store() / ".jobs" / f"export-{target.name}")
        if shell.action("Export the pruned model", "export-model", disabled=target.exists() or job.running(), help="A Hugging Face folder with masks and a model card."):  # fmt: skip
            target.parent.mkdir(parents=True, exist_ok=True)
            asked = [
                "engine",
                "export",
                name,
                "--level",
                f"{level.sparsity:.10g}",
                "--to",
                str(target),
                "--store",
                str(loading.store()),
            ]
            job.start(asked, name)
            st.rerun()
    st.fragment(exported, run_every=2 if job.running() else None)(target, job)


def exported(target: Path, job: jobs.Job) -> None:
    """Where the exported model is, or what went wrong."""
    if job.running():
        st.caption("Writing the model …")
    elif target.exists():
        st.caption("The model is on this server, and can be taken from here:")
        st.code(str(target), language=None)
        if keeping.size(target) <= keeping.MOST_DOWNLOAD:
            st.download_button("Download the model as a zip file", lambda: keeping.pack_folder(target), f"{target.name}.zip", "application/zip", on_click="ignore")  # fmt: skip
    elif job.facts() and job.errors():
        show.problems(job.errors(), "Not exported:")


def bring_in() -> None:
    """A run from a zip file or from a folder on the server."""
    with st.expander("Bring in a run"):
        st.markdown("A zip file that another store handed out, or the path of one (or of a run folder) on this server.")
        given = st.file_uploader("Zip file", type="zip", key="upload", disabled=loading.readonly())
        path = st.text_input("Path on the server", key="upload-path")
        if shell.action("Bring in", "bring-in", disabled=not (given or path)):
            try:
                name = keeping.unpack(given) if given else keeping.from_server(path)
            except RecordError as error:
                show.problems([str(error)], "Not brought in:")
            else:
                say(f"{name} is here.")


def trash() -> None:
    """What was deleted, and the ways back."""
    found = keeping.thrown()
    if not found:
        return
    with st.expander(f"Trash: {len(found)} deleted", expanded=len(found) <= 3):
        for one in found:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(show.escape(one.name), width="stretch")
                st.caption(f"{show.size(keeping.size(one.folder))}, {show.ago(one.when)}", width="content")
                if shell.action("Put back", f"back-{one.folder.name}"):
                    restore(one)
                if shell.action("Delete for good", f"destroy-{one.folder.name}"):
                    keeping.destroy(one)
                    say(f"{one.name} is gone.")


def restore(one: keeping.Thrown) -> None:
    """Put something back from the trash."""
    try:
        keeping.put_back(one)
    except RecordError as error:
        show.problems([str(error)])
    else:
        say(f"{one.name} is back.")


def main() -> None:
    """The table, what can be done with what is ticked, and what comes and goes."""
    if said := st.session_state.pop(SAID, None):
        st.success(show.escape(said))
    study = shell.study(optional=True)
    runs = live.runs(study)
    if not runs:
        show.empty("No run has been started in this store yet.", "new-study", "Describe a study and start it")
    else:
        overview(study, runs)
    bring_in()
    trash()


def overview(study: str | None, runs: list[live.Live]) -> None:
    """The table with its filters."""
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    with left:
        tag = controls.choose("tag", "Tag", ["", *tags_of(runs)], "", lambda name: name or "any")
    with right:
        archived = controls.toggle("archived", "Show archived")
    frame = table(runs, archived, tag)
    if frame.empty:
        st.info("No run is left with this filter.")
    else:
        free = _free()
        st.caption(
            f"{len(frame)} runs, {show.size(frame['disk'].sum())}{free}. Tick runs to name, archive, delete or take them out."
        )
        ticked = draw(frame)[:MOST_PICKED]
        if ticked:
            actions(ticked)
    if study:
        tidy(study)
        with st.expander(f"Name, tags and note of the study {study}"):
            describe(study)
            navigation.link("compare", "Compare its methods", studies=study)


def tidy(study: str) -> None:
    """Every score of every level with its interval, as one file; made by a process of its own where it is not there."""
    path = loading.scores_path(study)
    if path.exists() and not loading.newer_levels(study, "scores"):
        st.download_button("Tidy results as Parquet", path.read_bytes, f"{study}.parquet", on_click="ignore")
    else:
        target = ("--format", "parquet", "--to", str(path))
        measuring.missing(study, "The tidy table of all scores has not been made, or is older than the newest levels.", "tidy", target, "table")  # fmt: skip


def _free() -> str:
    import shutil

    folder = loading.store() if loading.store().is_dir() else Path.home()
    return f"; {show.size(shutil.disk_usage(folder).free)} free on this disk"


with shell.page("runs"):
    main()
