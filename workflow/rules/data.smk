rule prepare_data:
    output:
        f"{SEARCH}/manifest.json",
    log:
        f"{SEARCH}/work/logs/prepare_data.log",
    params:
        command=HARMONY,
        search=SEARCH,
        config=plan.config_json,
    threads: workflow.cores
    retries: 0
    shell:
        "{params.command} prepare --search {params.search} --config {params.config:q} 2> >(tee {log} >&2)"
