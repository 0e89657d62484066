"""Clauses of the synthetic reviews, written for this project and not taken from any review.

A clause consists of words and slots: `{item}` and `{part}` draw a word of the product's topic, `{thing}` a
word of the open vocabulary, any other slot a word of `SLOTS`. Words earlier in a list are more frequent
(Zipf's law).
"""


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


VOICES = ("awful", "poor", "mixed", "good", "great", "fact")
"""Voices of clauses: one for each star rating, and facts that do not depend on the rating."""

TOPICS = {
    "dress gown skirt sundress romper tunic": "hem neckline lining zipper fabric waist bust slit strap lace",
    "shirt top blouse tee sweater hoodie": "sleeve collar fabric material button neck print cuff shoulder",
    "shoe boot sandal sneaker heel slipper": "sole heel insole toe lace strap arch ankle buckle leather",
    "bag purse backpack tote wallet clutch": "strap zipper pocket handle lining stitching clasp flap snap",
    "watch wristwatch timepiece chronograph gift": "band face clasp battery dial strap crystal link hand",
    "earring_set earring hoop dangler stud": "post back hook stone clasp metal finish wire setting plating",
    "necklace pendant bracelet chain ring charm": "clasp stone chain finish setting metal link box band pin",
    "hat cap beanie fedora visor beret": "brim band lining bill strap crown knit button ribbon top",
    "pair legging sock stocking jean pant": "waistband seam toe knee crotch elastic cuff leg pocket fabric",
    "jacket coat vest parka raincoat blazer": "hood zipper lining pocket sleeve collar cuff snap shell",
    "costume wig mask cape tutu outfit": "mask hair belt elastic headpiece fabric wing velcro makeup glove",
    "pair_of_sunglasses frame pair shade reader": "lens frame hinge arm case nosepad screw coating bridge",
    "swimsuit bikini tankini coverup suit": "cup padding bottom strap tie lining back top coverage fabric",
    "bra nightgown corset shapewear robe": "cup hook underwire band lace strap padding seam boning elastic",
    "scarf tie belt umbrella keychain glove": "buckle fabric pattern knot hole edge handle stitching leather",
}
"""Names of a product → names of its parts."""

PLURAL_TOPICS = (2, 5, 8, 11)
"""Indices of topics whose products come in pairs: shoes, earrings, legwear, glasses."""

SLOTS = {
    "great": """great perfect beautiful awesome amazing excellent gorgeous fantastic wonderful fabulous
        adorable stunning lovely terrific outstanding superb flawless incredible elegant phenomenal
        exquisite delightful classy marvelous""",
    "good": """nice good cute comfortable pretty soft light sturdy decent warm stylish cool fun roomy
        solid durable lightweight flattering comfy attractive simple practical useful pleasant well-made
        reasonable handy breathable""",
    "mixed": """ok okay average small short long different big wide snug stiff bulky plain basic tight
        loose narrow fine heavy dark bright shiny so-so itchy wrinkled sheer darker lighter smaller
        bigger acceptable passable""",
    "poor": """thin cheap flimsy small tiny disappointing uncomfortable see-through scratchy rough
        uneven wrong crooked tight ugly weird stiff faded plasticky boxy misleading unflattering awkward
        shapeless baggy inaccurate dull""",
    "awful": """terrible horrible awful broken worst useless defective bad ridiculous fake poor
        disgusting unwearable worthless ripped pathetic garbage junk crap trash torn damaged
        unacceptable atrocious dreadful laughable""",
    "very": """very so really super extremely pretty quite absolutely too just totally incredibly rather
        definitely""",
    "broke": """broke ripped tore snapped cracked unraveled faded shrank peeled stained leaked bent
        rusted frayed tarnished split failed melted bled loosened""",
    "who": """my_wife my_husband my_daughter my_son she he my_mom my_sister my_friend my_granddaughter
        my_mother everyone my_boyfriend my_girlfriend my_niece my_grandson my_dad they a_coworker
        my_nephew my_brother my_kids my_aunt my_roommate my_boss my_teenager my_fiance my_cousin
        my_neighbor""",
    "event": """work a_wedding Christmas school the_gym Halloween the_beach church a_party vacation prom
        the_summer a_cruise her_birthday travel the_winter graduation a_trip everyday_use Easter
        a_festival hiking a_concert Disney the_office date_night a_funeral the_pool camping yoga
        a_baby_shower running weddings an_interview dancing a_play football_games fishing
        our_anniversary homecoming a_photo_shoot skiing spring_break""",
    "color": """black blue white red pink gray purple green brown navy silver gold grey tan yellow
        orange beige burgundy turquoise teal ivory coral nude khaki charcoal maroon lavender leopard
        camo rose mint plum olive""",
    "size": """medium large small XL wide regular extra_large size_8 XXL half_size size_10 petite one_size
        narrow 2X size_6 3X size_7 toddler size_12 XS 36C size_9 size_4 34B plus_size size_14 7.5 8.5 9.5
        size_5 38D size_11 4X size_0 32x30 5T 34x32 36DD""",
    "aspect": """quality fit size price color material look style design fabric shape feel length weight
        texture pattern packaging craftsmanship sizing cut width detail workmanship smell shipping
        picture value stitching""",
    "does": """fits looks feels works hangs moves stays runs stretches holds_up sits closes washes wears
        drapes""",
    "verb": """wear use wash return order buy try keep give show adjust iron carry exchange open fold
        pack recommend gift hang fix stretch sew clean tie layer alter shorten replace test dress style
        display remove hem""",
    "when": """today yesterday last_week last_month a_week_later for_years every_day all_day last_year
        after_a_month on_time last_summer right_away in_two_days so_far for_months this_morning
        after_one_wash tonight next_time over_the_weekend early before_Christmas twice_a_week since_then
        the_next_day in_the_mail on_Monday after_the_first_day once_or_twice by_accident
        during_the_holidays without_trouble in_the_end on_Friday""",
    "with": """jeans a_dress leggings boots a_jacket shorts a_belt heels a_suit a_sweater tights sandals
        a_blazer a_tank_top sneakers a_cardigan a_scarf flats a_white_shirt a_skirt black_pants a_slip
        a_hoodie pearls""",
    "place": """Amazon the_store Target Walmart the_mall Macy's eBay Kohl's the_seller China the_website
        the_company Nordstrom JCPenney Marshalls Sears the_boutique Etsy the_airport Ross the_catalog
        the_shop Old_Navy""",
    "body": """hips chest arms feet shoulders waist bust head legs wrist stomach face neck back hands
        thighs ears belly calves ankles torso boobs butt toes skin hair nose knees fingers tummy
        waistline elbows""",
    "num": """two three one 2 several four a_few five six 3 ten seven 4 many twelve 5 eight some 10
        thirty a_dozen twenty nine 6 12 fifteen 7 20 8 15 30 25 50 14 18 11 40 16 100 13 24 60""",
    "tall": " ".join(
        form.format(f, i) for i in range(12) for f in (5, 6, 4) for form in ("{}'{}", "{}'{}\"", "{}ft{}")
    ),
    "lbs": " ".join(f"{w}{unit}" for w in range(95, 230, 5) for unit in ("_lbs", "lbs", "_pounds", "#")),
    "price": """$20 $10 $15 ten_dollars $30 $25 twenty_bucks $12 $8 the_money $5 $40 $35 $18 $50 $19.99 $60
        $9.99 $100 $14.99 $29.99 $7 $24.99 $22 $16 $12.99 $45 $80 $4.99 $39.99 $27 $13 $6.50""",
    "link": """and and which and so and also because if when as since then that - even_though while
        however overall although plus for unfortunately honestly -- still therefore besides anyway luckily""",
}
"""Slot → words, most frequent first; `_` is replaced by a space."""

CLAUSES = {
    "great": """{great} | love | perfect! | excellent | beautiful! | awesome | amazing | fabulous
        love it | love them | {great} {item} | {great} {aspect} | very {great} | so {good} | loved it
        simply {great} | great buy | i love it | love this {item} | {very} {great} {item} | just {great}
        love the {color} | love the {aspect} | fits {great} | i love this {item} | {who} loves it
        {great} {item} and {great} {aspect} | exactly what i wanted | love love love it
        i love the {color} {part} | i am so happy with it | the {part} is {great}
        i get compliments on it all the time | {who} loves it and wears it {when}
        it is {very} {great} and {great} | i would buy this {item} again in a heartbeat
        the {aspect} is {great} and the {part} is {great} | i could not be happier with this {item}
        best {item} ever | i absolutely love the {aspect} of this {item} | it {does} {great} with {with}
        fits like a glove | i will be ordering another one in {color}
        highly recommend this {item} to anyone | it fits perfectly | {great} for {event}
        so many compliments on this {thing} | worth every penny | it is even better than the picture
        {who} was thrilled with the {item} | arrived {when} and it was {great} | looks {great} with {with}
        thank you for a {great} {item} | the best {thing} i have ever owned | my favorite {item} by far
        a must have for {event} | i have {num} of these in different colors and love them all
        {great} gift for {who} | looks {great} on my {body} | wow | adorable | stunning | wonderful
        gorgeous | fantastic | thanks | yes! | a+ | obsessed | excellent {item} | thank you
        {great} color | great {part} | {great} fit | {color} {great} | {great} purchase | well made
        amazing {thing} | {great} {thing} | 5 stars | {who} approves | super {good}
        {great} {color} {item} | made very well | {great} for {event} | loves her {item}
        {great} {good} {item} | loving this {color} | so so {great} | {great} all around
        fast shipping too | looks {great} on | perfect for {who} | {great} {item} ever | love my {color}
        {good} and {great} | such {great} {aspect} | {great} little {thing} | {very} {very} {great}
        this is my new favorite {item} | it made {who} smile all day | you will not regret it
        i wear it {when} | {great} {aspect} for {price}
        everyone at {event} wanted to know where i got it | the {color} is so vibrant and {great}
        buy it you will love it | i bought another one for {who}
        it came {when} and {who} opened it and loved it | {great} seller and {great} {item}
        it is so {good} that i never want to take it off | it exceeded my expectations
        {who} said it is the most {great} {thing} ever | i feel {great} in it
        cannot wait to wear it to {event} | could not ask for a better {item}""",
    "good": """{good} | nice | good | cute | comfortable | pretty | {good} {item} | nice {aspect}
        very {good} | {good} {aspect} | like it | pretty {good} | works well | i like it
        {good} {color} {item} | nice for the price | pretty {good} {item} | fits {good} | very nice {item}
        i like the {aspect} | it is {good} and {good} | good quality {item} for the price
        the {part} is {good} enough | a little {mixed} but {good}
        it runs a bit {mixed} but i still like it | {good} {item} overall
        wish the {part} was a little less {mixed} | the only complaint is the {part}
        would have given five stars but the {part} is {mixed} | it {does} {good} {when} | {who} likes it
        good value for the money | nice {item} for {event} | i would order one size up next time
        i really like the {part} but the {aspect} is just {good} | it was {very} {good} for what i paid
        just what i expected | the {aspect} is {good} but it could be better
        pretty happy with this {thing} so far | it is {good} for {event} | works fine for what i need
        the {color} is a bit {mixed} than the picture but still {good} | comfortable to {verb} at {event}
        i had to {verb} the {part} but now it {does} {good} | a {good} {thing} for the price | fine
        sturdy | soft | warm | lightweight | stylish | good {thing} | {good} {part} | {color} {good}
        fits well | pleased | decent {item} | {good} color | good {aspect} | fairly {good} | as described
        as expected | looks nice | {good} fit | satisfied | {good} purchase | {good} stuff
        {good} and {good} | {good} for {event} | {aspect} is {good} | {good} {color} {thing}
        fits {who} well | liked the {part} | quite {good} {aspect} | good for {who} | {who} liked it
        pretty {color} {item} | {good} but {mixed} | good {aspect} overall | {good} {part} though
        almost perfect {item} | {good} everyday {item} | it seems {good} and {good}
        no complaints about the {part} | the {item} is as described | i am satisfied with the {aspect}
        overall a {good} buy | only wish it came in {color}
        took off one star because the {part} is {mixed} | it is a {good} {item} but not a {great} one
        the {part} could be more {good} but i am keeping it
        shipping took {num} days but the {item} is {good} | it fits {who} well enough
        four stars for the {aspect} | a bit more {mixed} than i thought but it looks {good}
        i will probably buy another in {color}""",
    "mixed": """{mixed} | ok | okay | decent | alright | eh | meh | it's ok | {mixed} {part} | just ok
        too {mixed} | not bad | {mixed} {item} | runs {mixed} | so so | it is ok | a bit {mixed}
        ok for {event} | just okay though | {aspect} is {mixed} | runs very {mixed} | not that {good}
        it is ok for the price | not what i expected but it will do | the {part} is {mixed}
        it runs {very} {mixed} | it is {good} but {very} {mixed}
        the {aspect} is ok but the {part} is {poor} | i expected something less {mixed}
        it was {mixed} on my {body} | i am {tall} and the {size} was {mixed} | order a size up
        looks {good} but the {part} is {mixed} | you get what you pay for | i might {verb} it for {event}
        i like the {part} but not the {aspect} | it is not as {good} as i hoped
        the {color} is not like the picture | {good} idea but the {part} is {poor}
        kind of {mixed} for a {size} | wanted to love this {thing} but it was {mixed}
        not sure if i will {verb} it | it would be {good} if the {part} was not so {mixed}
        a little {poor} for {event} | it {does} ok but i would not {verb} it {when}
        {who} said it was {mixed} | average | mediocre | fair | acceptable | wide | tight | large
        {mixed} {thing} | {aspect} ok | runs big | kinda {mixed} | bit {mixed} | okay {item}
        rather {mixed} | {color} is {mixed} | nothing special | its ok | not great | fairly {mixed}
        {mixed} fit | {good} {poor} | somewhat {mixed} | {mixed} {color} {item} | {good} but {poor}
        a little {mixed} | ok but {mixed} | {part} too {mixed} | bit too {mixed} | {mixed} for {who}
        {mixed} on me | could be better | it is an average {item} | neither {good} nor {poor}
        i have mixed feelings about the {part} | three stars because the {part} is {poor}
        had to {verb} it to make it work | it is fine i guess | the {aspect} was just average
        good for {event} but nothing more | not bad but not {great} either
        the picture makes it look more {good} | some of the {part} was {mixed} and some was {good}
        i am on the fence about it | it would work better for {who}""",
    "poor": """{poor} | disappointed | cheap | small | returned | not {good} | too {poor} | {very} {poor}
        {poor} {part} | {poor} {item} | didn't fit | very disappointed | looks cheap | very {poor} {part}
        looks {very} {poor} | not as pictured | way too {poor} | {part} is {poor}
        disappointed with {aspect} | it was way too {poor} | i was disappointed in the {aspect}
        the {part} is {very} {poor} | looks {poor} in person | the {part} {broke} after {num} wears
        not worth the price | it does not fit my {body} at all | i sent it back
        the {aspect} is {poor} and the {part} is {poor} | i would not {verb} it again
        nothing like the picture | i returned it because the {part} was {poor}
        the {item} is {poor} and the {aspect} is {mixed} | {who} did not like it
        the {size} fits like a kids size | i expected better {aspect} for {price}
        it looked {good} online but it is {very} {poor} | i was hoping for a better {item}
        too {poor} for {event} | i gave it to {who} because it did not fit
        the {part} started to come apart {when} | wish i had not ordered this {thing}
        it {does} {poor} on my {body} | order {num} sizes up if you must | flimsy | uncomfortable | tiny
        thin | ugly | meh | poor {part} | {poor} {thing} | too small | disappointing {item} | returning
        {poor} fit | sadly {poor} | {poor} {aspect} | too {mixed} | not impressed | runs small
        bad {part} | returned it | {color} faded | sent back | rather {poor} | {aspect} is {poor}
        {part} came loose | {poor} {color} {item} | not worth {price} | returned the {item}
        {very} {poor} {part} | wrong {part} size | not as described | {poor} and {poor}
        too {poor} though | not happy with the {part} | i would not recommend it
        the {part} looks {poor} and feels {poor} | not what i ordered | it was smaller than a kids {size}
        the {aspect} leaves a lot to be desired | had to return it to {place} | i doubt it will last
        looks nothing like the {color} one in the picture | the {part} does not stay closed
        two stars because the {part} {broke} | overpriced for such a {poor} {item}
        the {part} kept falling off at {event}""",
    "awful": """{awful} | junk | garbage | horrible | terrible | crap | awful | {awful} {item}
        {awful} {aspect} | very {awful} | total junk | waste of money | do not buy
        not worth it | {awful} {awful} {item} | never again ever | it {broke} already | {part} fell off
        {very} {awful} {aspect} | do not buy this {item} | it {broke} the first day
        this {item} is {awful} | a complete waste of money | the {part} {broke} {when}
        the {part} fell apart {when} | worst {item} i have ever bought | i want my money back
        {place} would not give me a refund | it arrived {awful} and the {part} was {broke}
        i threw it in the trash {when} | the {aspect} is {awful} and it smells like {thing}
        zero stars if i could | {who} was so upset with this {item}
        it is {awful} do not waste {price} on it | sent me the wrong {item} and never answered
        i would never buy from {place} again | it {broke} before {who} could even {verb} it
        the {part} came {broke} out of the box | save your money | never received the {item}
        this {thing} is {very} {awful} | {awful} {aspect} and {awful} customer service from {place}
        it {broke} after {num} days | what a {awful} {item} | useless | worst | broken | refund | trash
        disgusting | fake | scam | {awful} {part} | total {awful} | broke immediately | {awful} {thing}
        {awful} fit | {part} {broke} | fell apart | returned {awful} | never again | rip off
        poor quality | {color} {awful} | stay away | {very} {awful} | don't buy | {awful} {color} {item}
        {part} was {awful} | {broke} in {num} | cheap {awful} {item} | {awful} and {awful}
        {item} is {awful} | it never came | {who} hated it | {awful} from {place}
        i am so angry about this {item} | stay away from this seller | it is a cheap knock off
        this is not {thing} it is {awful} | false advertising | i would give it no stars
        the worst {aspect} i have seen in my life | returned it the same day
        it was {awful} when i opened the box | i hate the {part} | {who} got a rash from the {part}
        this {item} should not be sold | {place} refused to take it back | very upset with {place}""",
    "fact": """{thing} | {item} | for {event} | {color} {item} | for {who} | size {size} | got the {size}
        bought for {event} | the {color} {thing} | as a gift | i bought this for {who} for {event}
        i ordered the {size} in {color} | i am {tall} and {lbs} | i got it {when}
        i usually wear a {size} and ordered a {size} | the {part} has a {color} {thing} on it
        i bought it from {place} for {price} | {who} wears it to {event} with {with}
        it came in a {color} {thing} with the {part} | i have {num} {thing} at home
        i plan to {verb} it {when} | i am {tall} tall and usually a {size} | it is made of {thing}
        the {part} is {color} and {color} | they sell this {item} at {place} for {price}
        we used the {item} for {event} and {event} | you can {verb} the {part} or the {thing}
        i was looking for a {color} {item} to go with {with} | it took {num} days to get here from {place}
        {who} asked me where i got the {thing} | i wore it to {event} {when}
        it has {num} {part} and a {color} {thing} | i put the {thing} in the {part} to see if it would fit
        there is a {thing} on the {part} near the {part} | i measured the {part} at {num} inches
        this was for {who} who is {num} years old | my {body} are {num} inches
        i saw it in the {thing} ad {when} | the reviews said to {verb} it before {event}
        compared to my old {thing} {item} | i have not had a chance to {verb} it yet
        {who} had one just like this from {place} | i also bought the {color} {thing}
        as you can see in the photo the {part} is {color} | the tag says {thing} and {size}
        i have to {verb} it with {with} | to be honest i did not think about the {part} until {event}
        it goes from the {body} to the {body} | we were at {event} and {who} wanted to {verb} it
        that is the {thing} i was talking about | {thing} and {thing} both come with it
        wore it to {event} with {with} | the {thing} is under the {part}
        {who} is {tall} and wears a {size} | my {thing} came with a {thing}
        i keep a {thing} and a {thing} in it | {who} picked the {color} one
        i have {num} {thing} and this is the {thing} one | there was no {thing} in the box
        it has a {thing} instead of a {thing} | think of a {thing} with a {part}
        i first saw this {thing} on {who} | reminds me of a {thing} from {place} | {thing} {thing} {thing}
        the {thing} and the {part} are {color} | my last {item} came from {place}
        we live in a cold place so i need it for {event} | i looked at a {thing} and a {thing} before this
        i measured my {body} and my {body} first | it sits between the {body} and the {part}
        the {item} and the {thing} came in one bag | you could also use it as a {thing}
        the {part} looks like a {thing}""",
}
"""Voice → clauses, separated by `|` or a line end; for each length, the most frequent first."""

ENDINGS = {
    "great": {".": 77, "!": 16, "!!": 2, "!!!": 2, "...": 2, " :)": 1},
    "good": {".": 90, "!": 6, "..": 1, "...": 2, " :)": 1},
    "mixed": {".": 94, ",": 2, "...": 3, "?": 1},
    "poor": {".": 92, "!": 3, ",": 1, "...": 3, ";": 1},
    "awful": {".": 79, "!": 12, "!!": 3, "!!!": 2, "!!!!": 1, "?!": 1, "...": 2},
    "fact": {".": 95, ",": 3, "!": 1, "...": 1},
}
"""Voice → punctuation at the end of a clause → percentage."""

DECORATIONS = _listed("😊 ❤️ 👍 😍 🎉 😂 ♥ ☺ ★★★ (café) naïve jalapeño — 👎 😡 🙏🏽 👌 🥰 <3")

SUMMARIES = ("One Star", "Two Stars", "Three Stars", "Four Stars", "Five Stars")
FIRST_NAMES = _listed(
    """Mary John Linda James Susan Robert Karen David Nancy Michael Lisa William Maria Richard Sandra
    Joseph Ashley Thomas Kim Charles Donna Chris Carol Daniel Michelle Matthew Amanda Anthony Melissa
    Mark Deborah Paul Stephanie Steven Rebecca Kevin Laura Brian Sharon Jason Cynthia Jeff Kathleen Ryan
    Amy Jacob Angela Gary Shirley Nicholas Anna Eric Brenda Jonathan Pamela José Zoë Björn André Renée"""
)
