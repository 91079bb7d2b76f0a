"""What each score means (M§5)."""

from __future__ import annotations

from engine.registry import Metric, Registry


def _row(
    name: str, title: str, what: str, source: str, formula: str, low: float = 0.0, unit: str = "fraction"
) -> Metric:
    return Metric(name, title, what, "M§5", source, unit, "higher", low, 1.0, formula, "Degradation")


# fmt: off
METRICS: Registry[Metric] = Registry(
    "metric",
    (
        _row("accuracy", "Accuracy", "The fraction of items whose predicted class is the gold class.", "standard",
             r"\frac{1}{N}\sum_i [\hat y_i = y_i]"),
        _row("macro_f1", "Macro F1", "The mean over the gold classes of their F1, so that rare classes count as much "
             "as common ones.", "van Rijsbergen 1979",
             r"\frac{1}{C}\sum_c \frac{2\,\mathrm{TP}_c}{2\,\mathrm{TP}_c+\mathrm{FP}_c+\mathrm{FN}_c}"),
        _row("binary_f1", "F1 of the positive class", "The F1 of the second label, where only that one is looked for: "
             "what is reported for QQP and MRPC.", "van Rijsbergen 1979; Wang et al. 2018, arXiv 1804.07461",
             r"\frac{2\,\mathrm{TP}_1}{2\,\mathrm{TP}_1+\mathrm{FP}_1+\mathrm{FN}_1}"),
        _row("matthews", "Matthews correlation", "The correlation of predicted and gold classes; 0 for guessing, "
             "whatever the class shares.", "Matthews 1975; Gorodkin 2004",
             r"\frac{N\sum_c m_c-\sum_c p_c g_c}{\sqrt{(N^2-\sum_c p_c^2)(N^2-\sum_c g_c^2)}}", -1.0, "correlation"),
        _row("f1", "F1", "Entities: the micro F1 of whole spans over the set. Questions: the mean word overlap of "
             "predicted and gold answers.", "Tjong Kim Sang & De Meulder 2003 (seqeval); Rajpurkar et al. 2016",
             r"\frac{2\sum_i \mathrm{TP}_i}{\sum_i \mathrm{predicted}_i+\sum_i \mathrm{gold}_i}"),
        _row("slot_f1", "Slot F1", "The micro F1 of whole slots over the set, in tasks that also name the intent.",
             "Tjong Kim Sang & De Meulder 2003 (seqeval)",
             r"\frac{2\sum_i \mathrm{TP}_i}{\sum_i \mathrm{predicted}_i+\sum_i \mathrm{gold}_i}"),
        _row("token_accuracy", "Token accuracy", "The fraction of tokens with the right tag.", "standard",
             r"\frac{\sum_i \mathrm{correct}_i}{\sum_i T_i}"),
        _row("token_macro_f1", "Macro F1 of tags", "The mean over the tags of their words' F1, so that rare tags count as "
             "much as common ones.", "van Rijsbergen 1979",
             r"\frac{1}{C}\sum_c \frac{2\,\mathrm{TP}_c}{2\,\mathrm{TP}_c+\mathrm{FP}_c+\mathrm{FN}_c}"),
        _row("em", "Exact match", "The fraction of questions whose normalised answer equals a reference answer.",
             "Rajpurkar et al. 2016", r"\frac{1}{N}\sum_i [\hat a_i \in A_i]"),
        _row("ndcg", "nDCG", "The discounted gain of the predicted order over that of the best order, mean over "
             "queries.", "Järvelin & Kekäläinen 2002", r"\frac{1}{Q}\sum_q \frac{\mathrm{DCG}_q}{\mathrm{IDCG}_q}"),
        _row("pearson", "Pearson correlation", "The linear correlation of predicted and gold values.", "Pearson 1895",
             r"\frac{\sum_i(\hat y_i-\bar{\hat y})(y_i-\bar y)}"
             r"{\sqrt{\sum_i(\hat y_i-\bar{\hat y})^2\sum_i(y_i-\bar y)^2}}", -1.0, "correlation"),
        _row("spearman", "Spearman correlation", "The correlation of the ranks of predicted and gold values.",
             "Spearman 1904", r"\mathrm{pearson}(\mathrm{rank}\,\hat y, \mathrm{rank}\,y)", -1.0, "correlation"),
        _row("bleu", "BLEU", "The geometric mean of the 1- to 4-gram precisions of the set, with a penalty for short "
             "output.", "Papineni et al. 2002; sacrebleu (Post 2018)",
             r"\min(1, e^{1-r/h})\,\exp\left(\tfrac14\sum_{n=1}^4\log p_n\right)"),
        _row("chrf", "chrF2", "The F score of character 1- to 6-grams in which recall counts twice: fairer to "
             "languages with many word forms.", "Popović 2015; sacrebleu (Post 2018)", r"\frac{5PR}{4P+R}"),
        _row("rouge_l", "ROUGE-L", "The mean F1 of the longest common subsequence of output and reference.",
             "Lin 2004", r"\frac{1}{N}\sum_i \frac{2P_iR_i}{P_i+R_i}"),
    ),
)
# fmt: on
