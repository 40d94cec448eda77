//! The words product names are made of: a shop with twenty themes, which are also the visitors' tastes.

/// What one theme of the shop sells.
pub(super) struct Theme {
    pub category: &'static str,
    /// What is sold, and its usual price in whole units of currency.
    pub nouns: [(&'static str, u32); 10],
    pub kinds: [&'static str; 8],
    pub variants: [&'static str; 6],
    /// Whether things are used up and bought again.
    pub used_up: bool,
}

/// Names of collections; a word with another alphabet's letters now and then.
pub(super) const COLLECTIONS: [&str; 24] = [
    "Aurora", "Bergamo", "Cobalt", "Dune", "Élan", "Fjord", "Granite", "Harbour", "Indigo",
    "Juniper", "Kōyō", "Lumen", "Meadow", "Nordlys", "Ochre", "Prairie", "Quill", "Ridge", "Sølv",
    "Tundra", "Umbra", "Vega", "Willow", "Zephyr",
];

pub(super) const BRANDS: [&str; 32] = [
    "Alder & Finch",
    "Northpeak",
    "Casa Lumbre",
    "Møller & Søn",
    "Everline",
    "Tidewater",
    "Papaya Works",
    "Häfner",
    "Kestrel",
    "Loom & Leaf",
    "Brightwell",
    "Oakhurst",
    "Río Verde",
    "Summit Supply Co.",
    "Tallgrass",
    "Velluto",
    "Wren",
    "Yamazawa",
    "Zimmermann",
    "Atelier Nord",
    "Bluebird",
    "Copperfield",
    "Driftway",
    "Eastgate",
    "Fable",
    "Goodkind",
    "Hearth, Home & Co.",
    "Ironbridge",
    "Jolly Otter",
    "Kinetic",
    "Lark",
    "Maison Été",
];

// As a table: one entry a line would take six hundred.
#[rustfmt::skip]
pub(super) const THEMES: [Theme; 20] = [
    Theme {
        category: "Coffee",
        nouns: [
            ("Espresso Beans", 14), ("Filter Coffee", 12), ("Coffee Capsules", 9), ("Ground Coffee", 11),
            ("Cold Brew", 8), ("Moka Pot", 34), ("Pour-Over Dripper", 24), ("Burr Grinder", 89),
            ("Milk Frother", 29), ("Coffee Mug", 13),
        ],
        kinds: ["Organic", "Barista", "Classic", "Everyday", "Italian", "Fairtrade", "Nordic", "House"],
        variants: ["set of 2", "gift box", "travel size", "starter set", "limited edition", "value pack"],
        used_up: true,
    },
    Theme {
        category: "Tea & Pantry",
        nouns: [
            ("Green Tea", 7), ("Earl Grey", 6), ("Rooibos", 6), ("Wildflower Honey", 9), ("Granola", 6),
            ("Olive Oil", 14), ("Chocolate Bar", 4), ("Oat Biscuits", 5), ("Chai Blend", 8), ("Apricot Jam", 5),
        ],
        kinds: ["Organic", "Small-Batch", "Classic", "Unsweetened", "Spiced", "Wild", "Traditional", "Premium"],
        variants: ["pack of 2", "pack of 4", "gift tin", "value pack", "refill", "limited edition"],
        used_up: true,
    },
    Theme {
        category: "Running",
        nouns: [
            ("Running Shoes", 125), ("Running Shorts", 34), ("Running Vest", 29), ("Running Socks", 12),
            ("Windbreaker", 69), ("Headband", 14), ("Hydration Belt", 32), ("Trail Shoes", 139), ("Tights", 54),
            ("Sports Watch", 219),
        ],
        kinds: [
            "Lightweight", "Cushioned", "Reflective", "Breathable", "Thermal", "Marathon", "Everyday", "Carbon",
        ],
        variants: ["black", "neon", "men's", "women's", "unisex", "navy"],
        used_up: false,
    },
    Theme {
        category: "Cycling",
        nouns: [
            ("Cycling Jersey", 64), ("Bib Shorts", 85), ("Bike Helmet", 79), ("Saddle Bag", 24), ("Bike Pump", 32),
            ("Front Light", 36), ("Gloves", 29), ("Bottle Cage", 12), ("Pedals", 68), ("Handlebar Tape", 17),
        ],
        kinds: ["Aero", "Gravel", "Road", "Commuter", "Waterproof", "Padded", "Compact", "Pro"],
        variants: ["black", "red", "olive", "white", "2nd generation", "limited edition"],
        used_up: false,
    },
    Theme {
        category: "Camping",
        nouns: [
            ("Tent", 249), ("Sleeping Bag", 139), ("Camping Stove", 59), ("Headlamp", 39), ("Backpack", 129),
            ("Sleeping Mat", 69), ("Water Filter", 44), ("Folding Chair", 54), ("Hammock", 64), ("Cook Set", 49),
        ],
        kinds: ["Ultralight", "Two-Person", "Four-Season", "Insulated", "Packable", "Family", "Trekking", "Rugged"],
        variants: ["green", "sand", "with carry bag", "navy", "2nd generation", "limited edition"],
        used_up: false,
    },
    Theme {
        category: "Yoga & Fitness",
        nouns: [
            ("Yoga Mat", 49), ("Foam Roller", 27), ("Resistance Bands", 16), ("Kettlebell", 44), ("Dumbbells", 59),
            ("Skipping Rope", 12), ("Gym Towel", 14), ("Leggings", 48), ("Balance Board", 74), ("Water Bottle", 22),
        ],
        kinds: ["Non-Slip", "Cork", "Adjustable", "Compact", "Studio", "Natural Rubber", "Eco", "Heavy-Duty"],
        variants: ["lilac", "charcoal", "with bag", "sage", "black", "petrol"],
        used_up: false,
    },
    Theme {
        category: "Skin Care",
        nouns: [
            ("Face Cream", 24), ("Cleansing Gel", 12), ("Vitamin C Serum", 29), ("Sunscreen", 18),
            ("Hand Cream", 9), ("Lip Balm", 5), ("Toner", 13), ("Clay Mask", 16), ("Body Lotion", 15),
            ("Eye Cream", 26),
        ],
        kinds: ["Hydrating", "Fragrance-Free", "Gentle", "Vegan", "Brightening", "Night", "Daily", "Sensitive"],
        variants: ["refill", "duo", "travel size", "gift set", "value size", "limited edition"],
        used_up: true,
    },
    Theme {
        category: "Hair & Bath",
        nouns: [
            ("Shampoo", 8), ("Conditioner", 8), ("Bath Salts", 11), ("Shower Gel", 6), ("Soap Bar", 5),
            ("Hair Oil", 16), ("Body Scrub", 13), ("Bath Towel", 24), ("Beard Balm", 14), ("Toothpaste", 4),
        ],
        kinds: ["Argan", "Lavender", "Mint", "Rose", "Almond", "Charcoal", "Sea Salt", "Mild"],
        variants: ["pack of 3", "travel size", "refill", "gift set", "duo", "value size"],
        used_up: true,
    },
    Theme {
        category: "Dogs",
        nouns: [
            ("Dog Food", 39), ("Chew Toy", 11), ("Dog Bed", 64), ("Leash", 19), ("Harness", 29), ("Dog Treats", 7),
            ("Food Bowl", 16), ("Rain Coat", 44), ("Poo Bags", 6), ("Car Blanket", 36),
        ],
        kinds: ["Natural", "Puppy", "Senior", "Active", "Gentle", "Outdoor", "Classic", "Durable"],
        variants: ["small breeds", "medium breeds", "large breeds", "value pack", "trial size", "set of 2"],
        used_up: true,
    },
    Theme {
        category: "Cats",
        nouns: [
            ("Cat Food", 28), ("Cat Litter", 15), ("Scratching Post", 49), ("Cat Tree", 109), ("Feather Wand", 8),
            ("Cat Treats", 5), ("Carrier", 39), ("Drinking Fountain", 34), ("Cat Bed", 42), ("Brush", 12),
        ],
        kinds: ["Indoor", "Kitten", "Natural", "Senior", "Plush", "Compact", "Gentle", "Classic"],
        variants: ["grey", "cream", "value pack", "trial size", "set of 2", "green"],
        used_up: true,
    },
    Theme {
        category: "Kids & Toys",
        nouns: [
            ("Wooden Train", 39), ("Building Blocks", 34), ("Puzzle", 16), ("Plush Bear", 24), ("Doll House", 79),
            ("Crayons", 9), ("Play Dough", 11), ("Marble Run", 44), ("Balance Bike", 89), ("Picture Book", 12),
        ],
        kinds: ["My First", "Rainbow", "Magnetic", "Giant", "Montessori", "Dinosaur", "Space", "Woodland"],
        variants: ["from 3 years", "from 4 years", "from 6 years", "gift edition", "blue", "red"],
        used_up: false,
    },
    Theme {
        category: "Board Games",
        nouns: [
            ("Strategy Game", 44), ("Card Game", 16), ("Party Game", 24), ("Chess Set", 39), ("Dice Game", 14),
            ("Co-op Game", 42), ("Quiz", 22), ("Expansion", 27), ("Memory Game", 13), ("Dominoes", 15),
        ],
        kinds: ["Legendary", "Pocket", "Deluxe", "Family", "Two-Player", "Medieval", "Galactic", "Pirate"],
        variants: ["2nd edition", "English", "Deutsch", "français", "anniversary edition", "travel edition"],
        used_up: false,
    },
    Theme {
        category: "Audio",
        nouns: [
            ("Headphones", 149), ("Earbuds", 99), ("Bluetooth Speaker", 79), ("Soundbar", 199), ("Turntable", 249),
            ("Microphone", 109), ("Radio", 69), ("Phone Stand", 24), ("Audio Cable", 15), ("Amplifier", 289),
        ],
        kinds: ["Wireless", "Studio", "Portable", "Compact", "Hi-Fi", "Mini", "Vintage", "Pro"],
        variants: ["black", "white", "sand", "2nd generation", "midnight blue", "limited edition"],
        used_up: false,
    },
    Theme {
        category: "Home Office",
        nouns: [
            ("Desk Lamp", 54), ("Office Chair", 229), ("Keyboard", 79), ("Mouse", 42), ("Monitor Arm", 94),
            ("Notebook", 14), ("Fountain Pen", 48), ("Desk Mat", 32), ("Laptop Sleeve", 36), ("Webcam", 69),
        ],
        kinds: ["Ergonomic", "Classic", "Walnut", "Minimal", "Slim", "Compact", "Nordic", "Felt"],
        variants: ["black", "oak", "grey", "white", "2nd generation", "set of 2"],
        used_up: false,
    },
    Theme {
        category: "Kitchen",
        nouns: [
            ("Chef's Knife", 79), ("Frying Pan", 54), ("Stock Pot", 64), ("Cutting Board", 34), ("Mixing Bowl", 22),
            ("Peeler", 9), ("Bread Tin", 26), ("Pepper Mill", 32), ("Kitchen Scale", 36), ("Apron", 29),
        ],
        kinds: ["Chef's", "Stainless", "Professional", "Everyday", "Rustic", "Classic", "French", "Compact"],
        variants: ["cream", "black", "sage", "gift box", "2nd edition", "limited edition"],
        used_up: false,
    },
    Theme {
        category: "Living Room",
        nouns: [
            ("Cushion", 26), ("Throw Blanket", 49), ("Floor Lamp", 119), ("Side Table", 139), ("Vase", 34),
            ("Wall Clock", 44), ("Rug", 189), ("Candle", 18), ("Picture Frame", 24), ("Curtain", 46),
        ],
        kinds: ["Linen", "Bouclé", "Rattan", "Velvet", "Handmade", "Vintage", "Scandinavian", "Modern"],
        variants: ["large", "small", "olive", "rust", "off-white", "pair"],
        used_up: false,
    },
    Theme {
        category: "Garden",
        nouns: [
            ("Pruning Shears", 27), ("Watering Can", 29), ("Plant Pot", 19), ("Tomato Seeds", 4), ("Herb Seeds", 4),
            ("Garden Gloves", 13), ("Bird Feeder", 24), ("Compost", 12), ("Raised Bed", 89), ("Hose", 39),
        ],
        kinds: ["Heritage", "Classic", "Balcony", "Organic", "Sturdy", "Cottage", "Urban", "Four-Season"],
        variants: ["green", "small", "large", "set of 2", "value pack", "terracotta"],
        used_up: false,
    },
    Theme {
        category: "Women's Fashion",
        nouns: [
            ("Summer Dress", 79), ("Blouse", 49), ("Knit Jumper", 69), ("Wide-Leg Trousers", 85),
            ("Trench Coat", 189), ("Tote Bag", 65), ("Silk Scarf", 45), ("Ankle Boots", 149), ("Midi Skirt", 59),
            ("Cardigan", 64),
        ],
        kinds: ["Floral", "Soft", "Classic", "Linen", "Relaxed", "Vintage", "Striped", "Recycled"],
        variants: ["black", "ecru", "rose", "olive", "navy", "terracotta"],
        used_up: false,
    },
    Theme {
        category: "Men's Fashion",
        nouns: [
            ("Oxford Shirt", 59), ("Chinos", 69), ("Crew-Neck Jumper", 75), ("Denim Jacket", 109),
            ("Leather Belt", 39), ("Polo Shirt", 45), ("Sneakers", 99), ("Overcoat", 229), ("T-Shirt", 25),
            ("Beanie", 22),
        ],
        kinds: [
            "Slim-Fit", "Organic Cotton", "Washed", "Heavyweight", "Classic", "Garment-Dyed", "Tailored", "Plain",
        ],
        variants: ["black", "olive", "ecru", "grey", "navy", "stone"],
        used_up: false,
    },
    Theme {
        category: "Crafts",
        nouns: [
            ("Watercolour Set", 24), ("Sketchbook", 14), ("Knitting Yarn", 9), ("Embroidery Kit", 19),
            ("Brush Set", 17), ("Linocut Kit", 27), ("Washi Tape", 5), ("Crochet Hooks", 14), ("Acrylic Paint", 11),
            ("Calligraphy Pen", 13),
        ],
        kinds: ["Artist's", "Beginner's", "Professional", "Pastel", "Everyday", "Premium", "Studio", "Japanese"],
        variants: ["gift edition", "starter set", "refill", "set of 2", "value pack", "limited edition"],
        used_up: false,
    },
];
