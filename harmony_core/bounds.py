"""Upper bounds of a configuration's numbers: above them nothing that exists could have been meant.

They catch a slip of the pen (1e30 for 1e-3, tokens for sequences) before it costs a night. A bound of one field alone
stands with the field.
"""

# What a signed 64-bit integer holds, in Parquet's columns and in other programs that read our JSON.
SEED = 2**63 - 1
# Tokens of a training: twenty times the largest published, about 4e13.
TOKENS = 10**15
# Bytes of text: a petabyte.
TEXT_BYTES = 10**15
# Tokens of a sequence: the longest published contexts are ten million.
SEQUENCE = 2**24
# Sequences of a step: at a thousand tokens each, ten times the tokens of any published batch.
BATCH = 2**20
# A model's width: fifty times the widest published, 20,480.
WIDTH = 2**20
# AdamW moves every weight by about the learning rate in a step, and weights begin below 1.
LEARNING_RATE = 1.0
# A year: no allocation lasts as long.
SECONDS = 366 * 24 * 3600.0
# Layers or blocks of a model: far beyond any.
DEPTH = 10_000
# Candidates of a generation, each of which is a training.
POPULATION = 1_000_000
# Generations, each of which is half a dozen of Snakemake's jobs.
GENERATIONS = 10_000
# Cores of one machine, hence workers and threads: no machine has as many.
CORES = 4096
# Devices that train one model: no machine has as many.
DEVICES = 2**20
# Members of a promotion, and fresh seeds of each: each pair is a training.
PROMOTED = 1000
# Memory of one machine: a petabyte.
MEMORY_GB = 1e6
# Hours of devices: more than a year of the largest machine.
DEVICE_HOURS = 1e9
# A metric's value: no architecture that could be trained has as many FLOPs a token, bytes or parameters.
METRIC = 1e18
