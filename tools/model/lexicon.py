"""The words of the corpus: places, devices, quantities. Data only.

A place is (words, topic, form of its id, preposition). A device is
(name in the topic, its words, what it can do). Capabilities: o = on/off,
c = open/close, l = lock/unlock, then the quantities it can be set to, the
first being meant when a person gives a bare number.
"""

HOME_ROOMS = [
    "kitchen", "living room", "bedroom", "bathroom", "hallway", "garage", "attic", "basement",
    "dining room", "nursery", "study", "laundry room", "guest room", "terrace", "garden",
]

# words, topic, id form (num, big, letter, code), preposition
PLACES = [(r, "home/" + r.replace(" ", "_"), None, "on" if r == "terrace" else "in") for r in HOME_ROOMS] + [
    ("greenhouse", "greenhouse", "num", "in"), ("tunnel", "tunnel", "num", "in"),
    ("field", "field", "letter", "on"), ("orchard", "orchard", "letter", "in"), ("bed", "bed", "code", "in"),
    ("cold room", "cold_room", "num", "in"), ("freezer", "freezer", "num", "in"),
    ("truck", "truck", "big", "in"), ("container", "container", "big", "in"), ("trailer", "trailer", "code", "in"),
    ("office", "office", "big", "in"), ("meeting room", "meeting_room", "letter", "in"),
    ("floor", "floor", "num", "on"), ("server room", "server_room", "num", "in"), ("lobby", "lobby", None, "in"),
    ("pump house", "pump_house", "num", "in"), ("tank", "tank", "num", "at"), ("well", "well", "num", "at"),
    ("reservoir", "reservoir", "letter", "at"), ("basin", "basin", "code", "at"),
    ("gate", "gate", "letter", "at"), ("entrance", "entrance", "num", "at"), ("dock", "dock", "num", "at"),
    ("reception", "reception", None, "at"), ("vault", "vault", "letter", "in"),
    ("street", "street", "big", "on"), ("corridor", "corridor", "letter", "in"), ("hall", "hall", "letter", "in"),
    ("stairwell", "stairwell", "num", "in"), ("car park", "car_park", "letter", "in"),
    ("substation", "substation", "num", "at"), ("panel", "panel", "code", "at"),
    ("apartment", "apartment", "big", "in"), ("building", "building", "letter", "in"),
    ("bay", "bay", "num", "at"), ("depot", "depot", "letter", "at"), ("parking spot", "parking_spot", "code", "at"),
    ("line", "line", "num", "on"), ("cell", "cell", "code", "in"), ("warehouse", "warehouse", "letter", "in"),
    ("aisle", "aisle", "big", "in"), ("workshop", "workshop", None, "in"),
    ("barn", "barn", "num", "in"), ("stable", "stable", "letter", "in"), ("pen", "pen", "code", "in"),
    ("pool", "pool", "num", "at"), ("sauna", "sauna", None, "in"), ("room", "room", "big", "in"),
    ("rack", "rack", "code", "in"), ("lab", "lab", "num", "in"), ("clean room", "clean_room", "letter", "in"),
]

DOMAINS = {
    "home": (HOME_ROOMS, "light lamp blind curtain heater thermostat fan speaker tv dishwasher oven vacuum "
             "coffee_machine climate socket washing_machine"),
    "greenhouse": (["greenhouse", "tunnel", "field", "orchard", "bed"], "vent shade sprinkler irrigation mister "
                   "grow_light valve heater doser co2_injector climate fan feeder"),
    "cold": (["cold room", "freezer", "truck", "container", "trailer"], "compressor evaporator cooler defroster door "
             "fan climate air_curtain tail_lift refrigeration_unit"),
    "hvac": (["office", "meeting room", "floor", "server room", "lobby"], "ac damper boiler chiller thermostat "
             "humidifier dehumidifier air_handler blind projector climate radiator air_purifier"),
    "water": (["pump house", "tank", "well", "reservoir", "basin"], "pump valve sluice mixer aerator booster filter "
              "heater doser hatch"),
    "access": (["gate", "entrance", "dock", "reception", "vault"], "door lock barrier turnstile shutter camera siren "
               "intercom floodlight dock_leveler alarm elevator"),
    "lighting": (["street", "corridor", "hall", "stairwell", "car park"], "light street_light floodlight spotlight "
                 "sign exit_sign beacon ceiling_fan"),
    "metering": (["substation", "panel", "apartment", "building"], "breaker relay meter transformer battery inverter "
                 "socket generator"),
    "charging": (["bay", "depot", "parking spot"], "charger battery inverter relay canopy_light barrier bollard"),
    "factory": (["line", "cell", "warehouse", "aisle", "workshop"], "conveyor robot press forklift crane sorter "
                "spindle drill compressor labeler palletizer extractor lift"),
    "farm": (["barn", "stable", "pen"], "feeder drinker scraper curtain milking_machine heat_lamp fan brush door"),
    "leisure": (["pool", "sauna", "room", "rack", "lab", "clean room"], "heater pump cover jets light incubator "
                "fume_hood centrifuge ac minibar fan ups"),
}

# name: (words, capabilities)
DEVICES = {
    "light": ("light|lights", "o pct:brightness kelvin"), "lamp": ("lamp|lamps", "o pct:brightness kelvin"),
    "blind": ("blind|blinds", "c pct:position"), "curtain": ("curtain|curtains", "c pct:position"),
    "heater": ("heater|heaters", "o temp kw"), "thermostat": ("thermostat", "o temp"),
    "fan": ("fan|fans", "o pct:level rpm"), "speaker": ("speaker|speakers", "o pct:volume"),
    "tv": ("tv|television", "o pct:volume"), "dishwasher": ("dishwasher", "o temp"),
    "oven": ("oven", "o temp"), "vacuum": ("vacuum cleaner|robot vacuum", "o pct:power"),
    "coffee_machine": ("coffee machine|coffee maker", "o"), "climate": ("temperature", "temp"),
    "socket": ("socket|sockets|outlet", "o"), "washing_machine": ("washing machine|washer", "o temp rpm"),
    "vent": ("vent|vents", "c pct:position"), "shade": ("shade|shades|shade screen", "c pct:position"),
    "sprinkler": ("sprinkler|sprinklers", "o lpm litre"), "irrigation": ("irrigation|irrigation system", "o litre lpm"),
    "mister": ("mister|misters|misting", "o pct:humidity"), "grow_light": ("grow light|grow lights", "o pct:brightness lux"),
    "valve": ("valve|valves", "c pct:position"), "doser": ("doser|dosing unit", "o lpm"),
    "co2_injector": ("co2 injector|co2 supply", "o ppm"), "feeder": ("feeder|feeders|feeding system", "o kg"),
    "compressor": ("compressor|compressors", "o bar pct:level"), "evaporator": ("evaporator", "o temp"),
    "cooler": ("cooler|coolers", "o temp"), "defroster": ("defroster|defrost heater", "o"),
    "door": ("door|doors", "c l"), "air_curtain": ("air curtain", "o ms"), "tail_lift": ("tail lift", "c l"),
    "refrigeration_unit": ("refrigeration unit|refrigerator|fridge", "o temp"),
    "ac": ("ac|air conditioner|air conditioning", "o temp"), "damper": ("damper|dampers", "c pct:position"),
    "boiler": ("boiler", "o temp bar kw"), "chiller": ("chiller|chillers", "o temp"),
    "humidifier": ("humidifier", "o pct:humidity"), "dehumidifier": ("dehumidifier", "o pct:humidity"),
    "air_handler": ("air handler|air handling unit", "o pct:level"), "projector": ("projector", "o pct:brightness"),
    "radiator": ("radiator|radiators", "o temp"), "air_purifier": ("air purifier", "o pct:level"),
    "pump": ("pump|pumps", "o lpm bar pct:level rpm"), "sluice": ("sluice|sluice gate", "c l pct:position"),
    "mixer": ("mixer|mixers", "o rpm"), "aerator": ("aerator|aerators", "o pct:level"),
    "booster": ("booster|booster pump", "o bar"), "filter": ("filter|filters", "o"),
    "hatch": ("hatch|hatches", "c l"), "lock": ("lock|locks", "l"), "barrier": ("barrier|barriers", "c l"),
    "turnstile": ("turnstile|turnstiles", "l"), "shutter": ("shutter|shutters|roller shutter", "c l pct:position"),
    "camera": ("camera|cameras", "o"), "siren": ("siren|sirens", "o pct:volume"), "intercom": ("intercom", "o pct:volume"),
    "floodlight": ("floodlight|floodlights", "o pct:brightness lux"), "dock_leveler": ("dock leveler|leveler", "l"),
    "alarm": ("alarm|alarm system", "o pct:volume"), "elevator": ("elevator|elevators", "o l"),
    "street_light": ("street light|street lights|street lamps", "o pct:brightness"),
    "spotlight": ("spotlight|spotlights", "o pct:brightness kelvin"), "sign": ("sign|signs", "o pct:brightness"),
    "exit_sign": ("exit sign|exit signs", "o pct:brightness"), "beacon": ("beacon|beacons", "o"),
    "ceiling_fan": ("ceiling fan|ceiling fans", "o rpm"), "breaker": ("breaker|breakers|circuit breaker", "c amp"),
    "relay": ("relay|relays", "c"), "meter": ("meter|meters", ""), "transformer": ("transformer", "o"),
    "battery": ("battery|battery bank", "o kw pct:level"), "inverter": ("inverter|inverters", "o kw"),
    "generator": ("generator|generators", "o kw rpm"), "charger": ("charger|chargers|charging point", "o l amp kw kwh"),
    "canopy_light": ("canopy light|canopy lights", "o pct:brightness lux"), "bollard": ("bollard|bollards", "l"),
    "conveyor": ("conveyor|conveyors|conveyor belt", "o ms pct:level"), "robot": ("robot|robots|robot arm", "o pct:speed"),
    "press": ("press|presses", "o bar"), "forklift": ("forklift|forklifts", "o l ms"), "crane": ("crane|cranes", "o l ms"),
    "sorter": ("sorter|sorters", "o ms"), "spindle": ("spindle|spindles", "o rpm"), "drill": ("drill|drills", "o rpm"),
    "labeler": ("labeler|labelers", "o"), "palletizer": ("palletizer|palletizers", "o"),
    "extractor": ("extractor|extractor fan|extractors", "o rpm pct:level"), "lift": ("lift|lifts", "o l"),
    "drinker": ("drinker|drinkers", "o litre"), "scraper": ("scraper|manure scraper", "o ms"),
    "milking_machine": ("milking machine|milking system", "o bar"), "heat_lamp": ("heat lamp|heat lamps", "o temp"),
    "brush": ("brush|cow brush", "o"), "cover": ("cover|covers|pool cover", "c l pct:position"),
    "jets": ("jets|water jets", "o bar"), "incubator": ("incubator|incubators", "o l temp ppm"),
    "fume_hood": ("fume hood|fume hoods", "o ms"), "centrifuge": ("centrifuge|centrifuges", "o l rpm"),
    "minibar": ("minibar|minibars", "o l temp"), "ups": ("ups|ups unit", "o"),
}

# property that a quantity sets, where the device does not name one
PROPERTY = {"temp": "temperature", "lux": "illuminance", "ppm": "co2", "bar": "pressure", "kw": "power", "amp": "current",
            "litre": "volume", "lpm": "flow", "rpm": "rpm", "ms": "speed", "kelvin": "color_temperature", "kwh": "energy",
            "kg": "weight"}

# how a person names a property in front of "of"
PROPERTY_WORDS = {"temperature": "temperature", "illuminance": "light level", "co2": "co2 level", "pressure": "pressure",
                  "power": "power", "current": "current", "volume": "volume", "flow": "flow", "rpm": "rotation speed",
                  "speed": "speed", "color_temperature": "colour temperature", "energy": "energy limit",
                  "weight": "weight", "brightness": "brightness", "position": "position", "level": "level",
                  "humidity": "humidity"}

# unit words of each quantity; {} is the number
UNITS = {
    "pct": ["{} percent", "{} %", "{}%", "{} per cent"],
    "temp": ["{} degrees", "{} degrees celsius", "{} °C", "{}°C", "{} C", "{} degrees C", "{}°"],
    "tempf": ["{} degrees fahrenheit", "{} °F", "{}°F", "{} F", "{} fahrenheit"],
    "lux": ["{} lux", "{} lx"],
    "ppm": ["{} ppm", "{} parts per million"],
    "bar": ["{} bar", "{} bars"],
    "kw": ["{} kW", "{} kilowatts", "{} kilowatt", "{}kW"],
    "amp": ["{} amps", "{} A", "{} amperes", "{}A"],
    "litre": ["{} litres", "{} liters", "{} l"],
    "lpm": ["{} litres per minute", "{} l/min", "{} liters per minute", "{} litres a minute"],
    "rpm": ["{} rpm", "{} revolutions per minute"],
    "ms": ["{} m/s", "{} metres per second", "{} meters per second"],
    "kelvin": ["{} K", "{} kelvin"],
    "kwh": ["{} kWh", "{} kilowatt hours"],
    "kg": ["{} kg", "{} kilos", "{} kilograms"],
}

# what can be read at a place, and compared in a condition: property, words, quantity
SENSORS = [
    ("temperature", "temperature", "temp"), ("humidity", "humidity|air humidity", "pct"),
    ("co2", "co2 level|co2 concentration|co2", "ppm"), ("illuminance", "light level|brightness", "lux"),
    ("pressure", "pressure", "bar"), ("level", "water level|level|fill level", "pct"),
    ("power", "power|power draw|power consumption", "kw"), ("soil_moisture", "soil moisture", "pct"),
    ("wind", "wind speed|wind", "ms"), ("flow", "flow|flow rate", "lpm"), ("current", "current", "amp"),
    ("weight", "weight|load", "kg"),
]

# events: words, key, value
EVENTS = [
    ("someone comes in|somebody walks in|motion is detected|there is motion|there is movement|somebody is there", "motion", True),
    ("nobody is there|no motion is detected|everyone has left|there is no motion|the last person leaves", "motion", False),
    ("it rains|it starts to rain|it is raining|rain is detected", "rain", True),
    ("it stops raining|the rain stops|the rain is over", "rain", False),
    ("it gets dark|it is dark|the sun sets|the sun goes down", "dark", True),
    ("it gets light|the sun rises|the sun comes up|it is light again", "dark", False),
    ("there is smoke|smoke is detected|it smells of smoke", "smoke", True),
    ("there is a leak|a leak is detected|water leaks", "leak", True),
    ("the door opens|the door is opened|somebody opens the door", "door", "open"),
    ("the door closes|the door is closed|somebody closes the door", "door", "closed"),
    ("the window opens|the window is opened|somebody opens the window", "window", "open"),
    ("the window closes|the window is closed|somebody closes the window", "window", "closed"),
    ("the power fails|there is a power failure|the mains fail", "mains", "off"),
    ("the power returns|the mains are back|the power is back", "mains", "on"),
]

SCENES = ["movie", "night", "party", "away", "reading", "cleaning", "holiday", "morning", "evening", "dinner", "work",
          "eco", "harvest", "maintenance", "emergency", "day", "summer", "winter", "standby", "welcome"]

UNKNOWN = [w.strip() for w in """toaster, piano, rocket, bicycle, guitar, telescope, violin, submarine, helicopter,
sandwich, umbrella, airplane, teapot, blender, sofa, carpet, bookshelf, trampoline, hammock, printer, typewriter, drone,
ladder, wheelbarrow, hammer, scooter, kayak, tractor, mirror, pillow, bathtub, clock, radio, phone, laptop, tablet,
keyboard, router, firewall, database, spaceship, catapult, cannon, unicorn, dragon, chandelier, fireplace, skateboard,
barbecue, smoker, microscope, harvester, excavator, bulldozer, magnet, laser, teleporter, time machine, snow machine,
popcorn machine, slot machine, ice cream maker, hair dryer, treadmill, jukebox, aquarium, birdhouse, swing, slide,
sandbox, windmill, weather vane, sundial, flagpole, fountain, scarecrow""".split(",")]
