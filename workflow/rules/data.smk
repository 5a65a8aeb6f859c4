rule prepare_data:
    output:
        f"{SEARCH}/manifest.json",
    log:
        f"{SEARCH}/work/logs/prepare_data.log",
    retries: 0
    threads: workflow.cores
    params:
        command=HARMONY,
        search=SEARCH,
    shell:
        "{params.command} prepare --search {params.search} 2> >(tee {log} >&2)"
