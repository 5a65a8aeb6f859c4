rule promote:
    input:
        plan.last_selection,
    output:
        population=f"{SEARCH}/promoted/population.parquet",
        training=f"{SEARCH}/promoted/training/shard=000.parquet",
        curves=f"{SEARCH}/promoted/curves/shard=000.parquet",
        latency=f"{SEARCH}/promoted/latency/shard=000.parquet",
    log:
        f"{SEARCH}/work/logs/promote.log",
    params:
        command=HARMONY,
        search=SEARCH,
        execution=plan.execution_json,
    threads: workflow.cores
    shell:
        "{params.command} promote --search {params.search} --execution {params.execution:q} 2> >(tee {log} >&2)"
