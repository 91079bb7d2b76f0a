"""The table of languages, for every task and every set, and the way from other codes to it.

`resource` is the size in GiB of the language in CC-100, the text that XLM-R was pretrained on (Conneau et al. 2020,
arXiv 1911.02116, table 6; 0: not in it): the one public measure of how rich a language was for the encoders pruned
here. The bundled encoder has resource levels of its own (engine/demo/languages.toml). `family` is a branch for
Indo-European and the family elsewhere, which is the grain at which figures are coloured and grouped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

Direction = Literal["ltr", "rtl"]


@dataclass(frozen=True, slots=True)
class Language:
    """One language: its code here (two letters where there are two), and what figures group and sort by."""

    code: str
    name: str
    family: str
    script: str
    direction: Direction
    resource: float
    aliases: tuple[str, ...] = ()


# code | name | family | script | GiB in CC-100 | other codes
_TABLE = """
af|Afrikaans|Germanic|Latin|1.3|afr
am|Amharic|Afro-Asiatic|Ethiopic|0.8|amh
ar|Arabic|Afro-Asiatic|Arabic|28.0|ara arb
as|Assamese|Indo-Aryan|Bengali|0.1|asm
az|Azerbaijani|Turkic|Latin|6.5|aze azj
be|Belarusian|Slavic|Cyrillic|4.3|bel
bg|Bulgarian|Slavic|Cyrillic|57.5|bul
bn|Bengali|Indo-Aryan|Bengali|8.4|ben
br|Breton|Celtic|Latin|0.1|bre
bs|Bosnian|Slavic|Latin|0.1|bos
ca|Catalan|Romance|Latin|10.1|cat
cs|Czech|Slavic|Latin|16.3|ces cze
cy|Welsh|Celtic|Latin|0.8|cym wel
da|Danish|Germanic|Latin|45.6|dan
de|German|Germanic|Latin|66.6|deu ger
el|Greek|Hellenic|Greek|46.9|ell gre
en|English|Germanic|Latin|300.8|eng
eo|Esperanto|Constructed|Latin|0.9|epo
es|Spanish|Romance|Latin|53.3|spa
et|Estonian|Uralic|Latin|6.1|est ekk
eu|Basque|Basque|Latin|2.0|eus baq
fa|Persian|Iranian|Arabic|111.6|fas per pes prs
fi|Finnish|Uralic|Latin|54.3|fin
fr|French|Romance|Latin|56.8|fra fre
fy|West Frisian|Germanic|Latin|0.2|fry
ga|Irish|Celtic|Latin|0.5|gle
gd|Scottish Gaelic|Celtic|Latin|0.1|gla
gl|Galician|Romance|Latin|2.9|glg
gu|Gujarati|Indo-Aryan|Gujarati|1.9|guj
ha|Hausa|Afro-Asiatic|Latin|0.3|hau
he|Hebrew|Afro-Asiatic|Hebrew|31.6|heb iw
hi|Hindi|Indo-Aryan|Devanagari|20.2|hin
hr|Croatian|Slavic|Latin|20.5|hrv
hu|Hungarian|Uralic|Latin|58.4|hun
hy|Armenian|Armenian|Armenian|5.5|hye arm
id|Indonesian|Austronesian|Latin|148.3|ind in
is|Icelandic|Germanic|Latin|3.2|isl ice
it|Italian|Romance|Latin|30.2|ita
ja|Japanese|Japonic|Japanese|69.3|jpn jp
jv|Javanese|Austronesian|Latin|0.2|jav jw
ka|Georgian|Kartvelian|Georgian|9.1|kat geo
kk|Kazakh|Turkic|Cyrillic|6.4|kaz
km|Khmer|Austroasiatic|Khmer|1.5|khm
kn|Kannada|Dravidian|Kannada|3.3|kan
ko|Korean|Koreanic|Hangul|54.2|kor
ku|Kurdish (Kurmanji)|Iranian|Latin|0.4|kur kmr
ky|Kyrgyz|Turkic|Cyrillic|1.2|kir
la|Latin|Romance|Latin|2.5|lat
lo|Lao|Kra-Dai|Lao|0.6|lao
lt|Lithuanian|Baltic|Latin|13.7|lit
lv|Latvian|Baltic|Latin|8.8|lav lvs
mg|Malagasy|Austronesian|Latin|0.2|mlg plt
mk|Macedonian|Slavic|Cyrillic|4.8|mkd mac
ml|Malayalam|Dravidian|Malayalam|7.6|mal
mn|Mongolian|Mongolic|Cyrillic|3.0|mon khk
mr|Marathi|Indo-Aryan|Devanagari|2.8|mar
ms|Malay|Austronesian|Latin|8.5|msa may zsm
my|Burmese|Sino-Tibetan|Burmese|0.4|mya bur
ne|Nepali|Indo-Aryan|Devanagari|3.8|nep npi
nl|Dutch|Germanic|Latin|29.3|nld dut
no|Norwegian|Germanic|Latin|49.0|nor nb nob
om|Oromo|Afro-Asiatic|Latin|0.1|orm gaz
or|Odia|Indo-Aryan|Odia|0.6|ori ory
pa|Punjabi|Indo-Aryan|Gurmukhi|0.8|pan
pl|Polish|Slavic|Latin|44.6|pol
ps|Pashto|Iranian|Arabic|0.7|pus pbt
pt|Portuguese|Romance|Latin|49.1|por
ro|Romanian|Romance|Latin|61.4|ron rum
ru|Russian|Slavic|Cyrillic|278.0|rus
sa|Sanskrit|Indo-Aryan|Devanagari|0.3|san
sd|Sindhi|Indo-Aryan|Arabic|0.4|snd
si|Sinhala|Indo-Aryan|Sinhala|3.6|sin
sk|Slovak|Slavic|Latin|23.2|slk slo
sl|Slovenian|Slavic|Latin|10.3|slv
so|Somali|Afro-Asiatic|Latin|0.4|som
sq|Albanian|Albanian|Latin|5.4|sqi alb als
sr|Serbian|Slavic|Cyrillic|9.1|srp
su|Sundanese|Austronesian|Latin|0.1|sun
sv|Swedish|Germanic|Latin|12.1|swe
sw|Swahili|Niger-Congo|Latin|1.6|swa swh
ta|Tamil|Dravidian|Tamil|12.2|tam
te|Telugu|Dravidian|Telugu|4.7|tel
th|Thai|Kra-Dai|Thai|71.7|tha
tl|Filipino|Austronesian|Latin|3.1|tgl fil
tr|Turkish|Turkic|Latin|20.9|tur
ug|Uyghur|Turkic|Arabic|0.4|uig
uk|Ukrainian|Slavic|Cyrillic|84.6|ukr
ur|Urdu|Indo-Aryan|Arabic|5.7|urd
uz|Uzbek|Turkic|Latin|0.7|uzb uzn
vi|Vietnamese|Austroasiatic|Latin|137.3|vie
xh|Xhosa|Niger-Congo|Latin|0.1|xho
yi|Yiddish|Germanic|Hebrew|0.3|yid ydd
zh|Chinese|Sino-Tibetan|Han|46.9|zho chi cmn zh-cn zho-cn zh-hans
zh-hant|Chinese (traditional)|Sino-Tibetan|Han|16.6|zh-tw zh-hk zho-tw zho-hk zho-hant cmn-hant
ace|Acehnese|Austronesian|Latin|0|
acm|Mesopotamian Arabic|Afro-Asiatic|Arabic|0|
acq|Taizzi-Adeni Arabic|Afro-Asiatic|Arabic|0|
aeb|Tunisian Arabic|Afro-Asiatic|Arabic|0|
ajp|South Levantine Arabic|Afro-Asiatic|Arabic|0|
an|Aragonese|Romance|Latin|0|arg
ang|Old English|Germanic|Latin|0|
apc|North Levantine Arabic|Afro-Asiatic|Arabic|0|
arc|Aramaic|Afro-Asiatic|Syriac|0|
arq|Algerian Arabic|Afro-Asiatic|Arabic|0|
ars|Najdi Arabic|Afro-Asiatic|Arabic|0|
ary|Moroccan Arabic|Afro-Asiatic|Arabic|0|
arz|Egyptian Arabic|Afro-Asiatic|Arabic|0|
ast|Asturian|Romance|Latin|0|
awa|Awadhi|Indo-Aryan|Devanagari|0|
ay|Aymara|Aymaran|Latin|0|aym ayr
azb|South Azerbaijani|Turkic|Arabic|0|
ba|Bashkir|Turkic|Cyrillic|0|bak
ban|Balinese|Austronesian|Latin|0|
bbj|Ghomala|Niger-Congo|Latin|0|
be-x-old|Belarusian (Taraskievica)|Slavic|Cyrillic|0|be-tarask
bem|Bemba|Niger-Congo|Latin|0|
bho|Bhojpuri|Indo-Aryan|Devanagari|0|bh bih
bjn|Banjar|Austronesian|Latin|0|
bm|Bambara|Mande|Latin|0|bam
bo|Tibetan|Sino-Tibetan|Tibetan|0|bod tib
bug|Buginese|Austronesian|Latin|0|
bzd|Bribri|Chibchan|Latin|0|
cbk|Chavacano|Creole|Latin|0|cbk-zam
cdo|Eastern Min|Sino-Tibetan|Latin|0|
ce|Chechen|Northeast Caucasian|Cyrillic|0|che
ceb|Cebuano|Austronesian|Latin|0|
cjk|Chokwe|Niger-Congo|Latin|0|
ckb|Kurdish (Sorani)|Iranian|Arabic|0|
cni|Ashaninka|Arawakan|Latin|0|
co|Corsican|Romance|Latin|0|cos
crh|Crimean Tatar|Turkic|Latin|0|
csb|Kashubian|Slavic|Latin|0|
cv|Chuvash|Turkic|Cyrillic|0|chv
de-ba|Bavarian|Germanic|Latin|0|bar
de-muc|Bavarian (Munich)|Germanic|Latin|0|
de-st|South Tyrolean|Germanic|Latin|0|
dik|Dinka|Nilo-Saharan|Latin|0|din
diq|Zazaki|Iranian|Latin|0|zza
dv|Dhivehi|Indo-Aryan|Thaana|0|div
dyu|Dyula|Mande|Latin|0|
dz|Dzongkha|Sino-Tibetan|Tibetan|0|dzo
ee|Ewe|Niger-Congo|Latin|0|ewe
eml|Emilian-Romagnol|Romance|Latin|0|
ext|Extremaduran|Romance|Latin|0|
ff|Fula|Niger-Congo|Latin|0|ful fuv
fj|Fijian|Austronesian|Latin|0|fij
fo|Faroese|Germanic|Latin|0|fao
fon|Fon|Niger-Congo|Latin|0|
frr|North Frisian|Germanic|Latin|0|
fur|Friulian|Romance|Latin|0|
gan|Gan|Sino-Tibetan|Han|0|
gn|Guarani|Tupian|Latin|0|grn gug
got|Gothic|Germanic|Gothic|0|
grc|Ancient Greek|Hellenic|Greek|0|
gsw|Swiss German|Germanic|Latin|0|
hak|Hakka|Sino-Tibetan|Latin|0|
hch|Wixarika|Uto-Aztecan|Latin|0|
hne|Chhattisgarhi|Indo-Aryan|Devanagari|0|
hsb|Upper Sorbian|Slavic|Latin|0|
ht|Haitian Creole|Creole|Latin|0|hat
ia|Interlingua|Constructed|Latin|0|ina
ig|Igbo|Niger-Congo|Latin|0|ibo
ilo|Ilocano|Austronesian|Latin|0|
io|Ido|Constructed|Latin|0|ido
jbo|Lojban|Constructed|Latin|0|
kab|Kabyle|Afro-Asiatic|Latin|0|
kac|Jingpho|Sino-Tibetan|Latin|0|
kam|Kamba|Niger-Congo|Latin|0|
kbp|Kabiye|Niger-Congo|Latin|0|
kea|Cape Verdean Creole|Creole|Latin|0|
kg|Kongo|Niger-Congo|Latin|0|kon
ki|Kikuyu|Niger-Congo|Latin|0|kik
kmb|Kimbundu|Niger-Congo|Latin|0|
kr|Kanuri|Nilo-Saharan|Latin|0|kau knc
ks|Kashmiri|Indo-Aryan|Arabic|0|kas
ksh|Colognian|Germanic|Latin|0|
lb|Luxembourgish|Germanic|Latin|0|ltz
lg|Ganda|Niger-Congo|Latin|0|lug
li|Limburgish|Germanic|Latin|0|lim
lij|Ligurian|Romance|Latin|0|
lmo|Lombard|Romance|Latin|0|
ln|Lingala|Niger-Congo|Latin|0|lin
ltg|Latgalian|Baltic|Latin|0|
lua|Luba-Kasai|Niger-Congo|Latin|0|
luo|Luo|Nilo-Saharan|Latin|0|
lus|Mizo|Sino-Tibetan|Latin|0|
lzh|Classical Chinese|Sino-Tibetan|Han|0|zh-classical
mag|Magahi|Indo-Aryan|Devanagari|0|
mai|Maithili|Indo-Aryan|Devanagari|0|
map-bms|Banyumasan|Austronesian|Latin|0|
mhr|Eastern Mari|Uralic|Cyrillic|0|
mi|Maori|Austronesian|Latin|0|mri mao
min|Minangkabau|Austronesian|Latin|0|
mni|Meitei|Sino-Tibetan|Bengali|0|
mos|Mossi|Niger-Congo|Latin|0|
mt|Maltese|Afro-Asiatic|Latin|0|mlt
mwl|Mirandese|Romance|Latin|0|
mzn|Mazanderani|Iranian|Arabic|0|
nah|Nahuatl|Uto-Aztecan|Latin|0|nhi
nan|Southern Min|Sino-Tibetan|Latin|0|zh-min-nan
nap|Neapolitan|Romance|Latin|0|
nds|Low German|Germanic|Latin|0|
nn|Norwegian Nynorsk|Germanic|Latin|0|nno
nov|Novial|Constructed|Latin|0|
nqo|N'Ko|Mande|N'Ko|0|
nso|Northern Sotho|Niger-Congo|Latin|0|
nus|Nuer|Nilo-Saharan|Latin|0|
ny|Chichewa|Niger-Congo|Latin|0|nya
oc|Occitan|Romance|Latin|0|oci
os|Ossetian|Iranian|Cyrillic|0|oss
oto|Otomi|Oto-Manguean|Latin|0|ote
pag|Pangasinan|Austronesian|Latin|0|
pap|Papiamento|Creole|Latin|0|
pcm|Nigerian Pidgin|Creole|Latin|0|
pdc|Pennsylvania German|Germanic|Latin|0|
pms|Piedmontese|Romance|Latin|0|
pnb|Western Punjabi|Indo-Aryan|Arabic|0|
qaf|Algerian Arabizi|Afro-Asiatic|Latin|0|
qu|Quechua|Quechuan|Latin|0|que quy quz
rm|Romansh|Romance|Latin|0|roh
rn|Rundi|Niger-Congo|Latin|0|run
rw|Kinyarwanda|Niger-Congo|Latin|0|kin
sah|Yakut|Turkic|Cyrillic|0|
sat|Santali|Austroasiatic|Ol Chiki|0|
sc|Sardinian|Romance|Latin|0|srd
scn|Sicilian|Romance|Latin|0|
sco|Scots|Germanic|Latin|0|
se|Northern Sami|Uralic|Latin|0|sme
sg|Sango|Creole|Latin|0|sag
sgs|Samogitian|Baltic|Latin|0|bat-smg
sh|Serbo-Croatian|Slavic|Latin|0|hbs
shn|Shan|Kra-Dai|Burmese|0|
shp|Shipibo-Konibo|Panoan|Latin|0|
simple|Simple English|Germanic|Latin|0|
sm|Samoan|Austronesian|Latin|0|smo
sn|Shona|Niger-Congo|Latin|0|sna
ss|Swati|Niger-Congo|Latin|0|ssw
st|Southern Sotho|Niger-Congo|Latin|0|sot
syr|Syriac|Afro-Asiatic|Syriac|0|aii
szl|Silesian|Slavic|Latin|0|
taq|Tamasheq|Afro-Asiatic|Latin|0|
tar|Raramuri|Uto-Aztecan|Latin|0|
tg|Tajik|Iranian|Cyrillic|0|tgk
ti|Tigrinya|Afro-Asiatic|Ethiopic|0|tir
tk|Turkmen|Turkic|Latin|0|tuk
tn|Tswana|Niger-Congo|Latin|0|tsn
to|Tongan|Austronesian|Latin|0|ton
tpi|Tok Pisin|Creole|Latin|0|
ts|Tsonga|Niger-Congo|Latin|0|tso
tt|Tatar|Turkic|Cyrillic|0|tat
tum|Tumbuka|Niger-Congo|Latin|0|
tw|Twi|Niger-Congo|Latin|0|twi ak aka
tzm|Central Atlas Tamazight|Afro-Asiatic|Tifinagh|0|
umb|Umbundu|Niger-Congo|Latin|0|
vec|Venetian|Romance|Latin|0|
vep|Veps|Uralic|Latin|0|
vls|West Flemish|Germanic|Latin|0|
vo|Volapük|Constructed|Latin|0|vol
vro|Voro|Uralic|Latin|0|fiu-vro
wa|Walloon|Romance|Latin|0|wln
war|Waray|Austronesian|Latin|0|
wo|Wolof|Niger-Congo|Latin|0|wol
wuu|Wu|Sino-Tibetan|Han|0|
xmf|Mingrelian|Kartvelian|Georgian|0|
yo|Yoruba|Niger-Congo|Latin|0|yor
yue|Cantonese|Sino-Tibetan|Han|0|zh-yue
zea|Zeelandic|Germanic|Latin|0|
zu|Zulu|Niger-Congo|Latin|0|zul
"""

UNKNOWN = "unknown"
RIGHT_TO_LEFT = frozenset({"Arabic", "Hebrew", "N'Ko", "Syriac", "Thaana"})
# ISO 15924 codes that FLORES and others append: `srp_Latn` is Serbian in another script than the table's.
_SCRIPTS = {
    "arab": "Arabic", "armn": "Armenian", "beng": "Bengali", "cyrl": "Cyrillic", "deva": "Devanagari",
    "ethi": "Ethiopic", "geor": "Georgian", "grek": "Greek", "gujr": "Gujarati", "guru": "Gurmukhi",
    "hang": "Hangul", "hani": "Han", "hans": "Han", "hant": "Han", "hebr": "Hebrew", "jpan": "Japanese",
    "khmr": "Khmer", "knda": "Kannada", "laoo": "Lao", "latn": "Latin", "mlym": "Malayalam", "mymr": "Burmese",
    "nkoo": "N'Ko", "olck": "Ol Chiki", "orya": "Odia", "sinh": "Sinhala", "syrc": "Syriac", "taml": "Tamil", "telu": "Telugu", "tfng": "Tifinagh",
    "thaa": "Thaana", "thai": "Thai", "tibt": "Tibetan",
}  # fmt: skip


def _rows() -> Iterator[Language]:
    for line in _TABLE.strip().splitlines():
        code, name, family, script, resource, aliases = line.split("|")
        yield Language(code, name, family, script, _direction(script), float(resource), tuple(aliases.split()))


def _direction(script: str) -> Direction:
    return "rtl" if script in RIGHT_TO_LEFT else "ltr"


LANGUAGES: dict[str, Language] = {language.code: language for language in _rows()}
_BY_ALIAS = {
    alias: language
    for language in LANGUAGES.values()
    for alias in (language.code, *language.aliases, language.name.casefold())
}


@cache
def resolve(code: str) -> Language:
    """Return the language that `code` means; a code nobody knows is a language of its own.

    Accepts this table's codes, three-letter codes and English names in any case, with `-` or `_`; a script suffix
    (`srp_Latn`) sets the script, other suffixes (region, treebank) are dropped from the right until a code fits, so
    that dialects with a row of their own (`de-ba`) stay apart. An unknown code is not an error, because users bring
    their own: it becomes its own name, in family and script "unknown". Raises `ValueError` for an empty code.
    """
    if not code.strip():
        raise ValueError(f"code: must name a language; got {code!r}")
    parts = code.strip().casefold().replace("_", "-").split("-")
    for length in range(len(parts), 0, -1):
        if found := _BY_ALIAS.get("-".join(parts[:length])):
            return _in_script(found, parts[length:])
    return _in_script(Language(code, code, UNKNOWN, UNKNOWN, "ltr", 0.0), parts[1:])


def _in_script(language: Language, suffixes: list[str]) -> Language:
    for suffix in suffixes:
        if (script := _SCRIPTS.get(suffix, language.script)) != language.script:
            return replace(language, script=script, direction=_direction(script))
    return language
