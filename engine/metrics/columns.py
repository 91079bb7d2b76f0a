"""Which statistics an item of each task type has, and which scores are made of them (M§5)."""

from __future__ import annotations

# Columns of `stats` by task type. A question's item counts as one predicted and one gold answer with its
# word-overlap F1 as the match, so that the ratio of `f1` is the mean over items; BLEU's ten and chrF's eighteen
# counts stand in sacrebleu's order. After a token task's columns follow gold, predicted and matched words of every tag.
CLASSES = ("correct", "gold", "predicted")
SPANS = ("matched spans", "predicted spans", "gold spans")
GENERATION = (
    "hypothesis length",
    "reference length",
    *(f"{kind} {n}-grams" for kind in ("matched", "hypothesis") for n in range(1, 5)),
    *(f"{kind} character {n}-grams" for n in range(1, 7) for kind in ("hypothesis", "reference", "matched")),
    "rouge_l",
)
STATS: dict[str, tuple[str, ...]] = {
    "sequence": CLASSES,
    "pair": CLASSES,
    "choice": CLASSES,
    "regression": ("gold", "predicted"),
    "token": (*SPANS, "correct tokens", "tokens"),
    "joint": (*CLASSES, *SPANS),
    "qa": ("answer f1", "predicted answers (1)", "gold answers (1)", "exact match"),
    "ranking": ("query ndcg",),
    "generation": GENERATION,
}

# Which scores every task of a type has; the first is its usual headline.
SCORES: dict[str, tuple[str, ...]] = {
    "sequence": ("accuracy", "macro_f1", "matthews"),
    "pair": ("accuracy", "macro_f1", "matthews"),
    "choice": ("accuracy",),
    "regression": ("pearson", "spearman"),
    "token": ("f1", "token_accuracy", "token_macro_f1"),
    "joint": ("accuracy", "macro_f1", "slot_f1"),
    "qa": ("f1", "em"),
    "ranking": ("ndcg",),
    "generation": ("bleu", "chrf", "rouge_l"),
}
# Scores that only make sense where a row of the tasks table asks for them (F1 of one class: which one?).
ASKED: dict[str, tuple[str, ...]] = {"sequence": ("binary_f1",), "pair": ("binary_f1",)}
# Scores that exist only as the headline: tags that form no spans (parts of speech) have token accuracy as headline,
# and an entity F1 of zero beside it would be a number about nothing.
ONLY_HEADLINE: dict[str, tuple[str, ...]] = {"token": ("f1",)}


def scores_of(kind: str, headline: str) -> tuple[str, ...]:
    """The scores that predictions of a task type hold, the task's own headline first."""
    others = (name for name in SCORES.get(kind, ()) if name not in ONLY_HEADLINE.get(kind, ()))
    return tuple(dict.fromkeys((headline, *others)))
