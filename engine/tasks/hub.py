"""Rows of the tasks table whose data is on the Hugging Face hub, or has to be fetched by hand (M§5).

Written from the sets' cards and papers; `tried` is False until someone has run the row from its source. Sets whose
repository is a script cannot be read by `datasets` 5: their rows name the hub's Parquet copy, or a recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from engine.tasks.row import PARQUET, Task


def _codes(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SPLIT = {"train": "train", "validation": "validation", "test": "test"}
# Test labels are not public: the validation split is the test, and a tenth of train selects.
DEV_AS_TEST = {"train": "train", "test": "validation"}
XGLUE_SPLIT = {"train": "train", "validation": "validation.{language}", "test": "test.{language}"}
NLI = ("entailment", "neutral", "contradiction")
# The set as it stands now, Parquet of a UD release; its older script named the splits and the sentence's id otherwise.
UD_SPLIT = {"train": "train", "validation": "dev", "test": "test"}
XNLI = ("en", "ar", "bg", "de", "el", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")
BIO = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
TOPICS = ("entertainment", "geography", "health", "politics", "science/technology", "sports", "travel")
NEWS = ("foodanddrink", "sports", "travel", "finance", "lifestyle", "news", "entertainment", "health", "video", "autos")
GRADES = ("Bad", "Fair", "Good", "Excellent", "Perfect")
# WikiANN's names of a language that has another code here: its `als` is Alemannic, not Albanian.
_WIKIANN_CODES = {
    "bho": "bh", "cbk": "cbk-zam", "de-ba": "bar", "gsw": "als", "lzh": "zh-classical", "nan": "zh-min-nan",
    "sgs": "bat-smg", "vro": "fiu-vro", "yue": "zh-yue",
}  # fmt: skip
WIKIANN = _codes(
    """en ace af am an ang ar arc arz as ast ay az ba be be-x-old bg bho bn bo br bs ca cbk cdo ce ceb ckb co crh cs csb
    cv cy da de de-ba diq dv el eml eo es et eu ext fa fi fo fr frr fur fy ga gan gd gl gn gsw gu hak he hi hr hsb hu hy
    ia id ig ilo io is it ja jbo jv ka kk km kn ko ksh ku ky la lb li lij lmo ln lt lv lzh map-bms mg mhr mi min mk ml
    mn mr ms mt mwl my mzn nan nap nds ne nl nn no nov oc or os pa pdc pl pms pnb ps pt qu rm ro ru rw sa sah scn sco sd
    sgs sh si simple sk sl so sq sr su sv sw szl ta te tg th tk tl tr tt ug uk ur uz vec vep vi vls vo vro wa war wuu
    xmf yi yo yue zea zh"""
)
PUD = _codes("en ar cs de es fi fr gl hi id is it ja ko pl pt ru sv th tr zh")
MASAKHANER = {
    "bm": "bam", "bbj": "bbj", "ee": "ewe", "fon": "fon", "ha": "hau", "ig": "ibo", "rw": "kin", "lg": "lug", "luo": "luo",
    "mos": "mos", "ny": "nya", "pcm": "pcm", "sn": "sna", "sw": "swa", "tn": "tsn", "tw": "twi", "wo": "wol", "xh": "xho",
    "yo": "yor", "zu": "zul",
}  # fmt: skip
MASSIVE = {
    "en": "en-US", "af": "af-ZA", "am": "am-ET", "ar": "ar-SA", "az": "az-AZ", "bn": "bn-BD", "ca": "ca-ES", "cy": "cy-GB",
    "da": "da-DK", "de": "de-DE", "el": "el-GR", "es": "es-ES", "fa": "fa-IR", "fi": "fi-FI", "fr": "fr-FR", "he": "he-IL",
    "hi": "hi-IN", "hu": "hu-HU", "hy": "hy-AM", "id": "id-ID", "is": "is-IS", "it": "it-IT", "ja": "ja-JP", "jv": "jv-ID",
    "ka": "ka-GE", "km": "km-KH", "kn": "kn-IN", "ko": "ko-KR", "lv": "lv-LV", "ml": "ml-IN", "mn": "mn-MN", "ms": "ms-MY",
    "my": "my-MM", "no": "nb-NO", "nl": "nl-NL", "pl": "pl-PL", "pt": "pt-PT", "ro": "ro-RO", "ru": "ru-RU", "sl": "sl-SL",
    "sq": "sq-AL", "sv": "sv-SE", "sw": "sw-KE", "ta": "ta-IN", "te": "te-IN", "th": "th-TH", "tl": "tl-PH", "tr": "tr-TR",
    "ur": "ur-PK", "vi": "vi-VN", "zh": "zh-CN", "zh-hant": "zh-TW",
}  # fmt: skip
TYDIQA = {
    "en": "english", "ar": "arabic", "bn": "bengali", "fi": "finnish", "id": "indonesian", "ko": "korean",
    "ru": "russian", "sw": "swahili", "te": "telugu",
}  # fmt: skip
XSID = _codes("en ar da de de-ba de-muc de-st gsw id it ja kk lt nap nl sr tr zh")
# FLORES-200's codes, and N'Ko.
SIB = _codes(
    """eng_Latn ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn als_Latn amh_Ethi apc_Arab
    arb_Arab arb_Latn ars_Arab ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl
    bam_Latn ban_Latn bel_Cyrl bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn bug_Latn bul_Cyrl
    cat_Latn ceb_Latn ces_Latn cjk_Latn ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn dzo_Tibt
    ell_Grek epo_Latn est_Latn eus_Latn ewe_Latn fao_Latn fij_Latn fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn
    gaz_Latn gla_Latn gle_Latn glg_Latn grn_Latn guj_Gujr hat_Latn hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn
    hun_Latn hye_Armn ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn
    kan_Knda kas_Arab kas_Deva kat_Geor kaz_Cyrl kbp_Latn kea_Latn khk_Cyrl khm_Khmr kik_Latn kin_Latn kir_Cyrl
    kmb_Latn kmr_Latn knc_Arab knc_Latn kon_Latn kor_Hang lao_Laoo lij_Latn lim_Latn lin_Latn lit_Latn lmo_Latn
    ltg_Latn ltz_Latn lua_Latn lug_Latn luo_Latn lus_Latn lvs_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Arab
    min_Latn mkd_Cyrl mlt_Latn mni_Beng mos_Latn mri_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva nqo_Nkoo
    nso_Latn nus_Latn nya_Latn oci_Latn ory_Orya pag_Latn pan_Guru pap_Latn pbt_Arab pes_Arab plt_Latn pol_Latn
    por_Latn prs_Arab quy_Latn ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Olck scn_Latn shn_Mymr sin_Sinh
    slk_Latn slv_Latn smo_Latn sna_Latn snd_Arab som_Latn sot_Latn spa_Latn srd_Latn srp_Cyrl ssw_Latn sun_Latn
    swe_Latn swh_Latn szl_Latn tam_Taml taq_Latn taq_Tfng tat_Cyrl tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi
    tpi_Latn tsn_Latn tso_Latn tuk_Latn tum_Latn tur_Latn twi_Latn tzm_Tfng uig_Arab ukr_Cyrl umb_Latn urd_Arab
    uzn_Latn vec_Latn vie_Latn war_Latn wol_Latn xho_Latn ydd_Hebr yor_Latn yue_Hant zho_Hans zho_Hant zsm_Latn
    zul_Latn"""
)
_TOKENS = {"tokens": "tokens", "tags": "ner_tags"}
_SQUAD = {"context": "context", "question": "question", "answers": "answers", "id": "id"}
_XGLUE = "Liang et al. 2020, arXiv 2004.01401"
_GLUE = "Wang et al. 2018, arXiv 1804.07461"
_XGLUE_TERMS = "research only; see the set's page"

MULTILINGUAL = (
    Task("xnli", "XNLI", "pair", "Does the hypothesis follow from the premise?", XNLI, "accuracy", "CC BY-NC 4.0",
         "Conneau et al. 2018, arXiv 1809.05053", dataset="facebook/xnli", config="{language}", split=SPLIT,
         columns={"text": "premise", "pair": "hypothesis", "label": "label", "id": "#row"}, labels=NLI, chance=1 / 3),
    Task("paws-x", "PAWS-X", "pair", "Do two sentences mean the same (1) or not (0)?", ("en", "de", "es", "fr", "ja", "ko", "zh"), "accuracy",
         "free use with acknowledgement", "Yang et al. 2019, arXiv 1908.11828", dataset="google-research-datasets/paws-x",
         config="{language}", split=SPLIT, columns={"text": "sentence1", "pair": "sentence2", "label": "label", "id": "id"},
         labels=("0", "1"), chance=0.5),
    Task("xglue-nc", "XGLUE news classification", "sequence", "Which of ten sections is a news article from?",
         ("en", "de", "es", "fr", "ru"), "accuracy", _XGLUE_TERMS, _XGLUE, dataset="microsoft/xglue", config="nc", revision=PARQUET,
         split=XGLUE_SPLIT, columns={"text": "news_title + news_body", "label": "news_category"}, labels=NEWS, parallel=False, chance=0.1),
    Task("xglue-qadsm", "XGLUE query–advertisement matching", "pair", "Is an advertisement a good match for a query?", ("en", "de", "fr"),
         "accuracy", _XGLUE_TERMS, _XGLUE, dataset="microsoft/xglue", config="qadsm", revision=PARQUET, split=XGLUE_SPLIT,
         columns={"text": "query", "pair": "ad_title + ad_description", "label": "relevance_label"}, labels=("Bad", "Good"),
         parallel=False, chance=0.5),
    Task("xglue-qam", "XGLUE question–answer matching", "pair", "Does a passage answer a question?", ("en", "de", "fr"), "accuracy",
         _XGLUE_TERMS, _XGLUE, dataset="microsoft/xglue", config="qam", revision=PARQUET, split=XGLUE_SPLIT,
         columns={"text": "question", "pair": "answer", "label": "label"}, labels=("False", "True"), parallel=False, chance=0.5),
    Task("xglue-wpr", "XGLUE web page ranking", "ranking", "Orders web pages by their relevance to a query.",
         ("en", "de", "es", "fr", "it", "pt", "zh"), "ndcg", _XGLUE_TERMS, _XGLUE, dataset="microsoft/xglue", config="wpr", revision=PARQUET,
         split=XGLUE_SPLIT, columns={"query": "query", "text": "web_page_title + web_page_snippet", "label": "relavance_label"},
         labels=GRADES, parallel=False),
    Task("xglue-ner", "XGLUE named entities", "token", "Names of persons, places and organisations (CoNLL-2002 and 2003).",
         ("en", "de", "es", "nl"), "f1", "the corpora's own terms", _XGLUE, dataset="microsoft/xglue", config="ner", revision=PARQUET,
         split=XGLUE_SPLIT, columns={"tokens": "words", "tags": "ner"}, parallel=False, chance=0.0),
    Task("xglue-pos", "XGLUE parts of speech", "token", "The part of speech of every word.",
         _codes("en ar bg de el es fr hi it nl pl pt ru th tr ur vi zh"), "token_accuracy", "the treebanks' own terms", _XGLUE,
         dataset="microsoft/xglue", config="pos", revision=PARQUET, split=XGLUE_SPLIT, columns={"tokens": "words", "tags": "pos"},
         parallel=False, chance=1 / 17),
    Task("wikiann", "WikiANN", "token", "Names of persons, places and organisations, marked by Wikipedia's links.", WIKIANN, "f1",
         "not stated on its page", "Rahimi et al. 2019, arXiv 1902.00193", dataset="unimelb-nlp/wikiann", config="{language}", split=SPLIT,
         columns=_TOKENS, labels=BIO, codes=_WIKIANN_CODES, parallel=False, chance=0.0),
    Task("ud-ewt", "UD English (EWT) parts of speech", "token", "The part of speech of every word.", ("en",), "token_accuracy",
         "CC BY-SA 4.0", "Silveira et al. 2014", dataset="universal-dependencies/universal_dependencies", config="en_ewt",
         split=UD_SPLIT, columns={"tokens": "tokens", "tags": "upos"}, parallel=False, chance=1 / 17),
    Task("ud-pud", "UD parallel parts of speech", "token", "The part of speech of every word, in parallel sentences.", PUD, "token_accuracy",
         "CC BY-SA 3.0 and 4.0", "Zeman et al. 2017", dataset="universal-dependencies/universal_dependencies", config="{language}_pud",
         split={"test": "test"}, columns={"tokens": "tokens", "tags": "upos", "id": "sent_id"}, trains_on="ud-ewt", chance=1 / 17),
    Task("uner-ewt", "Universal NER English (EWT)", "token", "Names of persons, places and organisations.", ("en",), "f1",
         "CC BY-SA 4.0", "Mayhew et al. 2024, arXiv 2311.09122", dataset="universalner/universal_ner", config="en_ewt", revision=PARQUET,
         split=SPLIT, columns=_TOKENS, parallel=False, chance=0.0),
    Task("uner-pud", "Universal NER, parallel", "token", "Names of persons, places and organisations, in parallel sentences.",
         ("en", "de", "pt", "ru", "sv", "zh"), "f1", "CC BY-SA 3.0 and 4.0", "Mayhew et al. 2024, arXiv 2311.09122",
         dataset="universalner/universal_ner", config="{language}_pud", revision=PARQUET, split={"test": "test"}, columns=_TOKENS,
         trains_on="uner-ewt", parallel=False, chance=0.0),
    Task("masakhaner", "MasakhaNER 2.0", "token", "Names of persons, places and organisations, and dates, in African languages.",
         tuple(MASAKHANER), "f1", "CC BY-NC 4.0", "Adelani et al. 2022, arXiv 2210.12391", source_languages=("sw",),
         dataset="masakhane/masakhaner2", config="{language}", revision=PARQUET, split=SPLIT, columns=_TOKENS, codes=MASAKHANER,
         parallel=False, chance=0.0),
    Task("sib-200", "SIB-200", "sequence", "Which of seven topics is a sentence about?", SIB, "accuracy", "CC BY-SA 4.0",
         "Adelani et al. 2024, arXiv 2309.07445", source_languages=("eng_Latn",), dataset="Davlan/sib200", config="{language}", split=SPLIT,
         columns={"text": "text", "label": "category", "id": "index_id"}, labels=TOPICS, chance=1 / 7),
    Task("xsid", "xSID", "joint", "What an assistant is asked to do, and with which details.", XSID, "accuracy", "CC BY-SA 4.0",
         "van der Goot et al. 2021; github.com/mainlp/xsid",
         recipe="take the .conll files of github.com/mainlp/xsid and give them to a custom task of type joint, format conll, "
                "columns = { tokens = \"2\", tags = \"4\", intent = \"intent\" }", parallel=True, chance=1 / 16),
    Task("massive", "MASSIVE intents", "sequence", "Which of 60 things an assistant is asked to do.", tuple(MASSIVE), "accuracy", "CC BY 4.0",
         "FitzGerald et al. 2023, arXiv 2204.08582", dataset="AmazonScience/massive", config="{language}", revision=PARQUET, split=SPLIT,
         columns={"text": "utt", "label": "intent", "id": "id"}, codes=MASSIVE, chance=1 / 60),
    Task("massive-slots", "MASSIVE intents and slots", "joint", "What an assistant is asked to do, and with which details.", tuple(MASSIVE),
         "accuracy", "CC BY 4.0", "FitzGerald et al. 2023, arXiv 2204.08582", dataset="AmazonScience/massive", config="{language}",
         revision=PARQUET, split=SPLIT, columns={"annotated": "annot_utt", "intent": "intent", "id": "id"}, codes=MASSIVE, chance=1 / 60),
    Task("americas-nli", "AmericasNLI", "pair", "Does the hypothesis follow from the premise? In ten indigenous languages of the Americas.",
         ("en", "ay", "bzd", "cni", "gn", "hch", "nah", "oto", "qu", "shp", "tar"), "accuracy", "not stated", "Ebrahimi et al. 2022, arXiv 2104.08726",
         dataset="nala-cub/americas_nli", config="{language}", split={"test": "test"},
         columns={"text": "premise", "pair": "hypothesis", "label": "label"}, labels=NLI, codes={"ay": "aym", "qu": "quy"},
         trains_on="xnli", source_test=True, parallel=False, chance=1 / 3),
    Task("copa", "COPA (English)", "choice", "Which of two sentences is the cause or the effect?", ("en",), "accuracy", "BSD-2-Clause",
         "Roemmele et al. 2011; SuperGLUE", dataset="aps/super_glue", config="copa", revision=PARQUET, split=DEV_AS_TEST,
         columns={"text": "premise", "choice1": "choice1", "choice2": "choice2", "question": "question", "label": "label"},
         parallel=False, chance=0.5),
    Task("xcopa", "XCOPA", "choice", "Which of two sentences is the cause or the effect?",
         ("en", "et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh"), "accuracy", "CC BY 4.0", "Ponti et al. 2020, arXiv 2005.00333",
         dataset="cambridgeltl/xcopa", config="{language}", split={"test": "test"},
         columns={"text": "premise", "choice1": "choice1", "choice2": "choice2", "question": "question", "label": "label"},
         trains_on="copa", source_test=True, parallel=False, chance=0.5),
)  # fmt: skip


def _glue(
    name: str, title: str, type_: str, what: str, text: str, pair: str, labels: tuple[str, ...], metric: str, licence: str,
    dev: str = "validation", extra: Mapping[str, str] = MappingProxyType({}),
) -> Task:  # fmt: skip
    columns = {"text": text, **({"pair": pair} if pair else {}), "label": "label"}
    # What always saying the same earns decides for F1, and the data for that: the run records it.
    chance = {"accuracy": 1 / max(1, len(labels)), "binary_f1": None}.get(metric, 0.0)
    return Task(
        name, title, type_, what, ("en",), metric, licence, _GLUE, dataset="nyu-mll/glue", config=name,
        split={"train": "train", "test": dev, **extra}, columns=columns, labels=labels, parallel=False, chance=chance,
        extra=tuple(extra),
    )  # fmt: skip


_ENTAILED = ("entailment", "not_entailment")
_AS_GIVEN = "the source's own terms"
# Headlines as the papers report them: F1 of the paraphrases for QQP and MRPC, with accuracy beside it.
GLUE = (
    _glue("mnli", "MNLI", "pair", "Does the hypothesis follow from the premise? In the genres of training and, apart, in others.",
          "premise", "hypothesis", NLI, "accuracy", _AS_GIVEN, "validation_matched", {"mismatched": "validation_mismatched"}),
    _glue("qqp", "QQP", "pair", "Do two questions ask the same?", "question1", "question2", ("not_duplicate", "duplicate"), "binary_f1", _AS_GIVEN),
    _glue("qnli", "QNLI", "pair", "Does a sentence hold the answer to a question?", "question", "sentence", _ENTAILED, "accuracy", "CC BY-SA 4.0"),
    _glue("sst2", "SST-2", "sequence", "Is a film review's sentence positive?", "sentence", "", ("negative", "positive"), "accuracy", _AS_GIVEN),
    _glue("cola", "CoLA", "sequence", "Is a sentence acceptable English?", "sentence", "", ("unacceptable", "acceptable"), "matthews", _AS_GIVEN),
    _glue("stsb", "STS-B", "regression", "How similar are two sentences, from 0 to 5?", "sentence1", "sentence2", (), "pearson", "CC BY-SA 4.0"),
    _glue("mrpc", "MRPC", "pair", "Do two sentences mean the same?", "sentence1", "sentence2", ("not_equivalent", "equivalent"), "binary_f1", _AS_GIVEN),
    _glue("rte", "RTE", "pair", "Does the second sentence follow from the first?", "sentence1", "sentence2", _ENTAILED, "accuracy", _AS_GIVEN),
)  # fmt: skip

QUESTIONS = (
    Task("squad", "SQuAD 1.1", "qa", "Finds the answer to a question in a paragraph.", ("en",), "f1", "CC BY-SA 4.0",
         "Rajpurkar et al. 2016, arXiv 1606.05250", dataset="rajpurkar/squad", split=DEV_AS_TEST, columns=_SQUAD, parallel=False, chance=0.0),
    Task("squad-2", "SQuAD 2.0", "qa", "Finds the answer to a question in a paragraph, or sees that there is none.", ("en",), "f1", "CC BY-SA 4.0",
         "Rajpurkar et al. 2018, arXiv 1806.03822", dataset="rajpurkar/squad_v2", split=DEV_AS_TEST, columns=_SQUAD, parallel=False, chance=0.0),
    Task("xquad", "XQuAD", "qa", "Finds the answer to a question in a paragraph.", ("en", "ar", "de", "el", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh"),
         "f1", "CC BY-SA 4.0", "Artetxe et al. 2020, arXiv 1910.11856", dataset="google/xquad", config="xquad.{language}",
         split={"test": "validation"}, columns=_SQUAD, trains_on="squad", chance=0.0),
    Task("mlqa", "MLQA", "qa", "Finds the answer to a question in a paragraph.", ("en", "ar", "de", "es", "hi", "vi", "zh"), "f1", "CC BY-SA 3.0",
         "Lewis et al. 2020, arXiv 1910.07475", dataset="facebook/mlqa", config="mlqa.{language}.{language}", revision=PARQUET,
         split={"test": "test"}, columns=_SQUAD, trains_on="squad", chance=0.0),
    Task("tydiqa-goldp", "TyDiQA-GoldP", "qa", "Finds the answer to a question, asked in the language itself, in a passage.", tuple(TYDIQA), "f1",
         "Apache-2.0", "Clark et al. 2020, arXiv 2003.05002", dataset="khalidalt/tydiqa-goldp", config="{language}", revision=PARQUET,
         split=DEV_AS_TEST, columns={"context": "passage_text", "question": "question_text", "answers": "answers", "id": "id"}, codes=TYDIQA,
         parallel=False, chance=0.0),
)  # fmt: skip

GENERATION = (
    Task("e2e", "E2E NLG", "generation", "Describes a restaurant from its attributes.", ("en",), "bleu", "CC BY-SA 4.0",
         "Novikova et al. 2017, arXiv 1706.09254", dataset="tuetschek/e2e_nlg", revision=PARQUET, split=SPLIT,
         columns={"text": "meaning_representation", "references": "human_reference"}, parallel=False, chance=0.0),
    Task("dart", "DART", "generation", "Puts triples of a knowledge base into sentences.", ("en",), "bleu", "MIT",
         "Nan et al. 2021, arXiv 2007.02871", dataset="Yale-LILY/dart", revision=PARQUET, split=SPLIT,
         columns={"text": "tripleset", "references": "annotations"}, parallel=False, chance=0.0),
)  # fmt: skip

ROWS = (*MULTILINGUAL, *GLUE, *QUESTIONS, *GENERATION)
