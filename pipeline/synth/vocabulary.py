"""Open vocabulary of the synthetic reviews: ordinary words, then an unlimited number of generated ones."""

from __future__ import annotations


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ORDINARY = _listed(
    """much more other only time all out now still can been some over shoe foot back pain support after about
    off than pant way little any most year made bit long look bag kids first want need put make think find
    go know say give take come see feel try keep let seem hold turn show help start might should never
    always often soon once twice again already almost enough maybe perhaps around under through without
    within against between during before above below across inside outside behind toward along upon despite
    except half whole full empty real true sure same such own next last least less many few several both
    each every either neither another else instead rather quite pretty fairly really truly simply exactly
    nearly mostly usually sometimes finally especially certainly clearly probably actually recently
    originally currently personally slightly perfectly extremely easily quickly slowly properly nicely
    securely firmly constantly immediately eventually hopefully surprisingly barely hardly completely
    totally absolutely entirely somewhat somehow otherwise elsewhere anywhere everywhere nowhere someone
    anyone nobody something anything nothing box store hand side day thing girl boy gift baby people problem
    cloth paper card phone hair car door room house water food week hour line part end name order mail
    person woman man women men lady guy head idea reason job month place case tag stain hole string thread
    edge corner piece set pack lot bottom top middle front cover liner strip patch pin needle mirror table
    chair bed drawer closet hanger dryer washer machine soap dye glue tape velcro magnet lamp camera video
    screen computer book page letter note list label brand logo sign model number code receipt refund credit
    dollar cent money cost sale deal discount coupon package envelope plastic cotton polyester spandex wool
    leather denim silk satin metal silver gold wood glass rubber foam paint ink oil perfume smoke dog cat
    horse bird fish flower tree leaf star heart moon sun snow rain wind heat cold weather season spring fall
    morning night evening afternoon weekend birthday holiday party dinner lunch breakfast coffee drink
    bottle cup plate bowl knife tool hammer key lock chain rope wire hook loop ball game team player fan
    song music band movie stage role character hero villain king queen knight soldier cowboy doctor nurse
    teacher student waitress driver boss manager crew class club group family parents father mother brother
    sister uncle cousin son daughter husband wife friend neighbor kid child teen toddler infant adult muscle
    bone joint knee ankle toe nail wrist palm elbow rib spine skin sweat odor smell rash blister bruise
    swelling surgery injury therapy walking running standing lifting driving working training gym yoga race
    marathon trail mountain river lake pool ocean beach sand mud grass garden yard farm ranch barn truck
    bike motorcycle train plane airport hotel office desk church school college hospital restaurant kitchen
    bathroom bedroom basement garage street city town country state border island world life love hope fun
    luck trouble mistake issue concern complaint question answer opinion review rating comment advice tip
    trick secret story history memory dream wish promise surprise joy comfort ease style taste fashion trend
    theme design pattern stripe dot plaid floral print image picture photo art craft drawing painting poster
    frame shadow bright dark pale deep rich neutral vivid matte glossy shiny dull clear smooth rough soft
    hard firm stiff flexible stretchy tight loose thick thin heavy light wide narrow tall short flat round
    square oval straight curved uneven even sharp blunt clean dirty dusty wet dry damp warm cool hot icy
    fresh stale sweet sour bitter quiet loud fast slow quick early late new old young ancient modern classic
    vintage antique retro basic fancy formal casual dressy sporty elegant simple plain busy bold subtle
    modest sexy cheap expensive affordable pricey worth valuable rare common popular famous unknown strange
    odd funny silly serious sad happy glad angry mad upset calm nervous proud shy brave careful careless
    honest fair unfair generous kind rude polite helpful useless useful handy practical clever smart stupid
    crazy insane ridiculous amazing lovely ugly cute handsome gorgeous plump slim skinny curvy petite chubby
    athletic pregnant sick healthy weak strong tough durable fragile delicate sturdy solid hollow broken
    missing extra spare single double triple dozen pair couple hundred thousand million percent inch mile
    pound ounce gallon degree minute second moment century decade wear use wash buy return send receive ship
    deliver arrive pay charge spend save waste search choose pick decide compare match mix blend suit dress
    walk run jump dance sit stand lie sleep wake eat cook bake wipe scrub rinse soak iron press steam fold
    hang carry lift pull push drag drop throw catch cut trim sew stitch knit tie wrap zip snap clip buckle
    strap attach remove replace repair fix adjust tighten loosen stretch shrink fade bleed peel crack chip
    bend twist break tear rip split burst slip slide roll spin rub itch scratch pinch squeeze dig poke
    bother hurt irritate annoy disappoint impress please satisfy enjoy admire adore prefer dislike hate
    regret doubt believe trust expect imagine wonder guess realize notice mention describe explain advertise
    recommend suggest warn agree complain argue refuse cancel contact reply respond apologize forgive thank
    appreciate deserve earn win lose gain grow change become remain stay leave move travel visit meet greet
    marry invite celebrate attend perform practice teach learn study read write draw color build create
    invent measure weigh count add include contain fill pour spill leak drip melt freeze burn chill protect
    hide reveal display shine glow sparkle glitter flash reflect accessory addition adapter alarm
    alternative amount angle animal apron arrow attention audience aunt award balance balloon bandana banner
    bargain base basket bath battery bead bear beard beauty bell bench benefit boxer brace braid branch
    brick bride bridesmaid bronze brush bubble bucket bug bulk bull bunch bundle bunny butter butterfly
    cabin cable cake calendar calf camp candle candy canvas carpet cartoon cash casing cast castle category
    celebration center ceremony challenge champion chance charm chart chemical cherry chest chicken chin
    chocolate choice chrome circle claim clay clearance clerk client climate clock cloud clown coach coast
    coin collection column combination company compartment compression concept concert condition cone
    confidence connection construction container contrast control copper copy cord core cosplay counter
    courage course court crease creature cross crowd cruise crystal culture current curtain curve cushion
    customer cycle damage darkness date death decision decoration delay delivery demand dent department
    deposit depth description desert detail diamond diaper diet difference dimension direction discomfort
    disc distance dragon drama drill duck dust duty eagle earth effort elastic electronics element elephant
    emblem embroidery emergency employee energy engine engraving entrance era error event example exchange
    excitement excuse exercise experience expert explanation exterior eyelet fabric face factory failure
    fairy faith fault favor feather feature fence fiber figure film filter finger finish fire flag flame
    flaw fleece flesh flight flip flood floor force forest form fortune foundation fox freedom friction
    fringe frog fruit fuel function fund fur furniture future gap gas gauge gear gem ghost giant glimpse
    goal god grade grain grandma grandpa graphic gravity grip ground guard guest guide guitar gun habit
    handful handle harness health heaven hem hint hobby hockey honey honor household humor hunting ice icon
    impact impression improvement incident inconvenience indoor industry information initial insert instance
    instruction insurance interest interior interview investment iris item jar jewel jewelry joke journey
    judge juice jungle junior"""
)
"""Ordinary words, most frequent first; words generated from the parts below follow."""

SUFFIXES = _listed("s ed ing er ly y s ed ing less able ness ish like s wear proof ful ers ings 's est")
ONSETS = _listed("b br c ch d dr f fl g gr h j k kl l m n p pr qu r s sh st t tr v w y z th sp bl")
NUCLEI = _listed("a e i o u ai ea ee ie oo ou ar er or an en in on al el il")
CODAS = _listed("- n r l s t m ck nd st x ng p d")

_FORMS_PER_WORD = 5
_MASK = 2**64 - 1


def open_word(rank: int) -> str:
    """Word of a rank (0 or more): ordinary words, then inflected ones, then names, compounds and numbers."""
    if rank < len(ORDINARY):
        return ORDINARY[rank]
    rank -= len(ORDINARY)
    mixed = _mix(rank)
    if rank < len(ORDINARY) * _FORMS_PER_WORD:
        return _inflect(ORDINARY[mixed % len(ORDINARY)], SUFFIXES[(mixed >> 20) % len(SUFFIXES)])
    kind, mixed = mixed % 16, mixed >> 4
    if kind < 2:
        return ORDINARY[mixed % len(ORDINARY)] + ORDINARY[(mixed >> 16) % len(ORDINARY)]
    if kind < 4:
        return f"{ORDINARY[mixed % len(ORDINARY)]}-{ORDINARY[(mixed >> 16) % len(ORDINARY)]}"
    if kind == 4:
        return f"{chr(65 + mixed % 26)}{chr(65 + (mixed >> 8) % 26)}-{(mixed >> 16) % 10_000}"
    if kind == 5:
        return str(mixed % 10 ** (2 + (mixed >> 40) % 5))
    if kind < 9:
        return mistype(ORDINARY[mixed % len(ORDINARY)], mixed >> 16)
    name = "".join(_syllable(mixed >> (14 * at)) for at in range(2 + (mixed >> 45) % 2))
    return name.capitalize() if kind < 13 else name


def mistype(word: str, draw: int) -> str:
    """Word of 4 or more letters with one letter omitted, doubled, swapped or replaced, selected by `draw`."""
    if len(word) < 4:
        return word
    at, kind = divmod(draw % (4 * (len(word) - 2)), 4)
    a, b = word[at + 1], word[at + 2 : at + 3]
    other = "etaoinsrhl"[(draw >> 8) % 10]
    return word[: at + 1] + ("", a + a, b + a, other)[kind] + (b if kind != 2 else "") + word[at + 3 :]


def plural(word: str) -> str:
    """Plural of a noun: watch → watches, skirt → skirts."""
    if word.endswith("s") and not word.endswith("ss"):
        return word
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


def _mix(rank: int) -> int:
    # A multiplicative hash, so that adjacent ranks are unrelated words.
    mixed = (rank * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & _MASK
    mixed ^= mixed >> 29
    mixed = (mixed * 0xBF58476D1CE4E5B9) & _MASK
    return mixed ^ mixed >> 32


def _syllable(mixed: int) -> str:
    onset, nucleus = ONSETS[mixed % len(ONSETS)], NUCLEI[(mixed >> 5) % len(NUCLEI)]
    return onset + nucleus + CODAS[(mixed >> 10) % len(CODAS)].strip("-")


def _inflect(stem: str, suffix: str) -> str:
    return (stem[:-1] if stem.endswith("e") and suffix[:1] in ("e", "i", "a", "y") else stem) + suffix
