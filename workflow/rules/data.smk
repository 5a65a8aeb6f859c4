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
        config=plan.config_json,
    shell:
        "{params.command} prepare --search {params.search} --config {params.config:q} 2> >(tee {log} >&2)"
