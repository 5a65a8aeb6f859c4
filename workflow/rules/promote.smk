rule promote:
    input:
        plan.last_selection,
    output:
        population=f"{SEARCH}/promoted/population.parquet",
        training=f"{SEARCH}/promoted/shard=000/training.parquet",
        curves=f"{SEARCH}/promoted/shard=000/curves.parquet",
        latency=f"{SEARCH}/promoted/shard=000/latency.parquet",
    log:
        f"{SEARCH}/work/logs/promote.log",
    threads: plan.all_cores(CORES)
    resources:
        launcher="local",
        srun_flags="",
    params:
        command=HARMONY,
        search=SEARCH,
    shell:
        "{params.command} promote --search {params.search} --cores {threads}"
        " --launcher {resources.launcher} --srun-flags={resources.srun_flags:q} > {log} 2>&1"
