# This may need the network, so it runs on the node that Snakemake runs on.
rule prepare_data:
    output:
        f"{SEARCH}/data.json",
    log:
        f"{SEARCH}/work/logs/prepare_data.log",
    retries: 0
    localrule: True
    params:
        command=HARMONY,
        search=SEARCH,
    shell:
        "{params.command} data --search {params.search} > {log} 2>&1"


# This runs where the candidates will run: precision and the reference's latency are that machine's.
rule settle:
    input:
        f"{SEARCH}/data.json",
    output:
        f"{SEARCH}/manifest.json",
    log:
        f"{SEARCH}/work/logs/settle.log",
    retries: 0
    threads: plan.all_cores(CORES)
    params:
        command=HARMONY,
        search=SEARCH,
    shell:
        "{params.command} settle --search {params.search} > {log} 2>&1"
