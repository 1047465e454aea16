"""What the departments, aisles, shelves, brands and variants of the planted shop are called."""

SHOP = {
    "Kitchen": {
        "Cookware": ("Skillet", "Saucepan", "Wok", "Casserole"),
        "Tableware": ("Plate", "Bowl", "Tumbler", "Mug"),
        "Cutlery": ("Knife", "Spoon", "Fork", "Chopsticks"),
        "Baking": ("Whisk", "Spatula", "Cakestand", "Sieve"),
        "Appliances": ("Blender", "Toaster", "Kettle", "Juicer"),
    },
    "Garden": {
        "Planting": ("Trowel", "Flowerpot", "Seedtray", "Trellis"),
        "Pruning": ("Secateurs", "Loppers", "Handsaw", "Shears"),
        "Watering": ("Hose", "Sprinkler", "Nozzle", "Waterbutt"),
        "Patio": ("Parasol", "Hammock", "Brazier", "Deckchair"),
        "Wildlife": ("Birdbath", "Feeder", "Nestbox", "Beehive"),
    },
    "Bathroom": {
        "Haircare": ("Shampoo", "Conditioner", "Hairbrush", "Comb"),
        "Skincare": ("Cleanser", "Moisturizer", "Serum", "Sunscreen"),
        "Shaving": ("Razor", "Lather", "Aftershave", "Trimmer"),
        "Dental": ("Toothbrush", "Toothpaste", "Floss", "Mouthwash"),
        "Linens": ("Towel", "Bathmat", "Bathrobe", "Washcloth"),
    },
    "Office": {
        "Writing": ("Pencil", "Fountainpen", "Marker", "Crayon"),
        "Paper": ("Notebook", "Envelope", "Postcard", "Planner"),
        "Filing": ("Folder", "Binder", "Drawer", "Clipboard"),
        "Desktop": ("Lamp", "Stapler", "Scissors", "Blotter"),
        "Computing": ("Keyboard", "Mouse", "Monitor", "Headset"),
    },
    "Outdoors": {
        "Camping": ("Tent", "Lantern", "Stove", "Sleepingbag"),
        "Hiking": ("Rucksack", "Compass", "Boots", "Gaiters"),
        "Cycling": ("Helmet", "Pedal", "Saddle", "Pump"),
        "Fishing": ("Rod", "Reel", "Lure", "Waders"),
        "Climbing": ("Rope", "Harness", "Carabiner", "Chalkbag"),
    },
    "Music": {
        "Strings": ("Guitar", "Violin", "Ukulele", "Banjo"),
        "Percussion": ("Snare", "Cymbal", "Tambourine", "Marimba"),
        "Winds": ("Flute", "Clarinet", "Trumpet", "Harmonica"),
        "Studio": ("Microphone", "Mixer", "Amplifier", "Turntable"),
        "Lessons": ("Songbook", "Metronome", "Tuner", "Musicstand"),
    },
}
"""department: aisle: shelves. A shop larger than this reuses the names with an adjective in front."""
REGIONS = ("Coastal", "Alpine", "Nordic", "Highland", "Prairie", "Island", "Desert", "Harbour", "Forest", "Riverside")
STYLES = ("Rustic", "Modern", "Vintage", "Urban", "Classic", "Artisan", "Minimal", "Festive", "Heritage", "Loft")
MATERIALS = ("Bamboo", "Copper", "Oak", "Linen", "Ceramic", "Cork", "Steel", "Walnut", "Glass", "Leather")
BRANDS = (
    *("Alderbrook", "Bexley", "Corvane", "Dunmore", "Elmhurst", "Farrow", "Greyfell", "Hartwell", "Ivoryton"),
    *("Juniper", "Kestrel", "Larkspur", "Merrow", "Northwind", "Oakley", "Penrose", "Quillon", "Rosedale"),
    *("Sorrel", "Thornbury"),
)
VARIANTS = (
    *("Everyday", "Compact", "Premium", "Deluxe", "Travel", "Family", "Slim", "Junior", "Heavy", "Quiet"),
    *("Folding", "Striped", "Scarlet", "Azure", "Emerald", "Amber", "Violet", "Ivory", "Onyx", "Silver"),
)
